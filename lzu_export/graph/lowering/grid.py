"""Lower `lzu::GridResample`, the sampling of non-separable warps, to standard operators.

`gridsample`  ONNX GridSample in the spelling of opsets 16 to 19, on a float32 grid.
`gather`      the four cells around each position as rows of channels, weighted and summed: exact at
              any width, and in the features' own type.

A non-separable warp is not a product of matrices. GridSample computes its weights from one float32
coordinate, off by up to 1.5e-4 of the value range at a width of 1920. It samples half-precision
features cast to float32 and back, since TensorRT wants one type for features and grid. Positions
are float32 in both lowerings, whether they are constants or computed in the graph.
"""

from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_export.graph.builder import Builder, is_half, onnx_type
from lzu_export.graph.lowering.registry import register
from lzu_export.ops import grid_resample

OP = grid_resample.NAME
Kind = Literal["gridsample", "gather"]
KINDS: tuple[Kind, ...] = ("gridsample", "gather")


def lower_node(graph: gs.Graph, node: gs.Node, kind: Kind) -> None:
    """Replace one call; its output tensor keeps its name."""
    {"gridsample": lower_to_gridsample, "gather": lower_to_gather}[kind](graph, node)


def lower_to_gridsample(graph: gs.Graph, node: gs.Node) -> None:
    """Replace one call by a GridSample; its output tensor keeps its name."""
    x, y = node.inputs[0], node.outputs[0]
    size = _size(node)
    batch = int(x.shape[0])
    node.outputs.clear()
    build = Builder(graph, y.name)
    scale = (2 / np.maximum(np.array(size[::-1]) - 1, 1)).astype(np.float64)
    if _constant(node):
        whole, fraction = (each.values.astype(np.float64) for each in node.inputs[1:])
        grid: Any = ((whole + fraction) * scale - 1).astype(np.float32)
        grid = build.constant(np.broadcast_to(grid, (batch, *grid.shape[1:])))
    else:
        position = build.node("Add", *node.inputs[1:])
        scaled = build.node("Mul", position, scale.astype(np.float32))
        grid = build.node("Sub", scaled, np.float32(1).reshape(1))
    if is_half(x.dtype):
        wide = build.cast(x, np.float32)
        sampled = build.node("GridSample", wide, grid, **build.sampling())
        build.into(y, "Cast", sampled, to=onnx_type(x.dtype))
    else:
        build.into(y, "GridSample", x, grid, **build.sampling())


def lower_to_gather(graph: gs.Graph, node: gs.Node) -> None:
    """Replace one call by gathers of cells; its output tensor keeps its name."""
    x, y = node.inputs[0], node.outputs[0]
    batch, channels = (int(n) for n in x.shape[:2])
    height, width = _size(node)
    out = tuple(int(n) for n in node.inputs[1].shape[1:3])
    node.outputs.clear()
    build = Builder(graph, y.name)
    kind = x.dtype if is_half(x.dtype) else np.dtype(np.float32)
    make = _constant_taps if _constant(node) else _computed_taps
    taps = make(build, node, (height, width), batch, kind)
    turned = build.node("Transpose", x, dtype=kind, perm=[0, 2, 3, 1])
    cells = np.array([batch * height * width, channels])
    rows = build.node("Reshape", turned, cells, dtype=kind)
    total: gs.Variable | None = None
    for index, weight in taps:
        tap = build.node("Gather", rows, index, dtype=kind, axis=0)  # B x H' x W' x C
        part = build.node("Mul", tap, weight, dtype=kind)
        total = part if total is None else build.node("Add", total, part, dtype=kind)
    assert total is not None, "there are four taps"
    total.shape = [batch, *out, channels]
    build.into(y, "Transpose", total, perm=[0, 3, 1, 2])


Tap = tuple[Any, Any]
"""Indices of cells (B, H', W') and their weights (B or 1, H', W', 1)."""


def _constant_taps(
    build: Builder, node: gs.Node, size: tuple[int, int], batch: int, kind: Any
) -> list[Tap]:
    whole, fraction = (each.values for each in node.inputs[1:])
    first = np.arange(batch).reshape(-1, 1, 1) * size[0] * size[1]
    (x0, x1), (y0, y1) = (
        _axis_taps(whole[..., axis], fraction[..., axis], size[1 - axis]) for axis in (0, 1)
    )
    taps: list[Tap] = []
    for row, down in (y0, y1):
        for column, right in (x0, x1):
            index = (row * size[1] + column + first).astype(np.int32)
            weight = (down * right)[..., None].astype(np.float32)
            if weight.any():
                taps.append((build.constant(index), build.constant(weight.astype(kind))))
    return taps or [(build.constant(first.astype(np.int32)), build.constant(np.zeros(1, kind)))]


def _axis_taps(
    whole: NDArray[Any], fraction: NDArray[Any], count: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the cells before and after positions on an axis, and their weights, 0 outside."""
    taps = []
    for step, share in ((0, 1 - fraction.astype(np.float64)), (1, fraction.astype(np.float64))):
        cell = whole.astype(np.int64) + step
        inside = (cell >= 0) & (cell < count)
        taps.append((cell.clip(0, count - 1), np.where(inside, share, 0)))
    return taps


def _computed_taps(
    build: Builder, node: gs.Node, size: tuple[int, int], batch: int, kind: Any
) -> list[Tap]:
    """Return the taps of `_constant_taps` for positions that the graph computes."""
    axes = []
    for axis in (0, 1):
        limits = (np.array([axis]), np.array([axis + 1]), np.array([3]))
        whole, fraction = (build.node("Slice", each, *limits) for each in node.inputs[1:])
        last = np.float32(size[1 - axis] - 1)
        parts = []
        one = np.float32(1).reshape(1)
        for step, share in ((0, build.node("Sub", one, fraction)), (1, fraction)):
            cell = build.node("Add", whole, np.float32(step).reshape(1)) if step else whole
            kept = build.node("Clip", cell, build.constant(np.float32(0)), build.constant(last))
            same = build.node("Equal", kept, cell, dtype=np.dtype(bool))
            inside = build.node("Cast", same, to=onnx.TensorProto.FLOAT)
            number = build.node("Cast", kept, dtype=np.dtype(np.int32), to=onnx.TensorProto.INT32)
            parts.append((number, build.node("Mul", share, inside)))
        axes.append(parts)
    integer = np.dtype(np.int32)
    first = (np.arange(batch).reshape(-1, 1, 1) * size[0] * size[1]).astype(np.int32)
    last_axis = np.array([3])
    taps: list[Tap] = []
    for row, down in axes[1]:
        start = build.node("Mul", row, np.array([size[1]], np.int32), dtype=integer)
        for column, right in axes[0]:
            index = build.node("Add", start, column, dtype=integer)
            index = build.node("Squeeze", index, last_axis, dtype=integer)
            index = build.node("Add", index, first, dtype=integer)
            weight = build.node("Mul", down, right)
            taps.append((index, build.cast(weight, kind)))
    return taps


def _constant(node: gs.Node) -> bool:
    return all(isinstance(each, gs.Constant) for each in node.inputs[1:])


def _size(node: gs.Node) -> tuple[int, int]:
    return int(node.attrs["height"]), int(node.attrs["width"])


register(OP, KINDS, lower_node)
