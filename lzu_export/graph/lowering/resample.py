"""Lower `lzu::SeparableResample` and `lzu::GridResample` to standard operators, as chosen.

`matmul`      A_y X A_x^T with dense constant matrices: fast on tensor cores and for small maps.
`banded`      the same product in blocks of output cells, each on the slice of the input that it
              reads: the matrices are banded, so a large zoom drops most of the arithmetic.
`gridsample`  ONNX GridSample in the spelling of opsets 16 to 19, on a constant grid; bilinear only.
              Cells without a sample (lost edges) get a position outside the map.

`gather`      for non-separable warps, which are not products of matrices; see
              `lzu_export.graph.lowering.grid`.

The products' weights are computed in float64 and rounded once. GridSample computes them from one
float32 coordinate: the same numbers, but off by up to 1.5e-4 of the value range at a width of 1920.

Half-precision features get matrices of their type, rounded once. GridSample keeps its float32 grid
and samples the features cast to float32 and back, since TensorRT wants one type for features and
grid.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.graph.builder import Builder, is_half, onnx_type
from lzu_export.graph.dialect import DEFAULT_BLOCKS, Blocks
from lzu_export.graph.lowering import grid as lower_grid
from lzu_export.graph.lowering.registry import lowerings_of, register
from lzu_export.graph.passes import Pass, drop_unused_domain
from lzu_export.ops import separable_resample
from lzu_export.ops.contract import DOMAIN
from lzu_export.ops.registry import FIXED_WARPS
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import Table, is_bilinear, table_matrix, table_pixels

Kind = Literal["matmul", "banded", "gridsample", "gather"]
LoweringMap = Mapping[str, Kind]
"""Lowering of each warp, by the name of the warp's output."""
KINDS: tuple[Kind, ...] = ("matmul", "banded", "gridsample")
"""Lowerings of separable warps; those of non-separable ones are `grid.KINDS`."""

OP = separable_resample.NAME
OUTSIDE = -5.0
"""A normalised coordinate at least two cells outside every map of two cells or more."""


def resample_nodes(graph: gs.Graph) -> list[gs.Node]:
    """Return every `lzu::SeparableResample` and `lzu::GridResample` of the graph."""
    return [n for n in graph.nodes if n.op in FIXED_WARPS and n.domain == DOMAIN]


def is_grid(node: gs.Node) -> bool:
    """Return whether a resample node belongs to a non-separable warp."""
    return bool(node.op == lower_grid.OP)


def possible_lowerings(node: gs.Node) -> list[Kind]:
    """Return the lowerings that express the node exactly."""
    return lowerings_of(node).possible(node)


def _possible_products(node: gs.Node) -> list[Kind]:
    tables = zip(_tables(node), (node.attrs["height"], node.attrs["width"]), strict=True)
    plain = all(_samples_plainly(table, int(size)) for table, size in tables)
    return [kind for kind in KINDS if kind != "gridsample" or plain]


