"""Accuracy and latency of several predictors side by side, on the same frames. No torch."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, Protocol

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer, State
from lzu_export.evaluation.resume import Unfinished
from lzu_export.inputs.classes import different_classes, listed
from lzu_export.inputs.frame import check_frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support.hardware import threads
from lzu_export.support.prefetch import prefetch
from lzu_export.support.session import Arrays
from lzu_export.tasks.agreement import Agreements

log = logging.getLogger(__name__)

MIN_RUNS, MAX_RUNS, SECONDS = 3, 50, 2.0
"""Bounds of the number of runs, and their time: a latency is the median of as many runs as fit."""

AHEAD, LAG = 2, 2
"""Numbers of batches that are read ahead, and that may wait to be counted, which bounds memory."""
WATCH = "watch"
"""Name of the watch's state among the predictors'."""
AGREEMENTS = "agreements"
"""Name of the agreements' state among the predictors'."""


class Watch(Protocol):
    """Observer of an evaluation."""

    def before(self, camera_frames: Sequence[CameraFrame]) -> None:
        """Receive the camera frames of a batch before the predictors run."""

    def after(self, found: Mapping[str, Sequence[Any]]) -> None:
        """Receive the predictions in those frames, by predictor."""

    def state(self) -> State | None:
        """Return all that was observed."""

    def restore(self, state: State) -> None:
        """Continue from the observations of another watch."""


@dataclass
class Timing:
    """The time that an evaluation took, and the engines' part of it."""

    frames: int = 0
    """Number of frames predicted in this time, without those before an interruption."""
    seconds: float = 0.0
    engines: float = 0.0
    """Seconds in which engines or PyTorch ran, one or several at a time."""

    @property
    def share(self) -> float:
        """Share of the time in which engines ran, 0..1."""
        return self.engines / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.frames} frames in {self.seconds:.1f} s, {100 * self.share:.0f} % of it in "
            "the engines"
        )


def evaluate(
    predictors: Mapping[str, Predictor],
    dataset: EvaluationSet,
    advance: Callable[[int], None] = lambda frames: None,
    watch: Watch | None = None,
    *,
    agreements: Agreements | None = None,
    unfinished: Unfinished | None = None,
    spent: Timing | None = None,
    scorers: dict[str, Scorer] | None = None,
) -> dict[str, dict[str, float]]:
    """Compute the task's metrics of each predictor over a whole set; every frame is read once.

    As many engines as there are processors run at a time on a batch. Meanwhile, frames are read
    ahead and earlier predictions are postprocessed and counted. Stateful predictors are reset at
    the start of each sequence.

    Args:
        predictors: predictors by name; all take the same source size and batch.
        dataset: set that gives the frames and the metric.
        advance: called with the number of frames done after each batch.
        watch: observer that receives the frames and the predictions.
        agreements: counts each predictor's agreement; its reference is the first predictor.
        unfinished: file in which counts are kept meanwhile, and from which the evaluation
            continues. With stateful predictors it is written between sequences only.
        spent: record to which the time is added.
        scorers: receives each predictor's scorer, which has counted all frames.

    Raises:
        LzuError: the set's classes are not the predictors', or a frame has another size.
    """
    run = _Run(predictors, dataset, watch, unfinished, agreements)
    start = time.perf_counter()
    if run.done:
        advance(run.done)
    for count in run.batches():
        advance(count)
        if spent is not None:
            spent.frames += count
    if scorers is not None:
        scorers.update(run.scorers)
    if spent is not None:
        spent.seconds += time.perf_counter() - start
        spent.engines += run.engine_seconds
    found = summaries(run.scorers, dataset)
    if unfinished is not None:
        unfinished.remove()
    return found


def count_part(
    predictors: Mapping[str, Predictor],
    dataset: EvaluationSet,
    positions: range,
    watch: Watch | None = None,
    *,
    agreements: Agreements | None = None,
    advance: Callable[[int], None] = lambda frames: None,
) -> dict[str, State]:
    """Count the predictions in a part of a set, as `evaluate` does in all of it.

    Args:
        predictors: predictors by name.
        dataset: whole set.
        positions: positions of the part's frames, see `parts.cut`.
        watch: observer that receives the frames and the predictions.
        agreements: counts each predictor's agreement.
        advance: called with the number of frames done after each batch.

    Returns:
        State of each scorer by its predictor's name, and of the watch and the agreements by `WATCH`
        and `AGREEMENTS`.

    Raises:
        LzuError: as in `evaluate`; or a scorer has no state at the part's end.
    """
    run = _Run(predictors, dataset, watch, None, agreements, positions)
    for count in run.batches():
        advance(count)
    states = run.states()
    if states is None:
        raise LzuError(
            f"{dataset.name} cannot be split behind frame {positions.stop}: its scorer's counts "
            "are not complete there; leave out --workers and --scheduler"
        )
    return states


