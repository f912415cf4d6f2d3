"""Frames of another size: stretched or with bars, and the way back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.fitting import check_fit, fit_of, fitted, fitting
from lzu_export.tasks.pytorch import noise_frame
from samples import tiny_recipe

BGR_OF_THE_MEAN = [104, 116, 124]
"""Colour of the bars: the recipe's mean of 123.675, 116.28, 103.53 in RGB, rounded."""


@pytest.mark.parametrize(
    ("frame", "size", "offset"),
    [
        ((96, 160), (96, 160), (0, 0)),
        ((48, 80), (96, 160), (0, 0)),
        ((192, 160), (96, 80), (0, 40)),
        ((100, 400), (40, 160), (28, 0)),
        ((1, 4000), (1, 160), (47, 0)),
        ((4000, 1), (96, 1), (0, 79)),
    ],
)
def test_the_aspect_is_kept_between_bars(
    frame: tuple[int, int], size: tuple[int, int], offset: tuple[int, int]
) -> None:
    """The scaled frame lies in the middle of the source, between equal bars."""
    place = fitting(frame, (96, 160), "pad")
    assert (place.size, place.offset) == (size, offset)
    assert fitting(frame, (96, 160), "stretch") == (frame, (96, 160), (0, 0))


def test_bars_have_the_mean_s_colour(tmp_path: Path) -> None:
    """After normalisation the bars are nearly zero."""
    recipe = tiny_recipe(tmp_path)
    frame = noise_frame((192, 160), 3)
    canvas = fitted(frame, recipe, "pad")
    np.testing.assert_array_equal(canvas[:, 40:120], cv2.resize(frame, (80, 96)))
    assert np.unique(canvas[:, :40].reshape(-1, 3), axis=0).tolist() == [BGR_OF_THE_MEAN]
    assert np.unique(canvas[:, 120:].reshape(-1, 3), axis=0).tolist() == [BGR_OF_THE_MEAN]
    np.testing.assert_array_equal(fitted(frame, recipe, "stretch"), cv2.resize(frame, (160, 96)))


def test_a_frame_that_fits_is_not_copied(tmp_path: Path) -> None:
    frame = noise_frame((96, 160), 0)
    for fit in ("exact", "stretch", "pad"):
        assert fitted(frame, tiny_recipe(tmp_path), fit) is frame


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_boxes_come_back(fit: str) -> None:
    """Boxes around marks return to the marks' places in the original frame."""
    boxes = np.array([[30.0, 60, 90, 120], [0, 0, 160, 192]])
    place = fitting((192, 160), (96, 160), fit)
    (scale_y, scale_x), (top, left) = place.scale, place.offset
    inside = boxes * np.array([scale_x, scale_y] * 2) + [left, top] * 2
    np.testing.assert_allclose(place.boxes_back(inside), boxes, atol=1e-9)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_cameras_see_the_same_ray(fit: str) -> None:
    """The scaled camera maps a pixel's ray to where OpenCV's resize moves that pixel."""
    camera = np.array([[300.0, 0, 81.5], [0, 310, 90.25], [0, 0, 1]])
    frame = np.zeros((192, 160, 3), np.uint8)
    frame[100:104, 60:64] = 255  # centre at pixel 61.5, 101.5
    place = fitting(frame.shape, (96, 160), fit)
    height, width = place.size
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)[..., 0]
    rows, columns = np.nonzero(small)
    seen = np.average(columns, weights=small[rows, columns]) + place.offset[1]
    below = np.average(rows, weights=small[rows, columns]) + place.offset[0]
    ray = np.linalg.inv(camera) @ [61.5, 101.5, 1]
    x, y, depth = place.camera(camera) @ ray
    np.testing.assert_allclose([x / depth, y / depth], [seen, below], atol=1e-6)


def test_unknown_and_contradicting_fits_are_refused() -> None:
    assert [fit_of(None, False), fit_of(None, True), fit_of("pad", False)] == [
        "exact", "stretch", "pad",
    ]  # fmt: skip
    assert fit_of("stretch", True) == "stretch"
    with pytest.raises(LzuError, match="fit is 'letterbox'; choose one of exact, stretch, pad"):
        check_fit("letterbox")
    with pytest.raises(LzuError, match="resize means fit stretch, but fit pad is asked for"):
        fit_of("pad", True)
