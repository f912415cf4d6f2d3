"""Write the figures of the segmentation demonstration models and their README."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes import LABELS
from lzu_benchmarks.train.figures import (
    gain_text,
    made_by,
    mean_text,
    rows_spent,
    seed_table,
    verdict,
)
from lzu_export.evaluation.metrics.bootstrap import Interval, intervals
from lzu_export.evaluation.metrics.segmentation import BANDS, REGIONS, Counts, class_iou, summarise
from lzu_export.recipes.schema import Variant

COLUMNS = ("mIoU", *(f"mIoU_{name}" for name in REGIONS))
RARE = 1e-3
"""Share of a third's pixels below which a class is rare there."""

Values = dict[str, NDArray[np.float64]]


def whole(counts: Counts) -> dict[str, float]:
    """Summarise counts (sequences, regions, classes, classes + 1) over all sequences."""
    return summarise(counts.sum(axis=0))


def values(counts: NDArray[Any]) -> Values:
    """Compute the mean IoU by region and the IoU of classes, in points.

    Args:
        counts: (..., regions, classes, classes + 1) numbers of pixels.

    Returns:
        An array (...) for each of `COLUMNS` and each class.
    """
    image = counts[..., -len(BANDS) :, :, :].sum(axis=-3)
    classes = 100 * class_iou(image)
    found = {"mIoU": np.nanmean(classes, axis=-1)}
    regions = np.nanmean(100 * class_iou(counts), axis=-1)
    found |= {f"mIoU_{name}": regions[..., i] for i, name in enumerate(REGIONS)}
    return found | {name: classes[..., i] for i, name in enumerate(LABELS)}


def third_values(counts: NDArray[Any]) -> Values:
    """Compute the IoU of every class within every third, in points; the argument is as in `values`.

    Returns:
        Arrays (...) by names such as `car, lower`.
    """
    thirds = 100 * class_iou(counts[..., -len(BANDS) :, :, :])
    return {
        f"{name}, {band}": thirds[..., b, i]
        for b, band in enumerate(BANDS)
        for i, name in enumerate(LABELS)
    }


