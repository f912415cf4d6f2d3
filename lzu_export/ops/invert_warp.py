"""`lzu::InvertWarp`: the positions of a level's cells in the zoomed image of a non-separable warp.

Cell (i, j) of H x W stands at v = (scale_x j + offset_x, scale_y i + offset_y), order x, y. Each
tile between four knots is a bilinear map, whose inverse is the root of a quadratic, LZU eqs. (6)
and (8)-(17). The positions are those that `lzu_export.warp.inverse.invert_tiles` finds by trying
every tile with every cell. Here a cell's tile is found by counting. Along a row of knots x
increases, so the row is the graph of a function of x, and a cell belongs to the strip between two
such rows; the same holds for columns of knots. As the cells form a lattice, these functions are
needed at its H and W positions only, which makes the search a hundred times smaller. This requires
knots whose x increases along rows and y along columns, which holds for every saliency, and tiles
that do not fold.

Positions are in [-1, 1], align_corners, float32. The operator exists as a torch operator, an ONNX
schema, a body of standard operators, and a TensorRT plugin of this name, all with the same
semantics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lzu_export.errors import LzuError
from lzu_export.ops.base import Operator
from lzu_export.ops.body import Body, attributes_of, check_shape
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.warp.inverse import MIN_GAP
from lzu_export.warp.saliency import Array

if TYPE_CHECKING:
    import torch

NAME = "InvertWarp"
AFFINE = ("scale_y", "offset_y", "scale_x", "offset_x")
CONTRACT = Contract(
    inputs=(Tensor("knots", ("B", "h", "w", 2), "float32"),),
    outputs=(Tensor("grid", ("B", "size[0]", "size[1]", 2), "float32"),),
    fields={
        "size": Field("int32", 2, least=1, most=65535),
        "scale_y": Field("float32", default="2 / (size[0] - 1)"),
        "offset_y": Field("float32", default=-1),
        "scale_x": Field("float32", default="2 / (size[1] - 1)"),
        "offset_x": Field("float32", default=-1),
        "outside": Field("float32", default=4),
    },
    formats=("float32 linear",),
)

EDGE = 1e-5
"""Distance beyond the outermost knots at which a cell still counts as inside, in all forms.

It keeps rounding from deciding this: a polyline through a hundred knots sums as many steps, each
rounded by half of 2^-23. In an image 1920 wide it is a hundredth of a pixel. It is a distance and
not a share of a tile, since tiles at the border differ in size by orders of magnitude.
"""
TINY = 1e-30
"""Least absolute value of a divisor."""


def invert_warp(
    knots: torch.Tensor,
    size: Sequence[int],
    scale_y: float,
    offset_y: float,
    scale_x: float,
    offset_x: float,
    outside: float,
) -> torch.Tensor:
    """Define the operator in float64: canvas positions (B, H, W, 2), order x, y, of level cells.

    Args:
        knots: (B, h, w, 2) float32 source positions in [-1, 1], order x, y.
        size: (H, W) of the level in cells.
        scale_y: [-1, 1] units per cell along rows, rounded to float32.
        offset_y: position of the first row, rounded to float32.
        scale_x: as `scale_y`, along columns.
        offset_x: as `offset_y`, along columns.
        outside: value of both coordinates for cells beyond the outermost knots.
    """
    rows, columns = _places(size, scale_y, offset_y, scale_x, offset_x)
    return _invert(knots.double(), rows, columns, float(np.float32(outside)))


def _places(
    size: Sequence[int], scale_y: float, offset_y: float, scale_x: float, offset_x: float
) -> tuple[Array, Array]:
    """Compute label positions of rows (H,) and columns (W,)."""

    def axis(count: int, scale: float, offset: float) -> Array:
        places = float(np.float32(scale)) * np.arange(count) + float(np.float32(offset))
        return np.asarray(places, np.float64)

    return axis(size[0], scale_y, offset_y), axis(size[1], scale_x, offset_x)


def _invert(knots: torch.Tensor, rows: Array, columns: Array, outside: float) -> torch.Tensor:
    """Invert the warp in the dtype of `knots`."""
    import torch

    height, width = knots.shape[1:3]
    y, x = (torch.from_numpy(each).to(knots) for each in (rows, columns))
    # Rows of knots at each column of cells (B, h, W), columns of knots at each row (B, w, H).
    across = _follow(knots[..., 0], knots[..., 1], x)
    along = _follow(knots[..., 1].mT, knots[..., 0].mT, y)
    i = (across[:, :, None, :] <= y[:, None]).sum(dim=1).sub(1).clamp(0, height - 2)
    j = (along[:, :, :, None] <= x).sum(dim=1).sub(1).clamp(0, width - 2)
    corners = knots.reshape(-1, 2)
    first = torch.arange(len(knots), device=knots.device)[:, None, None] * height * width
    index = first + i * width + j
    p00, p01, p10, p11 = (corners[index + k] for k in (0, 1, width, width + 1))
    b, c, d = p01 - p00, p10 - p00, p00 - p01 - p10 + p11
    offset = p00 - torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1)

    def cross(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]

    # LZU eq. (16), c2 v^2 + c1 v + c0 = 0, without cancellation; see `warp.inverse`.
    c0, c1, c2 = cross(b, offset), cross(d, offset) + cross(b, c), cross(d, c)
    root = (c1 * c1 - 4 * c2 * c0).clamp(min=0).sqrt()
    q = -0.5 * torch.where(c1 < 0, c1 - root, c1 + root)
    best: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
    for v in (c0 / _apart(q), q / _apart(c2)):
        slope = b + d * v[..., None]
        rest = -(offset + c * v[..., None])
        steep = slope[..., 0].abs() >= slope[..., 1].abs()
        u = torch.where(steep, rest[..., 0], rest[..., 1]) / _apart(
            torch.where(steep, slope[..., 0], slope[..., 1])
        )
        violation = torch.maximum((u - 0.5).abs(), (v - 0.5).abs())
        if best is None:
            best = u, v, violation
        else:
            better = violation < best[2]
            best = torch.where(better, u, best[0]), torch.where(better, v, best[1]), violation
    assert best is not None
    u, v = best[0].clamp(0, 1), best[1].clamp(0, 1)
    found = torch.stack([-1 + 2 * (j + u) / (width - 1), -1 + 2 * (i + v) / (height - 1)], dim=-1)
    inside = (
        (across[:, 0, None] - EDGE <= y[:, None])
        & (y[:, None] <= across[:, -1, None] + EDGE)
        & (along[:, 0, :, None] - EDGE <= x)
        & (x <= along[:, -1, :, None] + EDGE)
    )
    return torch.where(inside[..., None], found, outside)


def _follow(steps: torch.Tensor, values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Evaluate polylines (B, m, n) through (steps, values) at positions (k,): (B, m, k)."""
    gaps = (steps[..., 1:] - steps[..., :-1]).clamp(min=MIN_GAP)
    share = (at[:, None] - steps[:, :, None, :-1]) / gaps[:, :, None]
    rise = values[..., 1:] - values[..., :-1]
    return values[..., :1] + (share.clamp(0, 1) * rise[:, :, None]).sum(dim=-1)


