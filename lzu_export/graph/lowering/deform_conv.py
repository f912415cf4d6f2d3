"""Lower `lzu::DeformConv` to operators that a target has.

`deformconv`  ONNX DeformConv, which raises the model to opset 19. ONNX Runtime has a kernel;
              TensorRT's parser maps it to the plugin that TensorRT ships.
`gridsample`  all taps sampled by one GridSample on a grid of K * H' rows, multiplied by the mask,
              then one 1 x 1 convolution over channels and taps.
`taps`        the same one tap at a time, and the sum of K convolutions: intermediate results K
              times smaller, K times as many nodes.
`gather`      the four neighbours of every tap as rows of channels, their weighted sum, and one
              matrix product: no GridSample, but four gathers of the samples' size.

All but the first consist of operators of opset 16 to 19 at static shapes. The position of a sample
is computed in float32 and bounded to one pixel beyond the map, where it is zero as everywhere
farther out, so that huge offsets do not overflow an index.

Float16 features may come with float32 offsets and masks. DeformConv has one type for all of them,
and TensorRT's GridSample one for features and grid: both compute in float32, and the result is cast
back, for GridSample before the convolution. `gather` only casts its factors: it reads, weighs and
convolves in float16.
"""

from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.graph.builder import Builder, is_half, onnx_type
from lzu_export.graph.lowering.registry import register
from lzu_export.graph.passes import Pass, drop_unused_domain, raise_opset
from lzu_export.ops import deform_conv
from lzu_export.ops.taps import tap_positions

Kind = Literal["deformconv", "gridsample", "taps", "gather"]
KINDS: tuple[Kind, ...] = ("deformconv", "gridsample", "taps", "gather")

OP = deform_conv.NAME
OPSET = 19
"""First opset with DeformConv, and the last whose GridSample every TensorRT reads correctly."""


def deform_nodes(graph: gs.Graph) -> list[gs.Node]:
    """Return every `lzu::DeformConv` of the graph."""
    return [node for node in graph.nodes if node.op == OP and node.domain == "lzu"]


def deforms(model: onnx.ModelProto) -> bool:
    """Return whether a graph has deformable convolutions to lower."""
    return any((node.op_type, node.domain) == (OP, "lzu") for node in model.graph.node)


def lower_deform_conv(kind: Kind) -> Pass:
    """Replace each deformable convolution by `kind`; its output tensor keeps its name."""
    if kind not in KINDS:
        raise LzuError(
            f"there is no deformable convolution named {kind}; choose one of {', '.join(KINDS)}"
        )

    def apply(graph: gs.Graph) -> gs.Graph:
        # A head convolves every level with the same weights, so that one constant serves them all.
        shared: dict[str, gs.Constant] = {}
        for node in deform_nodes(graph):
            lower_node(graph, node, kind, shared)
        graph.cleanup()
        graph.functions = [f for f in graph.functions if (f.domain, f.name) != ("lzu", OP)]
        drop_unused_domain(graph, "lzu")
        return graph.toposort()

    return Pass("lower-deform-conv", f"deformable convolutions as {kind}", apply)


def lower_node(
    graph: gs.Graph, node: gs.Node, kind: Kind, shared: dict[str, gs.Constant] | None = None
) -> None:
    """Replace one node; `shared` holds reordered weights for the nodes that follow.

    Raises:
        LzuError: the shapes are not static, the weights are computed, or `gather` meets groups.
    """
    shared = {} if shared is None else shared
    if kind == "deformconv":
        node.domain = ""
        raise_opset(graph, OPSET)
        if is_half(node.inputs[0].dtype):
            _widen(graph, node, shared)
        return
    y = node.outputs[0]
    build = _Builder(graph, node, shared)
    if kind == "gather" and build.groups > 1:
        raise LzuError(
            f"the deformable convolution at {y.name} has {build.groups} groups, which gather "
            "cannot express; choose gridsample or taps"
        )
    node.outputs.clear()
    {"gridsample": build.stacked, "taps": build.tap_by_tap, "gather": build.gathered}[kind](y)


def _widen(graph: gs.Graph, node: gs.Node, shared: dict[str, gs.Constant]) -> None:
    """Let a node with half-precision features compute in float32."""
    y = node.outputs[0]
    build = Builder(graph, y.name)

    def wide(tensor: gs.Tensor) -> gs.Tensor:
        if not isinstance(tensor, gs.Constant):
            return build.cast(tensor, np.float32)
        key = f"{tensor.name}/float32"
        if key not in shared:
            shared[key] = gs.Constant(key, tensor.values.astype(np.float32))
        return shared[key]

    node.inputs = [wide(tensor) for tensor in node.inputs]
    exact = gs.Variable(build.name("float32"), dtype=np.float32, shape=y.shape)
    node.outputs = [exact]
    build.into(y, "Cast", exact, to=onnx_type(y.dtype))


