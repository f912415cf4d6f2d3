"""Insert QuantizeLinear and DequantizeLinear where TensorRT fuses them.

A convolution runs in INT8 where its data and its weights both come from a DequantizeLinear. So the
data of every such convolution get a pair, shared by all nodes that read them, and the weights are
stored as INT8, per output channel, with a DequantizeLinear only. Where a convolution's result is
added to a shortcut or to a coarser level, the other operand is quantised: the addition then fuses
into the convolution. Biases have no pair. All pairs are symmetric: every zero point is 0.

These stay in higher precision: predictions and the nodes that decode them, deformable convolutions
and the layers that compute their sampling positions, and the layers that a recipe keeps. Warps need
no scale of their own: their weights are not negative and add up to at most 1, so their output lies
in the range of their input. A pair of the producer's scale stands before and after a warp; between
them a target either samples in half precision, or samples in INT8 in its own kernel, without the
pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.graph.names import matching
from lzu_export.graph.passes import Pass, raise_opset
from lzu_export.graph.regions import (
    INT8,
    Regions,
    find_regions,
    is_convolution,
    is_deformable,
    is_pooled_mean,
    layer_name,
)
from lzu_export.ops import separable_unzoom
from lzu_export.ops.registry import FIXED_WARPS

OPSET = 19
"""First opset whose scales may be float16."""
LEVELS = 127
"""Largest INT8 value used: symmetric, without -128."""
SMALLEST_SCALE = 2.0**-20
"""Smallest scale: float16 still has neighbours within 6 %; smaller channels are almost zero."""
MOST_BIAS = 2.0**30
"""Largest bias in steps of both scales' product: beyond it ONNX Runtime's int32 may overflow."""
LARGEST_SCALE = 65504.0
"""Largest scale that float16 holds."""

FOLLOWERS = frozenset({"Relu", "MaxPool"})
"""Operators that fuse into the convolution before them, or run in INT8 themselves."""

Reader = tuple[str, int]
"""Name of a node and the number of one of its inputs."""


@dataclass(frozen=True)
class Placement:
    """The layers and tensors that are quantised, and why the other layers are not."""

    layers: Mapping[str, tuple[str, ...]]
    """Names of the convolution nodes of each quantised layer (a head has one per level)."""
    kept: Mapping[str, str]
    """Reason for each layer that stays in higher precision."""
    sources: Mapping[str, str]
    """Tensor whose range sets the scale, for each tensor that gets a pair."""
    readers: frozenset[Reader]
    """Inputs that read such a tensor after its pair; all others read it before the pair."""

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Names of the tensors whose ranges are needed."""
        return tuple(dict.fromkeys(self.sources.values()))


def place(graph: gs.Graph, keep: Sequence[str] = ()) -> Placement:
    """Decide which layers and tensors of a canonical float32 graph become INT8.

    Args:
        graph: the graph, in topological order.
        keep: names or patterns (`*`) of layers that stay in higher precision.

    Raises:
        LzuError: a pattern matches no layer; the message names the nearest.
    """
    parts = find_regions(graph)
    kept = _kept(graph, parts, keep)
    layers: dict[str, list[str]] = {}
    for node in filter(is_convolution, graph.nodes):
        if (name := layer_name(node)) not in kept:
            layers.setdefault(name, []).append(node.name)
    pairs = _Pairs({name for nodes in layers.values() for name in nodes}, parts)
    for node in graph.nodes:
        pairs.visit(node)
    return Placement(
        {name: tuple(nodes) for name, nodes in layers.items()},
        kept,
        pairs.sources,
        frozenset(pairs.readers),
    )


def quantise(placement: Placement, ranges: Mapping[str, float]) -> Pass:
    """Insert the pairs of a placement into the graph it was made for, with weights in INT8.

    Args:
        placement: result of `place`.
        ranges: absolute value that becomes 127, by calibrated tensor.

    Raises:
        LzuError: a range is missing, not finite or not positive.
    """
    scales = {name: _activation_scale(name, ranges) for name in placement.calibrated}
    chosen = {node for nodes in placement.layers.values() for node in nodes}

    def apply(graph: gs.Graph) -> gs.Graph:
        raise_opset(graph, OPSET)
        tensors = graph.tensors()
        pairs = {
            name: _pair(graph, tensors[name], scales[source])
            for name, source in placement.sources.items()
        }
        smallest = _smallest_scales(graph, chosen, placement, scales)
        weights: dict[str, gs.Variable] = {}
        for node in list(graph.nodes):
            for i, tensor in enumerate(node.inputs):
                if (node.name, i) in placement.readers:
                    node.inputs[i] = pairs[tensor.name]
            if node.name in chosen:
                weight = node.inputs[1]
                if weight.name not in weights:
                    weights[weight.name] = _weights(graph, weight, smallest[weight.name])
                node.inputs[1] = weights[weight.name]
        return graph.cleanup().toposort()

    return Pass("quantise", f"{len(placement.layers)} layers in INT8", apply)


