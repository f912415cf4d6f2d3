"""From a recipe's warp settings to its tables."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import Recipe
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import (
    SOURCES,
    KnotSource,
    make_warp,
    read_saliency,
    stored_warp,
    trained_note,
    warp_note,
    warp_source,
)
from lzu_export.warp.boundary_saliency import boundary_saliency
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.families import gaze_knots
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import is_bilinear, table_matrix, table_pixels
from lzu_export.warp.warp import Knots
from samples import TINY_NETWORK, registered, tiny_recipe


def annotation(*bbox: float, **changes: Any) -> dict[str, Any]:
    """A box of category 8 in image 1."""
    return {"image_id": 1, "category_id": 8, "bbox": bbox, **changes}


def image_of(height: int | None, width: int) -> dict[str, Any]:
    """The entry of image 1."""
    return {"id": 1, "file_name": "a.png", "height": height, "width": width}


def annotations(folder: Path, **changes: Any) -> Path:
    """COCO annotations of one 192x320 image (twice the source) with two boxes and a crowd."""
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 192, "width": 320}],
        "categories": [{"id": 5, "name": "Near"}, {"id": 8, "name": "far"}],
        "annotations": [
            annotation(20, 40, 60, 30),
            annotation(200, 100, 40, 60),
            annotation(0, 0, 320, 192, iscrowd=1),
        ],
        **changes,
    }
    path = folder / "train.json"
    path.write_text(json.dumps(data))
    return path


def test_uniform_is_the_identity_without_an_unzoom(tmp_path: Path) -> None:
    warp = make_warp(tiny_recipe(tmp_path, variant="uniform", scale=1.0, warp={"saliency": None}))
    assert warp.unzoom is None
    np.testing.assert_allclose(table_matrix(warp.zoom.rows, 96), np.eye(96), atol=1e-5)
    np.testing.assert_allclose(table_matrix(warp.zoom.cols, 160), np.eye(160), atol=1e-5)


def test_fixed_has_an_unzoom_for_every_level(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    warp = make_warp(recipe)
    assert warp.unzoom is not None
    sizes = [[(p.rows.shape[1], p.cols.shape[1]) for p in level] for level in warp.unzoom]
    assert sizes == [[level.size] for level in recipe.levels]
    assert (warp.zoom.rows.shape[1], warp.zoom.cols.shape[1]) == recipe.canvas
    assert (warp.knots_y.shape, warp.knots_x.shape) == ((7,), (11,))
    assert np.abs(np.diff(table_pixels(warp.zoom.rows), 2)).max() > 0.01  # it does warp


def test_zoom_and_unzoom_of_the_consistent_geometry_undo_each_other(tmp_path: Path) -> None:
    """Cell i of a level stands at canvas pixel stride * i and returns to where it came from."""
    recipe = tiny_recipe(tmp_path, source=[480, 800])
    warp = make_warp(recipe)
    assert warp.unzoom is not None
    stride = recipe.levels[0].stride
    canvas_rows = table_pixels(warp.unzoom[0][0].rows) * stride
    source_rows = np.interp(canvas_rows, np.arange(recipe.canvas[0]), table_pixels(warp.zoom.rows))
    cells = np.arange(len(canvas_rows)) * stride
    inside = cells < recipe.canvas[0]
    straight = cells * (recipe.source[0] - 1) / (recipe.canvas[0] - 1)
    assert np.abs(source_rows - straight)[inside].max() < 0.02 * stride


def test_an_external_warp_begins_with_a_file_s_knots_or_the_identity(tmp_path: Path) -> None:
    """The fixed saliency of the recipe does not matter, and no unzoom is written into the graph."""
    begin = make_warp(recipe := tiny_recipe(tmp_path, variant="external"))
    assert begin.unzoom is None
    np.testing.assert_allclose(begin.knots_x, np.linspace(-1, 1, 11), atol=1e-12)
    assert warp_source(recipe) == "knots of the host, at first even"
    knots = gaze_knots((40, 40), (96, 160), lattice=(7, 11))
    arrays: dict[str, Any] = dict(knots)
    np.savez(tmp_path / "mine.npz", **arrays)
    of_file = {"knots": str(tmp_path / "mine.npz")}
    warp = make_warp(recipe := tiny_recipe(tmp_path, variant="external", warp=of_file))
    np.testing.assert_array_equal(warp.knots_y, knots["knots_y"])
    assert warp_source(recipe) == "knots of the host, at first mine.npz"
    other = tiny_recipe(tmp_path, variant="external", warp={**of_file, "lattice": [9, 11]})
    with pytest.raises(LzuError, match=r"7x11 knots but warp.lattice is 9x11; set .* \[7, 11\]"):
        make_warp(other)


def test_antialiased_widens_the_zoom_only(tmp_path: Path) -> None:
    warp = make_warp(tiny_recipe(tmp_path, sampler="antialiased", scale=0.25))
    assert not is_bilinear(warp.zoom.rows)
    assert warp.unzoom is not None
    assert all(is_bilinear(table) for level in warp.unzoom for pair in level for table in pair)


def test_a_stored_warp_comes_back_whole(tmp_path: Path) -> None:
    settings = {"geometry": "published", "unfilled": ["bottom", "right"]}
    warp = make_warp(tiny_recipe(tmp_path, warp=settings))
    np.savez_compressed(tmp_path / "warp.npz", **warp.arrays())
    with np.load(tmp_path / "warp.npz") as stored:
        again = stored_warp(dict(stored))
    assert again.unzoom is not None
    assert warp.unzoom is not None
    assert [len(level) for level in again.unzoom] == [len(level) for level in warp.unzoom]
    assert max(len(level) for level in warp.unzoom) > 1
    assert again.arrays().keys() == warp.arrays().keys()
    for name, array in warp.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    uniform = make_warp(tiny_recipe(tmp_path, variant="uniform"))
    assert stored_warp(uniform.arrays()).unzoom is None


def test_levels_beyond_nine_keep_their_order() -> None:
    table = np.zeros((4, 1), np.float32)
    arrays: dict[str, Any] = dict.fromkeys(
        ("saliency", "knots_x", "knots_y", "zoom_rows", "zoom_cols"), table
    )
    for level in range(11):
        arrays[f"unzoom_{level}_0_rows"] = arrays[f"unzoom_{level}_0_cols"] = table + level
    unzoom = stored_warp(arrays).unzoom
    assert unzoom is not None
    assert [level[0].rows[0, 0] for level in unzoom] == list(range(11))


def test_a_saliency_of_boxes_scales_them_to_the_source(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, warp={"saliency": str(annotations(tmp_path)), "bandwidth": 30})
    boxes = np.array([[10, 20, 40, 35], [100, 50, 120, 80.0]])
    expected = box_saliency(boxes, recipe.source, (7, 11), amplitude=1.0, bandwidth=30)
    np.testing.assert_allclose(read_saliency(recipe), expected)


def test_a_saliency_of_boxes_is_of_the_crop(tmp_path: Path) -> None:
    """Boxes are in the crop's pixels, from its corner."""
    warp = {"saliency": str(annotations(tmp_path)), "bandwidth": 30}
    recipe = tiny_recipe(tmp_path, warp=warp, crop=[64, 128])
    assert recipe.corner == (16, 16)
    boxes = np.array([[-6, 4, 24, 19], [84, 34, 104, 64.0]])
    expected = box_saliency(boxes, (64, 128), (7, 11), amplitude=1.0, bandwidth=30)
    np.testing.assert_allclose(read_saliency(recipe), expected)


