"""`lzu::SeparableZoom`: samples of an image at the forward warp of knots computed in the graph.

    Y[b, c, i, j] = X[b, c] at row (T_y(i) + 1) / 2 * (H - 1), column (T_x(j) + 1) / 2 * (W - 1)

T is linear between the knots, LZU eq. (5). Canvas pixel j of n stands at -1 + 2 j / (n - 1), and
the pixel of an axis of one at 0. Samples are bilinear with zeros outside the image (`grid_sample`,
align_corners=True). `pad` adds rows and columns of zeros below and to the right of the canvas.

The operator exists as a torch operator, an ONNX schema, a body of standard operators, and a
TensorRT plugin of this name, all with the same semantics. Knots and positions are float32; the
image may be float16. The body gathers rows, then columns, and keeps the whole and the fraction of a
position separate: one float32 coordinate would be off by up to 1e-4 pixel at a width of 1920.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lzu_export.ops.base import Operator
from lzu_export.ops.body import Body, attributes_of, check_shape, split_float
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.warp.forward import pixel_centres

if TYPE_CHECKING:
    import torch

NAME = "SeparableZoom"
CONTRACT = Contract(
    inputs=(
        Tensor("image", ("B", "C", "H", "W")),
        Tensor("knots_x", ("B or 1", "w"), "float32"),
        Tensor("knots_y", ("B or 1", "h"), "float32"),
    ),
    outputs=(Tensor("zoomed", ("B", "C", "canvas[0] + pad[0]", "canvas[1] + pad[1]")),),
    fields={
        "canvas": Field("int32", 2, least=1, most=65536),
        "pad": Field("int32", 2, least=0, most=65536),
    },
    types=("float32", "float16"),
    formats=("float32 linear", "float16 linear"),
)

STEPS = 1024.0
"""Steps per unit to which a knot is rounded down. On an axis of n pixels, up to 8192, the product
of the result and (n - 1) / 2 is exact in float32."""

OUTSIDE = -3.0
"""Position outside of every image, in its pixels and in coordinates from -1 to 1."""


def separable_zoom(
    image: torch.Tensor,
    knots_x: torch.Tensor,
    knots_y: torch.Tensor,
    canvas: Sequence[int],
    pad: Sequence[int],
) -> torch.Tensor:
    """Define the operator: bilinear samples at positions that are computed in float64.

    Args:
        image: (B, C, H, W) image, floating point.
        knots_x: (B, w) float32 in [-1, 1], where each of w lattice columns samples the image.
        knots_y: (B, h) float32 in [-1, 1], where each of h lattice rows samples the image.
        canvas: (height, width) of the result without its padding.
        pad: rows and columns of zeros at the bottom and right of the result.

    Returns:
        (B, C, canvas height + pad rows, canvas width + pad columns) in the dtype of `image`.
    """
    import torch
    from torch.nn import functional

    from lzu_export.ops.differentiable import forward_axis
    from lzu_export.ops.linear_weights import (
        by_grid_sample,
        in_training,
        on_cpu,
        resample,
        working_type,
    )

    training = in_training(image, knots_x, knots_y)
    # Positions of the image's corners are grid_sample's; in float32 they lose no more than it does.
    plain = training and on_cpu(image) and min(image.shape[2:]) > 1
    kind = working_type(image) if plain else torch.float64
    down, across = (
        forward_axis(knots.to(kind), pixels)
        for knots, pixels in zip((knots_y, knots_x), canvas, strict=True)
    )
    if not plain:
        down, across = (
            (each + 1) / 2 * (size - 1)
            for each, size in zip((down, across), image.shape[2:], strict=True)
        )
    # Padding samples the zeros outside the image, which costs less than a padded copy.
    down, across = (
        functional.pad(each, (0, more), value=OUTSIDE) if more else each
        for each, more in zip((down, across), pad, strict=True)
    )
    if plain:
        return by_grid_sample(image, down, across)
    return resample(image, down, across, training=training)


def function_body(
    call: onnx.NodeProto, shapes: Sequence[Sequence[int]], opset: int
) -> onnx.FunctionProto:
    """Return the ONNX function for a call with input `shapes`; LzuError if they do not fit."""
    attributes = attributes_of(call, CONTRACT)
    canvas, pad = attributes["canvas"], attributes["pad"]
    batch, channels, height, width = shapes[0]
    for name, shape in zip(("knots_x", "knots_y"), shapes[1:], strict=True):
        check_shape(NAME, name, shape, {"B": batch, "knots": shape[-1]})
    body, padded = Body(NAME), any(pad)
    rows = _lines(
        body, "image", "knots_y", shapes[2][1], canvas[0], (batch, channels, height, width)
    )
    # Columns are gathered as rows: whole rows of memory are several times faster than numbers.
    turned = body.node("Transpose", rows, perm=[0, 1, 3, 2])
    columns = _lines(
        body, turned, "knots_x", shapes[1][1], canvas[1], (batch, channels, width, canvas[0])
    )
    zoomed = body.node("Transpose", columns, name="" if padded else "zoomed", perm=[0, 1, 3, 2])
    if padded:
        zero = body.node("CastLike", np.float32(0), "image")
        body.node("Pad", zoomed, np.array([0, 0, 0, 0, 0, 0, *pad]), zero, name="zoomed")
    return body.function(CONTRACT, opset)


def _lines(body: Body, x: str, knots: str, count: int, pixels: int, shape: Sequence[int]) -> str:
    """Write the rows of B x C x n x m sampled at the positions of `pixels` canvas pixels."""
    batch, channels, n, m = shape
    whole, fraction = _positions(body, knots, count, pixels, n, batch)
    # One gather for the whole batch: line k of image (b, c) is line (b C + c) n + k of the stack.
    start = (np.arange(batch * channels) * n).reshape(batch, channels, 1).astype(np.int32)
    stack = body.reshape(x, (batch * channels * n, m))
    parts = []
    for neighbour in (0, 1):
        line = body.add(whole, np.float32(neighbour)) if neighbour else whole
        inside = body.node("Clip", line, np.float32(0), np.float32(n - 1))
        # A line outside the image is read at the edge, with a weight of zero.
        distance = body.node("Abs", body.sub(line, inside))
        exists = body.node("Relu", body.sub(np.float32(1), distance))
        weight = fraction if neighbour else body.sub(np.float32(1), fraction)
        weight = body.reshape(body.mul(weight, exists), (batch, 1, pixels, 1))
        index = body.reshape(
            body.node("Cast", inside, to=onnx.TensorProto.INT32), (batch, 1, pixels)
        )
        lines = body.node("Gather", stack, body.add(index, start), axis=0)
        parts.append(body.mul(lines, body.node("CastLike", weight, "image")))
    return body.add(*parts)


def _positions(
    body: Body, knots: str, count: int, pixels: int, n: int, batch: int
) -> tuple[str, str]:
    """Write floor and fraction (B, pixels) of the positions on an axis of `n` pixels."""
    half = (n - 1) / 2
    # A knot in pixels as a whole number and a rest: its leading bits times `half` are exact.
    lead = body.mul(body.node("Floor", body.mul(knots, np.float32(STEPS))), np.float32(1 / STEPS))
    rest = body.sub(knots, lead)
    place = body.add(body.mul(lead, np.float32(half)), np.float32(half))
    knot_whole = body.node("Floor", place)
    knot_rest = body.add(body.sub(place, knot_whole), body.mul(rest, np.float32(half)))
    # Positions between knots, also as a whole number and a rest.
    lattice = (pixel_centres(pixels) + 1) / 2 * (count - 1)
    piece = np.floor(lattice).clip(0, count - 2).astype(np.int64)
    share, share_low = split_float(lattice - piece)
    wholes = [body.node("Gather", knot_whole, piece + i, axis=1) for i in (0, 1)]
    rests = [body.node("Gather", knot_rest, piece + i, axis=1) for i in (0, 1)]
    step = body.sub(wholes[1], wholes[0])
    along = body.mul(step, share)  # exact for steps of up to 12 bits
    along_whole = body.node("Floor", along)
    small = body.add(
        body.mul(body.sub(rests[1], rests[0]), (share + share_low).astype(np.float32)),
        body.mul(step, share_low),
    )
    small = body.add(body.add(body.sub(along, along_whole), small), rests[0])
    carry = body.node("Floor", small)
    whole = body.add(body.add(wholes[0], along_whole), carry)
    return whole, body.sub(small, carry)


OPERATOR = Operator(
    NAME,
    "separable_zoom",
    "Samples an image at the forward warp of knots.",
    CONTRACT,
    separable_zoom,
    function_body,
    computed_warp=True,
)
