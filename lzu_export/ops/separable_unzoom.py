"""`lzu::SeparableUnzoom`: feature levels at the inverse warp of knots computed in the graph.

Cell i of an output axis stands at label position v = scale * i / upscale + offset. The warp shows
that place at u = T^-1(v), LZU eqs. (6), (7) by the closed form of `lzu_export.warp.inverse`, which
continues the first and last pieces beyond the end knots. There the sample lies, at cell
p = (u - offset) / scale of the level; it is bilinear, with zeros outside the level.

`scale` and `offset` belong to a level and an axis. In true pixel coordinates, where cell i of a
level of stride s sees canvas pixel s * i of n, scale is 2 s / (n - 1) and offset -1. A scale of 0
stands for an axis that the warp does not move, since it has one cell or one canvas pixel: its
output cells spread evenly from the first of its m cells to the last, p = i (m - 1) / (m upscale -
1).

All levels are one node, so that a plugin needs one launch. The operator exists as a torch
operator, an ONNX schema, a body of standard operators, and a TensorRT plugin of this name, with one
meaning. Knots and positions are float32; the features may be float16, and the body's matrices are
rounded to their type once. It keeps the whole and the fraction of a position apart, so that its
weights do not lose digits in wide levels.
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
"""Stands for infinity in the bounds of the end pieces."""


def consistent_affine(levels: Sequence[Level], canvas: tuple[int, int]) -> dict[str, list[float]]:
    """The attributes `scale_y` .. `offset_x` of levels over a canvas, in true pixel coordinates.

    Those of the `consistent` geometry of `lzu_export.warp.geometry`.

    Args:
        levels: strides in canvas pixels, sizes in cells.
        canvas: (height, width) of the zoomed image without padding.
    """
    affine: dict[str, list[float]] = {name: [] for name in AFFINE}
    for level in levels:
        for axis, cells, pixels in zip("yx", level.size, canvas, strict=True):
            moves = cells > 1 and pixels > 1
            affine[f"scale_{axis}"].append(2 * level.stride / (pixels - 1) if moves else 0.0)
            affine[f"offset_{axis}"].append(-1.0)
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
    """Define the operator: two products with matrices of linear weights for each level.

    Positions are computed in float64.

    Args:
        levels: (B, C_l, H_l, W_l) each, floating point.
        knots_x: (B, w) float32, non-decreasing source positions in [-1, 1]; gaps are bounded below
            by `MIN_GAP`.
        knots_y: (B, h) likewise.
        scale_y: [-1, 1] units per cell, one a level, rounded to float32; 0: the axis is not moved.
        offset_y: position of a level's first cell, likewise.
        scale_x: as `scale_y`, along columns.
        offset_x: as `offset_y`, along columns.
        upscale: output cells per cell of a level on each axis.

    Returns:
        (B, C_l, upscale * H_l, upscale * W_l) each, in the level's dtype.
    """
    from lzu_export.ops.linear_weights import resample

    results = []
    for x, *affine in zip(levels, scale_y, offset_y, scale_x, offset_x, strict=True):
        rows = _cells(knots_y, x.shape[2], affine[0], affine[1], upscale)
        columns = _cells(knots_x, x.shape[3], affine[2], affine[3], upscale)
        results.append(resample(x, rows, columns))
    return results


def _cells(
    knots: torch.Tensor, cells: int, scale: float, offset: float, upscale: int
) -> torch.Tensor:
    """Positions (B, upscale * cells) in cells of the level, float64."""
    import torch

    from lzu_export.ops.differentiable import invert_axis

    scale, offset = float(np.float32(scale)), float(np.float32(offset))
    index = np.arange(cells * upscale)
    if scale == 0:
        even = torch.from_numpy(_evenly(cells, upscale)).to(knots.device)
        return even.expand(len(knots), -1)
    v = torch.from_numpy(scale * index / upscale + offset).to(knots.device)
    return (invert_axis(knots.double(), v[None]) - offset) / scale


def _evenly(cells: int, upscale: int) -> Array:
    """Where the output cells of an axis stand that the warp does not move."""
    return np.linspace(0.0, float(cells - 1), cells * upscale)


@dataclass(frozen=True)
class _Axis:
    """An axis of one level, to be unzoomed."""

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
        # Columns first: ONNX Runtime makes that one large product, when the matrix has two axes.
        a_x = body.node("CastLike", matrices["x"][i], name)
        a_y = body.node("CastLike", matrices["y"][i], name)
        body.node("MatMul", a_y, body.node("MatMul", name, a_x), name=outputs[i])
    return body.function(CONTRACT, opset, count)


def _positions(
    body: Body, knots: str, count: int, parts: Sequence[_Axis], upscale: int, batch: int
) -> tuple[str, str]:
    """Positions of all levels' output cells, one after the other: whole and rest, (B, cells)."""
    tables = [_table(part, upscale, count) for part in parts]
    joined = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    starts = body.cut(knots, 1, 0, count - 1)
    gaps = body.node("Max", body.sub(body.cut(knots, 1, 1, count), starts), np.float32(MIN_GAP))
    row = (batch, 1, count - 1)
    high, low = split_float(joined["label"], bits=24)
    # float32 has no room for all of a label: its last digits are added where they count.
    away = body.sub(high[:, None], body.reshape(starts, row))
    share = body.div(body.add(away, low[:, None]), body.reshape(gaps, row))
    least, most = np.zeros(count - 1), np.ones(count - 1)
    least[0], most[-1] = -UNBOUNDED, UNBOUNDED
    share = body.node("Min", body.node("Max", share, least), most)
    floor = body.node("Floor", share)
    # The sum of the shares in whole pieces, exact in float32, and the part of a piece that is left.
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
    """Per output cell: its label, and its position as start + step * (pieces and part)."""
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
    """Linear weights of all levels: rows multiply from the left, columns from the right."""
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
