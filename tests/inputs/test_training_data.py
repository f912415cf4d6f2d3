"""The training annotations of a saliency, in every layout that an evaluation reads."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs import cityscapes
from lzu_export.inputs.camvid import COLOURS, GROUPS
from lzu_export.inputs.label_maps import Labels
from lzu_export.inputs.label_sets import Pair, check_information, check_pairs, label_folder
from lzu_export.inputs.training import TrainingMaps, training_boxes, training_maps

CITY = tuple(cityscapes.CLASSES)
CAMVID = tuple(GROUPS)


def row(*values: int) -> Labels:
    return np.array([values], np.uint8)


def put(path: Path, pixels: Labels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def first(found: TrainingMaps) -> list[int]:
    return found.read(found.files[0])[0].tolist()


def names(found: TrainingMaps) -> list[str]:
    return [each.name for each in found.files]


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """Two splits as Cityscapes ships them, with all renderings."""
    for split, town in (("train", "aachen"), ("val", "munster"), ("train", "ulm")):
        stem = f"{town}_000000_000019"
        put(tmp_path / "leftImg8bit" / split / town / f"{stem}_leftImg8bit.png", row(0, 0, 0))
        truth = tmp_path / "gtFine" / split / town
        put(truth / f"{stem}_gtFine_labelIds.png", row(7, 26, 1))
        put(truth / f"{stem}_gtFine_color.png", np.zeros((1, 3, 4), np.uint8))
        put(truth / f"{stem}_gtFine_instanceIds.png", row(7, 26, 1).astype(np.uint16) * 1000)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "towns"),
    [
        ("", ["aachen", "ulm"]),
        ("gtFine", ["aachen", "ulm"]),
        ("gtFine/train", ["aachen", "ulm"]),
        ("gtFine/train/ulm", ["ulm"]),
        ("gtFine/val", ["munster"]),
        ("leftImg8bit", ["aachen", "ulm"]),
        ("leftImg8bit/val", ["munster"]),
    ],
)
def test_cityscapes_is_read_as_it_ships(city: Path, part: str, towns: list[str]) -> None:
    """Ids become the recipe's classes; colours and instances beside them are no label maps."""
    found = training_maps(city / part, CITY)
    assert [each.partition("_")[0] for each in names(found)] == towns
    assert first(found) == [0, CITY.index("car"), 255]
    assert first(training_maps(city / part, CITY[::-1])) == [18, 18 - CITY.index("car"), 255]


def test_train_ids_count_where_there_are_no_ids(city: Path) -> None:
    """Both are not counted twice."""
    truth = city / "gtFine" / "train" / "ulm"
    put(truth / "ulm_000000_000019_gtFine_labelTrainIds.png", row(3, 3, 3))
    assert first(training_maps(truth, CITY)) == [0, CITY.index("car"), 255]
    assert len(training_maps(truth, CITY).files) == 1
    (truth / "ulm_000000_000019_gtFine_labelIds.png").unlink()
    assert first(training_maps(truth, CITY)) == [3, 3, 3]


def test_cityscapes_of_other_classes_is_refused(city: Path) -> None:
    """As an evaluation set; a conversion's trainIds alone stand for the recipe's own classes."""
    with pytest.raises(
        LzuError, match=r"the saliency .* has the classes road, .* but the recipe a"
    ):
        training_maps(city, ("a", "b"))
    truth = put(city / "mine" / "x_labelTrainIds.png", row(1, 0, 255)).parent
    assert first(training_maps(truth, ("a", "b"))) == [1, 0, 255]


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """SegNet's layout: two splits, numbers with void."""
    for split, value in (("train", 3), ("val", 8)):
        put(tmp_path / split / "0001TP_006690.png", np.zeros((1, 3, 3), np.uint8))
        put(tmp_path / f"{split}annot" / "0001TP_006690.png", row(value, 0, 11))
    return tmp_path


@pytest.mark.parametrize(
    ("part", "value"), [("", 3), ("train", 3), ("trainannot", 3), ("val", 8), ("valannot", 8)]
)
def test_camvid_s_void_is_ignored(camvid: Path, part: str, value: int) -> None:
    """Of the root the training split counts; a folder of label maps alone is known by its names."""
    found = training_maps(camvid / part, CAMVID)
    assert first(found) == [value, 0, 255]
    turned = training_maps(camvid / part, CAMVID[::-1])
    assert first(turned) == [10 - value, 10, 255]


