"""Decisions on lowerings, as the manifests of bundles beside one another hold them."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lzu_export.compiler import lowerings as module
from lzu_export.compiler.lowerings import Decided
from lzu_export.graph.lowering.choose import Step
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.manifest.seal import manifest_text


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / FILE
    data = json.loads(path.read_text())
    change(data)
    path.write_text(manifest_text(data))


def lowering_of(data: dict[str, Any], place: str = "zoom") -> dict[str, Any]:
    (found,) = [each for each in data["engines"][0]["lowerings"] if each["place"] == place]
    return found


@pytest.fixture
def step(bundle: Path) -> Step:
    """The zoom of the tiny bundle."""
    lowering = lowering_of(json.loads((bundle / FILE).read_text()))
    return Step("zoom", lowering["step"], ("banded", "matmul", "gridsample"), None)


def test_a_bundle_s_measured_lowering_holds_for_others(bundle: Path, step: Step) -> None:
    edit(bundle, lambda data: lowering_of(data).update(kind="matmul", reason="measured with it"))
    decided = Decided(bundle.parent)
    assert decided(step)[:2] == ("matmul", "measured with it")
    manifest = read_manifest(bundle)
    assert decided.agrees(manifest)
    edit(bundle, lambda data: lowering_of(data).update(kind="gridsample"))
    assert not decided.agrees(read_manifest(bundle))


def test_of_bundles_that_differ_the_oldest_one_counts(bundle: Path, step: Step) -> None:
    other = Path(shutil.copytree(bundle, bundle.with_name("another")))
    edit(bundle, lambda data: lowering_of(data).update(kind="matmul"))
    edit(other, lambda data: lowering_of(data).update(kind="gridsample"))
    edit(other, lambda data: data.update(created="2999-01-01T00:00:00+00:00"))
    assert Decided(bundle.parent)(step)[0] == "matmul"
    edit(other, lambda data: data.update(created="2001-01-01T00:00:00+00:00"))
    assert Decided(bundle.parent)(step)[0] == "gridsample"


@pytest.mark.parametrize("first", ["2026-05-01T10:00:00.099+00:00", "2026-05-01T10:00:00+00:00"])
def test_bundles_of_one_second_are_told_apart(bundle: Path, step: Step, first: str) -> None:
    """This also holds where an older release wrote its time in whole seconds."""
    assert re.fullmatch(r".*T\d\d:\d\d:\d\d\.\d{3}\+00:00", read_manifest(bundle).created)
    other = Path(shutil.copytree(bundle, bundle.with_name("another")))
    assert other.name < bundle.name, "which would win a tie"
    edit(bundle, lambda data: lowering_of(data).update(kind="matmul"))
    edit(bundle, lambda data: data.update(created=first))
    edit(other, lambda data: lowering_of(data).update(kind="gridsample"))
    edit(other, lambda data: data.update(created="2026-05-01T10:00:00.104+00:00"))
    assert Decided(bundle.parent)(step)[0] == "matmul"


@pytest.mark.parametrize("unfit", ["damaged", "other machine", "set in the recipe", "impossible"])
def test_what_is_no_measurement_of_here_is_measured(bundle: Path, step: Step, unfit: str) -> None:
    def change(data: dict[str, Any]) -> None:
        changes = {
            "damaged": {"kind": 3},
            "other machine": {"measured_on": "a board"},
            "set in the recipe": {"step": "", "measured_on": ""},
            "impossible": {"kind": "../../x"},
        }
        lowering_of(data).update(changes[unfit])

    edit(bundle, change)
    decided = Decided(bundle.parent)
    measured = []

    def timer(models: Any) -> list[list[float]]:
        measured.append(len(models))
        return [[3.0] * 9, [1.0] * 9, [2.0] * 9]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Step, "model", lambda self, kind: kind)
        decided.measure({"it": [step]}, timer)
    assert measured == [3]
    assert decided(step)[0] == "matmul"
    assert decided(step)[2] == module.measured_on()


def test_an_empty_folder_has_decided_on_nothing(tmp_path: Path, bundle: Path) -> None:
    assert Decided(tmp_path / "none").agrees(read_manifest(bundle))
