"""Cityscapes and CamVid in the layouts that they are distributed in."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.layouts.labels import LabelSet
from lzu_export.inputs import camvid as camvid_module
from lzu_export.inputs.camvid import COLOURS, GROUPS
from lzu_export.inputs.cityscapes import CLASSES
from lzu_export.recipes import load_recipe
from lzu_export.runtime import Segmentation

Array = NDArray[np.uint8]
SIZE = (8, 40)


def image(path: Path, pixels: Array | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8) if pixels is None else pixels)
    return path


def stripes(values: list[int]) -> Array:
    """A column each."""
    row = np.zeros(SIZE[1], np.uint8)
    row[: len(values)] = values
    return np.tile(row, (SIZE[0], 1))


def one(found: object) -> Array:
    assert isinstance(found, LabelSet)
    return np.asarray(next(found.samples()).truth)


# Cityscapes.

ALL_IDS = list(range(34))


def cityscapes(root: Path, kind: str = "labelIds", labels: Array | None = None) -> Path:
    """Three frames of two cities; every id there is, or every trainId."""
    if labels is None:
        labels = stripes(ALL_IDS if kind == "labelIds" else [*range(19), 255])
    for name in ("ulm_000001_000019", "ulm_000000_000020", "bonn_000000_000019"):
        city = name.partition("_")[0]
        image(root / "leftImg8bit" / "val" / city / f"{name}_leftImg8bit.png")
        image(root / "gtFine" / "val" / city / f"{name}_gtFine_{kind}.png", labels)
        image(root / "gtFine" / "val" / city / f"{name}_gtFine_color.png")
    return root


@pytest.mark.parametrize("part", ["", "leftImg8bit", "leftImg8bit/val"])
def test_cityscapes_ids_become_the_19_classes(tmp_path: Path, part: str) -> None:
    found = open_dataset(str(cityscapes(tmp_path) / part), None, "seg")
    assert (len(found), found.metric, found.name) == (3, "mIoU", f"{tmp_path.name} val")
    assert found.classes == tuple(CLASSES)
    samples = list(found.samples())
    assert [each.sequence for each in samples] == ["bonn_000000", "ulm_000000", "ulm_000001"]
    expected = np.full(SIZE[1], 255)
    for place, number in enumerate(CLASSES.values()):
        expected[number] = place
    np.testing.assert_array_equal(samples[0].truth, np.tile(expected, (SIZE[0], 1)))
    scorer = found.scorer()
    for sample in samples:
        scorer.add(sample, Segmentation(sample.truth, found.classes))
    assert scorer.summary()["mIoU"] == 100
    assert scorer.summary()["IoU traffic light"] == 100


def test_cityscapes_table_is_its_own() -> None:
    helpers = pytest.importorskip("cityscapesscripts.helpers.labels", reason="not installed")
    assert {
        each.name: each.id
        for each in sorted(helpers.labels, key=lambda label: label.trainId)
        if 0 <= each.trainId < 255
    } == CLASSES
    assert [each for each in CLASSES] == [
        helpers.trainId2label[i].name for i in range(len(CLASSES))
    ]


def test_cityscapes_train_ids_do_as_well(tmp_path: Path) -> None:
    found = open_dataset(str(cityscapes(tmp_path, "labelTrainIds")), None, "seg")
    assert one(found)[0, :21].tolist() == [*range(19), 255, 0]


def test_cityscapes_classes_are_those_of_the_recipe(tmp_path: Path) -> None:
    """In its order."""
    cityscapes(tmp_path)
    recipe = load_recipe("cityscapes")
    assert open_dataset(str(tmp_path), None, "seg", recipe).classes == recipe.classes
    turned = recipe.model_copy(update={"classes": recipe.classes[::-1]})
    found = open_dataset(str(tmp_path), None, "seg", turned)
    assert one(found)[0, CLASSES["road"]] == 18
    fewer = recipe.model_copy(update={"classes": recipe.classes[:5]})
    with pytest.raises(LzuError, match=r"has the classes road, .*bicycle but the recipe road, "):
        open_dataset(str(tmp_path), None, "seg", fewer)


def lose(name: str) -> Callable[[Path], None]:
    return lambda root: next(root.rglob(name)).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lose("ulm_000001*labelIds.png"),
            r"gtFine/val/ulm has no ulm_000001_000019_gtFine_labelIds.png for ulm_000001_000019_"
            r"leftImg8bit.png; add it",
        ),
        (
            lambda root: [each.unlink() for each in root.rglob("*leftImg8bit.png")],
            r"leftImg8bit/val holds no <city>/\*_leftImg8bit\.png; unpack",
        ),
        (
            lambda root: image(next(root.rglob("bonn*labelIds.png")), stripes([7, 40])),
            r"labelIds\.png holds the label 40, which Cityscapes does not have",
        ),
        (
            lambda root: image(next(root.rglob("bonn*labelIds.png"))),
            r"labelIds\.png is a PNG of colours; give class numbers",
        ),
        (
            lambda root: next(root.rglob("bonn*labelIds.png")).write_text("x"),
            r"labelIds\.png cannot be read as an image; check",
        ),
        (
            lambda root: image(next(root.rglob("bonn*labelIds.png")), stripes([7])[:4]),
            r"labelIds\.png has 4x40 pixels but bonn_.* 8x40; give them one size",
        ),
    ],
)
def test_broken_cityscapes_is_named(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(cityscapes(tmp_path))
    with pytest.raises(LzuError, match=words):
        list(open_dataset(str(tmp_path), None, "seg").samples())


# CamVid.

NAMES = ("0016E5_07961", "0001TP_006690", "Seq05VD_f00000", "0006R0_f00930")
VOID = 11


def coloured(names: list[str]) -> Array:
    """A column each, as OpenCV writes it."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for column, name in enumerate(names):
        pixels[:, column] = COLOURS[name][::-1]
    return pixels


