"""The adaptive zoom: torch, body, lowered graph and the float64 mathematics agree."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import strategies as st
from operator_checks import check_model, on_random_examples, sizes

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.adaptive import lower_adaptive
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.separable_zoom import OPERATOR
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.geometry import zoom_positions
from lzu_export.warp.sampling import axis_weights
from samples import adaptive_model, random_positions, relative, run_onnx

separable_zoom = REGISTERED["SeparableZoom"]

TOLERANCE = 1e-5
Pair = tuple[int, int]
Arrays = dict[str, np.ndarray]


def feeds(
    seed: int, shape: tuple[int, ...], lattice: Pair = (7, 11), *, reach: float = 1.0
) -> Arrays:
    """An image and random knots that span [-reach, reach]."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal(shape).astype(np.float32)
    knots = [
        np.stack([random_positions(rng, n, -reach, reach) for _ in range(shape[0])])
        for n in lattice[::-1]
    ]
    return {
        "image": image,
        "knots_x": knots[0].astype(np.float32),
        "knots_y": knots[1].astype(np.float32),
    }


def by_torch(inputs: Arrays, canvas: Pair, pad: Pair = (0, 0)) -> np.ndarray:
    tensors = [torch.from_numpy(each) for each in inputs.values()]
    return separable_zoom(*tensors, canvas, pad).numpy()


def model_of(inputs: Arrays, canvas: Pair, pad: Pair = (0, 0)) -> onnx.ModelProto:
    shape = (*inputs["image"].shape[:2], canvas[0] + pad[0], canvas[1] + pad[1])
    return adaptive_model("SeparableZoom", inputs, {"zoomed": shape}, canvas=canvas, pad=pad)


def by_onnx(inputs: Arrays, canvas: Pair, pad: Pair = (0, 0), *, lowered: bool) -> np.ndarray:
    model = model_of(inputs, canvas, pad)
    if lowered:
        model, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    return run_onnx(model, **inputs)["zoomed"]


def by_definition(inputs: Arrays, canvas: Pair, pad: Pair = (0, 0)) -> np.ndarray:
    height, width = inputs["image"].shape[2:]
    results = []
    for image, *knots in zip(*inputs.values(), strict=True):
        rows, columns = zoom_positions(*knots, canvas)
        a_y, a_x = axis_weights(rows, height), axis_weights(columns, width)
        results.append(a_y @ image.astype(np.float64) @ a_x.T)
    return np.pad(np.stack(results), ((0, 0), (0, 0), (0, pad[0]), (0, pad[1])))


def check_all(inputs: Arrays, canvas: Pair, pad: Pair = (0, 0)) -> None:
    expected = by_definition(inputs, canvas, pad)
    bound = TOLERANCE * np.abs(inputs["image"]).max()
    forms = {
        "torch": by_torch(inputs, canvas, pad),
        "body": by_onnx(inputs, canvas, pad, lowered=False),
        "lowered": by_onnx(inputs, canvas, pad, lowered=True),
    }
    for form, got in forms.items():
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < bound, form


@pytest.mark.parametrize(
    ("shape", "canvas", "pad"),
    [
        ((1, 3, 24, 40), (12, 20), (0, 0)),
        ((1, 3, 24, 40), (12, 20), (4, 0)),
        ((2, 3, 24, 40), (13, 17), (3, 15)),
        ((3, 2, 9, 14), (17, 31), (0, 1)),
        ((1, 1, 1, 40), (5, 20), (0, 0)),
        ((1, 1, 24, 1), (12, 3), (0, 0)),
        ((1, 1, 1, 1), (2, 2), (0, 0)),
        ((2, 3, 24, 40), (1, 20), (0, 0)),
        ((1, 3, 24, 40), (12, 1), (31, 31)),
        ((1, 3, 24, 40), (1, 1), (0, 0)),
    ],
)
def test_all_forms_agree(shape: tuple[int, ...], canvas: Pair, pad: Pair) -> None:
    check_all(feeds(0, shape), canvas, pad)


