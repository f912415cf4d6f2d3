"""Convert a graph to half precision: float16 or bfloat16, except what must stay float32.

Precision belongs in the graph because TensorRT 11 has no precision flags: a strongly typed file
means the same everywhere. Inputs and outputs keep their types. Rules decide which nodes stay in
float32, each with its reason, which `stay_high` returns for every such node:

- coordinates, camera values and the decode, since rounding would move boxes;
- normalisations, means and long sums, since sums of many terms lose precision in float16;
- layers that a recipe names, with the nodes they feed up to the next layers.

The warps' tables stay float32 in every node; the features that they sample do not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.names import matching
from lzu_export.graph.passes import Pass, raise_opset
from lzu_export.graph.regions import (
    Regions,
    find_regions,
    is_convolution,
    is_pooled_mean,
    layer_name,
)
from lzu_export.ops.registry import operator_of

HalfType = Literal["fp16", "bf16"]

LARGEST = {"fp16": 65504.0, "bf16": 3.3895313892515355e38}
"""Largest number of each half-precision type."""

BF16_OPSET = 22
"""First opset whose convolutions take bfloat16."""

LONG_SUM = 1024
"""Number of summed terms from which on a matrix product stays in float32."""


def float_inputs(node: gs.Node) -> frozenset[int]:
    """Return the numbers of a node's inputs that are float32 whatever the node's type."""
    operator = operator_of(node.domain, node.op)
    if operator:
        return operator.contract.float_inputs(len(node.inputs))
    return frozenset({1, 2} if node.op == "Resize" else ())  # region and scales


_FRAGILE = {
    "InstanceNormalization": "a normalisation divides by the deviation of many values",
    "GroupNormalization": "a normalisation divides by the deviation of many values",
    "LayerNormalization": "a normalisation divides by the deviation of many values",
    "Softmax": "exponentials overflow",
    "LogSoftmax": "exponentials overflow",
    "Exp": "exponentials overflow",
    "ReduceMean": "a mean adds up many values",
    "ReduceSum": "a sum adds up many values",
    "GlobalAveragePool": "a mean adds up many values",
    "AveragePool": "a mean adds up many values",
    "Cast": "its type is an attribute",
    "Constant": "its type is an attribute",
    "ConstantOfShape": "its type is an attribute",
}

Rule = Callable[[gs.Node, Regions], "str | None"]


def stay_high(graph: gs.Graph, keep: Sequence[str] = ()) -> dict[str, str]:
    """Return the reason for each node that stays in float32, by the node's name.

    With a kept layer, the nodes after it stay in float32 too, up to the next convolutions and
    matrix products: otherwise its result would be rounded immediately.

    Args:
        graph: canonical graph, in topological order.
        keep: names or patterns (`*`) of layers or nodes that must stay in float32.

    Raises:
        LzuError: a pattern matches nothing; the message names the nearest layer.
    """
    parts = find_regions(graph)
    kept: dict[str, str] = {}
    for node in graph.nodes:
        for rule in _RULES:
            reason = rule(node, parts)
            if reason is not None:
                kept[node.name] = reason
                break
    names = {node.name: (layer_name(node), node.name) for node in graph.nodes}
    named = matching(keep, names, "higher_precision.fp16")
    for node_name in named:
        kept.setdefault(node_name, "the recipe keeps it")
    for node_name in _fed_by(graph, set(named)):
        kept.setdefault(node_name, "it passes on what a layer that the recipe keeps gives")
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and _readers(node) and _readers(node) <= kept.keys():
            kept.setdefault(node.name, "only float32 nodes read it, so a cast would follow it")
    return kept


def is_layer(node: gs.Node) -> bool:
    """Return whether a node mixes values with weights, which changes their magnitude."""
    return is_convolution(node) or node.op in ("ConvTranspose", "Gemm", "MatMul")


def _fed_by(graph: gs.Graph, named: set[str]) -> list[str]:
    """Return the names of the nodes between kept ones and the next layers, in graph order.

    A DequantizeLinear is included where all its readers are, and only there, so that no cast comes
    between it and a layer in INT8.
    """
    fed = set(named)
    for node in graph.nodes:
        makers = (made_by for tensor in _read_in_half(node) for made_by in tensor.inputs)
        if not is_layer(node) and any(made_by.name in fed for made_by in makers):
            fed.add(node.name)
    for node in graph.nodes:
        if node.op == "DequantizeLinear":
            readers = _readers(node)
            (fed.add if readers and readers <= fed else fed.discard)(node.name)
    return [node.name for node in graph.nodes if node.name in fed - named]


def _readers(node: gs.Node) -> set[str]:
    """Return the names of the nodes that read a node's outputs."""
    return {reader.name for tensor in node.outputs for reader in tensor.outputs}


