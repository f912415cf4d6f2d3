"""Engines of several bundles, timed in turns."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lzu_export import comparison as module
from lzu_export.comparison import base_of, compare_bundles, reference_batches
from lzu_export.interleave import Plan
from lzu_export.runtime.manifest import Manifest, read_manifest
from lzu_export.runtime.predictor import Shot


@pytest.fixture
def pair(bundle: Path) -> dict[Path, Manifest]:
    """The tiny bundle, and a copy that calls itself uniform."""
    other = Path(shutil.copytree(bundle, bundle.with_name("uniform")))
    manifest = read_manifest(other).model_copy(update={"variant": "uniform"})
    return {bundle: read_manifest(bundle), other: manifest}


def test_the_same_engine_twice_takes_the_same_time(
    pair: dict[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    fixed, uniform = compare_bundles(pair).values()
    assert fixed.bundles == uniform.bundles == ("bundle", "uniform")
    assert (fixed.base, uniform.base) == ("uniform", None)
    assert fixed.created == uniform.created
    assert uniform.ratios == {}
    (ratio,) = fixed.ratios.values()
    assert ratio.rounds == fixed.rounds >= 6
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.low < 2
    assert ratio.high > 0.5  # it cannot be told from 1, however busy the machine is
    assert set(fixed.milliseconds) == {"onnxruntime/fp32"}


class Slow:
    """A predictor of a known time, on a clock of its own."""

    clock = 0

    def __init__(self, nanoseconds: int, log: list[str], name: str) -> None:
        self.nanoseconds, self.log, self.name = nanoseconds, log, name

    def __enter__(self) -> "Slow":
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append(f"{self.name} closed")

    def reset(self) -> None:
        self.log.append(f"{self.name} reset")

    def run(self, shots: Sequence[Shot]) -> None:
        Slow.clock += self.nanoseconds
        self.log.append(self.name)


def test_times_are_of_turns_and_ratios_over_uniform(
    pair: dict[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    def load(folder: Path, **_: Any) -> Slow:
        return Slow(3_000_000 if folder.name == "uniform" else 4_500_000, log, folder.name)

    monkeypatch.setattr(module, "load", load)
    monkeypatch.setattr("lzu_export.interleave.clock", lambda: Slow.clock)
    fixed, uniform = compare_bundles(pair).values()
    assert fixed.milliseconds == {"onnxruntime/fp32": 4.5}
    assert uniform.milliseconds == {"onnxruntime/fp32": 3.0}
    (ratio,) = fixed.ratios.values()
    assert (ratio.value, ratio.low, ratio.high) == (1.5, 1.5, 1.5)
    assert fixed.unsteady == ()
    runs = [each for each in log if " " not in each]
    assert 6 * module.BLOCK < runs.count("bundle") == runs.count("uniform")
    assert log[-2:] == ["uniform closed", "bundle closed"]


def test_slow_engines_take_fewer_turns() -> None:
    def plan(seconds: float) -> Plan:
        slow = module.Subject({"all": lambda _: advance(seconds)}, lambda number: None)
        return module._plan({"a": slow, "b": slow})

    def advance(seconds: float) -> None:
        Slow.clock += int(seconds * 1e9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lzu_export.interleave.clock", lambda: Slow.clock)
        quick, slow = plan(0.01), plan(5.0)
    assert (quick.queries, quick.block, quick.settle) == (60, 3, 1)
    assert (slow.queries, slow.block, slow.settle) == (6, 1, 0)


def test_the_base_is_uniform_of_the_same_recipe_and_scale(pair: dict[Path, Manifest]) -> None:
    fixed, uniform = pair
    assert base_of(fixed, pair) == uniform
    assert base_of(uniform, pair) is None
    recipe = pair[uniform].recipe.model_copy(update={"scale": 0.75})
    scaled = {**pair, uniform: pair[uniform].model_copy(update={"recipe": recipe})}
    assert base_of(fixed, scaled) is None
    named = {**pair, uniform: pair[uniform].model_copy(update={"name": "other"})}
    assert base_of(fixed, named) is None


def test_frames_in_space_get_a_camera(tiny_det3d_bundle: Path) -> None:
    (batch,) = reference_batches(tiny_det3d_bundle, read_manifest(tiny_det3d_bundle))
    assert [shot.frame.shape for shot in batch] == [(96, 160, 3)] * 2
    assert all(shot.cam2img is not None for shot in batch)
