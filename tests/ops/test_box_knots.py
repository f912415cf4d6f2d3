"""Boxes to knots: torch, body, lowered graph and the float64 mathematics agree."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import check_model

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.adaptive import lower_adaptive
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.box_knots import CONTRACT, OPERATOR
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import uniform_saliency
from samples import PublishedWarps, adaptive_model, run_onnx

box_knots = REGISTERED["BoxKnots"]
INPUTS, OUTPUTS = CONTRACT.input_names(), CONTRACT.output_names()

TOLERANCE = 1e-5
LATTICE, SOURCE = (31, 51), (1200, 1920)
Arrays = dict[str, np.ndarray]


def uniform_fixed(lattice: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    height, width = lattice
    return np.full(width, 1 / width, np.float32), np.full(height, 1 / height, np.float32)


def feeds(
    boxes: Any,
    valid: Any = None,
    *,
    amplitude: float = 1.0,
    bandwidth: float = 64.0,
    fixed: tuple[np.ndarray, np.ndarray] | None = None,
    lattice: tuple[int, int] = LATTICE,
) -> Arrays:
    """Inputs by name of boxes B x N x 4, all valid unless told."""
    boxes = np.asarray(boxes, np.float32)
    valid = np.ones(boxes.shape[:2]) if valid is None else np.asarray(valid)
    values = (boxes, valid, amplitude, bandwidth, *(fixed or uniform_fixed(lattice)))
    return {n: np.asarray(v, np.float32) for n, v in zip(INPUTS, values, strict=True)}


def attributes(**changes: Any) -> dict[str, Any]:
    standard = {"lattice": LATTICE, "source": SOURCE, "fwhm": 10.0, "mix": 1.0, "min_side": 1.0}
    return {**standard, **changes}


def by_torch(inputs: Arrays, said: dict[str, Any]) -> list[np.ndarray]:
    tensors = [torch.from_numpy(inputs[name]) for name in INPUTS]
    return [each.numpy() for each in box_knots(*tensors, *said.values())]


def model_of(inputs: Arrays, said: dict[str, Any]) -> onnx.ModelProto:
    batch, (height, width) = len(inputs["boxes"]), said["lattice"]
    outputs = {"knots_x": (batch, width), "knots_y": (batch, height)}
    return adaptive_model("BoxKnots", inputs, outputs, **said)


def by_onnx(inputs: Arrays, said: dict[str, Any], *, lowered: bool) -> list[np.ndarray]:
    model = model_of(inputs, said)
    if lowered:
        model, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    got = run_onnx(model, **inputs)
    return [got[name] for name in OUTPUTS]


def by_definition(inputs: Arrays, said: dict[str, Any]) -> list[np.ndarray]:
    """The mathematics of `lzu_export.warp`, image by image."""
    knots = []
    for boxes, valid in zip(inputs["boxes"], inputs["valid"], strict=True):
        kept = boxes[(valid > 0.5) & np.isfinite(boxes).all(axis=1)]
        adaptive = box_saliency(
            kept,
            said["source"],
            said["lattice"],
            amplitude=float(inputs["amplitude"]),
            bandwidth=float(inputs["bandwidth"]),
        )
        fixed = np.outer(inputs["fixed_y"].astype(float), inputs["fixed_x"].astype(float))
        mix = said["mix"]
        knots.append(separable_knots((1 - mix) * fixed + mix * adaptive, said["fwhm"]))
    return [np.stack([each[axis] for each in knots]) for axis in (0, 1)]


def check_all(inputs: Arrays, said: dict[str, Any]) -> list[np.ndarray]:
    """All forms agree; returns torch's knots."""
    expected = by_definition(inputs, said)
    found = by_torch(inputs, said)
    forms = {
        "torch": found,
        "body": by_onnx(inputs, said, lowered=False),
        "lowered": by_onnx(inputs, said, lowered=True),
    }
    for form, knots in forms.items():
        for got, wanted in zip(knots, expected, strict=True):
            assert got.dtype == np.float32
            assert np.abs(got - wanted).max() < TOLERANCE, form
            assert (got[:, 0] == -1).all(), form
            assert (got[:, -1] == 1).all(), form
    return found


def random_boxes(seed: int, count: int, batch: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, SOURCE[::-1], (batch, count, 2))
    side = rng.uniform(1, 300, (batch, count, 2))
    return np.concatenate([centre - side / 2, centre + side / 2], axis=-1)


CASES: dict[str, Arrays] = {
    "100 boxes": feeds(random_boxes(0, 100)),
    "some valid": feeds(random_boxes(1, 20), np.arange(20)[None] % 3 == 0),
    "no boxes": feeds(random_boxes(2, 5), np.zeros((1, 5))),
    "one box": feeds([[[900, 500, 960, 540]]]),
    "outside the frame": feeds([[[-900, -500, -800, -400], [2500, 1300, 2600, 1500]]]),
    "far outside": feeds([[[-1e9, 5, -1e9, 7], [3e38, 3e38, 3.4e38, 3.4e38]]]),
    "the whole of space": feeds([[[-3e38, -3e38, 3e38, 3e38]]]),
    "no area": feeds([[[300, 300, 300, 300], [0, 0, 1920, 0]]]),
    "inside out": feeds([[[600, 600, 300, 300]]]),
    "not a number": feeds([[[np.nan, 1, 2, 3], [1, 2, np.inf, 9], [800, 400, 900, 500]]]),
    "nothing but NaN": feeds(np.full((1, 3, 4), np.nan)),
    "batch": feeds(random_boxes(3, 7, 3), [[1] * 7, [0] * 7, [0, 1, 0, 1, 0, 1, 0]]),
    "all on one spot": feeds(np.repeat([[[10, 10, 12, 12]]], 50, axis=1)),
    "no amplitude": feeds(random_boxes(4, 10), amplitude=0),
    "loud and sharp": feeds(random_boxes(5, 10), amplitude=1e4, bandwidth=0.5),
    "loud and blunt": feeds(random_boxes(6, 10), amplitude=50, bandwidth=5000),
}


