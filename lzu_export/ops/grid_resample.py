"""`lzu::GridResample`: samples of an image or feature map at a non-separable warp.

    Y[b, c, i, j] = X[b, c] at column whole_x + fraction_x and row whole_y + fraction_y of cell i, j

Samples are bilinear, with zeros outside the input (`grid_sample`, align_corners=True). Positions
are float32, order x, y, in cells of the input, where 0 is the centre of the first. Whole and
fraction are separate, which keeps the weights exact at any width; a single float32 coordinate would
be off by up to 1e-4 pixel at a width of 1920. On an axis of one cell every position is that cell.

The operator exists as a torch operator (reference semantics, traced), an ONNX schema, and a
function body of standard operators. It has no plugin: graphs are lowered to GridSample or to
gathers, see `lzu_export.graph.lowering.grid`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lzu_export.ops.base import Operator, for_every_call
from lzu_export.ops.body import function_of
from lzu_export.ops.contract import Contract, Field, Tensor

if TYPE_CHECKING:
    import torch

NAME = "GridResample"
CONTRACT = Contract(
    inputs=(
        Tensor("X", ("B", "C", "H", "W")),
        Tensor("whole", ("B or 1", "rows", "columns", 2), "float32"),
        Tensor("fraction", ("B or 1", "rows", "columns", 2), "float32"),
    ),
    outputs=(Tensor("Y", ("B", "C", "rows", "columns")),),
    fields={
        "height": Field("int32", size_of="H"),
        "width": Field("int32", size_of="W"),
    },
    types=("float32", "float16", "bfloat16"),
)


def grid_resample(x: torch.Tensor, whole: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
    """Define the operator: sample `x` at positions, computed in float64 and rounded once.

    In training the samples are grid_sample's in the features' precision, at least float32. A
    position in a map of n cells is then off by up to n / 10^7.

    Args:
        x: (B, C, H, W) image or features, floating point.
        whole: (B or 1, H', W', 2) float32, whole parts of the positions.
        fraction: (B or 1, H', W', 2) float32, rest of the positions, 0 to 1.

    Returns:
        (B, C, H', W') in the dtype of `x`.
    """
    import torch
    from torch.nn import functional

    from lzu_export.ops.linear_weights import in_training, working_type

    working = working_type(x) if in_training(x, fraction) else torch.float64
    size = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float64, device=x.device)
    last = (size - 1).clamp(min=1)
    grid = ((whole.double() + fraction) * (2 / last) - 1).to(working).expand(len(x), -1, -1, -1)
    sampled = functional.grid_sample(x.to(working), grid, padding_mode="zeros", align_corners=True)
    return sampled.to(x.dtype)


def function_body(opset: int) -> onnx.FunctionProto:
    """Build an ONNX function of GridSample in float32, whatever the features' type.

    Its one float32 coordinate is exact to 1e-4 pixel at a width of 1920. Lowerings may replace it.

    `opset` must be the model's: ONNX Runtime ignores a function's own opset import.
    """
    nodes: list[onnx.NodeProto] = []

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(name: str, value: Any) -> str:
        return node("Constant", [], name, value=numpy_helper.from_array(np.asarray(value), name))

    one, two = constant("one", np.float32(1)), constant("two", np.float32(2))
    scales = []
    for name in ("width", "height"):  # order x, y
        nodes.append(helper.make_node("Constant", [], [name]))
        reference = nodes[-1].attribute.add()
        reference.name, reference.ref_attr_name = "value_int", name
        reference.type = onnx.AttributeProto.INT
        cells = node("Cast", [name], f"{name}_cells", to=onnx.TensorProto.FLOAT)
        last = node("Max", [node("Sub", [cells, one], f"{name}_last"), one], f"{name}_span")
        whole = node("Div", [two, last], f"{name}_scale")
        scales.append(node("Reshape", [whole, constant(f"{name}_shape", [1])], f"{name}_scales"))
    scale = node("Concat", scales, "scale", axis=0)
    position = node("Add", ["whole", "fraction"], "position")
    grid = node("Sub", [node("Mul", [position, scale], "scaled"), one], "grid")
    batch = node("Shape", ["X"], "batch", start=0, end=1)
    shape = node("Concat", [batch, constant("rest", [1, 1, 1])], "grid_shape", axis=0)
    expanded = node("Expand", [grid, shape], "grids")
    wide = node("Cast", ["X"], "wide", to=onnx.TensorProto.FLOAT)
    mode = "bilinear" if opset < 20 else "linear"
    settings = {"mode": mode, "padding_mode": "zeros", "align_corners": 1}
    node("CastLike", [node("GridSample", [wide, expanded], "sampled", **settings), "X"], "Y")
    return function_of(NAME, CONTRACT, nodes, opset)


OPERATOR = Operator(
    NAME,
    "grid_resample",
    "Samples X at a non-separable warp, given by positions in its cells.",
    CONTRACT,
    grid_resample,
    for_every_call(function_body),
    computed_warp=False,
)