def camvid(root: Path, layout: str) -> Path:
    """Four frames in one of the layouts, a column of every class or every name."""
    images, labels, end = {
        "plain": ("val/images", "val/labels", ""),
        "segnet": ("val", "valannot", ""),
        "kaggle": ("val", "val_labels", "_L"),
        "original": ("701_StillsRaw_full", "LabeledApproved_full", "_L"),
        "fastai": ("images", "labels", "_P"),
    }[layout]
    by_number = stripes([*range(VOID + 1)])
    if layout == "fastai":
        by_number = stripes([*range(len(COLOURS))])
        (root / "codes.txt").write_text("\n".join(COLOURS))
    for name in NAMES:
        image(root / images / f"{name}.png")
        is_coloured = layout in ("kaggle", "original")
        image(
            root / labels / f"{name}{end}.png",
            coloured(list(COLOURS)) if is_coloured else by_number,
        )
    if layout == "kaggle":
        rows = [f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()]
        (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]))
    if layout == "original":
        (root / "label_colors.txt").write_text(
            "\n".join(f"{r} {g} {b}\t\t{name}" for name, (r, g, b) in COLOURS.items())
        )
    return root


@pytest.mark.parametrize("layout", ["plain", "segnet", "kaggle", "original", "fastai"])
def test_camvid_becomes_11_classes(tmp_path: Path, layout: str) -> None:
    """Whether label maps are colours, SegNet's numbers or numbers of the 32 names."""
    found = open_dataset(str(camvid(tmp_path, layout)), None, "seg")
    assert (len(found), found.metric, found.classes) == (4, "mIoU", tuple(GROUPS))
    samples = list(found.samples())
    assert [each.sequence for each in samples] == ["0001TP", "0006R0", "0016E5", "Seq05VD"]
    row = samples[0].truth[0].tolist()
    if layout in ("plain", "segnet"):
        assert row[: VOID + 1] == [*range(VOID), 255]
    else:
        group = {name: i for i, names in enumerate(GROUPS.values()) for name in names}
        assert row[: len(COLOURS)] == [group.get(name, 255) for name in COLOURS]
    assert set(row) == {*range(VOID), 255}


def test_camvid_names_each_of_its_32_classes_once() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted([*grouped, "Void"]) == sorted(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS) == 32


def test_camvid_takes_the_split_that_is_given(tmp_path: Path) -> None:
    """And the validation split of the whole."""
    camvid(tmp_path, "segnet")
    image(tmp_path / "train" / "0001TP_000001.png")
    image(tmp_path / "trainannot" / "0001TP_000001.png", stripes([3]))
    assert len(open_dataset(str(tmp_path), None, "seg")) == 4
    found = open_dataset(str(tmp_path / "train"), None, "seg")
    assert (len(found), one(found)[0, 0], found.name) == (1, 3, "train")
    assert open_dataset(str(tmp_path), None, "seg").name == f"{tmp_path.name} val"


