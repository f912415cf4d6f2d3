"""`lzu::SeparableUnzoom`: samples of feature levels at the inverse warp of knots from the graph.

Cell i of an output axis stands at label position v = scale * i / upscale + offset. The warp shows
that place at u = T^-1(v), LZU eqs. (6), (7), by the closed form of `lzu_export.warp.inverse`, which
continues the first and last pieces beyond the end knots. The sample is taken there, at cell
p = (u - offset) / scale of the level. It is bilinear, with zeros outside the level.

There is one `scale` and `offset` per level and axis. In true pixel coordinates, where cell i of a
level of stride s sees canvas pixel s * i of n, scale is 2 s / (n - 1) and offset -1. A scale of 0
marks an axis that the warp does not move, since it has one cell or one canvas pixel. Its output
cells spread evenly from the first of its m cells to the last, p = i (m - 1) / (m upscale - 1).

All levels are one node, so that a plugin needs one launch. The operator exists as a torch
operator, an ONNX schema, a body of standard operators, and a TensorRT plugin of this name, all with
the same semantics. Knots and positions are float32. The features may be float16; the body's
matrices are rounded to their type once. The body keeps the whole and the fraction of a position
separate, so that its weights do not lose precision in wide levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lzu_export.errors import LzuError
from lzu_export.ops.base import Operator
from lzu_export.ops.body import Body, attributes_of, check_shape, split_float
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.warp.geometry import Level
from lzu_export.warp.inverse import MIN_GAP
from lzu_export.warp.saliency import Array

if TYPE_CHECKING:
    import torch

NAME = "SeparableUnzoom"
AFFINE = ("scale_y", "offset_y", "scale_x", "offset_x")
CONTRACT = Contract(
    inputs=(
        Tensor("level", ("B", "C_l", "H_l", "W_l"), repeats=True),
        Tensor("knots_x", ("B or 1", "w"), "float32"),
        Tensor("knots_y", ("B or 1", "h"), "float32"),
    ),
    outputs=(Tensor("unzoomed", ("B", "C_l", "upscale * H_l", "upscale * W_l"), repeats=True),),
    fields={
        "scale_y": Field("float32", "n", least=0),
        "offset_y": Field("float32", "n"),
        "scale_x": Field("float32", "n", least=0),
        "offset_x": Field("float32", "n"),
        "upscale": Field("int32", least=1, most=64, default=1),
    },
    types=("float32", "float16"),
    formats=(
        "float32 linear",
        "float16 linear",
        "float16 hwc8",
        "int8 linear",
        "int8 chw4",
        "int8 chw32",
    ),
    limits={"n": 8},
)
UNBOUNDED = 1e30
"""Finite number that replaces infinity in the bounds of the end pieces."""


def consistent_affine(levels: Sequence[Level], canvas: tuple[int, int]) -> dict[str, list[float]]:
    """Compute the attributes `scale_y` .. `offset_x` of levels in true pixel coordinates.

    They give the `consistent` geometry of `lzu_export.warp.geometry`.

    Args:
        levels: levels with strides in canvas pixels and sizes in cells.
        canvas: (height, width) of the zoomed image without padding.
    """
    affine: dict[str, list[float]] = {name: [] for name in AFFINE}
    for level in levels:
        for axis, cells, pixels, phase in zip("yx", level.size, canvas, level.phase, strict=True):
            moves = cells > 1 and pixels > 1
            affine[f"scale_{axis}"].append(2 * level.stride / (pixels - 1) if moves else 0.0)
            affine[f"offset_{axis}"].append(-1.0 + 2 * phase / (pixels - 1) if moves else -1.0)
    return affine


def separable_unzoom(
    levels: Sequence[torch.Tensor],
    knots_x: torch.Tensor,
    knots_y: torch.Tensor,
    scale_y: Sequence[float],
    offset_y: Sequence[float],
    scale_x: Sequence[float],
    offset_x: Sequence[float],
    upscale: int,
) -> list[torch.Tensor]:
    """Define the operator: bilinear samples of each level at positions computed in float64.

    Args:
        levels: features (B, C_l, H_l, W_l) each, floating point.
        knots_x: (B, w) float32, non-decreasing source positions in [-1, 1]; gaps are bounded below
            by `MIN_GAP`.
        knots_y: (B, h) float32, as `knots_x`, for rows.
        scale_y: [-1, 1] units per cell, one per level, rounded to float32; 0 if the axis is not
            moved.
        offset_y: position of a level's first cell, one per level, rounded to float32.
        scale_x: as `scale_y`, along columns.
        offset_x: as `offset_y`, along columns.
        upscale: output cells per cell of a level on each axis.

    Returns:
        Levels (B, C_l, upscale * H_l, upscale * W_l) each, in the dtype of the input level.
    """
    from lzu_export.ops.linear_weights import in_training, resample

    training = in_training(*levels, knots_x, knots_y)
    affine = (scale_y, offset_y, scale_x, offset_x)
    positions = _level_cells(knots_x, knots_y, [x.shape for x in levels], affine, upscale)
    return [
        resample(x, *each, training=training) for x, each in zip(levels, positions, strict=True)
    ]


def _level_cells(
    knots_x: torch.Tensor,
    knots_y: torch.Tensor,
    shapes: Sequence[Sequence[int]],
    affine: Sequence[Sequence[float]],
    upscale: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Compute the rows and columns, float64, that the cells of each unzoomed level sample."""
    scale_y, offset_y, scale_x, offset_x = affine
    rows = _cells(knots_y, [shape[2] for shape in shapes], scale_y, offset_y, upscale)
    columns = _cells(knots_x, [shape[3] for shape in shapes], scale_x, offset_x, upscale)
    return list(zip(rows, columns, strict=True))


