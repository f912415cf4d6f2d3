"""Warps from recipes, bundles and files are those that exports and engines have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.preview.openers import (
    from_bundle,
    from_file,
    from_frame_boxes,
    from_recipe,
    measured_boxes,
    opened_recipe,
)
from lzu_export.recipes import Recipe
from lzu_export.tasks.adaptive_warps import PreviousBoxes
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.saliency import uniform_saliency
from lzu_export.warp.tables import table_matrix
from lzu_export.warp.warp import saliency_knots
from preview_samples import coco
from samples import TINY_NETWORK, sentence, tiny_recipe

BOXES = [[20.0, 30, 60, 50], [100, 40, 108, 52], [-3, 4, 6, 9]]


@pytest.mark.parametrize(
    "changes",
    [{}, {"variant": "uniform"}, {"warp": {"separable": False}}, {"crop": [64, 96]}],
    ids=str,
)
def test_the_knots_and_the_zoom_are_those_of_the_recipe_s_export(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path, **changes)
    subject, warp = from_recipe(recipe), make_warp(recipe)
    assert subject.knots.keys() == warp.knots.keys()
    for name, knots in warp.knots.items():
        np.testing.assert_array_equal(subject.knots[name], knots)
    assert subject.boxes is None
    assert subject.zoomed(noise_frame(recipe.source, 0)).shape == (*recipe.canvas, 3)


def test_the_zoomed_image_is_the_one_that_the_tables_sample(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, sampler="antialiased", reduce=2, scale=0.25)
    frame, zoom = noise_frame(recipe.source, 0), make_warp(recipe).zoom
    rows, columns = (table_matrix(zoom[i], recipe.picture[i]) for i in (0, 1))
    expected = np.einsum("ih,hwc,jw->ijc", rows, frame[::2, ::2].astype(float), columns)
    assert np.abs(from_recipe(recipe).zoomed(frame) - expected).max() <= 0.501


def test_settings_are_tried_on_data_that_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The knots of other settings are those of a recipe that has them."""
    path = coco(tmp_path, BOXES[:2])
    warp = {"saliency": str(path), "bandwidth": 20}
    subject = from_recipe(tiny_recipe(tmp_path, warp=warp))
    other = make_warp(tiny_recipe(tmp_path, warp={**warp, "bandwidth": 5, "fwhm": 3})).knots
    assert subject.tunable == {"warp.fwhm": 4, "warp.bandwidth": 20}
    assert subject.boxes is not None
    np.testing.assert_allclose(subject.boxes, BOXES[:2])
    path.unlink()
    assert subject.retuned is not None
    found = subject.retuned({"warp.bandwidth": 5, "warp.fwhm": 3})
    for name, knots in other.items():
        np.testing.assert_allclose(found[name], knots, rtol=1e-12)


def test_knots_of_a_recipe_s_file_are_shown_without_settings_to_tune(tmp_path: Path) -> None:
    knots = {"knots_x": np.array([-1, 0.3, 1]), "knots_y": np.array([-1, -0.5, 0, 1])}
    np.savez(tmp_path / "mine.npz", **knots)
    warp = {"saliency": None, "knots": str(tmp_path / "mine.npz")}
    subject = from_recipe(tiny_recipe(tmp_path, warp=warp))
    for name, values in knots.items():
        np.testing.assert_array_equal(subject.knots[name], values)
    assert (subject.tunable, subject.retuned) == ({}, None)


def test_a_bundle_s_warp_is_the_one_it_was_exported_with(tiny_bundle: Path) -> None:
    recipe = opened_recipe(str(tiny_bundle), {})
    assert isinstance(recipe, Recipe)
    subject = from_bundle(tiny_bundle)
    assert subject.sizes.canvas == recipe.canvas
    with np.load(tiny_bundle / "warp.npz") as stored:
        np.testing.assert_array_equal(subject.knots["knots_y"], stored["knots_y"])
    again = from_file(tiny_bundle / "warp.npz", (96, 160), {"scale": 0.25})
    np.testing.assert_array_equal(again.knots["knots_y"], subject.knots["knots_y"])
    assert again.sizes.canvas == (24, 40)
    with pytest.raises(LzuError, match=r"a bundle, whose warp is made already: scale, warp\.fwhm"):
        opened_recipe(str(tiny_bundle), {"warp.fwhm": 4, "scale": 1})


@pytest.mark.parametrize("separable", [True, False])
def test_a_saliency_file_is_warped_by_the_settings_given(separable: bool, tmp_path: Path) -> None:
    saliency = np.random.default_rng(0).uniform(0.5, 2, (5, 7))
    np.save(tmp_path / "map.npy", saliency)
    given = {"warp.fwhm": 3, "warp.separable": separable, "scale": 0.1}
    subject = from_file(tmp_path / "map.npy", (96, 160), given)
    expected = saliency_knots(saliency, 3, separable=separable)
    assert subject.knots.keys() == expected.keys()
    for name, knots in expected.items():
        np.testing.assert_array_equal(subject.knots[name], knots)
    assert subject.sizes.canvas == (9, 16)
    assert subject.tunable == {"warp.fwhm": 3}