def to_half(kind: HalfType, kept: Mapping[str, str]) -> Pass:
    """Make every float32 node half precision except those in `kept`, with casts in between.

    Weights are converted in place; a tensor that both kinds of nodes use is cast once.

    bfloat16 raises the graph to `BF16_OPSET`. ONNX Runtime has few kernels for it: see
    `emulate_half`.

    Raises:
        LzuError: a constant is too large for the type, the graph does not state a tensor's type, or
            bfloat16 is combined with INT8.
    """
    dtype = _DTYPES[kind]

    def apply(graph: gs.Graph) -> gs.Graph:
        graph.toposort()
        _check_types(graph)
        if kind == "bf16":
            _check_scales(graph)
            raise_opset(graph, BF16_OPSET)
        low = [node for node in graph.nodes if node.name not in kept]
        crossing = _Crossing(graph, dtype, _constants_of_others(graph, low))
        for node in low:
            for tensor in node.outputs:
                if tensor.dtype == np.float32:
                    tensor.dtype = dtype.numpy
        for node in list(graph.nodes):
            wanted = dtype.numpy if node.name not in kept else np.float32
            for i, tensor in enumerate(node.inputs):
                as_it_is = i in float_inputs(node)
                node.inputs[i] = crossing.bring(tensor, np.float32 if as_it_is else wanted)
        crossing.restore_outputs()
        return graph.cleanup().toposort()

    return Pass(f"to-{kind}", f"{kind} but for {len(kept)} nodes", apply)


def half_tensors(graph: gs.Graph, kept: Mapping[str, str]) -> list[str]:
    """Return the float32 tensors that `to_half` would make or cast in half precision, in order.

    Their values must fit the type. Inputs of the graph are left out.
    """
    found = {
        tensor.name: None
        for node in graph.nodes
        if node.name not in kept
        for tensor in touched(node)
        if tensor.inputs and tensor.dtype == np.float32
    }
    return list(found)


def touched(node: gs.Node) -> list[gs.Tensor]:
    """Return the tensors a half-precision node reads or makes in half, constants included."""
    return [*_read_in_half(node), *node.outputs]


def _read_in_half(node: gs.Node) -> list[gs.Tensor]:
    wide = float_inputs(node)
    return [tensor for i, tensor in enumerate(node.inputs) if i not in wide]


@dataclass(frozen=True)
class _Type:
    numpy: Any
    onnx: int


def _half_types() -> dict[str, _Type]:
    import ml_dtypes

    return {
        "fp16": _Type(np.dtype(np.float16), onnx.TensorProto.FLOAT16),
        "bf16": _Type(np.dtype(ml_dtypes.bfloat16), onnx.TensorProto.BFLOAT16),
    }


_DTYPES = _half_types()


