"""Deformable convolution: torch, function body and every lowering give the same numbers."""

from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from hypothesis import strategies as st
from operator_checks import check_body, on_random_examples, sizes

from lzu_export.graph.lowering.deform_conv import KINDS, Kind, lower_deform_conv
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.deform_conv import OPERATOR, function_body
from lzu_export.ops.taps import tap_positions
from lzu_export.ops.torch_ops import REGISTERED
from samples import OPSET, deform_model, relative, run_onnx

deform_conv = REGISTERED["DeformConv"]

TOLERANCE = 1e-5


class Case(NamedTuple):
    """Sizes and settings of one deformable convolution."""

    x: tuple[int, int, int, int] = (1, 6, 9, 12)
    out_channels: int = 5
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1

    @property
    def out(self) -> tuple[int, int]:
        rows, cols = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.x[2:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return rows, cols

    def weights(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        shape = (self.out_channels, self.x[1] // self.groups, *self.kernel)
        return normal(rng, shape), normal(rng, (self.out_channels,))

    def inputs(self, seed: int, spread: float = 2.0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        taps = self.offset_groups * self.kernel[0] * self.kernel[1]
        return {
            "x": normal(rng, self.x),
            "offset": spread * normal(rng, (self.x[0], 2 * taps, *self.out)),
            "mask": rng.uniform(0, 1, (self.x[0], taps, *self.out)).astype(np.float32),
        }

    def settings(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups", "offset_groups")
        return {name: getattr(self, name) for name in names}


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def by_definition(
    case: Case, weight: np.ndarray, bias: np.ndarray, x: Any, offset: Any, mask: Any
) -> np.ndarray:
    """A loop over every tap in float64."""
    batch, channels, height, width = x.shape
    rows, cols = case.out
    taps = case.kernel[0] * case.kernel[1]
    share, per_group = channels // case.offset_groups, channels // case.groups
    filters = case.out_channels // case.groups
    offset = offset.reshape(batch, case.offset_groups, taps, 2, rows, cols).astype(np.float64)
    mask = mask.reshape(batch, case.offset_groups, taps, rows, cols)
    columns = np.zeros((channels, taps))
    y = np.zeros((batch, case.out_channels, rows, cols))
    for b, i, j in np.ndindex(batch, rows, cols):
        for group, tap in np.ndindex(case.offset_groups, taps):
            r, c = divmod(tap, case.kernel[1])
            at_y = i * case.stride[0] - case.padding[0] + r * case.dilation[0]
            at_x = j * case.stride[1] - case.padding[1] + c * case.dilation[1]
            at_y, at_x = np.array([at_y, at_x]) + offset[b, group, tap, :, i, j]
            sample = np.zeros(share)
            for p in range(height):
                for q in range(width):
                    factor = max(0, 1 - abs(at_y - p)) * max(0, 1 - abs(at_x - q))
                    if factor:
                        sample += factor * x[b, group * share : (group + 1) * share, p, q]
            columns[group * share : (group + 1) * share, tap] = sample * mask[b, group, tap, i, j]
        for o in range(case.out_channels):
            first = o // filters * per_group
            part = columns[first : first + per_group]
            y[b, o, i, j] = bias[o] + (weight[o].reshape(per_group, taps) * part).sum()
    return y


def by_torch(
    case: Case, weight: np.ndarray, bias: np.ndarray | None, x: Any, offset: Any, mask: Any
) -> np.ndarray:
    tensors = [torch.from_numpy(each) for each in (x, offset, mask, weight)]
    return deform_conv(
        *tensors, None if bias is None else torch.from_numpy(bias), **case.settings()
    ).numpy()


def by_lowering(
    case: Case, weight: np.ndarray, bias: np.ndarray, kind: Kind, inputs: dict[str, np.ndarray]
) -> np.ndarray:
    model = deform_model(case.x, weight, bias, **case.settings())
    lowered, _ = run_passes(model, [lower_deform_conv(kind), fold_constants()])
    onnx.checker.check_model(lowered, full_check=True)
    return run_onnx(lowered, **inputs)["y"]


def kinds(case: Case) -> list[Kind]:
    return [kind for kind in KINDS if kind != "gather" or case.groups == 1]


CASES = {
    "plain": Case(),
    "batch": Case(x=(2, 4, 5, 6)),
    "strided": Case(stride=(2, 2)),
    "unequal": Case(stride=(1, 2), padding=(2, 0), dilation=(2, 1), kernel=(3, 2)),
    "dilated": Case(padding=(2, 2), dilation=(2, 2)),
    "offset groups": Case(x=(2, 6, 5, 7), offset_groups=3),
    "groups": Case(x=(2, 6, 5, 7), out_channels=4, groups=2),
    "both groups": Case(x=(1, 12, 5, 7), out_channels=4, groups=2, offset_groups=3),
    "one tap": Case(kernel=(1, 1), padding=(0, 0)),
    "one row": Case(x=(1, 4, 1, 7)),
    "one column": Case(x=(1, 4, 6, 1)),
    "one cell": Case(x=(1, 4, 1, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_all_forms_agree_with_the_definition(name: str) -> None:
    case = CASES[name]
    weight, bias = case.weights(1)
    inputs = case.inputs(2)
    reference = by_definition(case, weight, bias, **inputs)
    assert relative(by_torch(case, weight, bias, **inputs), reference) < TOLERANCE
    body = run_onnx(deform_model(case.x, weight, bias, **case.settings()), **inputs)["y"]
    assert relative(body, reference) < TOLERANCE
    for kind in kinds(case):
        got = by_lowering(case, weight, bias, kind, inputs)
        assert relative(got, reference) < TOLERANCE, kind


def landing_at(case: Case, rows: Any, cols: Any) -> np.ndarray:
    """Offsets by which samples land on the given positions, in turn over taps and cells."""
    base = tap_positions(case.out, case.kernel, case.stride, case.padding, case.dilation)
    count = base[:, 0].size
    targets = np.stack(np.broadcast_arrays(*np.meshgrid(rows, cols, indexing="ij")))
    targets = np.resize(targets.reshape(2, -1).T, (count, 2))
    wanted = targets.reshape(len(base), *case.out, 2).transpose(0, 3, 1, 2)
    return (wanted - base).reshape(1, -1, *case.out).astype(np.float32)


BORDERS = [-1.0, -0.999, -0.5, -1e-6, 0.0, 1e-6, 0.5]
PLACES = {
    "borders of the first pixel": (BORDERS, BORDERS),
    "borders of the last pixel": (
        [8 + b for b in (*BORDERS, 0.999, 1.0)],
        [11 + b for b in BORDERS],
    ),
    "whole pixels": (list(range(-2, 11)), list(range(-2, 14))),
    "outside": ([-1.001, -2, -50.0, 9.0, 9.001, 60.0, 3.5], [-1.001, -2, 12.0, 12.5, 99.0, 4.5]),
    "far outside": ([-1e30, -3e9, -7e4, 3.2, 7e4, 3e9, 1e30], [-1e30, -3e9, 5.7, 3e9, 1e30]),
}


@pytest.mark.parametrize("place", PLACES)
def test_extreme_offsets_agree_with_the_definition(place: str) -> None:
    case = Case()
    weight, bias = case.weights(3)
    inputs = {**case.inputs(4), "offset": landing_at(case, *PLACES[place])}
    reference = by_definition(case, weight, bias, **inputs)
    assert relative(by_torch(case, weight, bias, **inputs), reference) < TOLERANCE
    body = run_onnx(deform_model(case.x, weight, bias, **case.settings()), **inputs)["y"]
    assert relative(body, reference) < TOLERANCE
    for kind in KINDS:
        got = by_lowering(case, weight, bias, kind, inputs)
        assert relative(got, reference) < TOLERANCE, kind


@pytest.mark.parametrize("bad", [-np.inf, np.inf])
def test_infinite_offsets_read_zeros(bad: float) -> None:
    """ONNX DeformConv leaves them to its kernels; what is lowered here reads nothing there."""
    case = Case()
    weight, bias = case.weights(3)
    inputs = case.inputs(4)
    inputs["offset"][:] = bad
    flat = np.broadcast_to(bias[None, :, None, None], (1, case.out_channels, *case.out))
    assert relative(by_torch(case, weight, bias, **inputs), flat) < TOLERANCE
    for kind in KINDS[1:]:
        assert relative(by_lowering(case, weight, bias, kind, inputs), flat) < TOLERANCE, kind


@on_random_examples(
    15,
    size=sizes(1, 12),
    batch=st.integers(1, 2),
    offset_groups=st.integers(1, 2),
    stride=st.integers(1, 2),
    spread=st.sampled_from([0.0, 0.3, 3.0, 30.0]),
)
def test_agreement_on_random_convolutions(
    seed: int,
    size: tuple[int, int],
    batch: int,
    offset_groups: int,
    stride: int,
    spread: float,
) -> None:
    case = Case((batch, 4, *size), 3, stride=(stride, stride), offset_groups=offset_groups)
    weight, bias = case.weights(seed)
    inputs = case.inputs(seed, spread)
    reference = by_torch(case, weight, bias, **inputs)
    for kind in KINDS:
        got = by_lowering(case, weight, bias, kind, inputs)
        assert relative(got, reference) < TOLERANCE, kind


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_largest_map_float32_positions_are_exact_enough(kind: Kind) -> None:
    """FCOS3D's finest level at full scale: 200 columns leave a position 1e-5 pixels of rounding."""
    case = Case(x=(1, 4, 116, 200), out_channels=4)
    weight, bias = case.weights(15)
    inputs = case.inputs(16, 5.0)
    exact = (each.astype(np.float64) for each in (weight, bias, *inputs.values()))
    reference = by_torch(case, *exact)
    assert relative(by_lowering(case, weight, bias, kind, inputs), reference) < 1e-4


def test_without_offsets_it_is_a_convolution() -> None:
    case = Case(x=(2, 6, 9, 12), stride=(2, 1), groups=3, out_channels=6)
    weight, bias = case.weights(5)
    inputs = case.inputs(6, 0.0)
    inputs["mask"][:] = 1
    expected = torch.nn.functional.conv2d(
        *map(torch.from_numpy, (inputs["x"], weight, bias)),
        stride=case.stride,
        padding=case.padding,
        groups=3,
    ).numpy()
    assert relative(by_torch(case, weight, bias, **inputs), expected) < TOLERANCE
    unbiased = by_torch(case, weight, None, **inputs)
    assert relative(unbiased + bias[:, None, None], expected) < TOLERANCE


@pytest.mark.parametrize("offset_groups", [1, 2])
def test_gradients(offset_groups: int) -> None:
    case = Case((2, 4, 3, 4), 2, stride=(1, 2), groups=2, offset_groups=offset_groups)
    weight, bias = case.weights(7)
    values = [*case.inputs(8, 0.4).values(), weight, bias]
    tensors = [torch.from_numpy(v).double().requires_grad_() for v in values]
    assert torch.autograd.gradcheck(lambda *t: deform_conv(*t, **case.settings()), tensors)


def test_gradients_are_computed_for_what_needs_them_only() -> None:
    case = Case()
    weight, _ = case.weights(9)
    x, offset, mask = map(torch.from_numpy, case.inputs(10).values())
    filters = torch.from_numpy(weight).requires_grad_()
    deform_conv(x, offset.requires_grad_(), mask, filters, None, **case.settings()).sum().backward()
    assert x.grad is None
    assert mask.grad is None
    assert offset.grad is not None
    assert filters.grad is not None


def test_the_registration_is_sound() -> None:
    case = Case((1, 4, 5, 6), 3)
    weight, bias = case.weights(11)
    values = [*case.inputs(12).values(), weight, bias]
    arguments = [torch.from_numpy(value).requires_grad_() for value in values]
    torch.library.opcheck(deform_conv, tuple(arguments), case.settings())


def test_half_features_are_summed_in_float32() -> None:
    case = Case()
    weight, bias = case.weights(13)
    values = [torch.from_numpy(v) for v in (*case.inputs(14).values(), weight, bias)]
    half = deform_conv(*(value.half() for value in values), **case.settings())
    exact = deform_conv(*(value.half().float() for value in values), **case.settings())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half, exact.half(), rtol=0, atol=0)


def test_the_function_body_fits_its_schema() -> None:
    body = function_body(OPSET)
    assert (body.domain, body.name) == ("lzu", "DeformConv")
    check_body(body, OPERATOR.schema())