def _cells(
    knots: torch.Tensor,
    sizes: Sequence[int],
    scales: Sequence[float],
    offsets: Sequence[float],
    upscale: int,
) -> list[torch.Tensor]:
    """Compute positions (B, upscale * size) in cells of each level along an axis, float64.

    All levels are inverted at once, since they are small.
    """
    import torch

    from lzu_export.ops.differentiable import invert_axis

    moved = [scale != 0 for scale in scales]
    counts = [size * upscale for size, moves in zip(sizes, moved, strict=True) if moves]
    step, start = (
        np.repeat(
            [float(np.float32(v)) for v, moves in zip(values, moved, strict=True) if moves], counts
        )
        for values in (scales, offsets)
    )
    index = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0)
    label, scale, offset = (
        torch.from_numpy(each).to(knots.device)[None]
        for each in (step * index / upscale + start, step, start)
    )
    found = iter(((invert_axis(knots.double(), label) - offset) / scale).split(counts, dim=1))
    return [
        next(found)
        if moves
        else torch.from_numpy(_evenly(size, upscale)).to(knots.device).expand(len(knots), -1)
        for size, moves in zip(sizes, moved, strict=True)
    ]


def _evenly(cells: int, upscale: int) -> Array:
    """Compute the positions of the output cells of an axis that the warp does not move."""
    return np.linspace(0.0, float(cells - 1), cells * upscale)


@dataclass(frozen=True)
class _Axis:
    """Axis of one level that is unzoomed."""

    cells: int
    scale: float
    offset: float


def function_body(
    call: onnx.NodeProto, shapes: Sequence[Sequence[int]], opset: int
) -> onnx.FunctionProto:
    """Return the ONNX function for a call with input `shapes`; LzuError if they do not fit."""
    attributes = attributes_of(call, CONTRACT)
    count, upscale = len(shapes) - 2, int(attributes["upscale"])
    batch = shapes[0][0]
    for name in AFFINE:
        if len(attributes[name]) != count:
            raise LzuError(
                f"lzu::{NAME} has {len(attributes[name])} of {name} for {count} levels; give one a "
                "level"
            )
    for name, shape in zip(("knots_x", "knots_y"), shapes[count:], strict=True):
        check_shape(NAME, name, shape, {"B": batch, "knots": shape[-1]})
    body = Body(NAME)
    matrices: dict[str, list[str]] = {}
    for axis, dimension in (("y", 2), ("x", 3)):
        parts = [
            _Axis(int(shape[dimension]), scale, offset)
            for shape, scale, offset in zip(
                shapes[:count],
                attributes[f"scale_{axis}"],
                attributes[f"offset_{axis}"],
                strict=True,
            )
        ]
        knots = int(shapes[count + (axis == "y")][1])
        whole, rest = _positions(body, f"knots_{axis}", knots, parts, upscale, batch)
        matrices[axis] = _matrices(body, whole, rest, parts, upscale, batch, axis)
    outputs = CONTRACT.output_names(count)
    for i, name in enumerate(CONTRACT.inputs[0].names(count)):
        # Columns first: ONNX Runtime does that as one large product if the matrix has two axes.
        a_x = body.node("CastLike", matrices["x"][i], name)
        a_y = body.node("CastLike", matrices["y"][i], name)
        body.node("MatMul", a_y, body.node("MatMul", name, a_x), name=outputs[i])
    return body.function(CONTRACT, opset, count)


