"""Evaluation: every frame once for every predictor, padded batches, interleaved timing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export import evaluate as module
from lzu_export.datasets import Sample
from lzu_export.errors import LzuError
from lzu_export.evaluate import batches, evaluate, latencies
from lzu_export.runtime import Shot
from samples import CLASSES, tiny_recipe


class Frames:
    """Black frames numbered from 100 on, their number in the first byte."""

    name = "frames"
    note = ""
    metric = "score"

    def __init__(self, count: int, classes: tuple[str, ...] = tuple(CLASSES)) -> None:
        self.count, self.classes = count, classes
        self.read = 0

    def __len__(self) -> int:
        return self.count

    def samples(self) -> Iterator[Sample]:
        for i in range(self.count):
            self.read += 1
            frame = np.zeros((96, 160, 3), np.uint8)
            frame[0, 0, 0] = i
            yield Sample(100 + i, Shot(frame), i)

    def scorer(self) -> "Seen":
        return Seen()


class Seen:
    """The numbers seen, as a metric each."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    def add(self, sample: Sample, prediction: float) -> None:
        assert str(sample.number) not in self.found
        assert prediction == sample.truth
        self.found[str(sample.number)] = prediction

    def summary(self) -> dict[str, float]:
        return self.found


class FakePredictor:
    """Predicts the frame's number."""

    remembers = False

    def __init__(self, folder: Path, batch: int, log: list[str], name: str) -> None:
        self.recipe = tiny_recipe(folder, batch=batch)
        self.log, self.name = log, name

    def run(self, shots: list[Shot]) -> list[Any]:
        assert len(shots) == self.recipe.batch
        self.log.append(self.name)
        return [float(shot.frame[0, 0, 0]) for shot in shots]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_every_frame_counts_once_whatever_the_batch(batch: int, tmp_path: Path) -> None:
    log: list[str] = []
    predictors = {name: FakePredictor(tmp_path, batch, log, name) for name in ("a", "b")}
    dataset, done = Frames(5), []
    results = evaluate(predictors, dataset, done.append)
    assert dataset.read == 5
    assert sum(done) == 5
    expected = {str(100 + i): float(i) for i in range(5)}
    assert results == {"a": expected, "b": expected}
    assert log == ["a", "b"] * (-(-5 // batch))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    predictors = {"a": FakePredictor(tmp_path, 1, [], "a")}
    with pytest.raises(LzuError, match="set frames has the classes far, near but the recipe near"):
        evaluate(predictors, Frames(2, ("far", "near")))


def test_batches_end_short() -> None:
    groups = list(batches(Frames(5).samples(), 2))
    assert [[each.number for each in group] for group in groups] == [[100, 101], [102, 103], [104]]
    assert list(batches(Frames(0).samples(), 2)) == []


def test_latencies_take_turns_within_their_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    predictors = {name: FakePredictor(tmp_path, 1, log, name) for name in ("a", "b")}
    frames = [Shot(np.zeros((96, 160, 3), np.uint8))]
    monkeypatch.setattr(module, "MAX_RUNS", 7)
    milliseconds, runs = latencies(predictors, frames)
    assert runs == 7
    assert log == ["a", "b"] * 8  # with the warmup
    assert set(milliseconds) == {"a", "b"}
    assert all(0 < each < 1000 for each in milliseconds.values())
    monkeypatch.setattr(module, "SECONDS", 0.0)
    assert latencies(predictors, frames)[1] == module.MIN_RUNS


def test_the_latency_is_the_median(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, steps = [0.0], iter([0.002, 0.002, 0.009, 0.002, 0.003])

    class Slow(FakePredictor):
        def run(self, shots: list[Shot]) -> list[Any]:
            if self.log:
                clock[0] += next(steps)
            return super().run(shots)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(module, "MAX_RUNS", 5)
    slow = Slow(tmp_path, 1, [], "a")
    milliseconds, _ = latencies({"a": slow}, [Shot(np.zeros((96, 160, 3), np.uint8))])
    assert milliseconds["a"] == pytest.approx(2.0)


def test_a_batch_shares_its_time_over_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    class Slow(FakePredictor):
        def run(self, shots: list[Shot]) -> list[Any]:
            clock[0] += 0.006
            return super().run(shots)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    slow = Slow(tmp_path, 2, [], "a")
    milliseconds, _ = latencies({"a": slow}, [Shot(np.zeros((96, 160, 3), np.uint8))] * 2)
    assert milliseconds["a"] == pytest.approx(3.0)
