"""Accuracy and latency of several predictors side by side, on the same frames. No torch."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Any, Protocol

from lzu_export.datasets import EvaluationSet, Sample, different_classes
from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import Predictor, Shot

MIN_RUNS, MAX_RUNS, SECONDS = 5, 50, 4.0
"""A latency is the median of as many runs as fit into SECONDS, within these bounds."""


class Watch(Protocol):
    """Sees what an evaluation sees."""

    def before(self, shots: Sequence[Shot]) -> None:
        """These shots are about to be predicted in."""

    def after(self, found: Mapping[str, Sequence[Any]]) -> None:
        """The predictions in them, by predictor."""


def evaluate(
    predictors: Mapping[str, Predictor],
    dataset: EvaluationSet,
    advance: Callable[[int], None] = lambda frames: None,
    watch: Watch | None = None,
) -> dict[str, dict[str, float]]:
    """The task's metrics of each predictor over a whole set; every frame is read once.

    Predictors that remember begin each sequence afresh.

    Args:
        predictors: by name; all take the same source size and batch.
        dataset: frames and metric.
        advance: told the number of frames done after each batch.
        watch: told what is predicted in, and what was found.

    Raises:
        LzuError: the set's classes are not the predictors'.
    """
    recipe = next(iter(predictors.values())).recipe
    check_classes(dataset, recipe)
    streaming = [each for each in predictors.values() if each.remembers]
    if streaming:
        check_single_stream(recipe.batch, f"a sequence of {dataset.name}")
    scorers = {name: dataset.scorer() for name in predictors}
    sequence: int | str | None = None
    for batch in batches(dataset.samples(), recipe.batch):
        if batch[0].sequence != sequence:
            sequence = batch[0].sequence
            for predictor in streaming:
                predictor.reset()
        shots = [sample.shot for sample in batch]
        shots += shots[-1:] * (recipe.batch - len(shots))  # a static batch has no short end
        if watch is not None:
            watch.before(shots)
        found = {name: predictor.run(shots) for name, predictor in predictors.items()}
        if watch is not None:
            watch.after(found)
        for name, predictions in found.items():
            for sample, prediction in zip(batch, predictions, strict=False):
                scorers[name].add(sample, prediction)
        advance(len(batch))
    return {name: scorer.summary() for name, scorer in scorers.items()}


def check_classes(dataset: EvaluationSet, recipe: Recipe) -> None:
    """Refuse a set of other classes than a recipe's.

    Raises:
        LzuError: they differ in names or order.
    """
    if tuple(dataset.classes) != recipe.classes:
        raise LzuError(different_classes(dataset.name, dataset.classes, recipe.classes))


def batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    """Group samples; the last group may be shorter."""
    while batch := list(islice(samples, size)):
        yield batch


def latencies(
    predictors: Mapping[str, Predictor], shots: list[Shot]
) -> tuple[dict[str, float], int]:
    """Median milliseconds a frame, to predictions; runs take turns so that drift hits all alike.

    `shots` is one batch; a batch's time is shared out evenly over its frames.

    Returns:
        Milliseconds by name, and the number of runs of each.
    """
    for predictor in predictors.values():  # warmup
        predictor.run(shots)
    times: dict[str, list[float]] = {name: [] for name in predictors}
    start = time.perf_counter()
    runs = 0
    while runs < MIN_RUNS or (runs < MAX_RUNS and time.perf_counter() - start < SECONDS):
        for name, predictor in predictors.items():
            before = time.perf_counter()
            predictor.run(shots)
            times[name].append(time.perf_counter() - before)
        runs += 1
    return {name: 1e3 * median(each) / len(shots) for name, each in times.items()}, runs