def test_a_saliency_of_boxes_is_of_a_window(tmp_path: Path) -> None:
    """The window need not be in the middle of the frame."""
    warp = {"saliency": str(annotations(tmp_path)), "bandwidth": 30}
    window = {"x": 3, "y": 20, "width": 128, "height": 64}
    recipe = tiny_recipe(tmp_path, warp=warp, crop=window)
    assert (recipe.corner, recipe.view) == ((20, 3), (64, 128))
    boxes = np.array([[7, 0, 37, 15], [97, 30, 117, 60.0]])
    expected = box_saliency(boxes, (64, 128), (7, 11), amplitude=1.0, bandwidth=30)
    np.testing.assert_allclose(read_saliency(recipe), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": []}, "holds no boxes"),
        ({"annotations": [annotation(0, 0, 5, 5, image_id=2)]}, "image_id 2, which is in none of"),
        ({"annotations": [annotation(0, 0, 5)]}, r"the bbox \[0, 0, 5\] of 3 values"),
        ({"annotations": [annotation(5, 5, 0, 10)]}, "whose sides are not positive"),
        ({"annotations": [annotation(0.1, 0.2, 0.1, 0.3)]}, "as shares of the frame would be"),
        ({"annotations": [annotation(150, 90, 250, 110)]}, r"beyond its frame.* like corners"),
        (
            {"categories": [{"id": 8, "name": "tree"}]},
            r"the saliency .*train\.json has the classes tree",
        ),
        ({"images": [image_of(0, 320)]}, "the height 0 and the width 320; give whole numbers"),
        ({"images": [image_of(320, 192)]}, "reaches 48 pixels beyond its frame, 192 wide"),
        ({"images": [image_of(None, 192)]}, "has no height and width for a.png; give them"),
        ({"images": None}, "is not a COCO data set: it has no list of images"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = annotations(tmp_path, **changes)
    recipe = tiny_recipe(tmp_path, warp={"saliency": str(path)})
    with pytest.raises(LzuError, match=words) as caught:
        make_warp(recipe)
    assert str(path) in str(caught.value)
    path.write_text("{")
    with pytest.raises(LzuError, match="is not valid JSON"):
        make_warp(recipe)
    path.unlink()
    with pytest.raises(LzuError, match=r"train\.json cannot be read \(No such file"):
        make_warp(recipe)


def test_a_map_of_another_lattice_and_no_map_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"saliency\.npy.*7.*11"):
        make_warp(tiny_recipe(tmp_path, warp={"lattice": [9, 11]}))
    with pytest.raises(LzuError, match=r"needs a saliency: set warp\.saliency"):
        make_warp(tiny_recipe(tmp_path, warp={"saliency": None}))


def logits_file(folder: Path, logits: Any, **others: Any) -> Path:
    """A checkpoint that carries logits."""
    path = folder / "learned.pth"
    state = {"warp.logits": torch.as_tensor(logits), **others}
    save_checkpoint(path, state, half=False)
    return path


LEARNED = {"saliency": None, "logits": "warp.logits"}


@pytest.mark.parametrize(("variant", "share"), [("fixed", 1.0), ("adaptive", 0.5)])
def test_learned_logits_are_a_saliency(variant: str, share: float, tmp_path: Path) -> None:
    """They serve a fixed warp and the fixed part of a warp by boxes."""
    logits = np.random.default_rng(0).normal(0, 1, (7, 11))
    path = logits_file(tmp_path, logits)
    recipe = tiny_recipe(
        tmp_path, variant=variant, warp={**LEARNED, "mix": share}, checkpoint={variant: str(path)}
    )
    saliency = make_warp(recipe).saliency
    expected = torch.softmax(torch.from_numpy(logits).flatten(), 0).reshape(7, 11)
    np.testing.assert_allclose(saliency, expected, atol=1e-6)
    assert warp_source(recipe).endswith("learned logits warp.logits")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": {}}, "but variant fixed has none; give one"),
        (
            {"warp": {"logits": "warp.logit"}},
            r"no tensor warp\.logit,.*did you mean warp\.logits\?",
        ),
        ({"warp": {"lattice": [7, 9]}}, r"warp\.logits of checkpoint .*learned\.pth has shape"),
    ],
)
def test_logits_that_do_not_serve_are_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = logits_file(tmp_path, np.zeros((7, 11)))
    settings = {"checkpoint": {"fixed": str(path)}, **changes}
    settings["warp"] = {**LEARNED, **settings.get("warp", {})}
    with pytest.raises(LzuError, match=words) as caught:
        make_warp(tiny_recipe(tmp_path, **settings))
    assert "\n" not in str(caught.value)


