"""Results of several views of a frame, merged."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.recipes.load import validate
from lzu_export.recipes.sections import Window
from lzu_export.runtime.postprocessing.views import Views, cut_boxes, split_views
from lzu_export.runtime.predictor import NO_CHOICE
from lzu_export.warp.magnification import density

SOURCE, CANVAS, PADDED = (64, 96), (32, 48), (32, 64)
WINDOW = {"x": 32, "y": 16, "width": 48, "height": 32}
KNOTS = {"knots_x": np.linspace(-1, 1, 5), "knots_y": np.linspace(-1, 1, 4)}


def recipe(postprocess: dict[str, Any], **more: Any) -> GenericRecipe:
    data = {
        "name": "seen",
        "task": "generic",
        "source": SOURCE,
        "size": CANVAS,
        "variant": "uniform",
        "views": [WINDOW],
        "classes": ["a", "b"],
        "postprocess": postprocess,
        **more,
    }
    found = validate(data, "of the test")
    assert isinstance(found, GenericRecipe)
    return found


def rows(boxes: list[list[float]], score: float) -> dict[str, NDArray[np.float32]]:
    """Return YOLO's output of canvas boxes x1, y1, x2, y2 of the class `a`."""
    edges = np.array(boxes, np.float32).reshape(-1, 4)
    centre = (edges[:, :2] + edges[:, 2:]) / 2
    scores = np.tile([1.0, score, 0.0], (len(edges), 1))
    return {"output": np.hstack([centre, edges[:, 2:] - edges[:, :2], scores]).astype(np.float32)}


YOLO = {"kind": "yolo", "score_threshold": 0.1, "iou_threshold": 0.5}


def test_boxes_of_both_views_are_suppressed_together() -> None:
    """An object that both views see is found once, with the window's better score."""
    views = Views(recipe(YOLO), NO_CHOICE, KNOTS)
    step = np.array([95 / 47, 63 / 31] * 2)
    frame = np.array([50.0, 26.0, 60.0, 36.0])
    whole = (frame - 0.5) / step + 0.5
    inside = frame - [32, 16, 32, 16]  # the window has the canvas' own size
    kept = views([rows([whole.tolist()], 0.4), rows([inside.tolist()], 0.8)])
    np.testing.assert_allclose(kept.boxes, [frame], atol=1e-4)
    np.testing.assert_allclose(kept.scores, [0.8])


def test_boxes_that_the_window_cuts_are_dropped() -> None:
    views = Views(recipe(YOLO), NO_CHOICE, KNOTS)
    none = rows([], 0.5)
    whole, cut = [10.0, 10.0, 20.0, 20.0], [0.5, 10.0, 12.0, 20.0]
    kept = views([none, rows([whole, cut], 0.7)])
    np.testing.assert_allclose(kept.boxes, [[42, 26, 52, 36]], atol=1e-4)


def test_only_inner_edges_cut() -> None:
    """A window at the frame's right edge cuts nothing there."""
    window = Window(x=48, y=0, width=48, height=64)
    boxes = np.array([[60, 0, 96, 64], [49, 10, 70, 20], [51, 10, 70, 20]], np.float32)
    np.testing.assert_array_equal(cut_boxes(boxes, window, SOURCE), [False, True, False])


def test_large_boxes_are_cut_farther_from_an_edge() -> None:
    """A tenth of a side, since a detector finds the ends of large objects less exactly."""
    window = Window(x=48, y=0, width=48, height=64)
    boxes = np.array([[51, 10, 76, 20], [51, 10, 86, 20], [49.5, 10, 50.5, 20]], np.float32)
    np.testing.assert_array_equal(cut_boxes(boxes, window, SOURCE), [False, True, True])


def test_label_maps_take_the_finer_view() -> None:
    """The uniform view has half the window's density, so the window's labels are taken there."""
    views = Views(recipe({"kind": "labels"}), NO_CHOICE, KNOTS)
    zeros, ones = np.zeros(PADDED, np.int64), np.ones(PADDED, np.int64)
    labels = views([{"output": zeros}, {"output": ones}])
    wanted = np.zeros(SOURCE, np.uint8)
    wanted[16:48, 32:80] = 1
    np.testing.assert_array_equal(labels, wanted)


def test_label_maps_keep_a_warp_that_is_finer_than_the_window() -> None:
    """Where the warp magnifies by more than the window does, its own labels stay."""
    rows_of = np.array([-1.0, -0.05, 0.05, 1.0])
    fine = {**KNOTS, "knots_y": rows_of}
    views = Views(recipe({"kind": "labels"}), NO_CHOICE, fine)
    zeros, ones = np.zeros(PADDED, np.int64), np.ones(PADDED, np.int64)
    labels = views([{"output": zeros}, {"output": ones}])
    assert labels[32, 40] == 0  # magnified by 2 / 3 / 0.1 there, beside 2 x 2 by the window
    assert labels[20, 40] == 1


def test_raw_outputs_get_an_axis_of_views() -> None:
    views = Views(recipe({"kind": "raw"}), NO_CHOICE, KNOTS)
    found = views([{"y": np.zeros(3)}, {"y": np.ones(3)}])
    np.testing.assert_array_equal(found["y"], [[0, 0, 0], [1, 1, 1]])


def test_a_batch_is_split_view_after_view() -> None:
    outputs = {"y": np.array([[0], [1], [10], [11]])}  # two frames, two views
    assert [each["y"].item() for each in split_views(outputs, 1, 2, 2)] == [1, 11]


@pytest.mark.parametrize("knots_y", [np.linspace(-1, 1, 6), np.array([-1, -0.2, 0.1, 1.0])])
def test_the_density_adds_up_to_the_canvas(knots_y: NDArray[np.float64]) -> None:
    view = (2000, 1600)
    found = density({"knots_x": np.array([-1, 0.5, 1]), "knots_y": knots_y}, view, (100, 80))
    assert found.sum() == pytest.approx(100 * 80, rel=2e-3)


def test_windows_beyond_the_view_and_zooms_on_the_host_are_refused() -> None:
    with pytest.raises(LzuError, match="which is not within the frame's view"):
        recipe(YOLO, views=[{**WINDOW, "x": 60}])
    with pytest.raises(LzuError, match="set input to source"):
        recipe(YOLO, input="zoomed")
    with pytest.raises(LzuError, match="in place of custom"):
        recipe({"kind": "custom", "name": "mine"})