def bootstrap_difference(
    baseline: Sequence[Counts],
    candidate: Sequence[Counts],
    *,
    of: Callable[[NDArray[Any]], Values] = values,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Estimate the uncertainty of candidate - baseline due to the choice of sequences.

    The difference is the mean over runs, paired by their order. Whole sequences are drawn with
    replacement, the same ones for all runs. The interval is the percentile bootstrap's.

    Args:
        baseline: counts (sequences, regions, classes, classes + 1) of each run.
        candidate: counts of as many runs of the other model, on the same sequences.
        of: function that computes the compared values; an interval is nan if its value is nan in
            all drawn sets.
        resamples: number of drawn sets.
        seed: random seed of the drawing.
        level: share of the drawn differences that an interval holds.

    Returns:
        An interval for every name of `of`.
    """
    sequences = len(baseline[0])

    def differences(drawn: NDArray[np.int64]) -> dict[str, float]:
        times = np.bincount(drawn, minlength=sequences)
        found: dict[str, float] = {}
        for one, two in zip(baseline, candidate, strict=True):
            first, second = (of(np.tensordot(times, each, axes=1)) for each in (one, two))
            for name, value in first.items():
                gain = float(second[name] - value) / len(baseline)
                found[name] = found.get(name, 0.0) + gain
        return found

    return intervals(differences, sequences, resamples=resamples, seed=seed, level=level)


def compare(counts: Mapping[Variant, Sequence[Counts]]) -> dict[str, Any]:
    """Compute the gain of fixed over uniform, as plain data; runs are in the order of seeds.

    Returns:
        Number of sequences; IoU of `classes` by variant and run; `gain` of every column and class
        with its bootstrap interval; the `rare` classes of each third, and the `third_gain` of the
        others.
    """
    gain = bootstrap_difference(counts["uniform"], counts["fixed"])
    classes = {
        variant: [
            {name: float(value) for name, value in values(each.sum(axis=0)).items()}
            for each in found
        ]
        for variant, found in counts.items()
    }
    return {
        "sequences": len(counts["uniform"][0]),
        "classes": {v: [{n: each[n] for n in LABELS} for each in f] for v, f in classes.items()},
        "gain": {name: vars(interval) for name, interval in gain.items()},
        **_thirds(counts),
    }


def _thirds(counts: Mapping[Variant, Sequence[Counts]]) -> dict[str, Any]:
    pixels = counts["uniform"][0].sum(axis=(0, -1))[-len(BANDS) :]
    share = pixels / pixels.sum(axis=1, keepdims=True)
    kept = [
        f"{name}, {band}"
        for band, shares in zip(BANDS, share, strict=True)
        for name, part in zip(LABELS, shares, strict=True)
        if part >= RARE
    ]
    gain = bootstrap_difference(
        counts["uniform"],
        counts["fixed"],
        of=lambda drawn: {n: v for n, v in third_values(drawn).items() if n in kept},
    )
    rare = {
        band: [n for n, part in zip(LABELS, shares, strict=True) if 0 < part < RARE]
        for band, shares in zip(BANDS, share, strict=True)
    }
    return {"rare": rare, "third_gain": {name: vars(gain[name]) for name in kept}}


def readme(record: Mapping[str, Any]) -> str:
    """Return Markdown on the training of the checkpoints and on their accuracy."""
    seed = record["runs"][0]["seed"]
    return "\n".join(
        [
            "# Demonstration models of segmentation",
            "",
            "PSPNets trained on rendered streets (`benchmarks/lzu_benchmarks/scenes`), as the",
            "recipe `seg-demo` describes them: the same frames, network input, architecture, head",
            "resolution, schedule, flips and seeds; only the warp differs. `saliency.npy` is the",
            "mean density of label boundaries in training frames, made symmetric in x. The",
            f"checkpoints are of seed {seed}, in half precision; all figures are of",
            "stored files.",
            "",
            *made_by(record),
            "",
            "Mean intersection over union, in points, of class maps at the source's resolution on",
            f"{record['frames']} frames of {record['sequences']} held-out sequences: over the whole"
            " image, within 3 pixels of",
            "label boundaries, and in the upper, middle and lower third. In brackets the 95 %",
            "interval of the mean difference fixed - uniform, paired by seed, by",
            f"{record['gain']['mIoU']['resamples']} bootstrap resamples of whole sequences. How far"
            " a figure moves from one",
            "seed to the next is not in the interval but in the table: +- is the standard",
            "deviation over seeds.",
            "",
            *seed_table(record, dict.fromkeys(COLUMNS, 2)),
            "",
            *_class_table(record),
            "",
            *_verdict(record["gain"]),
            *_thirds_verdict(record),
            rows_spent(record["rows"]),
            "",
        ]
    )


def _class_table(record: Mapping[str, Any]) -> list[str]:
    classes, gain = record["classes"], record["gain"]
    rows = ["| class: mean IoU | uniform | fixed | fixed - uniform |", "|---|---|---|---|"]
    for name in classes["uniform"][0]:
        means = [mean_text([run[name] for run in classes[v]]) for v in ("uniform", "fixed")]
        rows.append(f"| {name} | " + " | ".join([*means, gain_text(gain[name])]) + " |")
    return rows


def _verdict(gain: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return lines on the figures in which fixed is better, worse, or not shown to differ."""
    better = [name for name, each in gain.items() if each["low"] > 0]
    worse = [name for name, each in gain.items() if each["high"] < 0]
    still_open = [name for name in gain if name not in {*better, *worse}]
    return verdict(better, worse, still_open)


def _thirds_verdict(record: Mapping[str, Any]) -> list[str]:
    """Return lines on the classes that lose within a third, and on rare classes of the thirds."""
    worse = [
        f"{name} {gain_text(each)}"
        for name, each in record["third_gain"].items()
        if each["high"] < 0
    ]
    rare = [f"{band}: {', '.join(names)}" for band, names in record["rare"].items() if names]
    return [
        "- Class by class within the thirds, rare classes left out, fixed is beyond the interval "
        f"worse in: {'; '.join(worse) or 'nothing'}.",
        f"- Rare are classes of less than {100 * RARE:g} % of a third's pixels "
        f"({'; '.join(rare) or 'none'}). They move the mean of a third as much as "
        "any other class and make its interval wide.",
    ]
