"""What a recipe's saliency is made of: training boxes, label maps, learned logits or a map."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.tasks.warps import make_warp, read_saliency, warp_source
from lzu_export.warp.boundary_saliency import boundary_saliency
from lzu_export.warp.box_saliency import box_saliency
from samples import tiny_recipe


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