def _apart(divisor: torch.Tensor) -> torch.Tensor:
    """Return the divisor, kept away from zero."""
    import torch

    return torch.where(divisor.abs() < TINY, TINY, divisor)


def function_body(
    call: onnx.NodeProto, shapes: Sequence[Sequence[int]], opset: int
) -> onnx.FunctionProto:
    """Return the ONNX function for a call with input `shapes`; LzuError if they do not fit."""
    attributes = attributes_of(call, CONTRACT)
    if len(shapes[0]) != 4:
        raise LzuError(f"lzu::{NAME} got knots of shape {tuple(shapes[0])}; give B x h x w x 2")
    batch, height, width, _ = shapes[0]
    check_shape(NAME, "knots", shapes[0], {"B": batch, "h": height, "w": width, "2": 2})
    rows, columns = _places(attributes["size"], *(attributes[name] for name in AFFINE))
    y, x = rows[:, None], columns
    body = Body(NAME)
    xs, ys = (
        body.reshape(body.cut("knots", 3, axis, axis + 1), (batch, height, width))
        for axis in (0, 1)
    )
    turned = [body.node("Transpose", each, perm=[0, 2, 1]) for each in (xs, ys)]
    across = _polylines(body, xs, ys, columns, (batch, height, width))
    along = _polylines(body, turned[1], turned[0], rows, (batch, width, height))
    across = body.reshape(across, (batch, height, 1, len(columns)))
    along = body.reshape(along, (batch, width, len(rows), 1))
    i = _count(body, across, y, height)  # B x H x W
    j = _count(body, along, x, width)
    tiles = _tiles(body, (batch, height, width))
    start = (np.arange(batch) * (height - 1) * (width - 1)).reshape(batch, 1, 1).astype(np.int32)
    index = body.add(body.mul(i, np.float32(width - 1)), j)
    index = body.add(body.node("Cast", index, to=onnx.TensorProto.INT32), start)
    picked = body.node("Gather", tiles, index, axis=0)
    one = body.several("Split", picked, np.ones(8, np.int64), names=_NUMBERS, axis=3)
    shape = (batch, len(rows), len(columns))
    ax, ay, *rest = (body.reshape(each, shape) for each in one)
    u, v = _solve(body, body.sub(ax, x), body.sub(ay, y), *rest)
    found = [
        body.reshape(_place(body, whole, part, count), (*shape, 1))
        for whole, part, count in ((j, u, width), (i, v, height))
    ]
    inside = _inside(body, across, y, height, shape, axis=1)
    inside = body.node("And", inside, _inside(body, along, x, width, shape, axis=1))
    both = body.node("Concat", *found, axis=3)
    outside = np.float32(attributes["outside"])
    body.node("Where", body.reshape(inside, (*shape, 1)), both, outside, name="grid")
    return body.function(CONTRACT, opset)


_NUMBERS = [f"tile_{vector}{axis}" for vector in "abcd" for axis in "xy"]


