"""Accuracy and latency of several detectors side by side, on the same frames. No torch."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from statistics import median
from typing import Any

from lzu_export.datasets import EvaluationSet
from lzu_export.errors import LzuError
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.preprocess import Frame

MIN_RUNS, MAX_RUNS, SECONDS = 5, 50, 4.0
"""A latency is the median of as many runs as fit into SECONDS, within these bounds."""


def evaluate(
    detectors: Mapping[str, Detector],
    dataset: EvaluationSet,
    advance: Callable[[int], None] = lambda frames: None,
) -> dict[str, dict[str, float]]:
    """The task's metrics of each detector over a whole set; every frame is read once.

    Args:
        detectors: by name; all take the same source size and batch.
        dataset: frames and metric.
        advance: told the number of frames done after each batch.

    Raises:
        LzuError: the set's classes are not the detectors'.
    """
    recipe = next(iter(detectors.values())).recipe
    if tuple(dataset.classes) != recipe.classes:
        raise LzuError(
            f"the evaluation set {dataset.name} has the classes {', '.join(dataset.classes)} but "
            f"the recipe {', '.join(recipe.classes)}; make them equal"
        )
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in detectors}
    for batch in batches(dataset.frames(), recipe.batch):
        frames = [frame for _, frame in batch]
        frames += frames[-1:] * (recipe.batch - len(frames))  # a static batch has no short end
        for name, detector in detectors.items():
            found = detector.batch(frames)
            for (image_id, _), detections in zip(batch, found, strict=False):
                results[name] += detections.to_coco(image_id)
        advance(len(batch))
    return {name: dataset.evaluate(found) for name, found in results.items()}


def batches(frames: Iterator[tuple[int, Frame]], size: int) -> Iterator[list[tuple[int, Frame]]]:
    """Group frames; the last group may be shorter."""
    while batch := list(islice(frames, size)):
        yield batch


def latencies(
    detectors: Mapping[str, Detector], frames: list[Frame]
) -> tuple[dict[str, float], int]:
    """Median milliseconds a frame, to detections; runs take turns so that drift hits all alike.

    `frames` is one batch; a batch's time is shared out evenly over its frames.

    Returns:
        Milliseconds by name, and the number of runs of each.
    """
    for detector in detectors.values():  # warmup
        detector.batch(frames)
    times: dict[str, list[float]] = {name: [] for name in detectors}
    start = time.perf_counter()
    runs = 0
    while runs < MIN_RUNS or (runs < MAX_RUNS and time.perf_counter() - start < SECONDS):
        for name, detector in detectors.items():
            before = time.perf_counter()
            detector.batch(frames)
            times[name].append(time.perf_counter() - before)
        runs += 1
    return {name: 1e3 * median(each) / len(frames) for name, each in times.items()}, runs
