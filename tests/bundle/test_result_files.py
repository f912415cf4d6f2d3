"""Results of a run as a COCO data set and as a table; a task without such a form is refused."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lzu_export.bundle.result_files import check_formats, coco_data_set, table, write_results
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.tasks.det.presenter import BoxPresenter
from lzu_export.tasks.det3d.presenter import SpacePresenter
from lzu_export.tasks.generic.presenter import OutputPresenter
from lzu_export.tasks.present import Presenter
from lzu_export.tasks.seg.presenter import LabelPresenter
from run_samples import Run
from samples import noise_frames, refusal

IMAGES = [
    {"id": 1, "file_name": 'a, "b".png', "height": 360, "width": 640},
    {"id": 2, "file_name": "drive 2", "height": 360, "width": 640, "time": 0.5},
]


def about(recipe: str) -> dict[str, object]:
    names = enumerate(load_recipe(recipe).classes, start=1)
    categories = [{"id": i, "name": name} for i, name in names]
    return {"images": IMAGES, "categories": categories, "source": "/frames"}


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def boxes(tmp_path: Path) -> BoxPresenter:
    """Two boxes in the second of two frames."""
    recipe = load_recipe("det")
    found = Detections(
        np.array([[1, 2, 11, 22], [0.5, 0, 2, 3]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([2, 0], np.int32),
        recipe.classes,
    )
    none = Detections(found.boxes[:0], found.scores[:0], found.labels[:0], recipe.classes)
    presenter = BoxPresenter(recipe, tmp_path, 0.3)
    presenter.add(1, "a", none, None)
    presenter.add(2, "b", found, None)
    return presenter


def test_boxes_are_a_coco_data_set_that_the_library_reads(boxes: BoxPresenter) -> None:
    coco = pytest.importorskip("faster_coco_eval").COCO
    made = json.loads(json.dumps(coco_data_set(boxes.coco(), about("det"))))
    first, second = made["annotations"]
    assert first == {
        "id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.75,
        "area": 200, "iscrowd": 0,
    }  # fmt: skip
    assert second["area"] == 4.5
    opened = coco(made)
    assert opened.getAnnIds(imgIds=[2]) == [1, 2]
    assert opened.loadCats(3)[0]["name"] == "bus"


def test_boxes_are_rows_of_a_table(boxes: BoxPresenter) -> None:
    first, second = read(table(boxes, IMAGES))
    assert first == {
        "image_id": "2", "file_name": "drive 2", "time": "0.5", "class": "bus", "score": "0.75",
        "x1": "1.0", "y1": "2.0", "x2": "11.0", "y2": "22.0",
    }  # fmt: skip
    assert (second["class"], second["x1"]) == ("car", "0.5")


def test_boxes_in_space_are_rows_of_a_table(tmp_path: Path) -> None:
    recipe = load_recipe("det3d")
    presenter = SpacePresenter(recipe, tmp_path, 0.3)
    box = np.arange(1, 10, dtype=np.float32)[None]
    one = np.ones(1, np.int64)
    presenter.add(1, "a", Detections3d(box, np.full(1, 0.5, np.float32), one, 0 * one), None)
    (row,) = read(table(presenter, IMAGES))
    assert row["file_name"] == 'a, "b".png'
    assert row["time"] == ""
    assert row["class"] == recipe.classes[1]
    values = [float(row[name]) for name in SpacePresenter.columns[3:]]
    assert values == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [float(v) for v in (row["length"], row["height"], row["width"])] == [4, 5, 6]


def test_shares_of_classes_are_rows_of_a_table(tmp_path: Path) -> None:
    recipe = load_recipe("seg")
    presenter = LabelPresenter(recipe, tmp_path, 0.3)
    labels = np.zeros((4, 8), np.uint8)
    labels[:, 6:] = 1
    presenter.add(1, "a.png", Segmentation(labels, recipe.classes), None)
    rows = read(table(presenter, IMAGES))
    assert [(each["label_map"], each["class"], each["share"]) for each in rows] == [
        ("labels/a.png", recipe.classes[0], "0.75"),
        ("labels/a.png", recipe.classes[1], "0.25"),
    ]


@pytest.mark.parametrize(
    ("presenter", "task", "form", "message"),
    [
        (BoxPresenter, "det", "xml", "there is no format xml of results; give json, coco, csv"),
        (LabelPresenter, "seg", "coco", "label maps of task seg are no boxes in the frame"),
        (SpacePresenter, "det3d", "coco", "detections of task det3d are no boxes in the frame"),
        (OutputPresenter, "det", "csv", "outputs of task det are no table; give --format json"),
    ],
)
def test_other_forms_are_refused(
    presenter: type[Presenter], task: str, form: str, message: str, tmp_path: Path
) -> None:
    made = presenter(load_recipe(task), tmp_path, 0.3)  # type: ignore[call-arg]
    with pytest.raises(LzuError, match=message):
        check_formats([form], made, task)
    check_formats(["json"], made, task)


def test_every_asked_file_is_written(boxes: BoxPresenter, tmp_path: Path) -> None:
    write_results(tmp_path, boxes, about("det"), ["csv", "coco"])
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "coco.json", "images.json", "results.csv",
    ]  # fmt: skip
    assert json.loads((tmp_path / "images.json").read_text())["results"] == [
        "results.csv", "coco.json",
    ]  # fmt: skip


def test_a_run_writes_its_formats_and_removes_those_of_the_run_before(
    run: Run, tmp_path: Path
) -> None:
    images = noise_frames(tmp_path / "images", 2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "coco.json").write_text("the user's own")
    run(images, formats=["json", "csv"])
    assert (out / "coco.json").read_text() == "the user's own"
    rows = read((out / "results.csv").read_text())
    results = json.loads((out / "results.json").read_text())
    assert len(rows) == len(results) > 0
    assert {each["file_name"] for each in rows} <= {"0.png", "1.png"}
    assert [float(each["score"]) for each in rows] == [each["score"] for each in results]
    run(images, formats=["coco"])
    assert not (out / "results.csv").exists()
    assert not (out / "results.json").exists()
    assert len(json.loads((out / "coco.json").read_text())["annotations"]) == len(results)


def test_a_form_that_does_not_exist_leaves_nothing(run: Run, tmp_path: Path) -> None:
    images = noise_frames(tmp_path / "images", 1)
    assert refusal(lambda: run(images, formats=["xml"])).startswith("there is no format xml")
    assert not (tmp_path / "out").exists()