def test_a_saliency_and_logits_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"saliency\.npy and warp\.logits mine are both given"):
        tiny_recipe(tmp_path, warp={"logits": "mine"})


@pytest.mark.parametrize("task", ["det", "seg"])
def test_a_network_s_warp_is_remembered_without_boxes(task: str, tmp_path: Path) -> None:
    changes = {"variant": "adaptive", "warp": {"network": TINY_NETWORK, "unzoom_scale": 1}}
    if task == "det":
        changes["warp"] = {"network": TINY_NETWORK}
    recipe = tiny_recipe(tmp_path, task, **changes)
    note = trained_note(recipe, make_warp(recipe).saliency)
    assert note == {"variant": "adaptive", "geometry": "consistent", "fwhm": "4"}
    assert warp_source(recipe) == "saliency network, ResNet-18, on each frame"


def test_the_source_of_a_warp_is_told_in_words(tmp_path: Path) -> None:
    told = {
        "saliency saliency.npy": {},
        "nothing: every place alike": {"variant": "uniform"},
        "boxes of the frame before": {"variant": "adaptive"},
        "boxes of the frame before (share 0.5) and saliency saliency.npy": {
            "variant": "adaptive",
            "warp": {"mix": 0.5},
        },
    }
    for words, changes in told.items():
        assert warp_source(tiny_recipe(tmp_path, **changes)) == words


