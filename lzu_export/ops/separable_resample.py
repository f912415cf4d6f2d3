"""`lzu::SeparableResample`: samples of an image or feature map at a fixed separable warp.

    Y[b, c, i, j] = sum_{k, l} A_y[i, k] * A_x[j, l] * X[b, c, k, l]

The axis matrices are hat functions, A[i, k] = gain_i * max(0, 1 - |p_i - k| / support_i), so that
`support` 1 is bilinear sampling with zeros outside the input (`grid_sample`, align_corners=True)
and a larger support is the antialiased sampler. `p` is in input pixels; the centre of the first
pixel is 0.

Every axis is given as a *resample table*: float32, 4 x n, rows `floor(p)`, `p - floor(p)`,
`support`, `gain`. Splitting p keeps the weights exact to float32's epsilon at any image size; a
single float32 coordinate would be off by up to 1e-4 pixel at a width of 1920.

The operator exists in three forms with the same semantics: the torch operator below (reference,
traced), the ONNX schema `SeparableResample` in domain `lzu`, and a function body of standard
operators, by which ONNX Runtime runs the canonical file unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from lzu_export.errors import LzuError
from lzu_export.ops.base import Operator, for_every_call
from lzu_export.ops.body import function_of
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.warp.tables import table_matrix

if TYPE_CHECKING:
    import torch

    from lzu_export.ops.axis_products import Products

NAME = "SeparableResample"
CONTRACT = Contract(
    inputs=(
        Tensor("X", ("B", "C", "H", "W")),
        Tensor("rows", (4, "h"), "float32"),
        Tensor("cols", (4, "w"), "float32"),
    ),
    outputs=(Tensor("Y", ("B", "C", "h", "w")),),
    fields={
        "height": Field("int32", size_of="H"),
        "width": Field("int32", size_of="W"),
    },
    # The body supports the first three; INT8 is for kernels.
    types=("float32", "float16", "bfloat16", "int8"),
)


def separable_resample(x: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Define the operator: sample x (B x C x H x W) at tables rows (4 x H') and cols (4 x W').

    Returns:
        B x C x H' x W' in the dtype of `x`. Weights are built in float64 and rounded once.
    """
    return _apply(x, x.shape, rows, cols, transposed=False)


def gradient(
    tensors: Sequence[torch.Tensor],
    wanted: Sequence[bool],
    outer: Sequence[torch.Tensor],
) -> list[torch.Tensor | None]:
    """Differentiate: the features' gradient is sampled by the transposed matrices.

    Args:
        tensors: features, of which the shape is read alone, and the two tables.
        wanted: whether each tensor's gradient is needed.
        outer: gradient of the output.

    Raises:
        LzuError: a table's gradient is needed, which a fixed warp does not have.
    """
    if any(wanted[1:]):
        raise LzuError(
            f"lzu::{NAME} has no gradient for its tables; learn the knots of an adaptive warp"
        )
    x, rows, cols = tensors
    return [_apply(outer[0], x.shape, rows, cols, transposed=True), None, None]


def _apply(
    x: torch.Tensor,
    shape: Sequence[int],
    rows: torch.Tensor,
    cols: torch.Tensor,
    *,
    transposed: bool,
) -> torch.Tensor:
    """Multiply the planes of `x` by the matrices of two tables, which sample maps of `shape`."""
    if x.device.type != "cpu":
        # Dense products cost a GPU little. Reading the tables here would make the host wait for it.
        a_y = _weights(rows, shape[2]).to(x)
        a_x = _weights(cols, shape[3]).to(x)
        return a_y.T @ x @ a_x if transposed else a_y @ x @ a_x.T
    import torch

    from lzu_export.ops.axis_products import group_size

    planes, size = x.shape[0] * x.shape[1], (rows.shape[1], cols.shape[1])
    # Rows are made first, so the cache holds as many of them as the result has.
    cells = shape[2] * size[1] if transposed else size[0] * shape[3]
    tables = (_bytes(rows), _bytes(cols))
    working = torch.promote_types(x.dtype, torch.float32)
    products = _products(*tables, tuple(shape[2:]), transposed, group_size(planes, cells), working)
    return products(x)