def weight_scales(
    weight: NDArray[np.float32], smallest: NDArray[np.float32] | float = SMALLEST_SCALE
) -> NDArray[np.float32]:
    """Return scales per output channel (O,), exact in float16, for weights O x I x h x w."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return _float16_above(np.maximum(largest / LEVELS, smallest).astype(np.float32))


def _kept(graph: gs.Graph, parts: Regions, keep: Sequence[str]) -> dict[str, str]:
    """Return the reason for each layer that stays in higher precision."""
    convolutions = [node for node in graph.nodes if is_convolution(node)]
    names = {name: (name,) for name in map(layer_name, convolutions)}
    kept = dict.fromkeys(matching(keep, names, "higher_precision.int8"), "the recipe keeps it")
    for node in convolutions:
        name = layer_name(node)
        if is_deformable(node):
            kept[name] = "a deformable convolution has no INT8 kernel"
        elif node.name in parts.positions:
            kept[name] = "it computes where a deformable convolution samples"
        elif node.name in parts.warps:
            kept[name] = "it computes where a warp samples"
        elif node.name in parts.predictions:
            kept[name] = "a prediction: scores and regressions keep their resolution"
        elif any(is_pooled_mean(made_by) for made_by in node.inputs[0].inputs):
            kept[name] = "its data are pooled means, few and precise"
        elif not isinstance(node.inputs[1], gs.Constant):
            kept[name] = "its weights are computed"
        elif 0 < np.abs(node.inputs[1].values).max() < LEVELS * SMALLEST_SCALE:
            kept[name] = "its weights are smaller than a float16 scale can resolve"
    return kept


class _Pairs:
    """Collects the positions of pairs, node by node."""

    def __init__(self, chosen: set[str], parts: Regions) -> None:
        """Start with no pairs; `chosen` are the names of the convolutions in INT8."""
        self.chosen, self.parts = chosen, parts
        self.sources: dict[str, str] = {}
        self.readers: set[Reader] = set()

    def visit(self, node: gs.Node) -> None:
        """Add the inputs that this node reads after a pair."""
        if node.name in self.chosen:
            self._read(node, 0)
            self._join(node.inputs[0])
        elif (i := self._shortcut(node)) is not None:
            self._read(node, i)

    def _read(self, node: gs.Node, i: int) -> None:
        """Let a node read its input i after a pair of the scale that fits it."""
        tensor = node.inputs[i]
        self.readers.add((node.name, i))
        if tensor.name in self.sources:
            return
        source = tensor
        for before, number in _rearrangers(tensor):
            if before.name in self.parts.preparation:
                break  # the image itself keeps its resolution up to the zoom
            # The node reads after a pair of the same scale: a resize's output is then quantised
            # without loss, and a warp's to the nearest step.
            self._read(before, number)
            source = before.inputs[number]
        self.sources[tensor.name] = self.sources.get(source.name, source.name)

    def _join(self, tensor: gs.Variable) -> None:
        """Give warped maps that are concatenated into this tensor pairs of their own."""
        if tensor.inputs and tensor.inputs[0].op == "Concat":
            for i, part in enumerate(tensor.inputs[0].inputs):
                if _rearrangers(part):
                    self._read(tensor.inputs[0], i)

    def _shortcut(self, node: gs.Node) -> int | None:
        """Return the operand of an addition to quantise if an INT8 convolution makes the other."""
        if node.op != "Add" or any(isinstance(tensor, gs.Constant) for tensor in node.inputs):
            return None
        # Where convolutions make both, the later operand is the shortcut, as networks are written.
        for main, other in ((0, 1), (1, 0)):
            if self._fuses(node.inputs[main]) and self._is_int8(node.inputs[other]):
                return other
        return None

    def _fuses(self, tensor: gs.Variable) -> bool:
        made_by = tensor.inputs[0].name if tensor.inputs else None
        return made_by in self.chosen and len(tensor.outputs) == 1

    def _is_int8(self, tensor: gs.Variable) -> bool:
        """Return whether INT8 convolutions made a tensor, also through nodes that fuse or move."""
        while tensor.inputs:
            node = tensor.inputs[0]
            if node.name in self.chosen:
                return True
            if node.op == "Add":
                return any(self._fuses(each) for each in node.inputs)
            if node.op not in FOLLOWERS and not _is_nearest(node):
                return False
            tensor = node.inputs[0]
        return False


def _rearrangers(tensor: gs.Variable) -> list[tuple[gs.Node, int]]:
    """Return the nodes that made a tensor from one map without exceeding its range, else none.

    Such nodes are a warp, the partial warps of one map that are summed (see `tasks.warps`), or a
    nearest resize; each comes with the number of its input that is the map.
    """
    if not tensor.inputs:
        return []
    node = tensor.inputs[0]
    if node.op in FIXED_WARPS or _is_nearest(node):
        return [(node, 0)]
    if node.op == separable_unzoom.NAME:
        return [(node, next(i for i, each in enumerate(node.outputs) if each is tensor))]
    if node.op != "Add":
        return []
    parts = [_rearrangers(each) for each in node.inputs]
    maps = {each.inputs[i].name for part in parts for each, i in part}
    warps = all(part and all(each.op in FIXED_WARPS for each, _ in part) for part in parts)
    return [each for part in parts for each in part] if warps and len(maps) == 1 else []


def _is_nearest(node: gs.Node) -> bool:
    return bool(node.op == "Resize" and node.attrs.get("mode", "nearest") == "nearest")


def _activation_scale(name: str, ranges: Mapping[str, float]) -> NDArray[np.float32]:
    if name not in ranges:
        raise LzuError(f"there is no range for the tensor {name}; calibrate the model again")
    limit = ranges[name]
    if not 0 < limit <= LEVELS * LARGEST_SCALE:
        raise LzuError(
            f"the range of the tensor {name} is {limit}; calibrate again on frames that are not "
            "empty, or keep what reads it in higher precision (higher_precision.int8)"
        )
    return _float16_above(np.maximum(np.float32(limit / LEVELS), np.float32(SMALLEST_SCALE)))


def _float16_above(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest float16 numbers that are not smaller, so that the largest value fits."""
    halves = np.asarray(values).astype(np.float16)
    below = halves.astype(np.float32) < values
    return np.where(below, np.nextafter(halves, np.float16(np.inf)), halves).astype(np.float32)


