"""`lzu::BoxKnots`: the knots of a separable warp that follows boxes.

Each valid box i adds to the saliency a Gaussian at its centre c_i, of variance `bandwidth` times
its side on each axis and of mass `amplitude`, and a constant floor K0 = 1 / (2 p + 1)^2 on every
lattice point, p = min(h, w) - 1:

    g_i(q) = exp(-(X_q - c_x)^2 / (2 b w_i) - (Y_q - c_y)^2 / (2 b h_i))
    S(q) = sum_i a g_i(q) / (1e-5 + sum_q g_i(q)) + K0

Lattice points stand at 0 .. W and 0 .. H inclusive, in source pixels. Each axis needs only the
marginal of S, a sum of 1-D Gaussians, divided by its sum. Without a valid box it is uniform. The
marginal is mixed with a fixed one, (1 - mix) fixed + mix S. The LZ sum of the mixture with
reflected borders gives the axis' knots, in [-1, 1] with align_corners; the end knots are exactly -1
and 1.

The formulas are those of `lzu_export.warp.box_saliency.box_saliency` and
`lzu_export.warp.knots.separable_knots`, after LZU eqs. (3), (4) and FOVEA's KDE grid generator.

The operator exists as a torch operator, an ONNX schema, a body of standard operators, and a
TensorRT plugin of this name, all with the same semantics. All inputs and outputs are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lzu_export.ops.base import Operator
from lzu_export.ops.body import Body, attributes_of, check_shape
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.warp.box_saliency import KERNEL_SUM_FLOOR
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.knots import attraction_matrices
from lzu_export.warp.saliency import Array

if TYPE_CHECKING:
    import torch

NAME = "BoxKnots"
CONTRACT = Contract(
    inputs=(
        Tensor("boxes", ("B", "N", 4), "float32"),
        Tensor("valid", ("B", "N"), "float32"),
        Tensor("amplitude", (), "float32"),
        Tensor("bandwidth", (), "float32"),
        Tensor("fixed_x", ("lattice[1]",), "float32"),
        Tensor("fixed_y", ("lattice[0]",), "float32"),
    ),
    outputs=(
        Tensor("knots_x", ("B", "lattice[1]"), "float32"),
        Tensor("knots_y", ("B", "lattice[0]"), "float32"),
    ),
    fields={
        "lattice": Field("int32", 2, least=2, most=256),
        "source": Field("int32", 2, least=1),
        "fwhm": Field("float32", above=0),
        "mix": Field("float32", least=0, most=1),
        "min_side": Field("float32", above=0, default=1),
    },
    formats=("float32 linear",),
    limits={"N": 1024},
)

FARTHEST = 1e12
"""Bound in pixels to which coordinates are clamped, so that no square overflows float32."""
LARGEST = float(np.finfo(np.float32).max)


def box_knots(
    boxes: torch.Tensor,
    valid: torch.Tensor,
    amplitude: torch.Tensor,
    bandwidth: torch.Tensor,
    fixed_x: torch.Tensor,
    fixed_y: torch.Tensor,
    lattice: Sequence[int],
    source: Sequence[int],
    fwhm: float,
    mix: float,
    min_side: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Define the operator in float64: knots_x (B, w) and knots_y (B, h), in [-1, 1], align_corners.

    Args:
        boxes: (B, N, 4) float32 x1, y1, x2, y2 in source pixels; they may lie outside the frame and
            have no area. A box with a NaN or infinite coordinate is not valid.
            valid: (B, N) float32, 1 for boxes that count and 0 for the others.
            amplitude: a, the mass of a box; a scalar of at least 0.
            bandwidth: b in pixels, a scalar above 0.
            fixed_x: (w,) float32 marginal of the fixed saliency along x, summing to 1.
            fixed_y: (h,) float32 marginal of the fixed saliency along y, summing to 1.
            lattice: (h, w) of the saliency.
            source: (height, width) of the frame in pixels.
            fwhm: full width of the attraction at half maximum, in lattice cells.
        mix: share of the adaptive saliency, 0 to 1.
        min_side: least side of a box in pixels.
    """
    import torch

    from lzu_export.ops.differentiable import axis_knots

    finite = torch.isfinite(boxes)
    counts = (finite.all(dim=-1) & (valid > 0.5)).double()
    places = torch.where(finite, boxes, 0.0).double().clamp(-FARTHEST, FARTHEST)
    kernels = []
    for axis in (0, 1):
        low, high = places[..., axis], places[..., axis + 2]
        variance = bandwidth.double() * (high - low).clamp(min=_float32(min_side))
        points = torch.from_numpy(_points(source[1 - axis], lattice[1 - axis])).to(places)
        distance = points - (low + high)[..., None] / 2
        kernels.append(torch.exp(-0.5 * distance**2 / variance[..., None]))
    sums = [kernel.sum(dim=-1) for kernel in kernels]
    weight = counts * amplitude.double() / (KERNEL_SUM_FLOOR + sums[0] * sums[1])
    count = counts.sum(dim=-1, keepdim=True)
    pad, share = min(lattice) - 1, _float32(mix)
    knots = []
    for axis, fixed in enumerate((fixed_x, fixed_y)):
        across = (weight * sums[1 - axis])[..., None]
        marginal = (across * kernels[axis]).sum(dim=-2)
        floor = lattice[axis] / (2 * pad + 1) ** 2
        marginal = marginal + count * floor + (count == 0) / lattice[1 - axis]
        marginal = marginal / marginal.sum(dim=-1, keepdim=True)
        mixed = (1 - share) * fixed.double() + share * marginal
        # Only the ratio of its sums counts; this keeps tiny saliencies from underflow.
        peak = mixed.detach().amax(dim=-1, keepdim=True)
        knots.append(axis_knots(mixed / peak, _float32(fwhm), pad=pad))
    return knots[0], knots[1]