class _Builder(Builder):
    """Adds the decompositions of one deformable convolution."""

    def __init__(self, graph: gs.Graph, node: gs.Node, shared: dict[str, gs.Constant]) -> None:
        y = node.outputs[0]
        super().__init__(graph, y.name)
        self.shared = shared
        self.x, self.weight, offset, self.bias, mask = node.inputs
        if not isinstance(self.weight, gs.Constant) or not isinstance(self.bias, gs.Constant):
            raise LzuError(
                f"the weights of the deformable convolution at {y.name} are computed in the graph; "
                "they must be constants"
            )
        self.type = self.x.dtype if is_half(self.x.dtype) else np.float32
        self.batch, self.channels, *self.size = self._shape(self.x)
        self.rows, self.cols = self._shape(offset)[2:]
        self.kernel = self.weight.shape[2:]
        self.taps = int(np.prod(self.kernel))
        self.groups = int(node.attrs["group"])
        self.offset_groups = int(node.attrs["offset_group"])
        self.maps = self.batch * self.offset_groups
        stride, padding, dilation = (node.attrs[n] for n in ("strides", "pads", "dilations"))
        self.base = tap_positions(
            (self.rows, self.cols), self.kernel, stride, padding[:2], dilation
        )
        self.offset, self.mask = (self.cast(each, np.float32) for each in (offset, mask))

    def stacked(self, y: gs.Variable) -> None:
        """Add one GridSample and one convolution that make `y`."""
        grid = self._reshape(self._grid(), (self.maps, self.taps * self.rows, self.cols, 2))
        mask = self._reshape(self.mask, (self.maps, 1, self.taps * self.rows, self.cols))
        samples = self._sample(self._features(), grid, mask)
        columns = (self.batch, self.channels * self.taps, self.rows, self.cols)
        weight = self._weight("stacked", lambda w: w.reshape(len(w), -1, 1, 1))
        self._convolve(y, self._reshape(samples, columns), weight, self.bias)

    def tap_by_tap(self, y: gs.Variable) -> None:
        """Add a GridSample and a convolution per tap, and their sum; the first adds the bias."""
        features, grids = self.cast(self._features(), np.float32), self._grid()
        mask = self._reshape(self.mask, (self.maps, self.taps, self.rows, self.cols))
        total: gs.Variable | None = None
        for tap in range(self.taps):
            grid = self._reshape(self._slice(grids, tap), (self.maps, self.rows, self.cols, 2))
            samples = self._sample(features, grid, self._slice(mask, tap))
            if self.offset_groups > 1:
                samples = self._reshape(samples, (self.batch, self.channels, self.rows, self.cols))
            weight = self._weight(
                f"tap_{tap}", lambda w, k=tap: w.reshape(*w.shape[:2], -1)[:, :, k, None, None]
            )
            last = tap == self.taps - 1
            part = y if last and total is None else self._variable()
            self._convolve(part, samples, weight, *([self.bias] if tap == 0 else []))
            if total is not None:
                whole = y if last else self._variable()
                self.into(whole, "Add", total, part)
                part = whole
            total = part

    def gathered(self, y: gs.Variable) -> None:
        """Add gathers of rows of channels from a map bordered by zeros, and their product with the
        weights.
        """
        height, width = (length + 2 for length in self.size)
        share = self.channels // self.offset_groups
        border = np.array([0, 0, 1, 1, 0, 0, 1, 1])
        padded = self.node("Pad", self._features(), border, dtype=self.type)
        last = self.node("Transpose", padded, perm=[0, 2, 3, 1], dtype=self.type)
        table = self._reshape(last, (self.maps * height * width, share))

        # (maps, taps, 2, rows, cols): the position in the bordered map, whose last row and column
        # are reached with a fraction of 1, so that the pixel beyond is never read.
        limits = np.array(self.size, np.float32).reshape(2, 1, 1)
        position = self._bounded(
            self.node("Add", self._offsets(), (self.base + 1).astype(np.float32)),
            np.zeros((2, 1, 1), np.float32),
            limits + 1,
        )
        position = self._samples_first(position, 2)
        whole = self.node("Min", self.node("Floor", position), limits.reshape(2, 1))
        fraction = self.node("Sub", position, whole)
        rest = self.node("Sub", np.array(1, np.float32), fraction)
        y_whole, x_whole = (self._coordinate(whole, axis) for axis in (0, 1))
        after_y, after_x = (self._coordinate(fraction, axis) for axis in (0, 1))
        before_y, before_x = (self._coordinate(rest, axis) for axis in (0, 1))
        # Whole numbers below 2^24 are exact in float32; the image is added as an integer.
        entry = self.node("Add", self.node("Mul", y_whole, np.array(width, np.float32)), x_whole)
        entry = self.node("Cast", entry, dtype=np.int32, to=onnx.TensorProto.INT32)
        per_sample = (self.batch, self.rows * self.cols, self.taps, self.offset_groups)
        mask = self._reshape(self._samples_first(self.mask, 1), per_sample)
        first = np.arange(self.maps, dtype=np.int32) * (height * width)
        starts = first.reshape(self.batch, 1, 1, self.offset_groups)
        before_y, after_y = self.node("Mul", before_y, mask), self.node("Mul", after_y, mask)
        total: gs.Variable | None = None
        for step, one, other in (
            (0, before_y, before_x),
            (1, before_y, after_x),
            (width, after_y, before_x),
            (width + 1, after_y, after_x),
        ):
            index = self.node("Add", entry, starts + np.int32(step), dtype=np.int32)
            row = self.node("Gather", table, index, axis=0, dtype=self.type)
            factor = self._reshape(self.node("Mul", one, other), (*per_sample, 1))
            part = self.node("Mul", row, self.cast(factor, self.type), dtype=self.type)
            total = part if total is None else self.node("Add", total, part, dtype=self.type)
        columns = (self.batch, self.rows * self.cols, self.taps * self.channels)
        weight = self._weight(
            "gathered", lambda w: w.reshape(*w.shape[:2], -1).transpose(2, 1, 0).reshape(-1, len(w))
        )
        product = self.node("MatMul", self._reshape(total, columns), weight, dtype=self.type)
        product = self.node("Add", product, self.bias, dtype=self.type)
        channels_first = self.node("Transpose", product, perm=[0, 2, 1], dtype=self.type)
        shape = np.array((self.batch, self.bias.shape[0], self.rows, self.cols))
        self.into(y, "Reshape", channels_first, self.constant(shape))

    def _features(self) -> gs.Variable:
        """Return the map as (maps, channels of an offset group, height, width)."""
        if self.offset_groups == 1:
            return self.x
        share = self.channels // self.offset_groups
        return self._reshape(self.x, (self.maps, share, *self.size))

    def _offsets(self) -> gs.Variable:
        return self._reshape(self.offset, (self.maps, self.taps, 2, self.rows, self.cols))

    def _grid(self) -> gs.Variable:
        """Return normalised (x, y) of every sample, (maps, taps, rows, cols, 2)."""
        # With aligned corners an axis of one cell has no length: such a map gets a cell of zeros.
        lengths = np.maximum(self.size, 2).astype(np.float64).reshape(2, 1, 1)
        unit = 2 / (lengths - 1)
        sizes = np.array(self.size).reshape(2, 1, 1)
        start = self.base * unit - 1
        scaled = self.node("Mul", self._offsets(), unit.astype(np.float32))
        normal = self._bounded(
            self.node("Add", scaled, start.astype(np.float32)),
            (-1 - unit).astype(np.float32),
            (sizes * unit - 1).astype(np.float32),
        )
        swapped = self.node("Gather", normal, np.array([1, 0]), axis=2)
        return self.node("Transpose", swapped, perm=[0, 1, 3, 4, 2])

    def _sample(self, features: gs.Variable, grid: gs.Variable, mask: gs.Variable) -> gs.Variable:
        """Return masked samples in the features' own type; everything before is float32."""
        features = self.cast(features, np.float32)
        missing = [int(length == 1) for length in self.size]
        if any(missing):
            features = self.node("Pad", features, np.array([0, 0, 0, 0, 0, 0, *missing]))
        samples = self.node("GridSample", features, grid, **self.sampling())
        return self.cast(self.node("Mul", samples, mask), self.type)

    def _bounded(
        self, value: gs.Variable, low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> gs.Variable:
        return self.node("Min", self.node("Max", value, low), high)

    def _samples_first(self, value: gs.Variable, n: int) -> gs.Variable:
        """Move the n values per tap after the cells: (batch, cells, taps, n, offset groups)."""
        shape = (self.batch, self.offset_groups, self.taps, n, self.rows * self.cols)
        return self.node("Transpose", self._reshape(value, shape), perm=[0, 4, 2, 3, 1])

    def _coordinate(self, value: gs.Variable, axis: int) -> gs.Variable:
        return self.node("Gather", value, np.array(axis), axis=3)

    def _slice(self, value: gs.Variable, tap: int) -> gs.Variable:
        limits = (np.array([tap]), np.array([tap + 1]), np.array([1]))
        return self.node("Slice", value, *limits)

    def _reshape(self, value: gs.Variable, shape: tuple[int, ...]) -> gs.Variable:
        return self.node("Reshape", value, np.array(shape), dtype=value.dtype)

    def _variable(self) -> gs.Variable:
        return gs.Variable(self.name("sum"), dtype=self.type)

    def _shape(self, tensor: gs.Variable) -> list[int]:
        shape = tensor.shape
        if shape is None or not all(isinstance(length, int) for length in shape):
            raise LzuError(
                f"the tensor {tensor.name} at a deformable convolution has no static shape; export "
                "the model at a fixed size"
            )
        return list(shape)

    def _convolve(self, y: gs.Variable, x: gs.Variable, *weights: Any) -> None:
        self.into(y, "Conv", x, *weights, group=self.groups, kernel_shape=[1, 1])

    def _weight(self, form: str, change: Any) -> gs.Constant:
        key = f"{self.weight.name}/{form}"
        if key not in self.shared:
            values = np.ascontiguousarray(change(self.weight.values).astype(self.type))
            self.shared[key] = gs.Constant(key, values)
        return self.shared[key]


def _possible(node: gs.Node) -> list[Kind]:
    grouped = int(node.attrs["group"]) > 1
    return [kind for kind in KINDS if kind != "gather" or not grouped]


register(OP, KINDS, lower_node, _possible)