def lower_resample(choices: LoweringMap, blocks: Blocks = DEFAULT_BLOCKS) -> Pass:
    """Replace each resample node by the kind chosen for its output tensor's name.

    Args:
        choices: lowering of each warp.
        blocks: rows and columns in a block of a banded product.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        for node in resample_nodes(graph):
            name = node.outputs[0].name
            if name not in choices:
                raise LzuError(f"no lowering was chosen for the warp at {name}")
            lower_node(graph, node, choices[name], blocks)
        bodies = {(DOMAIN, name) for name in FIXED_WARPS}
        graph.functions = [f for f in graph.functions if (f.domain, f.name) not in bodies]
        drop_unused_domain(graph.cleanup(), DOMAIN)
        return graph.toposort()

    summary = ", ".join(f"{name}: {kind}" for name, kind in choices.items())
    return Pass("lower-resample", summary or "no warp in this graph", apply)


def lower_node(graph: gs.Graph, node: gs.Node, kind: Kind, blocks: Blocks = DEFAULT_BLOCKS) -> None:
    """Replace one resample node; its output tensor keeps its name."""
    if is_grid(node):
        lowerings_of(node).lower(graph, node, kind)
    else:
        _lower_separable(graph, node, kind, blocks)


def _lower_separable(
    graph: gs.Graph, node: gs.Node, kind: Kind, blocks: Blocks = DEFAULT_BLOCKS
) -> None:
    rows, cols = _tables(node)
    x, y = node.inputs[0], node.outputs[0]
    if kind not in possible_lowerings(node):
        raise LzuError(
            f"the warp at {y.name} is antialiased, or loses an edge of an axis of one cell, and "
            "cannot be a GridSample; choose matmul or banded"
        )
    height, width = int(node.attrs["height"]), int(node.attrs["width"])
    node.outputs.clear()
    build = _Builder(graph, y.name)
    if kind == "gridsample":
        grid = _grid(rows, cols, height, width, batch=int(x.shape[0]))
        if not is_half(x.dtype):
            build.into(y, "GridSample", x, build.constant(grid), **build.sampling())
            return
        wide = build.cast(x, np.float32)
        sampled = build.node("GridSample", wide, build.constant(grid), **build.sampling())
        build.into(y, "Cast", sampled, to=onnx_type(x.dtype))
        return
    a_y, a_x = table_matrix(rows, height), table_matrix(cols, width)
    # At equal cost the columns come first: their product is one large one over all channels.
    rows_first = _cost(a_y, width) + _cost(a_x, len(a_y)) < _cost(a_x, height) + _cost(
        a_y, len(a_x)
    )
    shape = (x.shape[0], x.shape[1], len(a_y) if rows_first else height, None)
    middle_shape = [*shape[:3], width if rows_first else len(a_x)]
    middle = gs.Variable(f"{y.name}/middle", dtype=_product_type(x), shape=middle_shape)
    product = build.dense if kind == "matmul" else partial(build.banded, blocks)
    if rows_first:
        product(x, a_y, "rows", middle)
        product(middle, a_x, "cols", y)
    else:
        product(x, a_x, "cols", middle)
        product(middle, a_y, "rows", y)


class _Builder(Builder):
    """Adds the products of a warp."""

    def dense(self, x: gs.Variable, matrix: Array, axis: str, y: gs.Variable) -> None:
        if axis == "rows":
            self.into(y, "MatMul", self.constant(matrix.astype(_product_type(x))), x)
        else:
            self.into(y, "MatMul", x, self.constant(matrix.T.astype(_product_type(x))))

    def banded(
        self, blocks: Blocks, x: gs.Variable, matrix: Array, axis: str, y: gs.Variable
    ) -> None:
        dimension = 2 if axis == "rows" else 3
        parts = []
        for start, stop, block in bands(matrix, blocks[dimension - 2]):
            limits = (np.array([start]), np.array([stop]), np.array([dimension]))
            whole = (start, stop) == (0, matrix.shape[1])
            piece = x if whole else self._cut(x, *limits)
            part = gs.Variable(self.name("band"), dtype=_product_type(x))
            self.dense(piece, block, axis, part)
            parts.append(part)
        self.into(y, "Concat", *parts, axis=dimension)

    def _cut(self, x: gs.Variable, *limits: NDArray[np.int64]) -> gs.Variable:
        constants = map(self.constant, limits)
        return self.node("Slice", x, *constants, dtype=_product_type(x))


def _product_type(x: gs.Variable) -> Any:
    """Return the type of a product with `x`: its own if that is half precision, else float32."""
    return x.dtype if is_half(x.dtype) else np.float32


def bands(matrix: Array, block: int) -> list[tuple[int, int, Array]]:
    """Cut a banded matrix into row blocks: (first column, last column + 1, the block's matrix)."""
    result = []
    for first in range(0, len(matrix), block):
        rows = matrix[first : first + block]
        used = np.flatnonzero(rows.any(axis=0))
        start, stop = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
        result.append((start, stop, rows[:, start:stop]))
    return result


def _tables(node: gs.Node) -> tuple[Table, Table]:
    rows, cols = node.inputs[1:]
    for tensor in (rows, cols):
        if not isinstance(tensor, gs.Constant):
            raise LzuError(
                f"the resample table {tensor.name} is computed in the graph; a fixed warp's tables "
                "must be constants"
            )
    return rows.values, cols.values


def _cost(matrix: Array, other: int) -> int:
    """Return the multiplications of a product with `other` lines of input, zeros included."""
    return matrix.size * other


def _lost(table: Table) -> NDArray[np.bool_]:
    """Return a mask (n,) of output cells of factor 0, which have no sample."""
    return np.asarray(table[3] == 0)


def _samples_plainly(table: Table, size: int) -> bool:
    """Return whether GridSample can express an axis of `size` cells; one cell has no outside."""
    lost = _lost(table)
    return is_bilinear(table[:, ~lost]) and (size > 1 or not lost.any())


def _grid(rows: Table, cols: Table, height: int, width: int, batch: int) -> NDArray[np.float32]:
    def normalised(table: Table, size: int) -> Array:
        # A one-cell axis has no extent: with aligned corners any coordinate reads its only cell.
        places = 2 * table_pixels(table) / max(size - 1, 1) - (size > 1)
        return np.where(_lost(table), OUTSIDE, places)

    y, x = normalised(rows, height), normalised(cols, width)
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1).astype(np.float32)
    return np.repeat(grid[None], batch, axis=0)


register(OP, KINDS, _lower_separable, _possible_products)