def test_camvid_s_colours_are_read_from_a_palette_too(tmp_path: Path) -> None:
    """Where a palette's colours are CamVid's own they count, and not the indices."""
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the palette")
    drawn = ["Car", "Void", "Sky", "Road"]
    for folder, palette in (("a", [COLOURS[name] for name in drawn]), ("b", [(9, 9, 9)] * 4)):
        path = tmp_path / folder / "0016E5_07961_L.png"
        path.parent.mkdir()
        picture = image.fromarray(row(0, 1, 2, 3), "P")
        picture.putpalette([value for colour in palette for value in colour])
        picture.save(path)
    expected = [CAMVID.index("car"), 255, CAMVID.index("sky"), CAMVID.index("road")]
    assert first(training_maps(tmp_path / "a", CAMVID)) == expected
    assert first(training_maps(tmp_path / "b", CAMVID)) == [0, 1, 2, 3]


def test_a_folder_s_own_names_count(tmp_path: Path) -> None:
    """Whether the folder, its label maps or the root of its splits is given."""
    put(tmp_path / "train" / "images" / "a.png", np.zeros((1, 3, 3), np.uint8))
    labels = put(tmp_path / "train" / "labels" / "a.png", row(0, 1, 255)).parent
    put(labels / "._a.png", row(9, 9, 9))
    (tmp_path / "train" / "classes.txt").write_text("\ufeffRoad\nlane marking\n", encoding="utf-8")
    wanted = ("lane_marking", "road")
    for given in (tmp_path, tmp_path / "train", labels):
        found = training_maps(given, wanted)
        assert names(found) == ["a.png"]
        assert first(found) == [1, 0, 255]
        with pytest.raises(LzuError, match="has the classes Road, lane marking but the recipe a"):
            training_maps(given, ("a", "b"))
    (tmp_path / "train" / "classes.txt").unlink()
    assert first(training_maps(labels, wanted)) == [0, 1, 255]
    assert first(training_maps(tmp_path / "train", wanted)) == [0, 1, 255]  # not the images


def test_argoverse_hd_is_its_training_annotations(tmp_path: Path) -> None:
    path = tmp_path / "Argoverse-HD" / "annotations" / "train.json"
    path.parent.mkdir(parents=True)
    assert training_boxes(tmp_path) is None
    path.write_text("{}")
    assert training_boxes(tmp_path) == path
    assert training_boxes(path) == path
    assert training_boxes(tmp_path / "map.npy") is None


def pairs(folder: Path, images: list[str]) -> list[Pair]:
    for name in images:
        put(folder / "images" / name, np.zeros((1, 3, 3), np.uint8))
    put(folder / "labels" / "a.png", row(0, 1, 255))
    (folder / "classes.txt").write_text("road\ncar\n")
    return label_folder(folder).pairs


def test_two_images_may_not_share_a_label_map(tmp_path: Path) -> None:
    check_pairs(pairs(tmp_path, ["a.png"]))
    with pytest.raises(LzuError, match=r"a\.jpg, a\.png in .*images would share the label map a\."):
        check_pairs(pairs(tmp_path, ["a.jpg", "a.png"]))


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ([row(0, 0), row(255, 255)], "holds no class but road in its label maps.*; 255 is ignored"),
        (
            [row(1, 1), row(1, 1)],
            "holds no class but car .* nothing can be measured; give label maps of several",
        ),
        ([row(255, 255)], "holds no class at all in its label maps"),
        ([row(0, 0), row(1, 255)], None),
    ],
)
def test_label_maps_of_one_class_tell_nothing(maps: list[Labels], words: str | None) -> None:
    """Two classes may be in two maps; what comes behind is not read."""
    read: Callable[[Path], Labels] = lambda path: maps[int(path.name)]  # noqa: E731
    files = [Path(str(i)) for i in range(len(maps))]
    if words is None:
        check_information("the set", [*files, Path("unread")], read, ("road", "car"))
        return
    with pytest.raises(LzuError, match=f"the set {words}"):
        check_information("the set", files, read, ("road", "car"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"classes\.txt is empty; write one name a line"),
        (b"caf\xe9", r"classes\.txt is not text in UTF-8"),
        ("\n".join(map(str, range(256))).encode(), "there are 256 classes, but label maps of 8"),
    ],
)
def test_names_that_do_not_serve_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    put(tmp_path / "images" / "a.png", np.zeros((1, 3, 3), np.uint8))
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(LzuError, match=words):
        label_folder(tmp_path)
