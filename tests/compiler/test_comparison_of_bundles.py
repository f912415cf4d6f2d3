"""Engines of several bundles, timed in turns."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler import comparison as module
from lzu_export.compiler.comparison import base_of, compare_bundles
from lzu_export.manifest.schema import read_manifest
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.interleave import Plan


@pytest.fixture
def pair(bundle: Path) -> list[Bundle]:
    """The tiny bundle, and a copy that calls itself uniform."""
    other = Path(shutil.copytree(bundle, bundle.with_name("uniform")))
    manifest = read_manifest(other).model_copy(update={"variant": "uniform"})
    return [Bundle(bundle), Bundle(other, manifest)]


def test_the_same_engine_twice_takes_the_same_time(
    pair: list[Bundle], monkeypatch: pytest.MonkeyPatch
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

    def run(self, camera_frames: Sequence[CameraFrame]) -> None:
        Slow.clock += self.nanoseconds
        self.log.append(self.name)


def test_times_are_of_turns_and_ratios_over_uniform(
    pair: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    def predictor(bundle: Bundle, _: Any) -> Slow:
        name = bundle.folder.name
        return Slow(3_000_000 if name == "uniform" else 4_500_000, log, name)

    monkeypatch.setattr(Bundle, "predictor", predictor)
    monkeypatch.setattr(module, "SECONDS", 12.0)  # of this test's own clock
    monkeypatch.setattr("lzu_export.support.interleave.clock", lambda: Slow.clock)
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
        return module.plan_for({"a": slow, "b": slow})

    def advance(seconds: float) -> None:
        Slow.clock += int(seconds * 1e9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SECONDS", 12.0)
        patch.setattr("lzu_export.support.interleave.clock", lambda: Slow.clock)
        quick, slow = plan(0.01), plan(5.0)
    assert (quick.queries, quick.block, quick.settle) == (60, 3, 1)
    assert (slow.queries, slow.block, slow.settle) == (6, 1, 0)


def test_the_base_is_uniform_of_the_same_recipe_and_scale(pair: list[Bundle]) -> None:
    fixed, uniform = pair
    assert base_of(fixed, pair) == uniform
    assert base_of(uniform, pair) is None
    recipe = uniform.recipe.model_copy(update={"scale": 0.75})
    for other in ({"recipe": recipe}, {"name": "other"}):
        changed = Bundle(uniform.folder, uniform.manifest.model_copy(update=other))
        assert base_of(fixed, [fixed, changed]) is None


def test_frames_in_space_get_a_camera(tiny_det3d_bundle: Path) -> None:
    (batch,) = Bundle(tiny_det3d_bundle).batches()
    assert [camera_frame.frame.shape for camera_frame in batch] == [(96, 160, 3)] * 2
    assert all(camera_frame.cam2img is not None for camera_frame in batch)
