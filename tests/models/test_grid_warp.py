"""What an adaptive non-separable warp computes in float32, held to the float64 mathematics."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.models.adaptive_warp import BoxPull
from lzu_export.models.grid_warp import (
    BoxGridWarp,
    BoxSaliency,
    GridUnzoom,
    GridZoom,
    SaliencyKnots,
)
from lzu_export.models.trace import trace
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.geometry import level_sizes
from lzu_export.warp.grids import grid_taps, unzoom_grid, zoom_grid
from lzu_export.warp.knots import nonseparable_knots
from lzu_export.warp.saliency import mix, uniform_saliency
from samples import run_onnx

SOURCE, CANVAS, LATTICE, FWHM = (96, 160), (48, 80), (7, 11), 4.0


def random_boxes(seed: int, count: int = 12) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(-10, [SOURCE[1], SOURCE[0]], (count, 2))
    return np.concatenate([corner, corner + generator.uniform(0, 40, (count, 2))], axis=1)


def saliency_of(boxes: np.ndarray, valid: np.ndarray, **settings: Any) -> np.ndarray:
    fixed = settings.pop("fixed", uniform_saliency(LATTICE))
    module = BoxSaliency(fixed, SOURCE, BoxPull(bandwidth=20.0, **settings))
    given = (torch.from_numpy(np.asarray(each, np.float32))[None] for each in (boxes, valid))
    return np.asarray(module(*given)[0].detach())


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_the_saliency_is_that_of_the_boxes(share: float) -> None:
    boxes, valid = random_boxes(0), np.arange(12) % 3 > 0
    fixed = np.random.default_rng(1).uniform(0.1, 1, LATTICE)
    expected = mix(
        fixed / fixed.sum(), box_saliency(boxes[valid], SOURCE, LATTICE, bandwidth=20), share
    )
    got = saliency_of(boxes, valid, fixed=fixed, mix=share)
    np.testing.assert_allclose(got, expected, rtol=2e-5)
    moved = saliency_of(
        boxes + np.array([5, 3, 5, 3]), valid, fixed=fixed, mix=share, corner=(3, 5)
    )
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_boxes_that_are_none_do_not_count() -> None:
    """NaN and infinite boxes are ignored, as in the separable operator; distant ones do no harm."""
    boxes, valid = random_boxes(2), np.ones(12)
    boxes[3, 1], boxes[5, 2], boxes[6, 0] = np.nan, np.inf, -np.inf
    valid[7] = 0
    kept = np.delete(boxes, [3, 5, 6, 7], axis=0)
    expected = box_saliency(kept, SOURCE, LATTICE, bandwidth=20)
    np.testing.assert_allclose(saliency_of(boxes, valid), expected, rtol=2e-5)
    far = saliency_of(np.array([[3e38, 0, 3e38, 1], [-1e20, -1e20, 1e20, 1e20]]), np.ones(2))
    assert np.isfinite(far).all()
    assert far.min() > 0


@pytest.mark.parametrize("valid", [0.0, 1.0])
def test_without_a_valid_box_the_warp_is_the_identity(valid: float) -> None:
    warp = BoxGridWarp(
        BoxSaliency(uniform_saliency(LATTICE), SOURCE, BoxPull()), SaliencyKnots(LATTICE, FWHM)
    )
    boxes = torch.full((1, 5, 4), torch.nan if valid else 30.0)
    (knots,) = warp(boxes, torch.full((1, 5), valid))
    x, y = np.linspace(-1, 1, LATTICE[1]), np.linspace(-1, 1, LATTICE[0])
    expected = np.stack(np.meshgrid(x, y), axis=-1)
    np.testing.assert_allclose(knots[0].detach(), expected, atol=2e-7)
    levels = level_sizes((64, 96), (8, 16))
    maps = [torch.randn(1, 2, *level.size) for level in levels]
    for mine, theirs in zip(GridUnzoom(levels, (64, 96))(maps, knots), maps, strict=True):
        np.testing.assert_allclose(mine.detach(), theirs, atol=1e-4)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    lattice=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    fwhm=st.floats(1.5, 12),
)
def test_the_knots_are_those_of_the_saliency(
    seed: int, lattice: tuple[int, int], fwhm: float
) -> None:
    saliency = np.random.default_rng(seed).uniform(0.02, 1, (2, *lattice)) ** 2
    (knots,) = SaliencyKnots(lattice, fwhm)(torch.from_numpy(saliency.astype(np.float32)))
    for mine, each in zip(knots, saliency, strict=True):
        np.testing.assert_allclose(mine, nonseparable_knots(each, fwhm), atol=2e-6)
    ends = knots[:, [0, -1], :, 1], knots[:, :, [0, -1], 0]
    assert all(((each == 1) | (each == -1)).all() for each in ends)


def random_knots(seed: int, lattice: tuple[int, int] = LATTICE) -> np.ndarray:
    saliencies = np.random.default_rng(seed).uniform(0.05, 1, (2, *lattice)) ** 2
    return np.stack([nonseparable_knots(each, FWHM) for each in saliencies])


def sampled(image: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    flat = image.reshape(image.shape[0], -1)
    return np.asarray((flat[:, index] * weights).sum(axis=1))


@torch.no_grad()  # in training positions are single numbers
@pytest.mark.parametrize("source", [SOURCE, (40, 1920)])
def test_the_zoom_is_the_forward_warp(source: tuple[int, int]) -> None:
    knots = random_knots(3)
    image = np.random.default_rng(4).uniform(-1, 1, (2, 3, *source)).astype(np.float32)
    zoom = GridZoom(LATTICE, source, CANVAS)
    got = zoom(torch.from_numpy(image), torch.from_numpy(knots.astype(np.float32)))
    for mine, each, plane in zip(got, image, knots, strict=True):
        exact = zoom_grid(plane.astype(np.float32), source, CANVAS)
        np.testing.assert_allclose(mine, sampled(each, *grid_taps(exact, source)), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("upscale", [1, 2])
def test_the_unzoom_is_the_exact_inverse_at_every_level(upscale: int) -> None:
    """It is within 1e-4 cell of the float64 inverse at each level's own coordinates."""
    knots = random_knots(5).astype(np.float32)
    levels = level_sizes(CANVAS, (4, 8, 16, 32))
    # Maps that say where they are sampled, 1 higher so that zeros tell what is outside.
    maps = [
        torch.from_numpy(np.stack(np.mgrid[: level.size[0], : level.size[1]]) + 1.0)
        .float()
        .expand(2, -1, -1, -1)
        for level in levels
    ]
    got = GridUnzoom(levels, CANVAS, upscale=upscale)(maps, torch.from_numpy(knots))
    for level, mine, source in zip(levels, got, maps, strict=True):
        assert mine.shape[2:] == tuple(n * upscale for n in level.size)
        for each, plane in zip(mine, knots, strict=True):
            table = unzoom_grid(plane, level, CANVAS, scale=upscale)
            expected = sampled(np.asarray(source[0]), *grid_taps(table, level.size))
            np.testing.assert_allclose(each, expected, atol=2e-4)


