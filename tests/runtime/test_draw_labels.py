"""Label maps over frames: colours, what is left alone, the legend."""

from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.draw_labels import CITYSCAPES, borders, draw_labels, label_colours
from lzu_export.runtime.palette import PALETTE, distinct_colours
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.limits import IGNORED

CLASSES = ("road", "sky", "car")


def frame(size: tuple[int, int] = (60, 320)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def bands(size: tuple[int, int] = (60, 320)) -> np.ndarray:
    """Road at the left, car in the middle, nothing at the right."""
    labels = np.full(size, IGNORED, np.uint8)
    labels[:, : size[1] // 3] = 0
    labels[:, size[1] // 3 : 2 * size[1] // 3] = 2
    return labels


@pytest.mark.parametrize("opacity", [0.0, 0.4, 1.0])
def test_classes_have_their_colour_and_void_has_none(opacity: float) -> None:
    image, labels = frame(), bands()
    before = image.copy()
    picture = draw_labels(image, labels, CLASSES, opacity=opacity, named=False)
    np.testing.assert_array_equal(image, before)
    assert picture.shape == image.shape
    np.testing.assert_array_equal(picture[labels == IGNORED], image[labels == IGNORED])
    for label in (0, 2):
        here = labels == label
        expected = image[here] * (1 - opacity) + np.array(CITYSCAPES[CLASSES[label]]) * opacity
        np.testing.assert_allclose(picture[here], expected, atol=0.51)


def test_the_legend_tells_the_classes_that_occur() -> None:
    """Colour patches below the frame name them; the picture's size does not depend on them."""
    picture = draw_labels(frame(), bands(), CLASSES)
    strip = picture[60:]
    for name, there in (("road", True), ("sky", False), ("car", True)):
        patch = (strip == CITYSCAPES[name]).all(axis=2)
        assert patch.any() == there
        assert not there or cv2.erode(patch.astype(np.uint8), np.ones((7, 7))).any()
    empty = draw_labels(frame(), np.full((60, 320), IGNORED), CLASSES)
    assert empty.shape == picture.shape
    assert (empty[60:] == 255).all()
    np.testing.assert_array_equal(empty[:60], frame())


@pytest.mark.parametrize("size", [(180, 320), (1024, 2048)])
def test_all_names_of_cityscapes_fit(size: tuple[int, int]) -> None:
    """No name is cut off at the right or below, and letters grow with the picture."""
    labels = np.zeros(size, np.int64)
    labels[0, :19] = np.arange(19)
    strip = draw_labels(np.zeros((*size, 3), np.uint8), labels, list(CITYSCAPES))[size[0] :]
    assert (strip[:, -2:] == 255).all()
    assert (strip[-1:] == 255).all()
    for colour in CITYSCAPES.values():
        rows, cols = np.nonzero((strip == colour).all(axis=2))
        assert np.ptp(rows) >= size[0] // 60
        assert np.ptp(cols) >= size[0] // 60


def test_outlines_run_between_classes() -> None:
    image, labels = frame(), bands()
    picture = draw_labels(image, labels, CLASSES, outlined=True, named=False)
    assert (picture[:, [105, 212]] == 255).all()
    assert borders(labels).sum() == 2 * 60
    assert not borders(np.zeros((4, 5), int)).any()


def test_colours_are_cityscapes_for_its_names() -> None:
    assert label_colours(["road", "Traffic_Light"]) == (
        CITYSCAPES["road"],
        CITYSCAPES["traffic light"],
    )
    # The others keep clear of these.
    mixed = label_colours(["road", "kerb", "pedestrian", "tram"])
    assert mixed[0] == CITYSCAPES["road"]
    assert mixed[2] == CITYSCAPES["person"]
    assert len(set(mixed)) == 4
    assert label_colours(["a", "b"]) == PALETTE[:2]


@pytest.mark.parametrize("count", [1, 8, 10, 24])
def test_distinct_colours_are_distinct(count: int) -> None:
    """The two nearest of 24 colours differ by 26 in CIELAB, where 2 is barely visible."""
    colours = distinct_colours(count)
    assert len(colours) == count
    assert colours[:8] == PALETTE[:count]
    lab = cv2.cvtColor(np.float32([colours]) / 255, cv2.COLOR_BGR2LAB)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert apart[~np.eye(count, dtype=bool)].min(initial=99) > 26


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((60, 319), int)}, "at one size"),
        ({"labels": np.full((60, 320), 3)}, "holds 3, which is none of the 3 classes"),
        ({"labels": np.full((60, 320), -1)}, "holds -1"),
        ({"labels": np.zeros((60, 320))}, "array of integers"),
        ({"opacity": 1.5}, "opacity is 1.5"),
        ({"frame": np.zeros((60, 320), np.uint8)}, "not height x width x 3"),
    ],
)
def test_unfit_maps_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"frame": frame(), "labels": bands(), "classes": CLASSES, **change}
    with pytest.raises(LzuError, match=message):
        draw_labels(**given)


def test_a_segmentation_draws_itself() -> None:
    found = Segmentation(bands(), CLASSES)
    np.testing.assert_array_equal(found.draw(frame()), draw_labels(frame(), bands(), CLASSES))
    with pytest.raises(LzuError, match="at one size"):
        found.draw(frame()[:-1])
