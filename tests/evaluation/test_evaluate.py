"""Evaluation: every frame once for every predictor, padded batches, interleaved timing."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation import evaluate as module
from lzu_export.evaluation import resume as unfinished_module
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.evaluate import (
    Timing,
    batches,
    check_numbers,
    count_part,
    evaluate,
    latencies,
)
from lzu_export.evaluation.resume import Unfinished
from lzu_export.runtime import CameraFrame
from lzu_export.runtime.predictor import Predictor
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

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for i in range(start, self.count):
            self.read += 1
            frame = np.zeros((96, 160, 3), np.uint8)
            frame[0, 0, 0] = i
            yield Sample(100 + i, CameraFrame(frame), i, sequence=i // 3)

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

    def state(self) -> dict[str, Any]:
        return {"numbers": np.array(list(self.found)), "values": np.array([*self.found.values()])}

    def restore(self, state: dict[str, Any]) -> None:
        self.found = dict(zip(state["numbers"].tolist(), state["values"].tolist(), strict=True))


class FakePredictor:
    """Predicts the frame's number."""

    is_stateful, fit, engine_seconds = False, "exact", 0.0

    def __init__(self, folder: Path, batch: int, log: list[str], name: str) -> None:
        self.recipe = tiny_recipe(folder, batch=batch)
        self.log, self.name = log, name

    def run(self, camera_frames: list[CameraFrame]) -> list[Any]:
        assert len(camera_frames) == self.recipe.batch
        self.log.append(self.name)
        return [float(camera_frame.frame[0, 0, 0]) for camera_frame in camera_frames]


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


class Heard:
    """Agreements that note who told them what."""

    reference = "a"

    def __init__(self) -> None:
        self.told: list[tuple[str, list[float]]] = []

    def add(self, name: str, predictions: list[float]) -> None:
        self.told.append((name, list(predictions)))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise AssertionError("nothing was interrupted")


@pytest.mark.parametrize("apart", [False, True])
def test_agreements_are_told_batch_by_batch_the_reference_first(
    apart: bool, tmp_path: Path
) -> None:
    """Without what filled up the last batch."""
    predictors: dict[str, Any] = {
        name: Apart(tmp_path, 2) if apart else FakePredictor(tmp_path, 2, [], name)
        for name in ("a", "b")
    }
    heard = Heard()
    evaluate(predictors, Frames(3), agreements=heard)  # type: ignore[arg-type]
    assert heard.told == [("a", [0, 1]), ("b", [0, 1]), ("a", [2]), ("b", [2])]


class Apart(Predictor):
    """Its engine and what comes after it are apart, as those of bundles are."""

    concurrent = False

    def __init__(self, folder: Path, batch: int = 1, stop: int | None = None) -> None:
        self.recipe = tiny_recipe(folder, batch=batch)
        self.fit, self.engine_seconds, self.stop = "exact", 0.0, stop
        self.session = self
        self.concluded: list[tuple[int, str]] = []

    def preprocess(self, camera_frames: Sequence[CameraFrame]) -> dict[str, Any]:
        return {"frame": np.stack([camera_frame.frame for camera_frame in camera_frames])}

    def run(self, given: Any) -> Any:
        if not isinstance(given, dict):
            return super().run(given)
        time.sleep(0.002)
        first = given["frame"][:, 0, 0, 0]
        if self.stop is not None and self.stop in first:
            raise KeyboardInterrupt
        return {"number": first.astype(float)}

    def postprocess(self, outputs: Any, camera_frames: Sequence[CameraFrame]) -> list[Any]:
        time.sleep(0.003)
        self.concluded.append((int(outputs["number"][0]), threading.current_thread().name))
        return outputs["number"].tolist()

    def to_prediction(self, outputs: Any, size: tuple[int, ...]) -> Any:
        raise AssertionError("concluded by itself")