def summaries(scorers: Mapping[str, Scorer], dataset: EvaluationSet) -> dict[str, dict[str, float]]:
    """Return the metrics of scorers that counted all frames, by name.

    Raises:
        LzuError: see `check_numbers`.
    """
    found = {name: scorer.summary() for name, scorer in scorers.items()}
    check_numbers(found, dataset)
    return found


def check_numbers(found: Mapping[str, Mapping[str, float]], dataset: EvaluationSet) -> None:
    """Refuse a metric that is not a number, which no limit could judge; warn of absent classes.

    Raises:
        LzuError: the set's metric is NaN or infinite, since nothing in the frames could be counted.
    """
    for name, metrics in found.items():
        if not math.isfinite(metrics.get(dataset.metric, 0.0)):
            raise LzuError(
                f"{dataset.metric} of {name} on {dataset.name} is not a number: none of its "
                f"{len(dataset)} frames holds anything of the recipe's classes that counts; give "
                "a set with truth"
            )
    first = next(iter(found.values()), {})
    absent = [name for name, value in first.items() if " " in name and math.isnan(value)]
    if absent:
        log.warning(
            "%s holds nothing of %d classes, which %s therefore leaves out: no %s",
            dataset.name, len(absent), dataset.metric, listed(absent),
        )  # fmt: skip


class _Run:
    """A running evaluation."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        dataset: EvaluationSet,
        watch: Watch | None,
        unfinished: Unfinished | None,
        agreements: Agreements | None = None,
        positions: range | None = None,
    ) -> None:
        self.predictors, self.dataset, self.watch = predictors, dataset, watch
        self.positions = positions
        self.agreements = agreements
        self.recipe = next(iter(predictors.values())).recipe
        check_classes(dataset, self.recipe)
        self.streaming = [each for each in predictors.values() if each.is_stateful]
        if self.streaming:
            check_single_stream(self.recipe.batch, f"a sequence of {dataset.name}")
        self.scorers = {name: dataset.scorer() for name in predictors}
        self.unfinished, self.done = unfinished, 0
        self.engine_seconds = 0.0
        """Seconds in which engines ran, one or several at a time."""
        self.whole = True
        """Whether exactly the frames in `done` are counted once all of `scoring` has finished."""
        self.scoring: list[Future[None]] = []
        if unfinished is not None:
            self.done, states = unfinished.read(list(self._counters))
            try:
                for name, state in states.items():
                    self._counters[name].restore(state)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise LzuError(
                    f"the unfinished evaluation {unfinished.path} is damaged; remove it and give "
                    "the same command again"
                ) from error

    def batches(self) -> Iterator[int]:
        """Predict and count batch by batch, and yield the number of frames of each."""
        samples = self._samples()
        sequence: int | str | None = None
        with (
            closing(prefetch(batches(samples, self.recipe.batch), AHEAD)) as coming,
            ThreadPoolExecutor(1, "scoring") as pool,
            ThreadPoolExecutor(threads(), "engine") as engines,
        ):
            try:
                for batch in coming:
                    if batch[0].sequence != sequence:
                        sequence = batch[0].sequence
                        self._keep()
                        for predictor in self.streaming:
                            predictor.reset()
                    elif not self.streaming:
                        self._keep()
                    self._predict(batch, pool, engines)
                    yield len(batch)
                self._wait()
            except BaseException:
                if not self.streaming:
                    with suppress(Exception):  # report the original error, not one of writing
                        self._keep(now=True)
                raise

    def _samples(self) -> Iterator[Sample]:
        """Return the samples that are not counted yet."""
        if self.positions is not None:
            return islice(self.dataset.samples(self.positions.start), len(self.positions))
        return self.dataset.samples(self.done) if self.done else self.dataset.samples()

    def states(self) -> dict[str, State] | None:
        """Return the state of every counter; None if one of them has none now."""
        states = {name: counter.state() for name, counter in self._counters.items()}
        whole = {name: state for name, state in states.items() if state is not None}
        return whole if len(whole) == len(states) else None

    @property
    def _counters(self) -> Mapping[str, Scorer | Watch | Agreements]:
        others: dict[str, Scorer | Watch | Agreements] = {}
        if self.watch is not None:
            others[WATCH] = self.watch
        if self.agreements is not None:
            others[AGREEMENTS] = self.agreements
        return {**self.scorers, **others}

    def _predict(
        self, batch: list[Sample], pool: ThreadPoolExecutor, engines: ThreadPoolExecutor
    ) -> None:
        camera_frames = [self._checked(sample) for sample in batch]
        # The engine's batch is static, so that a short last batch is filled up.
        camera_frames += camera_frames[-1:] * (self.recipe.batch - len(camera_frames))
        if self.watch is not None:
            self.watch.before(camera_frames)
        outputs, found = self._run(camera_frames, engines)
        if self.watch is not None:
            self.watch.after(found)
        self._wait(LAG * len(outputs))
        self.whole = False
        self.scoring += [
            pool.submit(self._conclude, name, each, camera_frames, batch)
            for name, each in outputs.items()
        ]
        for name, predictions in found.items():
            self._count(name, predictions, batch)
        self.done += len(batch)
        self.whole = True

    def _run(
        self, camera_frames: Sequence[CameraFrame], engines: ThreadPoolExecutor
    ) -> tuple[dict[str, Arrays], dict[str, Sequence[Any]]]:
        """Return the outputs of predictors that may be postprocessed later, and the predictions of
        the others.
        """
        before, start = self._engine_seconds(), time.perf_counter()
        beside: dict[str, Future[Any]] = {}
        calls: dict[str, Callable[[Sequence[CameraFrame]], Any]] = {}
        later = set()
        for name, predictor in self.predictors.items():
            calls[name] = predictor.run
            if isinstance(predictor, Predictor):
                if self.watch is None and not predictor.is_stateful:
                    later.add(name)
                    calls[name] = predictor.infer
                if predictor.session.concurrent:
                    beside[name] = engines.submit(calls[name], camera_frames)
        made = {name: call(camera_frames) for name, call in calls.items() if name not in beside}
        made |= {name: future.result() for name, future in beside.items()}
        # Engines that ran at the same time took no longer than all of them together.
        elapsed = time.perf_counter() - start
        self.engine_seconds += min(self._engine_seconds() - before, elapsed)
        outputs = {name: made[name] for name in calls if name in later}
        return outputs, {name: made[name] for name in calls if name not in later}

    def _engine_seconds(self) -> float:
        return sum(each.engine_seconds for each in self.predictors.values())

    def _conclude(
        self, name: str, outputs: Arrays, camera_frames: Sequence[CameraFrame], batch: list[Sample]
    ) -> None:
        self._count(name, self.predictors[name].postprocess(outputs, camera_frames), batch)

    def _count(self, name: str, predictions: Sequence[Any], batch: list[Sample]) -> None:
        for sample, prediction in zip(batch, predictions, strict=False):
            self.scorers[name].add(sample, prediction)
        if self.agreements is not None:  # without the frames that fill up a short batch
            self.agreements.add(name, predictions[: len(batch)])

    def _wait(self, most: int = 0) -> None:
        """Wait until at most `most` predictions are not yet counted."""
        while len(self.scoring) > most:
            try:
                self.scoring[0].result()
            except Exception:
                self.whole = False
                raise
            del self.scoring[0]

    def _checked(self, sample: Sample) -> CameraFrame:
        """Return a sample's frame after checking its size; an error names its file."""
        exact = all(each.fit == "exact" for each in self.predictors.values())
        name = sample.name or f"frame {sample.number} of {self.dataset.name}"
        check_frame(sample.camera_frame.frame, self.recipe.source if exact else None, name)
        return sample.camera_frame

    def _keep(self, *, now: bool = False) -> None:
        """Write the counts to the file, if it is time and all counters have a state."""
        if self.unfinished is None or not self.done or not (now or self.unfinished.due):
            return
        self._wait()
        if not self.whole:
            return
        states = self.states()
        if states is not None:
            self.unfinished.write(self.done, states)