def test_camvid_s_own_names_stand_for_the_recipe_s(tmp_path: Path) -> None:
    names = ["SignSymbol" if name == "sign" else name for name in GROUPS]
    names = ["Sidewalk" if name == "pavement" else name for name in names][::-1]
    recipe = load_recipe("cityscapes").model_copy(update={"classes": tuple(names)})
    found = open_dataset(str(camvid(tmp_path, "plain")), None, "seg", recipe)
    assert found.classes == tuple(names)
    assert one(found)[0, :VOID].tolist() == [*range(VOID)][::-1]
    with pytest.raises(LzuError, match=r"has the classes sky, .* but the recipe road, "):
        open_dataset(str(tmp_path), None, "seg", load_recipe("cityscapes"))


def damage_table(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "class_dict.csv").write_text(text)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose("0006R0_f00930_L.png"), r"val_labels has no 0006R0_f00930.png for 0006R0_f00930.png"),
        (damage_table("name,r,g,b\nParrot,1,2,3"), r"class_dict\.csv names Parrot, which is none"),
        (damage_table("name,r,g,b\nCar,1,x,3"), r"class_dict\.csv is not a table of names and col"),
        (
            damage_table("name,r,g,b\nCar,1,300,3"),
            r"table of names and colours .a value is not",
        ),
        (
            lambda root: (root / "class_dict.csv").write_bytes(b"name,r,g,b\nCaf\xe9,1,2,3"),
            r"class_dict\.csv is not text in UTF-8",
        ),
        (
            damage_table("name,r,g,b\nCar,1,2,3"),
            r"holds the colour #[0-9a-f]{6}, .*, \.\.\., which",
        ),
        (
            lambda root: image(next(root.rglob("0001TP*_L.png")), stripes([12])),
            r"_L\.png holds the label 12, which is none of CamVid's",
        ),
        (
            lambda root: next(root.rglob("0001TP*_L.png")).write_text("x"),
            "cannot be read as an image; check",
        ),
        (
            lambda root: image(next(root.rglob("0001TP*_L.png")), coloured(["Car"])[:, :9]),
            r"_L\.png has 8x9 pixels but 0001TP_006690\.png 8x40; give them one size",
        ),
    ],
)
def test_broken_camvid_is_named(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(camvid(tmp_path, "kaggle"))
    with pytest.raises(LzuError, match=words):
        list(open_dataset(str(tmp_path), None, "seg").samples())


def test_real_camvid_is_read(shared: Path) -> None:
    """All its label maps are of the 11 classes; sky is up and road down."""
    root = shared / "camvid"
    if not root.is_dir():
        pytest.skip(f"CamVid is not in {shared}")
    found = open_dataset(str(root), 5, "seg")
    assert (len(found), found.name) == (5, "camvid val")
    assert len(open_dataset(str(root / "train"), None, "seg")) == 367
    up = down = 0
    for sample in found.samples():
        assert sample.camera_frame.frame.shape[:2] == sample.truth.shape == (360, 480)
        assert set(np.unique(sample.truth)) <= {*range(VOID), 255}
        assert camvid_module.FILE.match(Path(sample.name).name)
        up += int((sample.truth[:90] == 0).sum() - (sample.truth[-90:] == 0).sum())
        down += int((sample.truth[-90:] == 3).sum() - (sample.truth[:90] == 3).sum())
    assert up > 0
    assert down > 0


# A folder of its own kind.


def test_a_folder_s_classes_are_put_in_the_recipe_s_order(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "labels" / "a.png", stripes([0, 1, 2, 255]))
    (tmp_path / "classes.txt").write_text("\n".join(["road", "Sky", "traffic light"]))
    classes = ("traffic_light", "road", "sky")
    recipe = load_recipe("cityscapes").model_copy(update={"classes": classes})
    found = open_dataset(str(tmp_path), None, "seg", recipe)
    assert found.classes == classes
    assert one(found)[0, :4].tolist() == [1, 2, 0, 255]


def test_a_label_map_of_another_size_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "labels" / "a.png", stripes([0])[:3])
    (tmp_path / "classes.txt").write_text("road")
    with pytest.raises(LzuError, match=r"a\.png has 3x40 pixels but a\.png 8x40; give them one"):
        list(open_dataset(str(tmp_path), None, "seg").samples())