def _polylines(body: Body, steps: str, values: str, at: Array, shape: tuple[int, int, int]) -> str:
    """Write `_follow` into the graph."""
    batch, lines, count = shape
    pieces = (batch, lines, 1, count - 1)
    starts = body.cut(steps, 2, 0, count - 1)
    gaps = body.node("Max", body.sub(body.cut(steps, 2, 1, count), starts), np.float32(MIN_GAP))
    first = body.cut(values, 2, 0, count - 1)
    rise = body.reshape(body.sub(body.cut(values, 2, 1, count), first), pieces)
    share = body.div(
        body.sub(at[:, None], body.reshape(starts, pieces)), body.reshape(gaps, pieces)
    )
    share = body.node("Clip", share, np.float32(0), np.float32(1))
    return body.add(body.cut(values, 2, 0, 1), body.total(body.mul(share, rise), 3))


def _count(body: Body, lines: str, at: Array, count: int) -> str:
    """Write the index, 0 to count - 2, of the last line along axis 1 that a cell lies beyond."""
    beyond = body.node("LessOrEqual", lines, at)
    total = body.total(body.node("Cast", beyond, to=onnx.TensorProto.FLOAT), 1)
    before = body.sub(total, np.float32(1))
    return body.node("Clip", before, np.float32(0), np.float32(count - 2))


def _tiles(body: Body, shape: tuple[int, int, int]) -> str:
    """Write tiles p = a + b u + c v + d u v as rows of 8 numbers: a, b, c, d, each x then y."""
    batch, height, width = shape

    def corner(down: int, right: int) -> str:
        part = body.cut("knots", 1, down, height - 1 + down)
        return body.cut(part, 2, right, width - 1 + right)

    p00, p01, p10, p11 = (corner(down, right) for down in (0, 1) for right in (0, 1))
    b, c = body.sub(p01, p00), body.sub(p10, p00)
    d = body.sub(body.sub(p11, p10), b)
    joined = body.node("Concat", p00, b, c, d, axis=3)
    return body.reshape(joined, (batch * (height - 1) * (width - 1), 8))


def _solve(
    body: Body, ox: str, oy: str, bx: str, by: str, cx: str, cy: str, dx: str, dy: str
) -> tuple[str, str]:
    """Write the places u and v (B, H, W) of each cell in its tile."""

    def cross(first: tuple[str, str], second: tuple[str, str]) -> str:
        return body.sub(body.mul(first[0], second[1]), body.mul(first[1], second[0]))

    b, c, d, offset = (bx, by), (cx, cy), (dx, dy), (ox, oy)
    zero, unit = np.float32(0), np.float32(1)
    c0, c2 = cross(b, offset), cross(d, c)
    c1 = body.add(cross(d, offset), cross(b, c))
    square = body.sub(body.mul(c1, c1), body.mul(body.mul(c2, c0), np.float32(4)))
    root = body.node("Sqrt", body.node("Relu", square))
    negative = body.node("Less", c1, zero)
    signed = body.node("Where", negative, body.sub(c1, root), body.add(c1, root))
    q = body.mul(signed, np.float32(-0.5))

    def apart(divisor: str) -> str:
        near = body.node("Less", body.node("Abs", divisor), np.float32(TINY))
        return body.node("Where", near, np.float32(TINY), divisor)

    def solution(v: str) -> tuple[str, str, str]:
        slopes = [body.add(b[k], body.mul(d[k], v)) for k in (0, 1)]
        rests = [body.node("Neg", body.add(offset[k], body.mul(c[k], v))) for k in (0, 1)]
        steep = body.node("GreaterOrEqual", *(body.node("Abs", each) for each in slopes))
        u = body.div(body.node("Where", steep, *rests), apart(body.node("Where", steep, *slopes)))
        # The distance from the middle orders places like that from the unit interval.
        violations = [body.node("Abs", body.sub(each, np.float32(0.5))) for each in (u, v)]
        return u, v, body.node("Max", *violations)

    first, second = solution(body.div(c0, apart(q))), solution(body.div(q, apart(c2)))
    better = body.node("Less", second[2], first[2])
    u, v = (
        body.node("Clip", body.node("Where", better, second[k], first[k]), zero, unit)
        for k in (0, 1)
    )
    return u, v


def _place(body: Body, whole: str, part: str, count: int) -> str:
    """Write the position in [-1, 1] of a place within one of count - 1 pieces."""
    return body.sub(body.mul(body.add(whole, part), np.float32(2 / (count - 1))), np.float32(1))


def _inside(
    body: Body, lines: str, at: Array, count: int, shape: Sequence[int], *, axis: int
) -> str:
    """Write whether cells lie between the first and the last line."""
    first = body.sub(body.cut(lines, axis, 0, 1), np.float32(EDGE))
    last = body.add(body.cut(lines, axis, count - 1, count), np.float32(EDGE))
    both = body.node(
        "And", body.node("LessOrEqual", first, at), body.node("GreaterOrEqual", last, at)
    )
    return body.reshape(both, shape)


OPERATOR = Operator(
    NAME,
    "invert_warp",
    "Canvas positions of a level's cells by the inverse of a non-separable warp.",
    CONTRACT,
    invert_warp,
    function_body,
    computed_warp=True,
)
