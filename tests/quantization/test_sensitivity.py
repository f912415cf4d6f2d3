"""`lzu-export sensitivity` on a tiny bundle, whose own detections are the truth."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from calibration_samples import change_recipe, float32_bundle
from lzu_calibration.sensitivity import Evaluations, most_evaluations
from lzu_export.errors import LzuError
from lzu_export.quantization import sensitivity
from lzu_export.quantization.sensitivity import measure_sensitivity
from lzu_export.runtime import load
from samples import CLASSES, noise_frames, status_of

Run = Callable[..., tuple[int, str, str]]

FRAMES = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a bundle `own`, `frames` and `truth.json`: what its float32 engine finds."""
    folder = tmp_path_factory.mktemp("sensitivity")
    (folder / "export").mkdir()
    bundle = float32_bundle(
        folder / "export", postprocess={"score_threshold": 0.0, "max_detections": 10}
    )
    shutil.copytree(bundle, folder / "own")
    frames = noise_frames(folder / "images", FRAMES, name="drive_{}.png")
    shutil.copytree(frames, folder / "frames")
    write_truth(folder / "truth.json", folder / "own", CLASSES)
    return folder


@pytest.fixture
def area(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(made, tmp_path / "work"))


@pytest.fixture
def calibrate(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: status, stdout, stderr."""

    def run(*arguments: Any, command: str = "sensitivity") -> tuple[int, str, str]:
        capfd.readouterr()
        status = status_of(command, *arguments)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def refused(calibrate: Run, area: Path) -> Callable[..., str]:
    """A refused search: one sentence; neither result, picture nor state."""

    def run(*arguments: Any, command: str = "sensitivity") -> str:
        status, out, err = calibrate(area / "own", *arguments, command=command)
        assert (status, out) == (2, "")
        assert [path.name for path in area.rglob("*sensitivity*")] == []
        lines = err.strip().splitlines()
        assert lines[-1].startswith("error: ")
        assert "Traceback" not in err
        return lines[-1]

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up metric of INT8 instead of a measured one, for what is about other things."""

    def metric(self: Any, int8: frozenset[str]) -> float:
        return 90 + random.Random(str(sorted(int8))).uniform(-1, 1)

    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", metric)


def without(package: str, *call: Any) -> subprocess.CompletedProcess[str]:
    """`lzu-export` on a machine that lacks a package."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; from lzu_export.cli.app import main; main()"
    )
    run = [sys.executable, "-c", code, *map(str, call)]
    return subprocess.run(run, capture_output=True, text=True, check=False)


def write_truth(path: Path, bundle: Path, classes: list[str]) -> None:
    """COCO annotations of what the bundle finds in the images beside."""
    detector = load(bundle)
    images, annotations = [], []
    for number, file in enumerate(sorted((path.parent / "images").iterdir()), start=1):
        images.append({"id": number, "file_name": file.name, "height": 96, "width": 160})
        for each in detector(cv2.imread(str(file))).to_coco(number):
            width, height = each["bbox"][2:]
            rest = {"iscrowd": 0, "id": len(annotations) + 1, "area": width * height}
            annotations.append({**each, **rest})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(data))


def arguments(folder: Path, limit: float = 100) -> list[Any]:
    """The usual ones."""
    dataset, frames = folder / "truth.json", folder / "frames"
    return ["--dataset", dataset, "--calibration", frames, "--limit", limit]


def search_in(folder: Path, **changes: Any) -> sensitivity.Outcome:
    settings = {
        "dataset": str(folder / "truth.json"),
        "overrides": sensitivity.CalibrationOverrides(frames=str(folder / "frames")),
        "limit": 100.0,
        **changes,
    }
    return measure_sensitivity(folder / "own", **settings)


def test_everything_is_written_and_said(area: Path) -> None:
    """Result, picture, state and ranges beside the bundle; tables and a recipe's lines.

    As on a device that has the harness: without torch.
    """
    before = {path.name: path.read_bytes() for path in (area / "own").iterdir()}
    call = ["sensitivity", area / "own", "--by", "group", *arguments(area)]
    done = without("torch", *call)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    data = json.loads((area / "own.int8.sensitivity.json").read_text())
    assert 90 < data["baseline"] <= 100
    assert (data["metric"], data["dataset"], data["frames"]) == ("AP", "truth.json", FRAMES)
    assert (data["limit"], data["by"], data["higher_precision"]) == (100, "group", [])
    costs = [each["cost"] for each in data["ranking"]]
    assert costs == sorted(costs, reverse=True)
    assert any(costs)
    for each in data["ranking"]:
        assert each["cost"] == pytest.approx(data["baseline"] - each["metric"])
        assert each["name"] in out
    names = [each["name"] for each in data["ranking"]]
    assert {"backbone.conv1", "backbone.layer1.0", "neck.fpn_convs"} <= set(names)
    assert data["all_int8"] == data["search"][0]["metric"]
    assert data["search"][0]["int8_layers"] == sum(len(each["layers"]) for each in data["ranking"])
    assert data["evaluations"] <= most_evaluations(len(costs))
    picture = cv2.imread(str(area / "own.int8.sensitivity.png"))
    assert min(picture.shape[:2]) > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert {path.name: path.read_bytes() for path in (area / "own").iterdir()} == before
    assert {path.name for path in area.glob("own.*")} == {
        "own.int8.sensitivity.html",
        "own.int8.sensitivity.json",
        "own.int8.sensitivity.png",
        "own.int8.sensitivity.state.json",
        "own.int8.max.calibration.json",
    }
    assert "higher_precision: {int8: []}  # all layers may be INT8" in out
    assert [path.name for path in area.glob(".*")] == []


def test_a_list_is_found_and_fits_a_recipe(
    calibrate: Run, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the metric asks for, in the layers' own names; a second run measures nothing."""
    costly = ("backbone.conv1", "neck.fpn_convs.0.conv")

    def metric(self: Any, int8: frozenset[str]) -> float:
        return 90.0 - sum(3 if name in costly else 0.01 for name in int8)

    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", metric)
    monkeypatch.setattr(sensitivity, "float32_metrics", lambda *_: {"AP": 90.0})
    call = [area / "own", *arguments(area, limit=1), "--json"]
    status, out, err = calibrate(*call)
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["higher_precision"] == list(costly)
    assert data["chosen"]["kept"] == 2
    assert data["picture"] == str(area / "own.int8.sensitivity.png")
    page = Path(data["page"]).read_text()
    assert data["page"] == str(area / "own.int8.sensitivity.html")
    assert f"2 of {len(data['ranking'])} layers stay in higher precision" in page
    assert "backbone.conv1, neck.fpn_convs.0.conv" in page  # lines to copy
    assert 'href="own.int8.sensitivity.json"' in page
    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", None)
    assert json.loads(calibrate(*call)[1])["ranking"] == data["ranking"]
    status, out, err = calibrate(*call[:-1])
    assert "going on from" in err
    lines = out[out.index("higher_precision:") : out.index(str(area))]
    assert yaml.safe_load(lines) == {"higher_precision": {"int8": list(costly)}}
    higher_precision = {"higher_precision": {"int8": [*costly]}}
    change_recipe(area / "own", **higher_precision)
    assert json.loads(calibrate(*call)[1])["ranking"] == data["ranking"]


@pytest.mark.usefixtures("quick")
def test_groups(area: Path) -> None:
    """By choice, or in a network of many layers."""
    outcome = search_in(area, by="group")
    assert len(outcome.found.ranking) < len(outcome.layers)
    assert outcome.found.steps[0].int8_layers == len(outcome.layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "MANY", 5)
        again = search_in(area)
    assert (again.by, again.resumed) == ("group", outcome.evaluations)
    assert again.found == outcome.found


@pytest.mark.usefixtures("quick")
def test_an_interrupted_search_goes_on(area: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal results; on other frames, ranges or truth it begins anew."""
    measure, calls = sensitivity.Int8Metric.__call__, list[frozenset[str]]()

    def failing(self: Any, int8: frozenset[str]) -> float:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(int8)
        return measure(self, int8)

    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        search_in(area, by="group")
    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", measure)
    resumed = search_in(area, by="group")
    assert resumed.resumed == 5
    state = area / "own.int8.sensitivity.state.json"
    kept = state.read_bytes()
    state.unlink()
    whole = search_in(area, by="group")
    assert whole.found == resumed.found
    assert state.read_bytes() == kept

    class Begun(Exception):
        pass

    def held(self: Evaluations, *arguments: Any) -> None:
        original(self, *arguments)
        raise Begun(self.resumed)

    original = Evaluations.__init__
    monkeypatch.setattr(Evaluations, "__init__", held)

    def remembered(**changes: Any) -> int:
        with pytest.raises(Begun) as begun:
            search_in(area, by="group", **changes)
        return int(begun.value.args[0])

    assert remembered() == whole.evaluations
    assert remembered(limit=0.5) == whole.evaluations
    assert remembered(frames=3) == 0
    frames = str(area / "frames")
    assert remembered(overrides=sensitivity.CalibrationOverrides(frames=frames, method="mse")) == 0
    truth = json.loads((area / "truth.json").read_text())
    truth["annotations"] = truth["annotations"][::2]
    (area / "truth.json").write_text(json.dumps(truth))
    assert remembered() == 0


@pytest.mark.usefixtures("quick")
def test_ranges_are_measured_once(area: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And taken from a file where one is given."""
    search_in(area, by="group")
    monkeypatch.setattr("lzu_export.quantization.recalibrate.measure_ranges", None)
    search_in(area, by="group")
    path = area / "own.int8.max.calibration.json"
    outcome = search_in(area, by="group", overrides=None, ranges=path)
    assert outcome.resumed == outcome.evaluations


def test_bad_ranges(refused: Callable[..., str], area: Path) -> None:
    """Of another model, with a NaN, damaged, or beside options that they answer."""
    usual = ["--dataset", area / "truth.json"]
    from lzu_export.quantization.overrides import CalibrationOverrides
    from lzu_export.quantization.recalibrate import recalibrate

    path = area / "ranges.json"
    recalibrate(area / "own", CalibrationOverrides(frames=str(area / "frames")), out=path)
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, "model": "0" * 64}))
    text = refused(*usual, "--ranges", path)
    assert "ranges.json was measured for another model (sha256 000000000000, not " in text
    first = next(iter(good["ranges"]))
    path.write_text(json.dumps({**good, "ranges": {**good["ranges"], first: float("nan")}}))
    assert f"gives tensor {first} the range nan" in refused(*usual, "--ranges", path)
    path.write_text(json.dumps({**good, "ranges": {}}))
    assert "ranges.json has no range of tensor" in refused(*usual, "--ranges", path)
    path.write_text("{")
    assert "ranges.json is damaged" in refused(*usual, "--ranges", path)
    assert "cannot be read" in refused(*usual, "--ranges", area / "gone.json")
    text = refused(*usual, "--ranges", path, "--method", "mse", "--count", 3)
    assert (
        "already fixes the calibration frames and their method; leave out --count --method" in text
    )