def test_boxes_are_scaled_by_the_convention_of_the_sampler(tmp_path: Path) -> None:
    assert tiny_recipe(tmp_path).canvas_step == (95 / 47, 159 / 79)
    published = tiny_recipe(tmp_path, warp={"geometry": "published", "unfilled": []})
    assert published.canvas_step == (2, 2)
    opencv = {"variant": "uniform", "input": "zoomed", "sampler": "opencv"}
    assert tiny_recipe(tmp_path, **opencv).canvas_step == (2, 2)


def test_weights_that_remember_another_warp_are_refused(tmp_path: Path) -> None:
    """What a checkpoint does not record is not checked."""
    recipe = tiny_recipe(tmp_path)
    saliency = make_warp(recipe).saliency
    right = warp_note("consistent", recipe.warp.fwhm, saliency)
    for meta in (right, {}, {"author": "somebody"}):
        check_training(recipe, saliency, meta, "mine.pth")
    other = {"geometry": "published", "fwhm": "40", "variant": "uniform", "saliency": "0" * 64}
    for key, value in other.items():
        with pytest.raises(LzuError, match=rf"mine\.pth was trained with {key} {value[:12]} but"):
            check_training(recipe, saliency, {**right, key: value}, "mine.pth")
    uniform = tiny_recipe(tmp_path, variant="uniform")
    with pytest.raises(LzuError, match="variant fixed but the recipe has uniform"):
        check_training(uniform, saliency, right, "mine.pth")


def test_weights_remember_the_warp_of_their_boxes(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="adaptive")
    saliency = make_warp(recipe).saliency
    note = trained_note(recipe, saliency)
    check_training(recipe, saliency, note, "mine.pth")
    others = {"variant": "fovea", "lattice": "5x4", "fwhm": "40", "bandwidth": "32"}
    for key, value in others.items():
        with pytest.raises(LzuError, match=rf"mine\.pth was trained with {key} {value} but"):
            check_training(recipe, saliency, {**note, key: value}, "mine.pth")


def label_maps(folder: Path, *, count: int = 2, suffix: str = "") -> list[np.ndarray]:
    """Maps of two classes whose border moves, some of it ignored."""
    folder.mkdir(exist_ok=True)
    maps = []
    for i in range(count):
        labels = np.zeros((96, 160), np.uint8)
        labels[40 + 5 * i :] = 1
        labels[:, :4] = 255
        cv2.imwrite(str(folder / f"{i}{suffix}.png"), labels)
        maps.append(labels)
    return maps


WINDOW = {"x": 5, "y": 30, "width": 96, "height": 64}


