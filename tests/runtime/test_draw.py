"""Pictures: boxes where they are, labels that do not hide each other, the warp beside."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.load import validate
from lzu_export.runtime import Detections, Detector, load
from lzu_export.runtime.draw import show_warp, zoom
from lzu_export.runtime.draw_boxes import draw_detections
from lzu_export.runtime.palette import PALETTE
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp

CLASSES = ("car", "sign")


def detections(*boxes: tuple[float, ...], labels: tuple[int, ...] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes)).astype(np.float32),
        np.array(labels or [0] * len(boxes), np.int32),
        CLASSES,
    )


def grey(size: tuple[int, int] = (200, 300)) -> np.ndarray:
    return np.full((*size, 3), 128, np.uint8)


def test_no_detection_no_paint() -> None:
    """Without detections the picture is an equal copy of the frame."""
    frame = grey()
    picture = draw_detections(frame, detections())
    np.testing.assert_array_equal(picture, frame)
    assert picture is not frame


def test_a_box_is_drawn_on_a_copy() -> None:
    """The border has the class's colour; the given frame and the box's inside stay unchanged."""
    frame = grey()
    picture = draw_detections(frame, detections((50, 60, 120, 150), labels=(1,)))
    assert (frame == 128).all()
    for x, y in ((85, 150), (120, 100), (50, 100)):
        np.testing.assert_allclose(picture[y, x], PALETTE[1], atol=12)  # smoothed
    np.testing.assert_array_equal(picture[65:145, 55:115], frame[65:145, 55:115])
    label = picture[44:58, 50:100]
    assert (label == PALETTE[1]).all(axis=2).mean() > 0.3  # its ground
    assert (label.sum(axis=2) < 60).any()  # its letters


@pytest.mark.parametrize("box", [(-20, -20, 400, 300), (290, 190, 310, 210), (0, 0, 5, 5)])
def test_boxes_at_the_edge_keep_their_label_inside(box: tuple[float, ...]) -> None:
    """The label is a filled patch inside the picture."""
    picture = draw_detections(grey(), detections(box))
    patch = (picture == PALETTE[0]).all(axis=2)
    filled = cv2.erode(patch.astype(np.uint8), np.ones((3, 3), np.uint8))
    assert filled.sum() > 50


def test_labels_do_not_hide_each_other() -> None:
    """The best label is in its usual place, the second below its box, and a third is left out."""
    box = (100.0, 80.0, 160.0, 120.0)
    alone = draw_detections(grey(), detections(box))
    three = draw_detections(grey(), detections(box, box, box))
    np.testing.assert_array_equal(three[60:79], alone[60:79])
    assert (alone[122:136] == 128).all()
    assert not (three[122:136] == 128).all()
    two = draw_detections(grey(), detections(box, box))
    difference = np.abs(three.astype(int) - two)[122:136]  # only the score's digits
    assert (difference.max(axis=2) > 0).mean() < 0.05


def test_unlikely_detections_may_be_left_out() -> None:
    """Detections below the lowest score to draw are left out."""
    found = detections((50, 60, 120, 150), (200, 60, 250, 150))  # scores 0.9 and 0.5
    first = detections((50, 60, 120, 150))
    some = draw_detections(grey(), found, lowest=0.6)
    np.testing.assert_array_equal(some, draw_detections(grey(), first))
    assert (draw_detections(grey(), found, lowest=0.5) != some).any()


def test_colours_are_distinguishable() -> None:
    """Any two colours differ clearly in at least one channel."""
    for i, a in enumerate(PALETTE):
        for b in PALETTE[i + 1 :]:
            assert np.abs(np.subtract(a, b)).max() >= 40


@pytest.mark.parametrize("size", [(96, 160), (192, 320)])
def test_the_warp_is_shown_beside(tiny_bundle: Path, size: tuple[int, int]) -> None:
    """Right of the picture with its grid come a white gap and the zoomed image, equally high."""
    detector = load(tiny_bundle, resize=True)
    frame = noise_frame(size, 0)
    picture = draw_detections(frame, detector(frame))
    before = picture.copy()
    both = show_warp(detector, frame, picture)
    np.testing.assert_array_equal(picture, before)
    assert both.shape == (size[0], 2 * size[1] + 4, 3)  # canvas and source have one aspect
    assert (both[:, size[1] : size[1] + 4] == 255).all()
    left = both[:, : size[1]].astype(int)
    assert (left != picture).any(axis=2).mean() > 0.2
    assert (both[:, size[1] + 4 :].astype(int) != picture).any(axis=2).mean() > 0.5


def test_grid_lines_crowd_where_the_warp_magnifies(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    """The saliency peaks at the right, half way down, and grid lines are densest there."""
    saliency = np.ones((9, 13))
    saliency[4, 9] = 40
    np.save(tmp_path / "peak.npy", saliency)
    warp = {**tiny_recipe["warp"], "saliency": str(tmp_path / "peak.npy"), "fwhm": 3}
    recipe = validate({**tiny_recipe, "warp": warp}, "tiny")
    session: Any = None
    detector = Detector(recipe, session, make_warp(recipe).arrays())
    black = np.zeros((96, 160, 3), np.uint8)
    left = show_warp(detector, black, black)[:, :160]
    columns = np.flatnonzero((left[:36] > 60).all(axis=(0, 2)))
    rows = np.flatnonzero((left[:, 5:60] > 60).all(axis=(1, 2)) & (np.arange(96) < 72))
    gaps = np.diff(columns)
    assert 100 < columns[gaps.argmin()] < 140
    assert gaps.max() >= 2 * gaps.min()
    assert 35 < rows[np.diff(rows).argmin()] < 60


def test_the_zoomed_image_is_what_the_network_sees(tiny_bundle: Path) -> None:
    """The zoomed image is the canvas before normalisation, rounded to bytes."""
    detector = load(tiny_bundle)
    flat = np.full((96, 160, 3), (10, 120, 250), np.uint8)
    image = zoom(detector, flat)
    assert image.shape == (48, 80, 3)
    assert image.dtype == np.uint8
    assert (image == (10, 120, 250)).all()


def test_the_warp_is_shown_on_the_frame_only(tiny_bundle: Path) -> None:
    """Panels that a picture adds right of and below the frame get no grid lines."""
    detector = load(tiny_bundle)
    frame = noise_frame((96, 160), 0)
    alone = show_warp(detector, frame, frame)
    picture = np.pad(frame, ((0, 20), (0, 30), (0, 0)), constant_values=7)
    both = show_warp(detector, frame, picture)
    assert both.shape == (116, alone.shape[1] + 30, 3)
    np.testing.assert_array_equal(both[:96, : alone.shape[1]], alone)
    assert (both[:96, alone.shape[1] :] == 7).all()
    assert (both[96:, :190] == 7).all()
    assert (both[96:, 190:] == 255).all()


def test_detections_draw_themselves() -> None:
    found = detections((50, 60, 120, 150))
    np.testing.assert_array_equal(found.draw(grey()), draw_detections(grey(), found))
    np.testing.assert_array_equal(found.draw(grey(), lowest=1.01), grey())
    bare = draw_detections(grey(), found, named=False)
    assert (bare != grey()).any()
    assert (bare != found.draw(grey())).any()
    with pytest.raises(LzuError, match="frame"):
        found.draw(grey()[..., 0])