def test_bad_datasets(refused: Callable[..., str], area: Path) -> None:
    """None, one whose path is gone, one of other classes, sizes or numbers, black ones."""
    frames = ["--calibration", area / "frames"]
    assert "own was exported without an evaluation set; give one (--dataset)" in refused(*frames)
    change_recipe(area / "own", evaluation={"dataset": "val.json"})
    text = refused(*frames)
    assert "was measured on val.json, whose path a bundle does not hold; give it" in text
    usual = ["--dataset", area / "truth.json", *frames]
    assert "--frames is 1; ask for at least 2" in refused(*usual, "--frames", 1)
    before = [*usual, "--sensitivity"]  # as the command was called before it had a name
    assert refused(*before, "--eval-frames", 3, command="calibrate") == (
        "error: --eval-frames is called --frames now; give --frames 3"
    )
    text = refused(*before, "--frames", "train", command="calibrate")
    assert "--frames train is not a number of frames" in text
    truth = json.loads((area / "truth.json").read_text())
    first = truth["images"][0]
    boxes = [each for each in truth["annotations"] if each["image_id"] == first["id"]]
    one = {**truth, "images": [first], "annotations": boxes}
    (area / "truth.json").write_text(json.dumps(one))
    assert "truth.json holds one frame only" in refused(*usual)
    (area / "truth.json").write_text(json.dumps(truth))
    image = area / "images" / "drive_2.png"
    cv2.imwrite(str(image), np.ones((90, 160, 3), np.uint8))
    assert "drive_2.png is 160 wide and 96 high, but the file is" in refused(*usual)
    for each in image.parent.iterdir():
        cv2.imwrite(str(each), np.zeros((96, 160, 3), np.uint8))
    assert "all 4 frames of the evaluation set truth.json are black" in refused(*usual)
    named = [{"id": i, "name": name} for i, name in enumerate(("cat", "dog"), start=1)]
    (area / "truth.json").write_text(json.dumps({**truth, "categories": named}))
    text = refused(*usual)
    assert "truth.json has the classes cat, dog but the recipe near, far; make them equal" in text
    assert "gone.json do not exist; give a path" in refused("--dataset", "gone.json", *frames)


