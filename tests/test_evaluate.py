"""Evaluation: every frame once for every detector, padded batches, interleaved timing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export import evaluate as module
from lzu_export.errors import LzuError
from lzu_export.evaluate import batches, evaluate, latencies
from lzu_export.runtime.detector import Detections
from samples import CLASSES, tiny_recipe


class Frames:
    """Black frames numbered from 100 on, their number in the first byte."""

    name = "frames"
    note = ""

    def __init__(self, count: int, classes: tuple[str, ...] = tuple(CLASSES)) -> None:
        self.count, self.classes = count, classes
        self.read = 0

    def __len__(self) -> int:
        return self.count

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        for i in range(self.count):
            self.read += 1
            frame = np.zeros((96, 160, 3), np.uint8)
            frame[0, 0, 0] = i
            yield 100 + i, frame

    def evaluate(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The ids seen, as a metric each."""
        return {str(each["image_id"]): each["score"] for each in results}


class FakeDetector:
    """Finds one object a frame, whose score is the frame's number."""

    def __init__(self, folder: Path, batch: int, log: list[str], name: str) -> None:
        self.recipe = tiny_recipe(folder, batch=batch)
        self.log, self.name = log, name

    def batch(self, frames: list[np.ndarray]) -> list[Detections]:
        assert len(frames) == self.recipe.batch
        self.log.append(self.name)
        box, label = np.zeros((1, 4), np.float32), np.zeros(1, np.int32)
        return [
            Detections(box, np.float32([frame[0, 0, 0]]), label, tuple(CLASSES)) for frame in frames
        ]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_every_frame_counts_once_whatever_the_batch(batch: int, tmp_path: Path) -> None:
    log: list[str] = []
    detectors = {name: FakeDetector(tmp_path, batch, log, name) for name in ("a", "b")}
    dataset, done = Frames(5), []
    results = evaluate(detectors, dataset, done.append)
    assert dataset.read == 5
    assert sum(done) == 5
    expected = {str(100 + i): float(i) for i in range(5)}
    assert results == {"a": expected, "b": expected}
    assert log == ["a", "b"] * (-(-5 // batch))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    detectors = {"a": FakeDetector(tmp_path, 1, [], "a")}
    with pytest.raises(LzuError, match="set frames has the classes far, near but the recipe near"):
        evaluate(detectors, Frames(2, ("far", "near")))


def test_batches_end_short() -> None:
    groups = list(batches(Frames(5).frames(), 2))
    assert [[number for number, _ in group] for group in groups] == [[100, 101], [102, 103], [104]]
    assert list(batches(Frames(0).frames(), 2)) == []


def test_latencies_take_turns_within_their_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    detectors = {name: FakeDetector(tmp_path, 1, log, name) for name in ("a", "b")}
    frames = [np.zeros((96, 160, 3), np.uint8)]
    monkeypatch.setattr(module, "MAX_RUNS", 7)
    milliseconds, runs = latencies(detectors, frames)
    assert runs == 7
    assert log == ["a", "b"] * 8  # with the warmup
    assert set(milliseconds) == {"a", "b"}
    assert all(0 < each < 1000 for each in milliseconds.values())
    monkeypatch.setattr(module, "SECONDS", 0.0)
    assert latencies(detectors, frames)[1] == module.MIN_RUNS


def test_the_latency_is_the_median(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, steps = [0.0], iter([0.002, 0.002, 0.009, 0.002, 0.003])

    class Slow(FakeDetector):
        def batch(self, frames: list[np.ndarray]) -> list[Detections]:
            if self.log:
                clock[0] += next(steps)
            return super().batch(frames)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(module, "MAX_RUNS", 5)
    slow = Slow(tmp_path, 1, [], "a")
    milliseconds, _ = latencies({"a": slow}, [np.zeros((96, 160, 3), np.uint8)])
    assert milliseconds["a"] == pytest.approx(2.0)


def test_a_batch_shares_its_time_over_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    class Slow(FakeDetector):
        def batch(self, frames: list[np.ndarray]) -> list[Detections]:
            clock[0] += 0.006
            return super().batch(frames)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    slow = Slow(tmp_path, 2, [], "a")
    milliseconds, _ = latencies({"a": slow}, [np.zeros((96, 160, 3), np.uint8)] * 2)
    assert milliseconds["a"] == pytest.approx(3.0)