@pytest.mark.parametrize("changes", [{}, {"crop": [64, 96]}, {"crop": WINDOW}])
def test_a_folder_of_label_maps_is_a_saliency(changes: dict[str, Any], tmp_path: Path) -> None:
    """The saliency is the mean of the maps' boundaries within the crop."""
    maps = label_maps(tmp_path / "labels")
    warp = {"saliency": str(tmp_path / "labels"), "boundary": 2.0, "background": 0.3}
    recipe = tiny_recipe(tmp_path, "seg", warp=warp, **changes)
    (top, left), (height, width) = recipe.corner, recipe.view
    expected = np.mean(
        [
            boundary_saliency(
                each[top : top + height, left : left + width],
                (7, 11),
                boundary=2.0,
                background=0.3,
                ignore=255,
            )
            for each in maps
        ],
        axis=0,
    )
    np.testing.assert_allclose(read_saliency(recipe), expected)
    assert make_warp(recipe).unzoom is not None


def test_of_cityscapes_renderings_the_train_ids_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "gtFine"
    maps = label_maps(folder, suffix="_gtFine_labelTrainIds")
    (folder / "aachen").mkdir()  # and below
    (folder / "1_gtFine_labelTrainIds.png").rename(folder / "aachen" / "1_labelTrainIds.png")
    cv2.imwrite(str(folder / "0_gtFine_color.png"), np.zeros((96, 160, 3), np.uint8))
    cv2.imwrite(str(folder / "0_gtFine_labelIds.png"), np.full((96, 160), 33, np.uint8))
    recipe = tiny_recipe(tmp_path, "seg", warp={"saliency": str(folder)})
    saliency = read_saliency(recipe)
    assert saliency.sum() == pytest.approx(1)
    wanted = [boundary_saliency(each, (7, 11), ignore=255) for each in maps]
    np.testing.assert_allclose(saliency, np.mean(wanted, axis=0))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "holds no label maps"),
        (np.full((96, 160), 7, np.uint8), r"0\.png holds the label 7, which is neither one of the"),
        (np.zeros((90, 160), np.uint8), r"0\.png is 90x160 but the recipe's source 96x160"),
        (np.zeros((96, 160, 3), np.uint8), r"0\.png is a PNG of colours; give class"),
        (np.zeros((96, 160), np.uint16), r"0\.png is a PNG of grey with 16 bits"),
        (np.zeros((96, 160), np.uint8), "holds no class but near in its label maps, so nothing"),
        (np.full((96, 160), 255, np.uint8), "holds no class at all .*; 255 is ignored"),
        (np.repeat([[0], [255]], (50, 46), 0) + np.zeros(160), "no class but near .*; 255 is"),
        (b"no image", r"0\.png cannot be read as an image; check"),
    ],
)
def test_label_maps_that_cannot_be_used_are_refused(image: Any, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    if isinstance(image, bytes):
        (folder / "0.png").write_bytes(image)
    elif image is not None:
        kind = np.uint16 if image.dtype == np.uint16 else np.uint8
        cv2.imwrite(str(folder / "0.png"), image.astype(kind))
    recipe = tiny_recipe(tmp_path, "seg", warp={"saliency": str(folder)})
    with pytest.raises(LzuError, match=words) as caught:
        make_warp(recipe)
    assert "\n" not in str(caught.value)


def test_boxes_of_one_quarter_are_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The frames may be half as large; where their files exist, the files' size decides."""
    boxes = [annotation(3 * i, 1 + i, 5, 6) for i in range(50)]
    path = annotations(tmp_path, annotations=boxes)
    recipe = tiny_recipe(tmp_path, warp={"saliency": str(path)})
    make_warp(recipe)
    assert "none of its 50 boxes reaches the right or the lower half" in caplog.text
    caplog.clear()
    annotations(tmp_path, annotations=[*boxes[1:], annotation(250, 20, 30, 30)])
    make_warp(recipe)
    assert not caplog.records
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((96, 160, 3), np.uint8))
    with pytest.raises(
        LzuError, match=r"a\.png is 320 wide and 192 high, but the file is 160 wide"
    ):
        make_warp(recipe)


