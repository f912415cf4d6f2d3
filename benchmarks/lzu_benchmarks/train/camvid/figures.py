"""Statistics of the finished runs: means, and paired gains with their intervals."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.train.camvid.frames import CLASSES
from lzu_export.evaluation.metrics.bootstrap import (
    Interval,
    draw_sequences,
    interval_over_runs,
)
from lzu_export.evaluation.metrics.segmentation import BANDS, REGIONS

RESAMPLES = 1000
"""Number of drawn sets of stretches, for segmentation."""

Values = dict[str, NDArray[np.float64]]
"""Points (1 + resamples,) by column: over all stretches, then over each drawn set of them."""
Run = Mapping[str, Any]


class Scored(NamedTuple):
    """Values of the runs of one variant, by one engine on one split."""

    seeds: dict[int, Values]
    stretches: int
    """Number of stretches that were drawn from."""

    def of(self, seeds: Iterable[int]) -> "Scored":
        """Return the runs of these seeds alone."""
        return Scored({seed: self.seeds[seed] for seed in seeds}, self.stretches)

    def whole(self, column: str) -> list[float]:
        """Return each run's value over all stretches, in the order of seeds."""
        return [float(self.seeds[seed][column][0]) for seed in sorted(self.seeds)]


def pixel_values(counts: NDArray[Any]) -> Values:
    """Compute IoU in points from `segmentation.Pixels.counts`.

    Args:
        counts: (stretches, regions, 3, classes).

    Returns:
        `mIoU`, by region `boundary`, `upper`, ..., and every class. A class that is nowhere in a
        region has no IoU there and is left out of the mean.
    """
    drawn = np.tensordot(_draws(len(counts)), counts, axes=1)
    image = _iou(drawn[:, -len(BANDS) :].sum(axis=1))
    regions = _mean(_iou(drawn))
    found = {"mIoU": _mean(image)}
    found |= {name: regions[:, i] for i, name in enumerate(REGIONS)}
    return found | {name: image[:, i] for i, name in enumerate(CLASSES)}


@lru_cache
def _draws(stretches: int) -> NDArray[np.int64]:
    return draw_sequences(stretches, RESAMPLES)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of all values that are not nan; nan if there is none."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _iou(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return IoU (..., classes) in points of counts (..., 3, classes); nan where undefined."""
    found, there, predicted = np.moveaxis(counts, -2, 0)
    union = there + predicted - found
    return np.where(union > 0, 100 * found / np.maximum(union, 1), np.nan)


def values_of(task: str, found: Any) -> tuple[Values, int]:
    """Return a run's values, and the number of stretches, from what the results hold of it."""
    if task == "segmentation":
        counts = np.array(found)
        return pixel_values(counts), len(counts)
    values = np.array(found["values"], np.float64)  # None becomes nan
    columns = {name: values[:, i] for i, name in enumerate(found["columns"])}
    return columns, int(found["stretches"])


def score(
    runs: Iterable[Run], size: str, variant: str, *, engine: str = "pytorch", split: str = "val"
) -> Scored:
    """Collect the values of all runs of a variant that were scored so."""
    chosen = [
        each
        for each in runs
        if (each["size"], each["variant"]) == (size, variant)
        and split in each["found"].get(engine, {})
    ]
    values = {
        each["seed"]: values_of(each["task"], each["found"][engine][split]) for each in chosen
    }
    stretches = next((count for _, count in values.values()), 0)
    return Scored({seed: found for seed, (found, _) in values.items()}, stretches)


def gains(baseline: Scored, candidate: Scored) -> dict[str, Interval]:
    """Return candidate - baseline by column, paired by seed, with 95 % intervals.

    Empty if no seed has both.
    """
    seeds = sorted(baseline.seeds.keys() & candidate.seeds.keys())
    if not seeds:
        return {}
    return {
        column: interval_over_runs(
            np.stack(
                [candidate.seeds[s][column] - baseline.seeds[s][column] for s in seeds], axis=1
            ),
            baseline.stretches,
        )
        for column in baseline.seeds[seeds[0]]
    }


def paired(baseline: Scored, candidate: Scored) -> int:
    """Return the number of seeds that both have."""
    return len(baseline.seeds.keys() & candidate.seeds.keys())
