"""FixedWarp: made of boxes, labels, a saliency or knots, and the way to the canvas and back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.inputs.coco import read_coco
from lzu_export.warp.boundary_saliency import mean_boundary_saliency
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.fixed_warp import FWHM, LATTICE, FixedWarp
from lzu_export.warp.forward import forward_at
from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import GridTable, zoom_grid
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.saliency import mirrored
from lzu_export.warp.tables import TablePair, zoom_tables
from samples import refusal

SOURCE, CANVAS = (120, 200), (60, 100)
BOXES = np.array([[20.0, 30, 44, 50], [100, 40, 130, 70], [105, 44, 120, 60]])
EVEN = np.linspace(-1, 1, 5)
PLANE = np.stack(np.meshgrid(EVEN, EVEN), axis=-1)


def magnification(warp: FixedWarp, x: float, y: float) -> float:
    """Return canvas pixels per evenly sampled one at a place of the frame, in [-1, 1]."""
    u = np.linspace(-1, 1, 2001)
    axes = []
    for name, at in (("knots_x", x), ("knots_y", y)):
        places = forward_at(warp.knots[name], u)
        i = int(np.abs(places - at).argmin())
        axes.append((u[i + 1] - u[i - 1]) / (places[i + 1] - places[i - 1]))
    return float(np.prod(axes))


def test_a_warp_of_boxes_is_that_of_their_density() -> None:
    warp = FixedWarp.from_boxes(BOXES, SOURCE, scale=0.5)
    saliency = box_saliency(BOXES, SOURCE, LATTICE, amplitude=1, bandwidth=64)
    knots_x, knots_y = separable_knots(saliency, FWHM)
    np.testing.assert_array_equal(warp.knots["knots_x"], knots_x)
    np.testing.assert_array_equal(warp.knots["knots_y"], knots_y)
    assert (warp.source, warp.canvas) == (SOURCE, CANVAS)
    assert warp.origin == "boxes (bandwidth 64, fwhm 10)"
    assert warp.is_separable
    assert not warp.is_identity
    # Boxes lie around (112, 54); nothing lies in the lower left corner.
    assert magnification(warp, 0.12, -0.1) > 1.2 * magnification(warp, -0.8, 0.8)


def test_settings_of_boxes_reach_their_density() -> None:
    warp = FixedWarp.from_boxes(
        BOXES, SOURCE, canvas=(32, 50), lattice=(9, 13), fwhm=3, amplitude=2, bandwidth=20
    )
    saliency = box_saliency(BOXES, SOURCE, (9, 13), amplitude=2, bandwidth=20)
    np.testing.assert_array_equal(warp.knots["knots_x"], separable_knots(saliency, 3)[0])
    assert warp.canvas == (32, 50)
    assert warp.origin == "boxes (bandwidth 20, fwhm 3)"


def annotations(folder: Path, boxes: np.ndarray = BOXES, scale: float = 1.0) -> Path:
    """Write COCO annotations of boxes in frames `scale` times as large, of two classes."""
    images = [{"id": 1, "file_name": "1.png", "height": 120 * scale, "width": 200 * scale}]
    objects = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1 + i % 2,
            "bbox": [*(box[:2] * scale), *((box[2:] - box[:2]) * scale)],
            "area": 1.0,
            "iscrowd": 0,
        }
        for i, box in enumerate(boxes)
    ]
    categories = [{"id": 1, "name": "near"}, {"id": 2, "name": "far"}]
    path = folder / "train.json"
    path.write_text(
        json.dumps({"images": images, "annotations": objects, "categories": categories})
    )
    return path


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_boxes_of_a_coco_file_are_those_of_an_array(tmp_path: Path, scale: float) -> None:
    """Frames of another size are scaled to the source."""
    path = annotations(tmp_path, scale=scale)
    assert len(read_coco(path, None, "x").objects) == 3
    expected = FixedWarp.from_boxes(BOXES, SOURCE, scale=0.5)
    for given_path in (path, str(path)):
        warp = FixedWarp.from_boxes(given_path, SOURCE, scale=0.5)
        for name, values in expected.knots.items():
            np.testing.assert_allclose(warp.knots[name], values, rtol=0, atol=1e-12)
        assert warp.origin == "boxes train.json (bandwidth 64, fwhm 10)"


def test_classes_choose_among_the_boxes_of_a_file(tmp_path: Path) -> None:
    warp = FixedWarp.from_boxes(annotations(tmp_path), SOURCE, scale=0.5, classes=["far"])
    expected = FixedWarp.from_boxes(BOXES[1:2], SOURCE, scale=0.5)
    np.testing.assert_allclose(warp.knots["knots_x"], expected.knots["knots_x"], atol=1e-12)


def test_a_warp_of_labels_is_that_of_their_boundaries() -> None:
    labels = np.zeros(SOURCE, np.uint8)
    labels[30:60, 100:150] = 1
    warp = FixedWarp.from_labels(iter([labels]), SOURCE, scale=0.5, lattice=(13, 21), fwhm=4)
    saliency = mean_boundary_saliency([labels], (13, 21), boundary=1, background=0.1, ignore=255)
    np.testing.assert_array_equal(warp.knots["knots_y"], separable_knots(saliency, 4)[1])
    assert warp.origin == "label maps (background 0.1, fwhm 4)"
    assert magnification(warp, 0.25, -0.25) > 1.1 * magnification(warp, -0.7, 0.7)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_saliency_is_read_from_a_file(tmp_path: Path, as_text: bool) -> None:
    saliency = np.random.default_rng(0).uniform(0.1, 1, (7, 9))
    path = tmp_path / "map.npy"
    np.save(path, saliency)
    warp = FixedWarp.from_saliency(str(path) if as_text else path, SOURCE, scale=0.5, fwhm=3)
    expected = FixedWarp.from_saliency(saliency, SOURCE, scale=0.5, fwhm=3)
    np.testing.assert_array_equal(warp.knots["knots_x"], expected.knots["knots_x"])
    assert (warp.origin, expected.origin) == ("saliency map.npy", "a saliency")
    assert warp.saliency is not None
    np.testing.assert_array_equal(warp.saliency, saliency)


def test_a_symmetric_warp_is_that_of_the_mirrored_map() -> None:
    saliency = np.random.default_rng(0).uniform(0.1, 1, (7, 9))
    warp = FixedWarp.from_saliency(saliency, SOURCE, scale=0.5, fwhm=3, symmetric=True)
    assert not np.allclose(saliency, mirrored(saliency))
    x = warp.knots["knots_x"]
    np.testing.assert_allclose(x, -x[::-1], atol=1e-12)
    np.testing.assert_array_equal(warp.knots["knots_y"], separable_knots(mirrored(saliency), 3)[1])


def test_a_warp_of_the_plane() -> None:
    saliency = np.random.default_rng(0).uniform(0.1, 1, (7, 9))
    warp = FixedWarp.from_saliency(saliency, SOURCE, scale=0.5, fwhm=3, separable=False)
    assert not warp.is_separable
    assert not warp.is_identity
    np.testing.assert_array_equal(warp.knots["knots"], nonseparable_knots(saliency, 3))
    tables = warp.tables([Level(8, (8, 13))])
    assert isinstance(tables.zoom, GridTable)
    expected = zoom_grid(warp.knots["knots"], SOURCE, CANVAS)
    np.testing.assert_array_equal(tables.zoom.whole, expected.whole)
    assert tables.unzoom is not None
    assert tables.unzoom[0][0].whole.shape == (8, 13, 2)


def test_knots_of_one_s_own() -> None:
    x = np.array([-1, -0.8, 0.1, 1])
    warp = FixedWarp.from_knots(x, EVEN.tolist(), source=SOURCE, scale=0.5, origin="gaze")
    tables = warp.tables()
    assert isinstance(tables.zoom, TablePair)
    np.testing.assert_array_equal(tables.zoom.cols, zoom_tables(x, EVEN, SOURCE, CANVAS).cols)
    assert tables.unzoom is None
    assert warp.origin == "gaze"
    assert not warp.is_identity
    assert FixedWarp.from_knots(EVEN, EVEN, source=SOURCE, scale=0.5).is_identity
    plane = FixedWarp.from_knots(knots=PLANE, source=SOURCE, scale=0.5)
    assert (plane.is_separable, plane.is_identity) == (False, True)


def test_the_uniform_warp_shrinks_the_frame_and_no_more() -> None:
    for warp in (
        FixedWarp.uniform(SOURCE, scale=0.5),
        FixedWarp.from_boxes(BOXES, SOURCE, scale=0.5).as_uniform(),
    ):
        assert warp.is_identity
        assert (warp.source, warp.canvas) == (SOURCE, CANVAS)
        rows = warp.tables().zoom
        expected = zoom_tables([-1, 1], [-1, 1], SOURCE, CANVAS)
        assert isinstance(rows, TablePair)
        for mine, theirs in zip(rows, expected, strict=True):
            places = [each[0] + each[1] for each in (mine, theirs)]
            np.testing.assert_allclose(*places, atol=1e-4)


@pytest.mark.parametrize(("scale", "canvas"), [(0.7, (504, 896)), (1, (720, 1280)), (2, None)])
def test_a_scale_is_rounded_down_without_binary_fractions(
    scale: float, canvas: tuple[int, int] | None
) -> None:
    warp = FixedWarp.uniform((720, 1280), scale=scale)
    assert warp.canvas == (canvas or (1440, 2560))
    assert FixedWarp.uniform((75, 101), scale=0.5).canvas == (37, 50)


boxes = st.lists(st.tuples(*[st.floats(-500, 500)] * 4), max_size=5)


@given(boxes=boxes, source=st.tuples(*[st.integers(2, 300)] * 2), scale=st.floats(0.2, 3))
def test_boxes_come_back_from_the_canvas(
    boxes: list[tuple[float, ...]], source: tuple[int, int], scale: float
) -> None:
    canvas = [max(2, int(each * scale)) for each in source]
    warp = FixedWarp.uniform(source, canvas=canvas)
    given_boxes = np.array(boxes, np.float64).reshape(-1, 4)
    back = warp.boxes_to_source(warp.boxes_to_canvas(boxes))
    np.testing.assert_allclose(back, given_boxes, atol=1e-9)


def test_boxes_are_mapped_by_the_centres_of_pixels() -> None:
    """The first and last pixels of frame and canvas lie on each other."""
    warp = FixedWarp.from_boxes(BOXES, SOURCE, scale=0.5)
    ends = [[0.5, 0.5, 199.5, 119.5], [100, 60, 100, 60]]
    expected = [[0.5, 0.5, 99.5, 59.5], [50, 30, 50, 30]]
    np.testing.assert_allclose(warp.boxes_to_canvas(ends), expected)
    assert warp.canvas_step == (119 / 59, 199 / 99)
    one = FixedWarp.uniform(SOURCE, canvas=(1, 100))
    np.testing.assert_allclose(one.boxes_to_canvas(ends)[0], [0.5, 0.5, 99.5, 0.5])


def test_a_window_has_a_canvas_of_its_own() -> None:
    window = FixedWarp.from_window(SOURCE, (40, 20, 100, 60), scale=0.5)
    assert window.canvas == (30, 50)
    np.testing.assert_allclose(
        window.boxes_to_canvas([[40.5, 20.5, 139.5, 79.5]]), [[0.5, 0.5, 49.5, 29.5]]
    )
    boxes = np.random.default_rng(0).uniform(-50, 250, (9, 4))
    back = window.boxes_to_source(window.boxes_to_canvas(boxes))
    np.testing.assert_allclose(back, boxes, atol=1e-9)
    labels = np.arange(120 * 200).reshape(SOURCE)
    found = window.labels_to_canvas(labels)
    assert found[0, 0] == labels[20, 40]
    assert found[29, 49] == labels[79, 139]
    frame = labels.astype(np.float64) % 200
    columns = window.tables().zoom
    assert isinstance(columns, TablePair)
    np.testing.assert_allclose(
        columns.cols[0, [0, -1]] + columns.cols[1, [0, -1]], frame[0, [40, 139]]
    )


def test_labels_are_sampled_at_the_nearest_pixel() -> None:
    labels = np.random.default_rng(0).integers(0, 9, SOURCE)
    found = FixedWarp.uniform(SOURCE, scale=0.5).labels_to_canvas(labels)
    assert found.shape == CANVAS
    assert found.dtype == labels.dtype
    for row, column in [(0, 0), (59, 99), (13, 77), (30, 2)]:
        at = round(row * 119 / 59), round(column * 199 / 99)
        assert found[row, column] == labels[at]
    same = FixedWarp.uniform(SOURCE, scale=1.0).labels_to_canvas(labels)
    np.testing.assert_array_equal(same, labels)


def uniform(source: Any = SOURCE, **options: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.uniform(source, **options)


def of_knots(x: Any = EVEN, y: Any = EVEN, **options: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.from_knots(x, y, source=SOURCE, scale=0.5, **options)


def of_plane(plane: Any) -> Callable[[], Any]:
    return of_knots(None, None, knots=plane)


def of_boxes(boxes: Any, **options: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.from_boxes(boxes, SOURCE, scale=0.5, **options)


def of_labels(maps: Any, **options: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.from_labels(maps, SOURCE, scale=0.5, **options)


def of_saliency(values: Any, **options: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.from_saliency(values, SOURCE, scale=0.5, **options)


def of_window(*window: Any) -> Callable[[], Any]:
    return lambda: FixedWarp.from_window(SOURCE, window, scale=1)


LABELS = np.zeros(SOURCE, int)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (uniform("ab", scale=1), "source is ab; give (height, width) in pixels"),
    (uniform((None, 3), scale=1), "source is (None, 3); give"),
    (uniform((float("nan"), 3), scale=1), "source is (nan, 3); give"),
    (uniform((120, float("inf")), scale=1), "source is (120, inf); give"),
    (uniform((120.5, 3), scale=1), "source is (120.5, 3); give"),
    (uniform((0, 3), scale=1), "source is (0, 3); give"),
    (uniform(120, scale=1), "source is 120; give"),
    (uniform((120, 200, 3), scale=1), "source is (120, 200, 3); give"),
    (uniform(canvas=(3,)), "canvas is (3,); give (height, width)"),
    (uniform(), "the warp needs the size of its canvas; give scale or canvas, one of them"),
    (uniform(scale=1, canvas=CANVAS), "give scale or canvas, one of them"),
    (uniform(scale=0), "scale is 0; give a number above 0 and at most 8"),
    (uniform(scale=9), "scale is 9; give"),
    (uniform(scale=float("nan")), "scale is nan; give"),
    (uniform(scale="half"), "scale is half; give"),
    (uniform(scale=0.001), "the canvas of scale 0.001 is (0, 0)"),
    (of_knots(np.where(EVEN == 0, np.nan, EVEN)), "knots_x hold NaN or infinite values"),
    (of_knots(y=[-1, np.inf]), "knots_y hold NaN or infinite values"),
    (of_knots(y=EVEN[::-1]), "knots_y decrease somewhere"),
    (of_knots(x=[-1, 0.5, 0.2, 1]), "knots_x decrease somewhere"),
    (of_knots(x=EVEN * 100), "knots_x reach from -100 to 100; give positions in [-1, 1]"),
    (of_knots(x=[0.0]), "knots_x have shape (1,); give one axis of at least 2 values"),
    (of_knots(x=["a", "b"]), "knots_x are no array of real numbers"),
    (of_knots(x=[[1, 2], [3]]), "knots_x are no array of real numbers"),
    (of_knots(x=None), "knots are named knots_y; give knots_x and knots_y"),
    (of_knots(None, None), "knots are named nothing; give knots_x and knots_y"),
    (of_knots(knots=PLANE), "knots are named knots_x, knots_y, knots; give"),
    (of_plane(np.where(PLANE == 0.5, np.nan, PLANE)), "knots hold NaN or infinite values"),
    (of_plane(PLANE[:, ::-1]), "knots decrease somewhere: x must not decrease along a row"),
    (of_plane(PLANE[::-1]), "knots decrease somewhere: x must not decrease along a row"),
    (of_plane(PLANE[..., ::-1] + 0.5 * PLANE), "knots reach from -1.5 to 1.5; give"),
    (of_plane(PLANE[..., 0]), "knots have shape (5, 5); give (h, w, 2)"),
    (of_boxes(np.zeros((0, 4))), "there are no boxes to make a warp from"),
    (of_boxes([]), "there are no boxes to make a warp from"),
    (of_boxes([[1, 2, 3]]), "boxes have shape (1, 3); give (n, 4) x1, y1, x2, y2"),
    (of_boxes([[1, 2, 3], [1]]), "boxes are no array of real numbers"),
    (of_boxes([[0, 0, np.nan, 3]]), "boxes hold NaN or infinite values"),
    (
        of_boxes([[300, 2, 320, 9], [10, 130, 20, 140]]),
        "no box reaches into the source of 120x200; give boxes in its pixels, and the source as "
        "(height, width)",
    ),
    (
        of_knots({"knots_x": EVEN, "knots_y": EVEN}),
        "knots_x are knots by name; give them as knots=",
    ),
    (of_boxes([[50, 60, 10, 12]]), "boxes have x2 below x1 or y2 below y1"),
    (of_boxes(BOXES, bandwidth=0), "bandwidth is 0; give"),
    (of_boxes(BOXES, fwhm=-1), "fwhm is -1; give"),
    (of_boxes(BOXES, lattice=(1, 5)), "lattice is (1, 5); give it at least 2 rows"),
    (of_boxes("nowhere.json"), "nowhere.json cannot be read"),
    (of_labels([]), "there are no label maps"),
    (of_labels([LABELS * 1.5]), "labels are float64 of shape (120, 200); give whole numbers"),
    (of_labels(LABELS), "labels are int64 of shape (200,); give whole numbers (H, W)"),
    (of_labels([LABELS], background=0), "background is 0; give an intensity above 0"),
    (of_saliency(np.zeros((7, 9))), "saliency holds 63 values that are not above zero"),
    (of_saliency(np.full((7, 9), np.nan)), "saliency holds 63 NaN or infinite values"),
    (of_saliency(np.ones(7)), "saliency has shape (7,)"),
    (of_saliency("nowhere.npy"), "nowhere.npy cannot be read"),
    (of_window(0, 0, 201, 10), "window is (0, 0, 201, 10); give x, y, width, height of at least 2"),
    (of_window(-1, 0, 20, 10), "window is (-1, 0, 20, 10); give"),
    (of_window(0, 0, 1, 10), "window is (0, 0, 1, 10); give"),
    (of_window(0, 0, 20), "window is (0, 0, 20); give"),
    (of_window(0, 0, 20.5, 10), "window is (0, 0, 20.5, 10); give"),
    (of_window("a", 0, 20, 10), "window is ('a', 0, 20, 10); give"),
    (of_window(float("nan"), 0, 20, 10), "window is (nan, 0, 20, 10); give"),
    (lambda: FixedWarp({}, SOURCE, CANVAS), "knots are named nothing"),
    (lambda: uniform(scale=1)().labels_to_canvas(LABELS[1:]), "labels have shape (119, 200)"),
    (lambda: uniform(scale=1)().boxes_to_canvas([1, 2, 3]), "boxes have shape (3,)"),
]


def test_boxes_outside_of_the_source_do_not_count() -> None:
    """They would draw the zoom to the nearest edge."""
    outside = [[300, 10, 340, 60], [-20, -30, -4, -2]]
    warp = FixedWarp.from_boxes([*BOXES, *outside], SOURCE, scale=0.5)
    expected = FixedWarp.from_boxes(BOXES, SOURCE, scale=0.5)
    for name, knots in expected.knots.items():
        np.testing.assert_array_equal(warp.knots[name], knots)


@pytest.mark.parametrize(("call", "said"), REFUSED, ids=[each[1][:40] for each in REFUSED])
def test_unfit_input_is_refused_in_a_sentence(call: Callable[[], Any], said: str) -> None:
    assert said in refusal(call)


def test_annotations_without_boxes_are_refused(tmp_path: Path) -> None:
    path = annotations(tmp_path, np.zeros((0, 4)))
    with pytest.raises(LzuError, match="there are no boxes"):
        FixedWarp.from_boxes(path, SOURCE, scale=0.5)
    with pytest.raises(LzuError, match=r"boxes .*train.json has no class moose; its classes are"):
        FixedWarp.from_boxes(path, SOURCE, scale=0.5, classes=["moose"])


def test_a_warp_is_not_changed_by_its_arrays_afterwards() -> None:
    x = EVEN.copy()
    warp = FixedWarp.from_knots(x, EVEN, source=SOURCE, scale=0.5)
    x[2] = 0.4
    assert warp.is_identity