def test_positions_outside_the_image_are_zeros() -> None:
    inputs = feeds(1, (2, 3, 15, 22), reach=2.5)
    inputs["image"] += 10
    check_all(inputs, (20, 24))
    zoomed = by_torch(inputs, (20, 24))
    assert not zoomed[:, :, [0, -1]].any()
    assert not zoomed[:, :, :, [0, -1]].any()
    assert zoomed.any()


def test_knots_almost_touching() -> None:
    inputs = feeds(2, (1, 3, 24, 40), (6, 6))
    inputs["knots_x"] = np.array([[-1, -1 + 6e-8, 0.3, 0.3, 0.3 + 6e-8, 1]], np.float32)
    check_all(inputs, (30, 50))


def test_the_end_knots_show_the_first_and_last_pixels() -> None:
    inputs = feeds(3, (1, 1, 1200, 1920), (31, 51))
    zoomed = by_onnx(inputs, (600, 960), lowered=False)
    np.testing.assert_array_equal(zoomed[..., 0, 0], inputs["image"][..., 0, 0])
    np.testing.assert_array_equal(zoomed[..., -1, -1], inputs["image"][..., -1, -1])


@pytest.mark.parametrize("width", [1920, 4096, 8192])
def test_the_body_keeps_fractions_at_wide_images(width: int) -> None:
    """A single float32 coordinate would be off by 1e-4 pixel and more at these widths."""
    inputs = feeds(4, (1, 1, 2, width), (31, 51))
    inputs["image"] = np.broadcast_to(np.arange(width) % 2, (1, 1, 2, width)).astype(np.float32)
    exact = by_definition(inputs, (2, 700))
    for lowered in (False, True):
        assert np.abs(by_onnx(inputs, (2, 700), lowered=lowered) - exact).max() < 2e-6


@on_random_examples(
    25,
    batch=st.integers(1, 3),
    size=sizes(1, 40),
    canvas=sizes(1, 40),
    pad=sizes(0, 9),
    lattice=sizes(2, 30),
    reach=st.floats(0.1, 1.5),
)
def test_agreement_on_random_warps(
    seed: int, batch: int, size: Pair, canvas: Pair, pad: Pair, lattice: Pair, reach: float
) -> None:
    check_all(feeds(seed, (batch, 2, *size), lattice, reach=reach), canvas, pad)


def test_half_images_are_sampled_in_their_own_type() -> None:
    inputs = feeds(5, (1, 3, 24, 40))
    exact = by_definition(inputs, (12, 20), (4, 0))
    inputs["image"] = inputs["image"].astype(np.float16)
    for got in (
        by_torch(inputs, (12, 20), (4, 0)),
        by_onnx(inputs, (12, 20), (4, 0), lowered=False),
        by_onnx(inputs, (12, 20), (4, 0), lowered=True),
    ):
        assert got.dtype == np.float16
        assert relative(got.astype(np.float64), exact) < 3e-3


def test_gradients_are_those_of_the_definition() -> None:
    inputs = feeds(6, (2, 1, 8, 9), (4, 5), reach=0.93)  # a pixel's centre is a kink
    image, *knots = (torch.from_numpy(each).double().requires_grad_() for each in inputs.values())
    assert torch.autograd.gradcheck(
        lambda *tensors: separable_zoom(*tensors, (5, 6), (1, 2)), (image, *knots), eps=1e-7
    )


def test_the_body_fits_its_schema_and_checks_shapes() -> None:
    inputs = feeds(7, (1, 3, 24, 40))
    model = model_of(inputs, (12, 20), (4, 0))
    check_model(model, OPERATOR.schema())
    with pytest.raises(LzuError, match=r"SeparableZoom got knots_x of shape \(11,\)"):
        model_of({**inputs, "knots_x": inputs["knots_x"][0]}, (12, 20))


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        inputs: Any = [torch.empty(each.shape) for each in feeds(8, (2, 3, 9, 14)).values()]
        assert tuple(separable_zoom(*inputs, (5, 6), (1, 2)).shape) == (2, 3, 6, 8)