def _float32(number: float) -> float:
    """Round a number to float32, as the ONNX attribute stores it."""
    return float(np.float32(number))


def _points(size: int, count: int) -> Array:
    """Return the positions (count,) of an axis' lattice points in source pixels."""
    return np.linspace(0.0, float(size), count)


def function_body(
    call: onnx.NodeProto, shapes: Sequence[Sequence[int]], opset: int
) -> onnx.FunctionProto:
    """Return the ONNX function for a call with input `shapes`; LzuError if they do not fit."""
    attributes = attributes_of(call, CONTRACT)
    height, width = lattice = [int(n) for n in attributes["lattice"]]
    batch, count = shapes[0][:2]
    check_shape(NAME, "boxes", shapes[0], {"B": batch, "N": count, "4": 4})
    check_shape(NAME, "valid", shapes[1], {"B": batch, "N": count})
    check_shape(NAME, "amplitude", shapes[2], {})
    check_shape(NAME, "bandwidth", shapes[3], {})
    check_shape(NAME, "fixed_x", shapes[4], {"w": width})
    check_shape(NAME, "fixed_y", shapes[5], {"h": height})
    body = Body(NAME)
    one, half = np.float32(1), np.float32(0.5)
    # A comparison with NaN is false, so this also detects NaN; TensorRT 10.3 has no IsInf.
    finite = body.node("LessOrEqual", body.node("Abs", "boxes"), np.float32(LARGEST))
    whole = body.node(
        "ReduceMin", body.node("Cast", finite, to=onnx.TensorProto.FLOAT), np.array([2])
    )
    wanted = body.node("Greater", "valid", half)
    wanted = body.node("Cast", wanted, to=onnx.TensorProto.FLOAT)
    counts = body.mul(whole, body.reshape(wanted, (batch, count, 1)))
    places = body.node("Where", finite, "boxes", np.float32(0))
    places = body.node("Clip", places, np.float32(-FARTHEST), np.float32(FARTHEST))
    low, high = body.cut(places, 2, 0, 2), body.cut(places, 2, 2, 4)
    centres = body.mul(body.add(low, high), half)
    sides = body.node("Max", body.sub(high, low), np.float32(attributes["min_side"]))
    spread = body.mul(body.mul(sides, "bandwidth"), np.float32(-2))
    kernels, sums = [], []
    for axis in (0, 1):
        points = _points(int(attributes["source"][1 - axis]), lattice[1 - axis])
        distance = body.sub(points, body.cut(centres, 2, axis, axis + 1))
        power = body.div(body.mul(distance, distance), body.cut(spread, 2, axis, axis + 1))
        kernels.append(body.node("Exp", power))  # B x N x lattice
        sums.append(body.total(kernels[axis], 2, keep=True))
    mass = body.add(body.mul(sums[0], sums[1]), np.float32(KERNEL_SUM_FLOOR))
    weight = body.div(body.mul(counts, "amplitude"), mass)
    number = body.reshape(body.total(counts, 1), (batch, 1))
    none = body.node("Relu", body.sub(one, number))
    pad, mix = min(lattice) - 1, float(attributes["mix"])
    for axis, fixed in enumerate(("fixed_x", "fixed_y")):
        length = lattice[1 - axis]
        across = body.mul(weight, sums[1 - axis])
        marginal = body.total(body.mul(across, kernels[axis]), 1)
        floor = body.mul(number, np.float32(lattice[axis] / (2 * pad + 1) ** 2))
        floor = body.add(floor, body.mul(none, np.float32(1 / length)))
        marginal = body.add(marginal, floor)
        marginal = body.div(marginal, body.total(marginal, 1, keep=True))
        mixed = body.add(body.mul(fixed, np.float32(1 - mix)), body.mul(marginal, np.float32(mix)))
        mixed = body.reshape(mixed, (batch, 1, length))
        weights = _attraction(length, float(attributes["fwhm"]), pad)
        _lz_sum(body, mixed, weights, CONTRACT.outputs[axis].name)
    return body.function(CONTRACT, opset)


def _lz_sum(body: Body, saliency: str, attraction: tuple[Array, Array], name: str) -> None:
    """Write the knots of a saliency (B, 1, n) as the tensor `name` (B, n)."""
    weights, moments = attraction
    shift = body.div(
        body.total(body.mul(saliency, moments), 2), body.total(body.mul(saliency, weights), 2)
    )
    centres = pixel_centres(len(weights))
    body.node("Clip", body.add(centres, shift), np.float32(-1), np.float32(1), name=name)


@lru_cache(maxsize=8)
def _attraction(count: int, fwhm: float, pad: int) -> tuple[Array, Array]:
    return attraction_matrices(count, fwhm, pad=pad)


OPERATOR = Operator(
    NAME,
    "box_knots",
    "Knots of the separable warp of a kernel density estimate of boxes.",
    CONTRACT,
    box_knots,
    function_body,
    computed_warp=True,
)
