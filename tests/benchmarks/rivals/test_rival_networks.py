"""Networks of the comparison: what they see, which weights are comparable, and their training."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_benchmarks.rivals.networks import (
    FULL,
    NETWORKS,
    SHIPPED,
    chosen_band,
    missing,
    overrides,
    weights_in,
    write_band,
)
from lzu_benchmarks.train.setup import Setup
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.recipes.sections import Window

BAND = Window(x=0, y=100, width=640, height=170)


def weights(
    folder: Path, network: str, seed: int, epochs: float = 9.0, sequences: int = 1000
) -> None:
    """Write weights without content, with their record."""
    record = {"network": network, "seed": seed, "epochs": epochs, "sequences": sequences}
    (folder / f"{network}-{seed}.pth").touch()
    (folder / f"{network}-{seed}.json").write_text(json.dumps(record))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_s_recipe_has_its_setup(name: str) -> None:
    network = NETWORKS[name]
    views = network.views(BAND)
    recipe = load_recipe("det", overrides(network, views))
    assert recipe.canvas == views.setup.canvas
    assert recipe.network_input == views.setup.network_input
    assert recipe.variant == network.variant


def test_one_pass_of_the_crop_and_of_a_tile_costs_what_uniform_costs() -> None:
    whole = np.prod(Setup().network_input)
    for name in ("crop", "tiles", "fovea", "fixed"):
        assert np.prod(NETWORKS[name].views(BAND).setup.network_input) == whole


def test_the_band_is_stored_with_its_rule(tmp_path: Path) -> None:
    assert chosen_band(tmp_path) is None
    record = write_band(tmp_path, BAND, 0.95)
    assert chosen_band(tmp_path) == BAND
    assert "training boxes" in record["rule"]


def test_shipped_weights_stand_beside_those_of_the_same_budget(tmp_path: Path) -> None:
    weights(tmp_path, "uniform", 1)
    weights(tmp_path, "uniform-0.75x", 0)
    found = {each.name: each for each in weights_in(tmp_path)}
    assert set(found) == {"uniform-1", "uniform-0.75x-0", *(f"{each}-0" for each in SHIPPED)}
    assert found["uniform-0"].path.is_file()
    assert {each.budget for each in found.values()} == {FULL}
    assert missing(["uniform", "tiles"], found.values()) == ["tiles"]


def test_weights_of_another_budget_stand_alone(tmp_path: Path) -> None:
    weights(tmp_path, "crop", 0, epochs=1.0)
    assert [each.name for each in weights_in(tmp_path)] == ["crop-0"]
    weights(tmp_path, "tiles", 0, epochs=2.0)
    with pytest.raises(LzuError, match="1 epochs of 1000 sequences and of 2 epochs"):
        weights_in(tmp_path)


def options(folder: Path, **changes: Any) -> Namespace:
    given = {"out": folder, "networks": list(NETWORKS), "seeds": [0, 1], "epochs": 9.0}
    return Namespace(**{**given, "sequences": 1000, **changes})


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    train = pytest.importorskip("lzu_benchmarks.rivals.train", reason="training needs torch")
    weights(tmp_path, "crop", 0)
    jobs = train.jobs_of(options(tmp_path))
    assert ("crop", 1) in jobs
    assert not {("crop", 0), ("uniform", 0), ("fixed", 0), ("fovea", 0)} & set(jobs)
    assert len(jobs) == 2 * len(NETWORKS) - 4
    (tmp_path / "small").mkdir()
    small = train.jobs_of(options(tmp_path / "small", epochs=1.0, seeds=[0]))
    assert small == [(name, 0) for name in NETWORKS]
    with pytest.raises(LzuError, match="holds weights of 9 epochs of 1000 sequences; give"):
        train.jobs_of(options(tmp_path, epochs=1.0))


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
    assert [each.name for each in weights_in(tmp_path / "out")] == ["fovea-5", "crop-5"]
    train.main()
    assert json.loads(capsys.readouterr().out)["runs"] == []