def check_classes(dataset: EvaluationSet, recipe: Recipe) -> None:
    """Refuse a set whose classes differ from a recipe's.

    Raises:
        LzuError: the classes differ in names or order.
    """
    if tuple(dataset.classes) != recipe.classes:
        name = f"the evaluation set {dataset.name}"
        raise LzuError(different_classes(name, dataset.classes, recipe.classes))


def batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    """Group samples into batches; the last one may be shorter."""
    while batch := list(islice(samples, size)):
        yield batch


def latencies(
    predictors: Mapping[str, Predictor], camera_frames: list[CameraFrame]
) -> tuple[dict[str, float], int]:
    """Measure median milliseconds per frame, from frames to predictions.

    Runs are interleaved, so that clock drift affects all predictors alike. `camera_frames` is one
    batch; a batch's time is divided evenly among its frames.

    Returns:
        Milliseconds by the predictor's name, and the number of runs of each.
    """
    for predictor in predictors.values():  # warmup
        predictor.run(camera_frames)
    times: dict[str, list[float]] = {name: [] for name in predictors}
    start = time.perf_counter()
    runs = 0
    while runs < MIN_RUNS or (runs < MAX_RUNS and time.perf_counter() - start < SECONDS):
        for name, predictor in predictors.items():
            before = time.perf_counter()
            predictor.run(camera_frames)
            times[name].append(time.perf_counter() - before)
        runs += 1
    return {name: 1e3 * median(each) / len(camera_frames) for name, each in times.items()}, runs