@pytest.mark.parametrize("changes", [{}, {"mix": 0.4}, {"min_side": 30}], ids=str)
@pytest.mark.parametrize("crop", [None, [64, 96]], ids=str)
def test_boxes_of_the_frame_make_the_adaptive_warp_of_the_engine(
    changes: dict[str, float], crop: list[int] | None, tmp_path: Path
) -> None:
    """Within float32 of the module that is exported."""
    recipe = tiny_recipe(tmp_path, variant="adaptive", warp=changes, crop=crop)
    subject = from_frame_boxes(recipe, coco(tmp_path, BOXES[:2]), "a.png")
    saliency = make_warp(recipe).saliency if recipe.warp.mix < 1 else uniform_saliency((7, 11))
    module = PreviousBoxes().build(recipe, saliency)
    with torch.no_grad():
        x, y = module(torch.tensor([BOXES[:2]]), torch.ones(1, 2))
    np.testing.assert_allclose(subject.knots["knots_x"], x[0], atol=2e-6)
    np.testing.assert_allclose(subject.knots["knots_y"], y[0], atol=2e-6)


def test_a_frame_without_boxes_makes_the_identity(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="adaptive")
    subject = from_frame_boxes(recipe, coco(tmp_path, BOXES[:2]), "b.png")
    np.testing.assert_allclose(subject.knots["knots_x"], np.linspace(-1, 1, 11), atol=1e-12)


def test_boxes_are_measured_where_they_reach_into_the_view(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, crop=[64, 96])  # from row 16 and column 32 on
    subject = from_recipe(recipe)
    path = coco(tmp_path, [[20, 30, 60, 50], [0, 30, 20, 50]])
    np.testing.assert_array_equal(measured_boxes(path, subject, recipe), [[-12, 14, 28, 34]])
    np.testing.assert_array_equal(
        subject.sizes.to_span(np.array([[-12.0, 14, 28, 34]])), [[-0.5, 13.5, 27.5, 33.5]]
    )
    with pytest.raises(LzuError, match=r"boxes\.json holds no boxes in the view; give annotations"):
        measured_boxes(coco(tmp_path, [[0, 30, 20, 50]]), subject, recipe)


def knots_file(folder: Path, **arrays: Any) -> Path:
    """An archive of arrays."""
    np.savez(folder / "mine.npz", **{name: np.array(each) for name, each in arrays.items()})
    return folder / "mine.npz"


GOOD = [-1.0, 0.2, 1.0]
FLAT = np.ones((3, 4))


@pytest.mark.parametrize(
    ("make", "overrides", "words"),
    [
        (lambda f: knots_file(f, knots_x=GOOD), {}, "are named knots_x; give knots_x and knots_y"),
        (
            lambda f: knots_file(f, knots_x=[-1, np.nan, 1], knots_y=GOOD),
            {},
            "knots_x hold NaN or infinite values",
        ),
        (
            lambda f: knots_file(f, knots_x=[-1.0, 0.5, 0, 1], knots_y=GOOD),
            {},
            "knots_x decrease somewhere",
        ),
        (
            lambda f: knots_file(f, knots_x=[0, 320], knots_y=GOOD),
            {},
            "knots_x reach from 0 to 320; give positions",
        ),
        (lambda f: knots_file(f, knots=[[1, 2]]), {}, r"knots have shape \(1, 2\)"),
        (lambda f: knots_file(f, knots_x=["a"], knots_y=GOOD), {}, "knots_x of type <U1"),
        (
            lambda f: knots_file(f, knots_x=GOOD, knots_y=GOOD),
            {"warp.fwhm": 4},
            "takes no warp.fwhm but scale",
        ),
        (lambda f: knots_file(f, knots_x=GOOD, knots_y=GOOD), {"scale": 0}, "scale is 0; give a"),
        (lambda f: f / "none.npz", {}, "none.npz"),
        (lambda f: saliency_of(f, FLAT), {}, "is the same everywhere, so that nothing is zoomed"),
        (lambda f: saliency_of(f, FLAT), {"warp.mix": 1}, "takes no warp.mix but scale, warp.fwhm"),
        (lambda f: saliency_of(f, FLAT), {"warp.fwhm": "wide"}, "fwhm is 'wide' but must be a num"),
        (lambda f: saliency_of(f, FLAT), {"warp.fwhm": True}, "fwhm is True but must be a number"),
        (lambda f: saliency_of(f, FLAT), {"warp.separable": 1}, "is 1 but must be true or false"),
        (lambda f: saliency_of(f, -FLAT), {}, "values that are not above zero"),
    ],
)
def test_files_that_hold_no_warp_are_refused(
    make: Callable[[Path], Path], overrides: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(LzuError, match=words):
        from_file(make(tmp_path), (96, 160), overrides)


def saliency_of(folder: Path, saliency: np.ndarray) -> Path:
    """A file of a saliency."""
    np.save(folder / "map.npy", saliency)
    return folder / "map.npy"


def test_a_file_needs_a_frame_since_it_records_no_size(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match="does not record the size of its frames; give one by --fr"):
        from_file(saliency_of(tmp_path, FLAT), None, {})


def test_warps_that_only_a_frame_can_make_are_refused_without_one(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="adaptive")
    boxes = coco(tmp_path, BOXES[:2])
    network = tiny_recipe(tmp_path, variant="adaptive", warp={"network": TINY_NETWORK})
    told = [
        sentence(lambda: from_frame_boxes(recipe, None, "a.png")),
        sentence(lambda: from_frame_boxes(recipe, boxes, None)),
        sentence(lambda: from_frame_boxes(recipe, boxes, "c.png")),
        sentence(lambda: from_frame_boxes(recipe, tmp_path, "a.png")),
        sentence(lambda: from_frame_boxes(network, boxes, "a.png")),
    ]
    words = [
        "makes its warp from the boxes of a frame; give the frame",
        "makes its warp from the boxes of a frame; give the frame",
        "lists no image c.png; give annotations of the frames",
        "does not list boxes by image; give COCO annotations",
        "makes its warp by a saliency network; export it, and",
    ]
    for each, said in zip(told, words, strict=True):
        assert each is not None
        assert said in each