def test_coordinates_go_there_and_back() -> None:
    """A map of source coordinates, zoomed and unzoomed, returns each cell's own place."""
    knots = random_knots(6)[:1]
    y, x = np.mgrid[: CANVAS[0], : CANVAS[1]]
    image = torch.from_numpy(np.stack([x, y])[None].astype(np.float32))
    given = torch.from_numpy(knots.astype(np.float32))
    zoomed = GridZoom(LATTICE, CANVAS, CANVAS)(image, given)
    levels = level_sizes(CANVAS, (1,), pad_to=1)
    (back,) = GridUnzoom(levels, CANVAS)([zoomed], given)
    # The zoomed map is sampled between pixels, where it bends at the knots.
    np.testing.assert_allclose(back, image, atol=0.2)
    assert np.abs(np.asarray(back - image)).mean() < 0.02


def test_the_whole_warp_traces_to_onnx_with_the_same_numbers() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.warp = BoxGridWarp(
                BoxSaliency(uniform_saliency(LATTICE), SOURCE, BoxPull(bandwidth=20.0)),
                SaliencyKnots(LATTICE, FWHM),
            )
            self.zoom = GridZoom(LATTICE, SOURCE, CANVAS)
            self.unzoom = GridUnzoom(level_sizes(CANVAS, (8, 16)), CANVAS)

        def forward(self, image: Any, fine: Any, coarse: Any, boxes: Any, valid: Any) -> Any:
            (knots,) = self.warp(boxes, valid)
            return (knots, self.zoom(image, knots), *self.unzoom([fine, coarse], knots))

    generator = np.random.default_rng(7)
    shapes = {"image": (2, 3, *SOURCE), "fine": (2, 4, 8, 12), "coarse": (2, 4, 4, 6)}
    feeds = {name: generator.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    feeds["boxes"] = np.stack([random_boxes(8), random_boxes(9)]).astype(np.float32)
    feeds["valid"] = np.array([[1.0] * 12, [0.0] * 12], np.float32)
    model, names = Model(), ["knots", "zoomed", "unzoomed_0", "unzoomed_1"]
    tensors = [torch.from_numpy(each) for each in feeds.values()]
    traced = trace(model, tensors, list(feeds), names)
    got = run_onnx(traced, **feeds)
    with torch.no_grad():
        results = model(*tensors)
    for name, expected in zip(names, results, strict=True):
        np.testing.assert_allclose(got[name], expected, atol=1e-4)