class Streaming(Apart):
    """One that remembers."""

    is_stateful = True

    def __init__(self, folder: Path, stop: int | None = None) -> None:
        super().__init__(folder, 1, stop)
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("batch", [1, 2])
def test_predictions_are_finished_and_counted_beside_the_engine(batch: int, tmp_path: Path) -> None:
    """In order, and the time of each is told."""
    one, spent = Apart(tmp_path, batch), Timing()
    other = Apart(tmp_path, batch)
    found = evaluate({"a": one, "b": other}, Frames(7), spent=spent)
    assert found["a"] == found["b"] == {str(100 + i): float(i) for i in range(7)}
    assert [number for number, _ in one.concluded] == list(range(0, 7, batch))
    assert all("scoring" in thread for _, thread in one.concluded)
    runs = 2 * -(-7 // batch)
    assert spent.frames == 7
    assert 0.002 * runs <= spent.engines < spent.seconds
    assert spent.share == spent.engines / spent.seconds
    assert str(spent).startswith("7 frames in ")


class Meeting(Apart):
    """One whose engine runs only while another one's does."""

    concurrent = True

    def __init__(self, folder: Path, meeting: threading.Barrier) -> None:
        super().__init__(folder)
        self.meeting = meeting

    def run(self, given: Any) -> Any:
        self.meeting.wait(timeout=30)
        return super().run(given)


def test_engines_on_processors_run_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of both counts once, and their predictions are counted in order."""
    monkeypatch.setattr("lzu_export.evaluation.evaluate.threads", lambda: 2)
    meeting, spent = threading.Barrier(2), Timing()
    predictors = {name: Meeting(tmp_path, meeting) for name in ("a", "b")}
    found = evaluate(predictors, Frames(5), spent=spent)
    assert found["a"] == found["b"] == {str(100 + i): float(i) for i in range(5)}
    assert [number for number, _ in predictors["b"].concluded] == list(range(5))
    assert spent.share < 1


@pytest.mark.parametrize("batch", [1, 2])
def test_an_interrupted_evaluation_goes_on_where_it_stood(batch: int, tmp_path: Path) -> None:
    """With nothing twice and nothing left out, and forgets all that at its end."""
    path, whole = tmp_path / "a.npz", {str(100 + i): float(i) for i in range(9)}
    first, frames = Apart(tmp_path, batch, stop=5), Frames(9)
    with pytest.raises(KeyboardInterrupt):
        evaluate({"a": first}, frames, unfinished=Unfinished(path))
    assert path.is_file()
    second, frames, done = Apart(tmp_path, batch), Frames(9), []
    found = evaluate({"a": second}, frames, done.append, unfinished=Unfinished(path))
    assert found == {"a": whole}
    stood = 5 // batch * batch
    assert [number for number, _ in second.concluded] == list(range(stood, 9, batch))
    assert frames.read == 9 - stood
    assert (done[0], sum(done)) == (stood, 9)
    assert not path.exists()


def test_what_cannot_be_read_keeps_what_was_done(tmp_path: Path) -> None:
    """A missing file stops the evaluation; it goes on when it is there."""

    class Broken(Frames):
        def samples(self, start: int = 0) -> Iterator[Sample]:
            for sample in super().samples(start):
                if sample.number == 104:
                    raise LzuError("frame 104 is missing; add it")
                yield sample

    path = tmp_path / "a.npz"
    with pytest.raises(LzuError, match="frame 104 is missing"):
        evaluate({"a": Apart(tmp_path)}, Broken(6), unfinished=Unfinished(path))
    again = Apart(tmp_path)
    found = evaluate({"a": again}, Frames(6), unfinished=Unfinished(path))
    assert len(found["a"]) == 6
    assert [number for number, _ in again.concluded] == [4, 5]


def test_what_fails_while_it_is_counted_is_not_kept(tmp_path: Path) -> None:
    """A half-counted state would be wrong for good."""

    class Failing(Frames):
        def scorer(self) -> Seen:
            scorer = Seen()
            add = scorer.add

            def fail(sample: Sample, prediction: float) -> None:
                if sample.number == 102:
                    raise LzuError("sample 102 is odd; mend it")
                add(sample, prediction)

            scorer.add = fail  # type: ignore[method-assign]
            return scorer

    path = tmp_path / "a.npz"
    with pytest.raises(LzuError, match="sample 102 is odd"):
        evaluate({"a": Apart(tmp_path)}, Failing(9), unfinished=Unfinished(path))
    assert not path.exists()


def test_streams_go_on_at_the_start_of_a_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a predictor remembers within one is not kept: sequences are of three frames here."""
    monkeypatch.setattr(unfinished_module, "SECONDS", -1.0)
    path = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        evaluate({"a": Streaming(tmp_path, stop=5)}, Frames(9), unfinished=Unfinished(path))
    again, frames = Streaming(tmp_path), Frames(9)
    found = evaluate({"a": again}, frames, unfinished=Unfinished(path))
    assert len(found["a"]) == 9
    assert [number for number, _ in again.concluded] == [3, 4, 5, 6, 7, 8]
    assert again.resets == 2


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    """By its file, or its number where it has none."""

    class Odd(Frames):
        def samples(self, start: int = 0) -> Iterator[Sample]:
            for sample in super().samples(start):
                yield sample._replace(
                    camera_frame=CameraFrame(np.zeros((90, 160, 3), np.uint8)), name=self.file
                )

        file = "street/7.png"

    with pytest.raises(LzuError, match=r"^street/7\.png is 90x160 but this bundle takes 96x160; "):
        evaluate({"a": Apart(tmp_path)}, Odd(2))
    Odd.file = ""
    with pytest.raises(LzuError, match=r"^frame 100 of frames is 90x160 but this bundle takes"):
        evaluate({"a": Apart(tmp_path)}, Odd(2))


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
    frames = [CameraFrame(np.zeros((96, 160, 3), np.uint8))]
    monkeypatch.setattr(module, "MAX_RUNS", 7)
    monkeypatch.setattr(module, "SECONDS", 4.0)
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
        def run(self, camera_frames: list[CameraFrame]) -> list[Any]:
            if self.log:
                clock[0] += next(steps)
            return super().run(camera_frames)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(module, "MAX_RUNS", 5)
    slow = Slow(tmp_path, 1, [], "a")
    milliseconds, _ = latencies({"a": slow}, [CameraFrame(np.zeros((96, 160, 3), np.uint8))])
    assert milliseconds["a"] == pytest.approx(2.0)


def test_a_batch_shares_its_time_over_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    class Slow(FakePredictor):
        def run(self, camera_frames: list[CameraFrame]) -> list[Any]:
            clock[0] += 0.006
            return super().run(camera_frames)

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    slow = Slow(tmp_path, 2, [], "a")
    milliseconds, _ = latencies({"a": slow}, [CameraFrame(np.zeros((96, 160, 3), np.uint8))] * 2)
    assert milliseconds["a"] == pytest.approx(3.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused(value: float) -> None:
    """It would be within every limit; parts of it may be unknown, and absent classes are named."""
    dataset = Frames(7)
    with pytest.raises(LzuError, match=r"score of a on frames is not a number: none of its 7 fr"):
        check_numbers({"a": {"score": value}}, dataset)
    check_numbers({"a": {"score": 0.0, "score_small": value}}, dataset)


def test_classes_that_are_in_no_frame_are_named(caplog: pytest.LogCaptureFixture) -> None:
    found = {"score": 3.0, "IoU tram": float("nan"), "IoU car": 2.0, "IoU bus": float("nan")}
    check_numbers({"a": found, "b": found}, Frames(7))
    assert [each.getMessage() for each in caplog.records] == [
        "frames holds nothing of 2 classes, which score therefore leaves out: no IoU tram, IoU bus"
    ]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_part_is_read_and_counted_alone(batch: int, tmp_path: Path) -> None:
    predictor, frames, done = Apart(tmp_path, batch), Frames(9), []
    states = count_part({"a": predictor}, frames, range(4, 7), advance=done.append)
    assert states["a"]["values"].tolist() == [4, 5, 6]
    assert frames.read == 3
    assert sum(done) == 3


def test_a_part_that_ends_within_what_is_scored_as_one_is_refused(tmp_path: Path) -> None:
    class Open(Frames):
        def scorer(self) -> Seen:
            scorer = Seen()
            scorer.state = lambda: None  # type: ignore[method-assign, assignment, return-value]
            return scorer

    with pytest.raises(LzuError, match="frames cannot be split behind frame 4: its scorer's cou"):
        count_part({"a": Apart(tmp_path)}, Open(9), range(2, 4))
