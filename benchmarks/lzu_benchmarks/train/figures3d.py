"""Write the figures of the 3-D demonstration models and their README."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lzu_benchmarks.train.figures import gain_text as in_digits
from lzu_benchmarks.train.figures import made_by, mean_text, rows_spent, seed_table, verdict
from lzu_export.evaluation.metrics.nuscenes import (
    NDS_STAR_FORMULA,
    NuScenesEvaluation,
    bootstrap_difference,
)

COLUMNS = ("NDS*", "mAP", "mATE", "mASE", "mAOE")
ERRORS = COLUMNS[2:]
"""Columns in which lower is better; the others are in points."""

BANDS = ((0.0, 15.0), (15.0, 30.0), (30.0, 50.0))
"""Distance bands in metres from the camera; the classes' own ranges end at 30, 40 or 50."""

BAND_COLUMNS = ("NDS*", "mAP")

WHY = (
    "`CLASSES.md` shows why: what single classes gain, how much the warp magnifies them, and the "
    "means without the rare and the least magnified ones."
)
"""Reference to the file that `lzu_benchmarks.studies.classes3d` writes."""

Runs = Mapping[str, Sequence[NuScenesEvaluation]]
"""Evaluations of the runs of each variant, in the order of their seeds."""


def compare(runs: Runs, resamples: int = 1000) -> dict[str, Any]:
    """Summarise the runs and the gain of fixed over uniform, as plain data.

    Returns:
        Numbers of `sequences` and `objects`; `classes` with the AP by variant and seed; `gain` over
        all distances; `bands` with the summaries by variant and seed, and the gain. Each gain has
        its bootstrap interval. The number of frames is not included.
    """
    gain = bootstrap_difference(runs["uniform"], runs["fixed"], resamples=resamples)
    bands = []
    for near, far in BANDS:
        part = {v: [each.within(near, far) for each in found] for v, found in runs.items()}
        interval = bootstrap_difference(part["uniform"], part["fixed"], resamples=resamples)
        bands.append(
            {
                "metres": [near, far],
                "objects": int(part["uniform"][0].positives().sum()),
                "summary": {v: [each.summary() for each in found] for v, found in part.items()},
                "gain": {name: vars(interval[name]) for name in COLUMNS},
            }
        )
    return {
        "sequences": len(runs["uniform"][0].sequence_ids),
        "objects": int(runs["uniform"][0].positives().sum()),
        "classes": {v: [each.by_class() for each in found] for v, found in runs.items()},
        "gain": {name: vars(gain[name]) for name in COLUMNS},
        "bands": bands,
    }


def readme(record: Mapping[str, Any]) -> str:
    """Return Markdown on the training of the checkpoints and on their accuracy."""
    first = record["gain"]["NDS*"]
    seed = record["runs"][0]["seed"]
    return "\n".join(
        [
            "# Demonstration models of monocular 3-D detection",
            "",
            "FCOS3D networks trained on rendered streets (`benchmarks/lzu_benchmarks/scenes`), as",
            "the recipe `det3d-demo` describes them: the same frames, network input, architecture,",
            "schedule, flips and seeds; only the warp differs. `saliency.npy` is the density of",
            "the training boxes up to 60 m, made symmetric in x. Velocity and attribute are not",
            f"trained. The checkpoints are of seed {seed}, in half precision; all figures are",
            "of stored files.",
            "",
            *made_by(record),
            "",
            f"nuScenes' metrics on {record['frames']} frames of {record['sequences']} held-out "
            f"sequences ({record['objects']} objects);",
            "NDS* is without velocity and attribute:",
            "",
            f"    {NDS_STAR_FORMULA}",
            "",
            "In brackets the 95 % interval of the difference of the means over seeds, by",
            f"{first['resamples']} bootstrap resamples of whole sequences, the same for both "
            "variants. How far a",
            "figure moves from one seed to the next is not in the interval but in the table: +-",
            "is the standard deviation over seeds.",
            "",
            *seed_table(record, {name: _digits(name) for name in COLUMNS}),
            "",
            "NDS* and mAP are in points, mATE in metres, mASE is 1 - IoU, mAOE in radians; of the",
            "errors, less is better.",
            "",
            *_band_table(record),
            "",
            *_class_table(record),
            "",
            *_verdict(record),
            rows_spent(record["rows"]),
            f"- {WHY}",
            "",
        ]
    )


def _band_table(record: Mapping[str, Any]) -> list[str]:
    rows = [
        "| distance | objects | | uniform | fixed | fixed - uniform |",
        "|---|---|---|---|---|---|",
    ]
    for band in record["bands"]:
        near, far = band["metres"]
        for name in BAND_COLUMNS:
            cells = [
                _mean(name, [summary[name] for summary in band["summary"][variant]])
                for variant in ("uniform", "fixed")
            ]
            rows.append(
                f"| {near:.0f} to {far:.0f} m | {band['objects']} | {name} | "
                + " | ".join([*cells, gain_text(name, band["gain"][name])])
                + " |"
            )
    return rows


def _class_table(record: Mapping[str, Any]) -> list[str]:
    classes = record["classes"]
    rows = ["| class: mean AP | uniform | fixed | fixed - uniform |", "|---|---|---|---|"]
    for name in classes["uniform"][0]:
        one, two = (
            np.array([found[name]["AP"] for found in classes[variant]])
            for variant in ("uniform", "fixed")
        )
        change = float(two.mean() - one.mean())
        rows.append(f"| {name} | {_mean('AP', one)} | {_mean('AP', two)} | {change:+.2f} |")
    return rows


def _verdict(record: Mapping[str, Any]) -> list[str]:
    """Return lines on the figures in which fixed is better, worse, or not shown to differ."""
    places = {"over all distances": record["gain"]}
    for band in record["bands"]:
        near, far = band["metres"]
        places[f"from {near:.0f} to {far:.0f} m"] = {n: band["gain"][n] for n in BAND_COLUMNS}
    kinds: dict[str, list[str]] = {"Better": [], "Worse": [], "Open": []}
    for place, gains in places.items():
        for name, gain in gains.items():
            kinds[_kind(name, gain)].append(f"{name} {place}")
    return verdict(*kinds.values())


def _kind(name: str, gain: Mapping[str, float]) -> str:
    if gain["low"] <= 0 <= gain["high"]:
        return "Open"
    return "Better" if (gain["difference"] > 0) != (name in ERRORS) else "Worse"


def _digits(name: str) -> int:
    return 3 if name in ERRORS else 2


def _mean(name: str, values: Sequence[float] | np.ndarray) -> str:
    return mean_text(values, _digits(name))


def gain_text(name: str, gain: Mapping[str, float]) -> str:
    """Format a difference with its interval, in the digits of its column."""
    return in_digits(gain, _digits(name))