def test_a_saliency_that_is_the_same_everywhere_is_refused(tmp_path: Path) -> None:
    """It would be exported as a zoom but zoom nowhere."""
    np.save(tmp_path / "flat.npy", np.full((7, 11), 0.3))
    recipe = tiny_recipe(tmp_path, warp={"saliency": str(tmp_path / "flat.npy")})
    with pytest.raises(LzuError, match=r"saliency flat\.npy is the same everywhere, so that noth"):
        make_warp(recipe)
    maps = label_maps(tmp_path / "labels")
    assert len(maps) == 2
    warp = {"saliency": str(tmp_path / "labels"), "boundary": 0.5, "background": 0.5}
    with pytest.raises(LzuError, match="saliency labels is the same everywhere"):
        make_warp(tiny_recipe(tmp_path, "seg", warp=warp))


def test_what_is_missing_is_said_in_the_task_s_words(tmp_path: Path) -> None:
    for task, words in (("seg", "folder of the training label maps"), ("det3d", "training boxes")):
        with pytest.raises(LzuError, match=words):
            make_warp(tiny_recipe(tmp_path, task, warp={"saliency": None}))


def test_nothing_is_lost_where_nothing_is_warped(tmp_path: Path) -> None:
    """Only the fixed warp has the edges that the training code left unfilled."""
    warp = {"geometry": "published", "unfilled": ["bottom"]}
    filled = {}
    for variant in ("uniform", "fixed"):
        unzoom = make_warp(tiny_recipe(tmp_path, "seg", variant=variant, warp=warp)).unzoom
        assert unzoom is not None
        gains = [pair.rows[3] for pair in unzoom[0]]
        filled[variant] = bool(gains[0][-1])
    assert filled == {"uniform": True, "fixed": False}


def test_weights_remember_how_fine_their_map_was(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "seg")
    saliency = make_warp(recipe).saliency
    note = trained_note(recipe, saliency)
    assert note["unzoom_scale"] == "2"
    check_training(recipe, saliency, note, "mine.pth")
    coarse = tiny_recipe(tmp_path, "seg", warp={"unzoom_scale": 1})
    with pytest.raises(LzuError, match="trained with unzoom_scale 2 but the recipe has 1"):
        check_training(coarse, saliency, note, "mine.pth")
    uniform = tiny_recipe(tmp_path, "seg", variant="uniform")
    assert trained_note(uniform, saliency) == {"variant": "uniform", "unzoom_scale": "2"}


class Crop(KnotSource):
    """A static crop: linear knots over a window, without a saliency."""

    key = "variant"
    window = (0.25, 0.75, 0.0, 0.5)
    """left, right, top and bottom, in shares of the picture."""

    def applies(self, recipe: Recipe) -> bool:
        """It takes whatever comes."""
        return True

    def saliency(self, recipe: Recipe) -> Array:
        """It has none; any that is not constant stands for it."""
        return np.linspace(1, 2, recipe.warp.lattice[0] * recipe.warp.lattice[1]).reshape(
            recipe.warp.lattice
        )

    def knots(self, recipe: Recipe, saliency: Array) -> Knots:
        """Evenly spaced over the window."""
        height, width = recipe.warp.lattice
        left, right, top, bottom = (2 * each - 1 for each in self.window)
        return {
            "knots_x": np.linspace(left, right, width),
            "knots_y": np.linspace(top, bottom, height),
        }

    def describe(self, recipe: Recipe) -> str:
        """For the manifest."""
        return "crop"


@registered(SOURCES, "crop", Crop())
def test_a_new_source_is_a_class_and_one_line(tmp_path: Path) -> None:
    """The tables of the zoom and the unzoom follow from the new source's knots."""
    recipe = tiny_recipe(tmp_path, scale=0.5)
    warp = make_warp(recipe)
    assert warp_source(recipe) == "crop"
    height, width = recipe.source
    columns, rows = table_pixels(warp.zoom.cols), table_pixels(warp.zoom.rows)
    np.testing.assert_allclose(columns[[0, -1]], np.array([0.25, 0.75]) * (width - 1), atol=1e-4)
    np.testing.assert_allclose(rows[[0, -1]], np.array([0.0, 0.5]) * (height - 1), atol=1e-4)
    assert warp.unzoom is not None
    assert len(warp.unzoom) == len(recipe.levels)
    cells = table_pixels(warp.unzoom[0][0].cols)
    # A window of half the width spreads the cells: twice as far apart as those of the canvas.
    np.testing.assert_allclose(np.diff(cells), 2, rtol=1e-3)
