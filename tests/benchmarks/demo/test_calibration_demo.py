"""The demonstration scenes as calibration frames: of training streets, drawn only when read."""

from importlib.metadata import entry_points

import numpy as np
import pytest

from lzu_benchmarks.demo import calibration
from lzu_benchmarks.demo.dataset import SPLITS, frame_number, open_demo
from lzu_benchmarks.scenes import Sequence, render
from lzu_export.inputs.frame_sources import open_frames
from lzu_export.inputs.frame_sources.choose import GROUP


def test_the_demo_is_announced() -> None:
    """So that calibration needs not import the benchmarks."""
    (found,) = [entry for entry in entry_points(group=GROUP) if entry.name == "demo"]
    assert found.load() is calibration.demo


def test_frames_are_of_training_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """One each of as many as there are frames; none is rendered for the digest."""

    def never(*_: object) -> None:
        raise AssertionError("rendered")

    monkeypatch.setattr("lzu_benchmarks.scenes.render", never)
    monkeypatch.setattr("lzu_benchmarks.scenes.Sequence", never)
    found = open_frames("demo", count=16, seed=0)
    assert found.name == "demo"
    assert len(found) == found.sequences == 16
    first, number = SPLITS["train"]
    seeds = [int(key.split("/")[0]) for key in found.keys]
    assert all(first <= seed < first + number for seed in seeds)
    assert max(np.diff(seeds)) - min(np.diff(seeds)) <= 1
    held_out = {frame_number(*key) for key in open_demo("val").keys}
    assert not held_out & {frame_number(*map(int, key.split("/"))) for key in found.keys}
    assert open_frames("demo", count=16, seed=0).digest == found.digest
    assert open_frames("demo", count=16, seed=1).digest != found.digest


def test_the_digest_knows_the_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose change changes all pixels."""
    before = open_frames("demo", count=3, seed=0).digest
    monkeypatch.setattr(calibration, "source_digest", lambda root: f"changed {root.name}")
    assert open_frames("demo", count=3, seed=0).digest != before


def test_frames_are_what_the_renderer_draws() -> None:
    """By seed and number."""
    for key, frame in open_frames("demo", count=2, seed=5).frames():
        seed, index = map(int, key.split("/"))
        np.testing.assert_array_equal(frame, render(Sequence(seed), index).image)
