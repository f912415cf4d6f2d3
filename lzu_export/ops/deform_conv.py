"""`lzu::DeformConv`: modulated deformable convolution (DCNv2, Zhu et al. 2019).

    Y[b, o, i, j] = B[o] + sum_{c, k} W[o, c, k] * mask[b, k, i, j]
                    * X[b, c](stride * i - pad + dilation * k_y + offset_y[b, k, i, j], x likewise)

X(y, x) is bilinear between pixel centres with zeros outside the map, k = (k_y, k_x) a tap of the
kernel. These are the semantics of mmcv's ModulatedDeformConv2d and of ONNX DeformConv (opset 19).
Offset channels are ordered by offset group, tap, (y, x) in input pixels; mask channels by offset
group, tap. Offset groups divide the input channels; `groups` is that of an ordinary convolution.

The operator exists in three forms with the same semantics: the torch operator below, traced and
trainable; the ONNX schema `DeformConv` in domain `lzu`, with the attributes of ONNX DeformConv; and
a function body of standard operators. It has a name of its own because ONNX has DeformConv only
since opset 19, and because not every target has it; see `lzu_export.graph.lowering.deform_conv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from lzu_export.ops.base import Operator, TorchArguments, for_every_call
from lzu_export.ops.contract import OWN_TYPE, Contract, Field, Tensor
from lzu_export.ops.taps import tap_positions

if TYPE_CHECKING:
    import torch

NAME = "DeformConv"
Pair = Sequence[int]

CONTRACT = Contract(
    # Inputs and attributes are in the order of ONNX DeformConv.
    inputs=(
        Tensor("X", ("B", "C", "H", "W")),
        Tensor("W", ("O", "I", "kernel_shape[0]", "kernel_shape[1]")),
        Tensor("offset", ("B", "offsets", "rows", "columns"), OWN_TYPE),
        Tensor("B", ("O",)),
        Tensor("mask", ("B", "masks", "rows", "columns"), OWN_TYPE),
    ),
    outputs=(Tensor("Y", ("B", "O", "rows", "columns")),),
    fields={
        "kernel_shape": Field("int32", 2, least=1),
        "strides": Field("int32", 2, least=1),
        "pads": Field("int32", 4, least=0),
        "dilations": Field("int32", 2, least=1),
        "group": Field("int32", least=1),
        "offset_group": Field("int32", least=1),
    },
    types=("float32", "float16", "bfloat16"),
)


def deform_conv(
    x: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_groups: int,
) -> torch.Tensor:
    """Define the operator: sample all taps with one grid_sample, then convolve over them.

    Args:
        x: B x C x H x W features, floating point.
        offset: B x (2 * offset_groups * K) x H' x W' displacements in input pixels, (y, x) per tap.
        mask: B x (offset_groups * K) x H' x W' factors of the samples.
        weight: O x (C / groups) x k_h x k_w weights, where k_h * k_w = K.
        bias: O biases, or None.
        stride: rows and columns between output cells, in input pixels.
        padding: rows and columns of zeros before the first pixel.
        dilation: rows and columns between taps.
        groups: number of groups of the convolution.
        offset_groups: number of groups of input channels with offsets and masks of their own.

    Returns:
        B x O x H' x W' in the dtype of `x`; half precision is sampled and summed in float32.
    """
    import torch
    from torch.nn import functional

    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    rows, cols = offset.shape[2:]
    working = torch.promote_types(x.dtype, torch.float32)
    base = torch.from_numpy(
        tap_positions((rows, cols), weight.shape[2:], stride, padding, dilation)
    ).to(x.device, working)
    limits = torch.tensor([height, width], dtype=working, device=x.device).reshape(2, 1, 1)
    position = offset.to(working).reshape(batch * offset_groups, taps, 2, rows, cols) + base
    # Samples are zero from one pixel beyond the edge on, so positions are clamped there:
    # unbounded numbers would overflow the sampler's integers.
    position = torch.minimum(position.clamp(min=-1), limits)
    # align_corners=False, since aligned corners cannot address an axis of one cell.
    grid = ((2 * position + 1) / limits - 1).flip(2).permute(0, 1, 3, 4, 2)
    samples = functional.grid_sample(
        x.to(working).reshape(batch * offset_groups, channels // offset_groups, height, width),
        grid.reshape(batch * offset_groups, taps * rows, cols, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    samples = samples * mask.to(working).reshape(batch * offset_groups, 1, taps * rows, cols)
    y = functional.conv2d(
        samples.reshape(batch, channels * taps, rows, cols),
        weight.to(working).reshape(len(weight), -1, 1, 1),
        None if bias is None else bias.to(working),
        groups=groups,
    )
    return y.to(x.dtype)


def _translate(
    op: Any,
    x: Any,
    offset: Any,
    mask: Any,
    weight: Any,
    bias: Any,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    offset_groups: int,
) -> Any:
    """Emit a call of the ONNX operator `op`."""
    if bias is None:
        import onnxscript

        zeros = np.zeros(int(weight.shape[0]), np.float32)
        bias = onnxscript.opset18.Constant(value=numpy_helper.from_array(zeros))
    return op(
        x,
        weight,
        offset,
        bias,
        mask,
        kernel_shape=[int(side) for side in weight.shape[2:]],
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
        offset_group=offset_groups,
    )


def _shape(x: Any, offset: Any, _mask: Any, weight: Any, *_: Any) -> tuple[int, ...]:
    return (x.shape[0], weight.shape[0], offset.shape[2], offset.shape[3])


_BODY = """
<opset_import: ["" : %d], domain: "lzu">
DeformConv <kernel_shape, strides, pads, dilations, group, offset_group>
(X, W, offset, B, mask) => (Y) {
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_int = 2> ()
  first = Constant <value_ints = [0]> ()
  second = Constant <value_ints = [1]> ()
  every = Constant <value_ints = [-1]> ()
  pair = Constant <value_ints = [2]> ()
  group_count = Constant <value_int: int = @offset_group> ()
  groups = Unsqueeze (group_count, first)
  kernel = Constant <value_ints: ints = @kernel_shape> ()
  stride = Constant <value_ints: ints = @strides> ()
  pad = Constant <value_ints: ints = @pads> ()
  dilation = Constant <value_ints: ints = @dilations> ()
  batch = Shape <start = 0, end = 1> (X)
  channels = Shape <start = 1, end = 2> (X)
  size = Shape <start = 2> (X)
  out = Shape <start = 2> (offset)
  taps = ReduceProd <keepdims = 1> (kernel)
  maps = Mul (batch, groups)
  share = Div (channels, groups)
  k_h = Gather (kernel, zero)
  k_w = Gather (kernel, one)
  rows = Gather (out, zero)
  cols = Gather (out, one)
  taps_y = Range (zero, k_h, one)
  taps_x = Range (zero, k_w, one)
  cells_y = Range (zero, rows, one)
  cells_x = Range (zero, cols, one)
  shape_ty = Constant <value_ints = [-1, 1, 1, 1]> ()
  shape_tx = Constant <value_ints = [1, -1, 1, 1]> ()
  shape_cy = Constant <value_ints = [1, 1, -1, 1]> ()
  ty = Reshape (taps_y, shape_ty)
  tx = Reshape (taps_x, shape_tx)
  cy = Reshape (cells_y, shape_cy)
  dilation_y = Gather (dilation, zero)
  dilation_x = Gather (dilation, one)
  stride_y = Gather (stride, zero)
  stride_x = Gather (stride, one)
  pad_y = Gather (pad, zero)
  pad_x = Gather (pad, one)
  tap_y = Mul (ty, dilation_y)
  tap_x = Mul (tx, dilation_x)
  cell_y = Mul (cy, stride_y)
  cell_x = Mul (cells_x, stride_x)
  sum_y = Add (tap_y, cell_y)
  sum_x = Add (tap_x, cell_x)
  start_y = Sub (sum_y, pad_y)
  start_x = Sub (sum_x, pad_x)
  full = Concat <axis = 0> (kernel, out)
  base_y = Expand (start_y, full)
  base_x = Expand (start_x, full)
  base_shape = Concat <axis = 0> (taps, out)
  by = Reshape (base_y, base_shape)
  bx = Reshape (base_x, base_shape)
  by1 = Unsqueeze (by, second)
  bx1 = Unsqueeze (bx, second)
  base_int = Concat <axis = 1> (by1, bx1)
  base = Cast <to = 1> (base_int)
  offset_shape = Concat <axis = 0> (maps, taps, pair, out)
  offset_float = Cast <to = 1> (offset)
  moved = Reshape (offset_float, offset_shape)
  raw = Add (moved, base)
  limits_float = Cast <to = 1> (size)
  limits_shape = Constant <value_ints = [2, 1, 1]> ()
  limits = Reshape (limits_float, limits_shape)
  before = Constant <value_float = -1.0> ()
  unit = Constant <value_float = 1.0> ()
  double = Constant <value_float = 2.0> ()
  above = Max (raw, before)
  position = Min (above, limits)
  doubled = Mul (position, double)
  centred = Add (doubled, unit)
  scaled = Div (centred, limits)
  normal = Sub (scaled, unit)
  swap = Constant <value_ints = [1, 0]> ()
  swapped = Gather <axis = 2> (normal, swap)
  last = Transpose <perm = [0, 1, 3, 4, 2]> (swapped)
  out_width = Unsqueeze (cols, first)
  grid_shape = Concat <axis = 0> (maps, every, out_width, pair)
  grid = Reshape (last, grid_shape)
  x_shape = Concat <axis = 0> (maps, share, size)
  x_float = Cast <to = 1> (X)
  x = Reshape (x_float, x_shape)
  sampled = GridSample <mode = "bilinear", padding_mode = "zeros", align_corners = 0> (x, grid)
  mask_shape = Concat <axis = 0> (maps, second, every, out_width)
  mask_float = Cast <to = 1> (mask)
  factors = Reshape (mask_float, mask_shape)
  modulated_float = Mul (sampled, factors)
  modulated = CastLike (modulated_float, X)
  columns = Mul (channels, taps)
  columns_shape = Concat <axis = 0> (batch, columns, out)
  stacked = Reshape (modulated, columns_shape)
  filters = Shape <start = 0, end = 1> (W)
  kernel_last = Concat <axis = 0> (filters, every, second, second)
  weights = Reshape (W, kernel_last)
  Y = Conv <group: int = @group> (stacked, weights, B)
}
"""


def function_body(opset: int) -> onnx.FunctionProto:
    """Build an ONNX function of standard operators, for features of any float type.

    Positions, samples and factors are float32; their products are cast to the features' type.

    `opset` must be the model's, from 16 to 19: ONNX Runtime ignores a function's own opset import.
    """
    body: onnx.FunctionProto = onnx.parser.parse_function(_BODY % opset)
    return body


OPERATOR = Operator(
    NAME,
    "deform_conv",
    "Modulated deformable convolution, as ONNX DeformConv of opset 19.",
    CONTRACT,
    deform_conv,
    for_every_call(function_body),
    computed_warp=False,
    torch_arguments=TorchArguments(
        schema=(
            "(Tensor x, Tensor offset, Tensor mask, Tensor weight, Tensor? bias, SymInt[] stride, "
            "SymInt[] padding, SymInt[] dilation, SymInt groups, SymInt offset_groups) -> Tensor"
        ),
        tensors=5,
        shape=_shape,
        translate=_translate,
    ),
)
