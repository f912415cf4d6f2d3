"""Networks of the comparison: what they see, which weights are comparable, and their training."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_benchmarks.rivals.networks import (
    DET,
    SEG,
    TASKS,
    Network,
    RivalTask,
    chosen_band,
    missing,
    overrides,
    weights_in,
    write_band,
)
from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.windows import best_band
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.recipes.sections import Window

BAND = Window(x=0, y=100, width=640, height=170)


def weights(
    folder: Path, network: str, seed: int, epochs: float = 9.0, sequences: int = 1000, **more: str
) -> None:
    """Write weights without content, with their record."""
    record = {"network": network, "seed": seed, "epochs": epochs, "sequences": sequences, **more}
    (folder / f"{network}-{seed}.pth").touch()
    (folder / f"{network}-{seed}.json").write_text(json.dumps(record))


def networks_of(task: RivalTask) -> list[Any]:
    return [pytest.param(each, id=f"{task.name}-{each.name}") for each in task.networks.values()]


@pytest.mark.parametrize("network", networks_of(DET))
def test_a_detector_s_recipe_has_its_setup(network: Network) -> None:
    views = network.views(BAND)
    recipe = load_recipe("det", overrides(network, BAND))
    assert recipe.canvas == views.setup.canvas
    assert recipe.network_input == views.setup.network_input
    assert recipe.variant == network.variant


@pytest.mark.parametrize("network", networks_of(SEG))
def test_a_segmenter_s_recipe_sees_the_frame_or_the_band(network: Network) -> None:
    recipe = load_recipe("seg", overrides(network, BAND))
    assert (recipe.variant, recipe.scale) == (network.variant, network.scale)
    assert recipe.view == ((BAND.height, BAND.width) if network.band else recipe.source)


def test_one_pass_of_the_crop_and_of_a_tile_costs_what_uniform_costs() -> None:
    whole = np.prod(Setup().network_input)
    for name in ("crop", "tiles", "fovea", "fixed"):
        assert np.prod(DET.networks[name].views(BAND).setup.network_input) == whole
    assert DET.networks["tiles"].passes == 4


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_band_is_chosen_for_the_task_s_scales(task: RivalTask) -> None:
    """It costs at most the uniform input, and holds a third of the frame or more."""
    boxes = np.array([[10.0, 150, 30, 190], [100, 160, 120, 180]])
    window, share = best_band(boxes, Setup.source, task.scale, zoom=task.zoom)
    assert share == 1
    assert window.height >= Setup.source[0] / 3
    uniform, crop = (
        load_recipe(task.name, overrides(task.networks[name], window))
        for name in ("uniform", "crop")
    )
    assert np.prod(crop.network_input) <= np.prod(uniform.network_input)


def test_the_band_is_stored_with_its_rule(tmp_path: Path) -> None:
    assert chosen_band(tmp_path) is None
    record = write_band(tmp_path, BAND, 0.95, 1.4)
    assert chosen_band(tmp_path) == BAND
    assert "at 1.4 times the uniform scale" in record["rule"]
    assert "training boxes" in record["rule"]


def test_shipped_weights_stand_beside_those_of_the_same_budget(tmp_path: Path) -> None:
    weights(tmp_path, "uniform", 1)
    weights(tmp_path, "uniform-0.75x", 0)
    found = {each.name: each for each in weights_in(tmp_path, DET)}
    assert set(found) == {"uniform-1", "uniform-0.75x-0", *(f"{each}-0" for each in DET.shipped)}
    assert found["uniform-0"].path.is_file()
    assert {each.budget for each in found.values()} == {DET.full}
    assert missing(["uniform", "tiles"], found.values()) == ["tiles"]


def test_weights_of_another_budget_stand_alone(tmp_path: Path) -> None:
    weights(tmp_path, "crop", 0, epochs=1.0)
    assert [each.name for each in weights_in(tmp_path, DET)] == ["crop-0"]
    weights(tmp_path, "tiles", 0, epochs=2.0)
    with pytest.raises(LzuError, match="1 epochs of 1000 sequences and of 2 epochs"):
        weights_in(tmp_path, DET)


def test_weights_of_another_task_are_refused(tmp_path: Path) -> None:
    weights(tmp_path, "crop", 0, epochs=4.0, task="seg")
    found = {each.name for each in weights_in(tmp_path, SEG)}
    assert found == {"crop-0", "uniform-0", "fixed-0"}
    with pytest.raises(LzuError, match=r"crop-0\.json records weights of task seg, not det"):
        weights_in(tmp_path, DET)


def options(folder: Path, **changes: Any) -> Namespace:
    given = {"task": "det", "out": folder, "networks": list(DET.networks), "seeds": [0, 1]}
    return Namespace(**{**given, "epochs": 9.0, "sequences": 1000, **changes})


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    train = pytest.importorskip("lzu_benchmarks.rivals.train", reason="training needs torch")
    weights(tmp_path, "crop", 0)
    jobs = train.jobs_of(options(tmp_path))
    assert ("crop", 1) in jobs
    assert not {("crop", 0), ("uniform", 0), ("fixed", 0), ("fovea", 0)} & set(jobs)
    assert len(jobs) == 2 * len(DET.networks) - 4
    (tmp_path / "small").mkdir()
    small = train.jobs_of(options(tmp_path / "small", epochs=1.0, seeds=[0]))
    assert small == [(name, 0) for name in DET.networks]
    with pytest.raises(LzuError, match="holds weights of 9 epochs of 1000 sequences; give"):
        train.jobs_of(options(tmp_path, epochs=1.0))


def test_the_task_gives_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = pytest.importorskip("lzu_benchmarks.rivals.train", reason="training needs torch")
    words = ["--out", str(tmp_path), "--work", str(tmp_path / "work"), "--task", "seg"]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    given = train.given()
    assert (given.epochs, given.sequences) == SEG.full
    assert given.networks == list(SEG.networks)
    monkeypatch.setattr(sys, "argv", ["train", *words, "--networks", "crop", "tiles"])
    with pytest.raises(LzuError, match="--networks names tiles; those of seg are uniform, fixed"):
        train.given()


@pytest.mark.slow  # renders sequences and trains two networks for some steps
def test_the_command_trains_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = pytest.importorskip("lzu_benchmarks.rivals.train", reason="training needs torch")
    monkeypatch.setattr(train, "SALIENCY_SEQUENCES", 2)
    words = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--sequences", "2"]
    words += ["--epochs", "2", "--seeds", "5", "--networks", "crop", "fovea", "--json"]
    monkeypatch.setattr(sys, "argv", ["train", *words, "--processes", "1"])
    train.main()
    printed = capsys.readouterr()
    assert "static crop: rows " in printed.err
    made = json.loads(printed.out)
    assert [each["network"] for each in made["runs"]] == ["crop", "fovea"]
    assert [each.name for each in weights_in(tmp_path / "out", DET)] == ["fovea-5", "crop-5"]
    train.main()
    assert json.loads(capsys.readouterr().out)["runs"] == []


@pytest.mark.slow  # renders sequences and trains two networks for some steps
def test_segmenters_are_trained_at_what_they_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = pytest.importorskip("lzu_benchmarks.rivals.train", reason="training needs torch")
    write_band(tmp_path, BAND, 0.95, SEG.zoom)
    words = ["--task", "seg", "--out", str(tmp_path), "--work", str(tmp_path / "work"), "--json"]
    words += ["--sequences", "2", "--epochs", "2", "--seeds", "5", "--networks", "crop", "fixed"]
    monkeypatch.setattr(sys, "argv", ["train", *words, "--processes", "1"])
    train.main()
    made = json.loads(capsys.readouterr().out)
    assert [(each["task"], each["network"]) for each in made["runs"]] == [
        ("seg", "crop"),
        ("seg", "fixed"),
    ]
    given = train.given()
    cache = train.segmenters.frames_of(given)
    crop, whole = (train.segmenters.SeenFrames(cache, name) for name in ("crop", "fixed"))
    rows = slice(BAND.y, BAND.y + BAND.height)
    np.testing.assert_array_equal(crop.labels(), whole.labels()[:, rows])
    assert crop.images("uniform").shape == (8, 59, 224, 3)
    assert len({each.budget for each in weights_in(tmp_path, SEG)}) == 1
