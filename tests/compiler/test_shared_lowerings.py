"""Exports lower the same step in the same way, and give the same graphs."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler import pipeline
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.manifest.schema import read_manifest
from lzu_export.targets.onnxruntime_target import OnnxRuntime
from samples import tiny_recipe


def kinds_of(outcome: Outcome) -> dict[str, str]:
    return {each.place: each.kind for each in outcome.manifest.engines[0].lowerings}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is timed, a list a comparison; in each another kind is three times faster."""
    asked: list[list[str]] = []

    def fake(models: Any) -> list[list[float]]:
        kinds = ["GridSample" in {node.op_type for node in each.graph.node} for each in models]
        asked.append([len(models)])
        fast = len(asked) % 2 == 0
        return [[1.0 if each == fast else 3.0] * 9 for each in kinds]

    monkeypatch.setattr(OnnxRuntime, "timer", property(lambda _: fake))
    return asked


@pytest.mark.parametrize("together", [True, False])
def test_variants_take_the_same_lowering_of_the_same_step(
    together: bool, inputs: Path, tmp_path: Path, timed: list[Any]
) -> None:
    """This holds for one export command or two, and a forced export keeps the choice."""
    recipes = [tiny_recipe(inputs, variant=each) for each in ("uniform", "fixed")]
    if together:
        uniform, fixed = pipeline.export_all(recipes, tmp_path)
    else:
        uniform, fixed = (export(each, tmp_path) for each in recipes)
    assert {each.status for each in (uniform, fixed)} == {"exported"}
    assert set(kinds_of(fixed)) > set(kinds_of(uniform)) == {"zoom"}
    assert kinds_of(uniform)["zoom"] == kinds_of(fixed)["zoom"]
    assert len(timed) == len(kinds_of(fixed))
    assert timed[0] == ([6] if together else [3])
    (zoom,) = [each for each in fixed.manifest.engines[0].lowerings if each.place == "zoom"]
    names = "tiny-uniform-0.5x, tiny-fixed-0.5x" if together else "tiny-uniform-0.5x"
    assert zoom.reason.startswith(f"measured with {names}: ")
    if together:  # timed in turns, as their manifests say, and not again without need
        assert fixed.manifest.comparison.base == uniform.folder.name
        assert read_manifest(fixed.folder) == fixed.manifest
        known = pipeline.export_all(recipes, tmp_path)
        assert [each.status for each in known] == ["up to date"] * 2
        assert known[1].manifest == fixed.manifest
    again = export(recipes[0], tmp_path, force=True)
    assert kinds_of(again) == kinds_of(uniform)
    assert len(timed) == len(kinds_of(fixed))
    assert export(recipes[1], tmp_path).status == "up to date"


def test_a_bundle_that_lowers_a_shared_step_otherwise_is_made_again(
    inputs: Path, tmp_path: Path, timed: list[Any]
) -> None:
    """The older bundle's choice of lowering is the one that counts."""
    recipes = [tiny_recipe(inputs, variant=each) for each in ("uniform", "fixed")]
    first, second = (
        export(each, tmp_path / name) for each, name in zip(recipes, "ab", strict=True)
    )
    assert kinds_of(first)["zoom"] != kinds_of(second)["zoom"]
    shutil.copytree(second.folder, tmp_path / "a" / "det" / second.folder.name)
    moved = export(recipes[1], tmp_path / "a")
    assert moved.status == "exported"
    assert kinds_of(moved) == {**kinds_of(second), "zoom": kinds_of(first)["zoom"]}


def test_two_exports_give_the_same_graphs(inputs: Path, tmp_path: Path) -> None:
    """The graphs are equal byte for byte, although both exports timed the lowerings."""
    recipe = tiny_recipe(inputs, precision=["fp32", "fp16"])
    one, other = (export(recipe, tmp_path / name) for name in "ab")
    graphs = [name for name in one.manifest.files if name.endswith(".onnx")]
    assert len(graphs) == 4
    for name in graphs:
        assert one.manifest.files[name] == other.manifest.files[name], name
    (zoom,) = [each for each in other.manifest.engines[0].lowerings if each.place == "zoom"]
    assert zoom.reason.startswith("measured with ")