def test_nothing_to_lose(refused: Callable[..., str], area: Path) -> None:
    """Where float32 finds nothing either."""
    truth = json.loads((area / "truth.json").read_text())
    for each in truth["annotations"]:
        each["bbox"], each["area"] = [0, 0, 3, 2], 6
    (area / "truth.json").write_text(json.dumps(truth))
    text = refused(*arguments(area))
    assert "AP of the float32 network on 4 frames of truth.json is 0, so that no layer" in text


def test_bad_options(
    refused: Callable[..., str], area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work."""
    monkeypatch.setattr("lzu_export.quantization.recalibrate.measure_ranges", None)
    usual = arguments(area)[:-2]
    for value in ("-1", "0", "nan", "inf"):
        assert f"--limit is {value}; give a positive number" in refused(*usual, "--limit", value)
    assert "--by is block; choose layer or group" in refused(*usual, "--by", "block")
    assert "end it in .json" in refused(*usual, "--out", area / "x.png")
    assert "lies in the bundle" in refused(*usual, "--out", area / "own" / "x.json")
    assert "calibration method 'kl' is unknown" in refused(*usual, "--method", "kl")


def test_a_limit_that_no_list_meets(calibrate: Run, area: Path) -> None:
    """One sentence, and no result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity.Int8Metric, "__call__", lambda self, int8: 1.0)
        status, out, err = calibrate(area / "own", *arguments(area, limit=0.5))
    assert (status, out) == (2, "")
    assert "no list of layers meets the limit: with none in INT8 the metric is 1.00" in err
    assert not (area / "own.int8.sensitivity.json").exists()