@pytest.mark.parametrize("name", CASES)
def test_all_forms_agree(name: str) -> None:
    check_all(CASES[name], attributes())


@pytest.mark.parametrize("name", ["no boxes", "nothing but NaN", "no amplitude"])
def test_without_a_box_that_counts_the_warp_is_the_identity(name: str) -> None:
    for got in by_torch(CASES[name], attributes()):
        assert np.abs(got - np.linspace(-1, 1, got.shape[1])).max() < 1e-6


@pytest.mark.parametrize("fwhm", [0.7, 4.0, 30.0])
@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_a_fixed_saliency_is_mixed_in(mix: float, fwhm: float) -> None:
    rng = np.random.default_rng(7)
    fixed = tuple(rng.uniform(0.1, 1, n).astype(np.float32) for n in LATTICE[::-1])
    marginals = (fixed[0] / fixed[0].sum(), fixed[1] / fixed[1].sum())
    inputs = feeds(random_boxes(8, 5, 2), [[1] * 5, [0] * 5], fixed=marginals)
    check_all(inputs, attributes(mix=mix, fwhm=fwhm))


@pytest.mark.parametrize("lattice", [(2, 2), (2, 9), (27, 48), (45, 45), (20, 3)])
def test_every_lattice(lattice: tuple[int, int]) -> None:
    check_all(feeds(random_boxes(9, 6), lattice=lattice), attributes(lattice=lattice))


@settings(max_examples=25, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(*[st.floats(-3000, 5000, width=32) | st.just(float("nan"))] * 4),
        min_size=1,
        max_size=6,
    ),
    valid=st.integers(0, 63),
    amplitude=st.floats(0, 30, width=32),
    bandwidth=st.floats(1, 500, width=32),
    fwhm=st.floats(1, 30, width=32),
    mix=st.floats(0, 1, width=32),
    batch=st.integers(1, 2),
)
def test_agreement_on_random_boxes(
    boxes: list[tuple[float, ...]],
    valid: int,
    amplitude: float,
    bandwidth: float,
    fwhm: float,
    mix: float,
    batch: int,
) -> None:
    flags = [[(valid >> i) & 1 for i in range(len(boxes))]] * batch
    inputs = feeds(
        [boxes] * batch, flags, amplitude=amplitude, bandwidth=bandwidth, lattice=(9, 14)
    )
    check_all(inputs, attributes(lattice=(9, 14), fwhm=fwhm, mix=mix))


def test_the_knots_are_the_published_grid_generator_s(
    published_warps: PublishedWarps,
) -> None:
    arrays, settings = published_warps
    cases = settings["kde"]
    assert cases
    for case in cases:
        boxes = np.asarray(arrays[f"{case['name']}/boxes"], np.float32).reshape(-1, 4)
        lattice = tuple(case["grid_shape"])
        # A graph has a fixed number of boxes: those that are not there are not valid.
        inputs = feeds(
            [[*boxes, [0, 0, 9, 9]]],
            [[1] * len(boxes) + [0]],
            amplitude=case["amplitude"],
            bandwidth=case["bandwidth"],
            lattice=lattice,
        )
        said = attributes(lattice=lattice, source=tuple(case["image"]), fwhm=case["fwhm"])
        knots_x, knots_y = check_all(inputs, said)
        published = arrays[f"{case['name']}/knots"]
        assert np.abs(published[..., 0] - knots_x).max() < 3e-6
        assert np.abs(published[..., 1] - knots_y.T).max() < 3e-6


def test_gradients_reach_amplitude_and_bandwidth() -> None:
    inputs = {name: torch.from_numpy(value) for name, value in CASES["100 boxes"].items()}
    parameters = {"amplitude": 1.0, "bandwidth": 64.0}

    def loss() -> torch.Tensor:
        knots_x, knots_y = box_knots(*inputs.values(), *attributes().values())
        return (knots_x[0, 20] + knots_y[0, 9]).double()

    for name, value in parameters.items():
        inputs[name] = torch.tensor(value, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(), inputs[name])
        around = []
        for factor in (0.9, 1.1):
            inputs[name] = torch.tensor(value * factor)
            around.append(loss())
        slope = (around[1] - around[0]) / (0.2 * value)
        assert float(gradient) == pytest.approx(float(slope), rel=0.05)
        inputs[name] = torch.tensor(value)


def test_the_body_fits_its_schema_and_checks_shapes() -> None:
    model = model_of(CASES["batch"], attributes())
    check_model(model, OPERATOR.schema())
    wrong = {**CASES["batch"], "fixed_x": np.ones(9, np.float32)}
    with pytest.raises(
        LzuError, match=r"BoxKnots got fixed_x of shape \(9,\); give w, here \(51,\)"
    ):
        model_of(wrong, attributes())


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        inputs = [torch.empty(value.shape) for value in CASES["batch"].values()]
        knots = box_knots(*inputs, *attributes().values())
        assert [tuple(each.shape) for each in knots] == [(3, 51), (3, 31)]


def test_the_uniform_saliency_is_what_no_boxes_give() -> None:
    expected = separable_knots(uniform_saliency(LATTICE), 10.0)
    for got, wanted in zip(by_torch(CASES["no boxes"], attributes()), expected, strict=True):
        assert np.abs(got[0] - wanted).max() < 1e-6