def _weights(table: torch.Tensor, n_in: int) -> torch.Tensor:
    """Return `table_matrix` (n_out, n_in) of a table on its device, float64."""
    import torch

    whole, fraction, support, gain = table.detach().double()
    pixels = torch.arange(n_in, dtype=torch.float64, device=table.device)
    distance = (whole + fraction)[:, None] - pixels
    return gain[:, None] * (1 - distance.abs() / support[:, None]).clamp(min=0)


def _bytes(table: torch.Tensor) -> bytes:
    values: NDArray[np.float32] = table.detach().float().cpu().numpy()
    return values.tobytes()


@lru_cache(maxsize=64)
def _products(
    rows: bytes,
    cols: bytes,
    size: tuple[int, int],
    transposed: bool,
    planes: int,
    working: torch.dtype,
) -> Products:
    """Prepare products with the matrices of two tables; a fixed warp uses the same ones always."""
    from lzu_export.ops.axis_products import plan

    matrices = [
        table_matrix(np.frombuffer(each, np.float32).reshape(4, -1), n_in)
        for each, n_in in zip((rows, cols), size, strict=True)
    ]
    a_y, a_x = (each.T for each in matrices) if transposed else matrices
    return plan(a_y, a_x, planes, working)


def function_body(opset: int) -> onnx.FunctionProto:
    """Build an ONNX function of standard operators, for features of any float type.

    The matrices are built in float32, then cast to the features' type.

    `opset` must be the model's: ONNX Runtime ignores a function's own opset import.
    """
    nodes: list[onnx.NodeProto] = []

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(name: str, value: NDArray[Any]) -> str:
        return node("Constant", [], name, value=onnx.numpy_helper.from_array(value))

    one = constant("one", np.array(1.0, np.float32))
    zero_index, one_index = constant("zero_i", np.array(0)), constant("one_i", np.array(1))

    def matrix(table: str, size_attribute: str) -> str:
        size = f"{table}_size"
        nodes.append(helper.make_node("Constant", [], [size]))
        reference = nodes[-1].attribute.add()
        reference.name, reference.ref_attr_name = "value_int", size_attribute
        reference.type = onnx.AttributeProto.INT
        indices = node("Range", [zero_index, size, one_index], f"{table}_range")
        pixels = node("Cast", [indices], f"{table}_pixels", to=onnx.TensorProto.FLOAT)
        row: list[str] = []
        for i, field in enumerate(("floor", "fraction", "support", "gain")):
            index = constant(f"{table}_{field}_i", np.array([i]))
            column = node("Gather", [table, index], f"{table}_{field}_row", axis=0)
            row.append(node("Transpose", [column], f"{table}_{field}", perm=[1, 0]))
        # floor - k is an exact integer, so the distance keeps the fraction's full precision
        whole = node("Sub", [row[0], pixels], f"{table}_whole")
        distance = node("Abs", [node("Add", [whole, row[1]], f"{table}_offset")], f"{table}_dist")
        hat = node("Sub", [one, node("Div", [distance, row[2]], f"{table}_scaled")], f"{table}_hat")
        weights = node("Mul", [node("Relu", [hat], f"{table}_relu"), row[3]], f"{table}_weights")
        return weights

    a_y = node("CastLike", [matrix("rows", "height"), "X"], "a_y")
    transposed = node("Transpose", [matrix("cols", "width")], "cols_transposed", perm=[1, 0])
    a_x = node("CastLike", [transposed, "X"], "a_x")
    # Columns first: where the warp shrinks, they reduce the larger operand before this product.
    node("MatMul", [a_y, node("MatMul", ["X", a_x], "across")], "Y")
    return function_of(NAME, CONTRACT, nodes, opset)


OPERATOR = Operator(
    NAME,
    "separable_resample",
    "Samples X at a fixed separable warp given by two resample tables. INT8 maps have "
    "one scale before and behind: sums in float32, rounded once, half to even.",
    CONTRACT,
    separable_resample,
    for_every_call(function_body),
    computed_warp=False,
    gradient=gradient,
)