def _positions(
    body: Body, knots: str, count: int, parts: Sequence[_Axis], upscale: int, batch: int
) -> tuple[str, str]:
    """Write positions of all levels' output cells, joined: whole and rest, (B, cells) each."""
    tables = [_table(part, upscale, count) for part in parts]
    joined = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    starts = body.cut(knots, 1, 0, count - 1)
    gaps = body.node("Max", body.sub(body.cut(knots, 1, 1, count), starts), np.float32(MIN_GAP))
    row = (batch, 1, count - 1)
    high, low = split_float(joined["label"], bits=24)
    # A label exceeds the precision of float32: its rest is added after the subtraction.
    away = body.sub(high[:, None], body.reshape(starts, row))
    share = body.div(body.add(away, low[:, None]), body.reshape(gaps, row))
    least, most = np.zeros(count - 1), np.ones(count - 1)
    least[0], most[-1] = -UNBOUNDED, UNBOUNDED
    share = body.node("Min", body.node("Max", share, least), most)
    floor = body.node("Floor", share)
    # The number of whole pieces, exact in float32, and the sum of the fractions of pieces.
    pieces, part = body.total(floor, 2), body.total(body.sub(share, floor), 2)
    step, step_low = split_float(joined["step"])
    moved = body.mul(pieces, step)
    whole = body.node("Floor", moved)
    rest = body.add(body.mul(pieces, step_low), body.mul(part, joined["step"]))
    rest = body.add(rest, body.sub(moved, whole))
    if joined["start"].any():
        start = np.floor(joined["start"])
        whole, rest = body.add(whole, start), body.add(rest, joined["start"] - start)
    return whole, rest


def _table(axis: _Axis, upscale: int, knots: int) -> Mapping[str, Array]:
    """Compute each output cell's label, start and step; its position is start + step * pieces."""
    index = np.arange(axis.cells * upscale, dtype=np.float64)
    if axis.scale == 0:
        zeros = np.zeros(len(index))
        return {"label": zeros, "step": zeros, "start": _evenly(axis.cells, upscale)}
    return {
        "label": axis.scale * index / upscale + axis.offset,
        "step": np.full(len(index), 2 / (knots - 1) / axis.scale),
        "start": np.full(len(index), (-1 - axis.offset) / axis.scale),
    }


def _matrices(
    body: Body,
    whole: str,
    rest: str,
    parts: Sequence[_Axis],
    upscale: int,
    batch: int,
    axis: str,
) -> list[str]:
    """Write linear weights of all levels: rows multiply from the left, columns from the right."""
    sizes = np.array([part.cells * upscale for part in parts])
    halves = []
    for name, value in (("whole", whole), ("rest", rest)):
        names = [f"{name}_{axis}_{i}" for i in range(len(parts))]
        halves.append(
            body.several("Split", value, sizes, names=names, axis=1) if len(parts) > 1 else [value]
        )
    result = []
    lead = () if batch == 1 else (batch, 1)
    for i, part in enumerate(parts):
        cells = np.arange(part.cells)
        shape = (*lead, int(sizes[i]), 1) if axis == "y" else (*lead, 1, int(sizes[i]))
        towards = cells if axis == "y" else cells[:, None]
        # whole - k is an exact integer, so the distance keeps all digits of the rest
        distance = body.sub(body.reshape(halves[0][i], shape), towards.astype(np.float32))
        distance = body.node("Abs", body.add(distance, body.reshape(halves[1][i], shape)))
        result.append(body.node("Relu", body.sub(np.float32(1), distance)))
    return result


OPERATOR = Operator(
    NAME,
    "separable_unzoom",
    "Samples feature levels at the inverse warp of knots.",
    CONTRACT,
    separable_unzoom,
    function_body,
    computed_warp=True,
)