class _Crossing:
    """Casts tensors to the type that a node needs, each once."""

    def __init__(self, graph: gs.Graph, half: _Type, shared: set[int]) -> None:
        """Start without casts; `shared` are identities of constants that are read as float32."""
        self.graph, self.half, self.shared = graph, half, shared
        self.made: dict[tuple[int, Any], gs.Tensor] = {}

    def bring(self, tensor: gs.Tensor, wanted: Any) -> gs.Tensor:
        """Return the tensor itself if it has the wanted type or is not a float, else its cast."""
        if tensor.is_empty() or tensor.dtype not in (np.float32, self.half.numpy):
            return tensor
        if tensor.dtype == wanted:
            return tensor
        key = (id(tensor), wanted)
        if key not in self.made:
            make = self._constant if isinstance(tensor, gs.Constant) else self._cast
            self.made[key] = make(tensor, wanted)
        return self.made[key]

    def restore_outputs(self) -> None:
        """Give the graph's outputs their original type again."""
        for i, tensor in enumerate(self.graph.outputs):
            if tensor.dtype == self.half.numpy:
                wide = self.bring(tensor, np.float32)
                tensor.name, wide.name = f"{tensor.name}/half", tensor.name
                self.graph.outputs[i] = wide

    def _constant(self, tensor: gs.Constant, wanted: Any) -> gs.Constant:
        with np.errstate(over="ignore"):
            values = tensor.values.astype(wanted)
        too_large = np.isfinite(tensor.values) & ~np.isfinite(values.astype(np.float32))
        if too_large.any():
            raise LzuError(
                f"the constant {tensor.name} holds {tensor.values[too_large][0]:.3g}, more than "
                "half precision can; keep its layer in float32 (higher_precision.fp16)"
            )
        if id(tensor) in self.shared or wanted == np.float32:
            return gs.Constant(f"{tensor.name}/{np.dtype(wanted).name}", values)
        tensor.values = values
        return tensor

    def _cast(self, tensor: gs.Variable, wanted: Any) -> gs.Variable:
        to = onnx.TensorProto.FLOAT if wanted == np.float32 else self.half.onnx
        name = f"{tensor.name}/{np.dtype(wanted).name}"
        out = gs.Variable(name, dtype=wanted, shape=tensor.shape)
        node = gs.Node("Cast", f"{name}/cast", {"to": to}, [tensor], [out])
        self.graph.nodes.append(node)
        return out


def _check_types(graph: gs.Graph) -> None:
    """Refuse a graph with a tensor of unknown type, which would be treated as not a float."""
    for node in graph.nodes:
        for tensor in node.outputs:
            if not tensor.is_empty() and tensor.dtype is None:
                raise LzuError(
                    f"the tensor {tensor.name} has no type in the graph; export it again"
                )


def _check_scales(graph: gs.Graph) -> None:
    """Refuse INT8 with bfloat16, whose 8 bits would change every scale by up to 0.2 %."""
    for node in graph.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            raise LzuError(
                f"the scale of {node.name} is exact in float16 but not in bfloat16; take fp16 for "
                "what int8 leaves"
            )


def _constants_of_others(graph: gs.Graph, low: Iterable[gs.Node]) -> set[int]:
    """Return the identities of the constants that any node reads as float32."""
    names = {node.name for node in low}
    return {
        id(tensor)
        for node in graph.nodes
        for i, tensor in enumerate(node.inputs)
        if isinstance(tensor, gs.Constant) and (node.name not in names or i in float_inputs(node))
    }


def _of_preparation(node: gs.Node, parts: Regions) -> str | None:
    # A DequantizeLinear of the first convolutions' data is excepted: a cast after it would keep
    # these convolutions from INT8.
    if node.name in parts.preparation and node.op != "DequantizeLinear":
        return "it prepares the image: camera values, and a warp of up to thousands of pixels"
    return None


def _of_warps(node: gs.Node, parts: Regions) -> str | None:
    return "it computes where a warp samples" if node.name in parts.warps else None


def _of_decode(node: gs.Node, parts: Regions) -> str | None:
    return "it decodes: scores, places, sizes" if node.name in parts.decode else None


def _of_positions(node: gs.Node, parts: Regions) -> str | None:
    return (
        "it computes where a deformable convolution samples"
        if node.name in parts.positions
        else None
    )


def _fragile(node: gs.Node, _parts: Regions) -> str | None:
    return _FRAGILE.get(node.op)


def _pooled_mean(node: gs.Node, _parts: Regions) -> str | None:
    return "a pooled mean adds up many values" if is_pooled_mean(node) else None


def _long_sum(node: gs.Node, _parts: Regions) -> str | None:
    if node.op not in ("MatMul", "Gemm"):
        return None
    shape = node.inputs[0].shape
    if shape is None:
        return "a product of unknown length"
    return f"its products add up {shape[-1]} terms" if shape[-1] >= LONG_SUM else None


_RULES: tuple[Rule, ...] = (
    _of_warps,
    _of_preparation,
    _of_decode,
    _of_positions,
    _fragile,
    _pooled_mean,
    _long_sum,
)