def test_no_layer_may_be_int8(area: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then INT8 is to be left out."""
    from lzu_export.quantization.report import recipe_lines

    metric = lambda self, int8: 50.0 if int8 else 90.0  # noqa: E731
    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", metric)
    monkeypatch.setattr(sensitivity, "float32_metrics", lambda *_: {"AP": 90.0})
    outcome = search_in(area, limit=1.0)
    assert outcome.found.kept == len(outcome.layers)
    assert "leave int8 out of the recipe's precision" in recipe_lines(outcome)


def test_the_former_spelling_is_still_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts of earlier releases call it `calibrate --sensitivity`; a note has its name."""
    asked = []

    def stop(*arguments: Any, **options: Any) -> None:
        options.pop("report")
        asked.append((arguments, options))
        raise LzuError("reached")

    monkeypatch.setattr(sensitivity, "measure_sensitivity", stop)
    words = ["--dataset", "demo", "--frames", 3, "--limit", 0.5, "--by", "layer", "--seed", 2]
    words += ["--calibration", "demo", "--count", 4, "--ranges", "r.json", "--out", "o.json"]
    assert status_of("sensitivity", "own", *words) == 2
    assert capsys.readouterr().err == "error: reached\n"
    assert status_of("calibrate", "own", "--sensitivity", *words) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note == (
        "note: calibrate --sensitivity is lzu-export sensitivity now; the old way still works"
    )
    assert error == "error: reached"
    assert asked[0] == asked[1]


def test_a_missing_matplotlib_is_said_before_any_work(made: Path) -> None:
    """With its extra in brackets."""
    done = without("matplotlib", "sensitivity", made / "own", *arguments(made))
    assert done.returncode == 2
    sentence = "error: figures are drawn by matplotlib; pip install 'lzu-export[bench]'"
    assert done.stderr.strip() == sentence
    assert list(made.glob("own.*")) == []


@pytest.mark.usefixtures("quick")
def test_a_picture_that_cannot_be_drawn_leaves_nothing_half_written(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither picture nor result."""
    from lzu_export.quantization import report as sensitivity_report

    def draw(outcome: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    outcome = search_in(area, by="group")
    monkeypatch.setattr(sensitivity_report, "draw", draw)
    with pytest.raises(LzuError, match="the disk is full"):
        sensitivity_report.write_report(outcome)
    assert [each.name for each in area.glob("*sensitivity*")] == ["own.int8.sensitivity.state.json"]
    assert list(area.glob(".*")) == []