def _smallest_scales(
    graph: gs.Graph,
    chosen: set[str],
    placement: Placement,
    scales: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Return the smallest scale that each channel's bias allows, by the name of the weights."""
    smallest: dict[str, NDArray[np.float32]] = {}
    for node in graph.nodes:
        if node.name in chosen:
            data, weight, *bias = node.inputs
            known = bias and isinstance(bias[0], gs.Constant)
            size = np.abs(bias[0].values) if known else np.zeros(weight.shape[0], np.float32)
            needed = size / (scales[placement.sources[data.name]] * np.float32(MOST_BIAS))
            least = smallest.get(weight.name, np.float32(SMALLEST_SCALE))
            smallest[weight.name] = np.maximum(least, needed)
    return smallest


def _pair(graph: gs.Graph, tensor: gs.Variable, scale: NDArray[np.float32]) -> gs.Variable:
    """Add a pair to a tensor, and return the tensor after it."""
    constants = (_constant(tensor, "scale", scale), _constant(tensor, "zero", np.int8(0)))
    whole = gs.Variable(f"{tensor.name}{INT8}", dtype=np.int8, shape=tensor.shape)
    back = gs.Variable(f"{tensor.name}/dequantised", dtype=np.float32, shape=tensor.shape)
    graph.nodes += [
        gs.Node("QuantizeLinear", f"{tensor.name}/quantize", {}, [tensor, *constants], [whole]),
        gs.Node("DequantizeLinear", f"{tensor.name}/dequantize", {}, [whole, *constants], [back]),
    ]
    return back


def _weights(graph: gs.Graph, weight: gs.Constant, smallest: NDArray[np.float32]) -> gs.Variable:
    """Store weights as INT8 per output channel, and return them after a DequantizeLinear."""
    values = weight.values.astype(np.float32)
    scales = weight_scales(values, smallest)
    steps = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
    whole = gs.Constant(f"{weight.name}{INT8}", steps.clip(-LEVELS, LEVELS).astype(np.int8))
    constants = (
        _constant(weight, "scale", scales),
        _constant(weight, "zero", np.zeros(len(values), np.int8)),
    )
    back = gs.Variable(f"{weight.name}/dequantised", dtype=np.float32, shape=list(values.shape))
    name = f"{weight.name}/dequantize"
    graph.nodes.append(gs.Node("DequantizeLinear", name, {"axis": 0}, [whole, *constants], [back]))
    return back


def _constant(of: gs.Tensor, what: str, values: Any) -> gs.Constant:
    return gs.Constant(f"{of.name}/{what}", np.asarray(values))
