"""Write the figures of the demonstration detectors and their README."""

import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo.dataset import open_demo
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.metrics.coco import AREAS, Evaluation, bootstrap_ap_differences

VARIANTS = ("uniform", "fixed")
PLAIN = ({variant: variant for variant in VARIANTS},)
"""Names of the files of one seed."""
COLUMNS = ("AP", "AP50", "AP75", *(f"AP_{name}" for name in AREAS))


def compare(
    work: Path, limit: int | None = None, runs: Sequence[Mapping[str, str]] = PLAIN
) -> dict[str, Any]:
    """Evaluate detections of `uniform` and `fixed` on the validation split.

    Args:
        work: folder of the detections, NAME.detections.json.
        limit: largest number of frames.
        runs: for every seed the names of both variants' detections.

    Returns:
        Plain data: `accuracy` and `classes` by variant and `gain` of fixed over uniform with its
        bootstrap interval, all averaged over seeds, `seeds` with every seed's accuracy, and the
        numbers of frames, sequences and objects.
    """
    dataset = open_demo("val", limit)
    truth = dataset.coco_ground_truth()
    found = {
        name: Evaluation(truth, json.loads((work / f"{name}.detections.json").read_text()))
        for run in runs
        for name in run.values()
    }
    seeds = [{v: found[name].summary() for v, name in run.items()} for run in runs]
    classes = [{v: found[name].by_class() for v, name in run.items()} for run in runs]
    pairs = {"gain": [(run["uniform"], run["fixed"]) for run in runs]}
    gain = bootstrap_ap_differences(truth, found, pairs)["gain"]
    return {
        "accuracy": {v: mean_of([each[v] for each in seeds]) for v in VARIANTS},
        "classes": {v: mean_of([each[v] for each in classes]) for v in VARIANTS},
        "gain": {name: vars(interval) for name, interval in gain.items()},
        "seeds": seeds,
        "frames": len(dataset),
        "sequences": len({sequence for sequence, _ in dataset.keys}),
        "objects": sum(not a["iscrowd"] for a in truth["annotations"]),
    }


def mean_of(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of values by name."""
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def readme(figures: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return Markdown on the training of the checkpoints and on their accuracy."""
    rows = []
    for variant, accuracy in figures["accuracy"].items():
        rows.append(f"| {variant} | " + " | ".join(f"{accuracy[c]:.2f}" for c in COLUMNS) + " |")
    gain = figures["gain"]
    cells = [
        gain_text(gain[c])
        if c in gain
        else f"{figures['accuracy']['fixed'][c] - figures['accuracy']['uniform'][c]:+.2f}"
        for c in COLUMNS
    ]
    rows.append("| fixed - uniform | " + " | ".join(cells) + " |")
    classes = figures["classes"]
    per_class = [
        f"| {name} | {classes['uniform'][name]:.1f} | {classes['fixed'][name]:.1f} |"
        for name in classes["uniform"]
    ]
    limits = [round(area[1] ** 0.5) for area in list(AREAS.values())[:-1]]
    seconds = ", ".join(f"{r['variant']} {r['seconds']:.0f} s" for r in options["results"])
    steps = options["results"][0]["steps"]
    seeds = sorted({r["seed"] for r in options["results"]})
    interval = next(iter(gain.values()))
    return "\n".join(
        [
            "# Demonstration detectors",
            "",
            "Two RetinaNets trained on rendered streets (`benchmarks/lzu_benchmarks/scenes`): the",
            "same frames, architecture, schedule, flips and seed; only the warp differs.",
            "`saliency.npy` is the density of the training boxes, made symmetric in x.",
            "",
            "Made by",
            "",
            f"    {options['command']}",
            "",
            f"Training took {seconds}, one thread each, side by side on {options['machine']},",
            f"{steps} steps, seed {', '.join(map(str, seeds))}. The weights are stored in half "
            "precision; the",
            "figures are those of the stored files"
            + (", averaged over seeds." if len(seeds) > 1 else "."),
            "",
            f"COCO AP on {figures['frames']} frames of {figures['sequences']} held-out sequences "
            f"({figures['objects']} objects);",
            f"small is below {limits[0]}^2, medium below {limits[1]}^2 source pixels. In brackets",
            f"the 95 % interval of {interval['resamples']} bootstrap resamples of whole sequences.",
            "",
            "| | " + " | ".join(COLUMNS) + " |",
            "|---" * (len(COLUMNS) + 1) + "|",
            *rows,
            "",
            "| class | uniform | fixed |",
            "|---|---|---|",
            *per_class,
            "",
            *seed_lines(figures["seeds"]),
            "",
        ]
    )


def seed_lines(seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return Markdown lines on how AP moves from one training to the next."""
    if len(seeds) == 1:
        return ["One seed: how far AP moves from one training to the next is not in the interval."]
    each = [f"{v} " + ", ".join(f"{seed[v]['AP']:.2f}" for seed in seeds) for v in VARIANTS]
    return [f"AP of every seed: {'; '.join(each)}."]


def made_by(record: Mapping[str, Any]) -> list[str]:
    """Return Markdown lines on the command, duration and machine of a series of trainings."""
    runs = record["runs"]
    each = [run["cpu_seconds"] for run in runs]
    return [
        "Made by",
        "",
        f"    {record['command']}",
        "",
        f"in {record['seconds'] / 60:.0f} minutes, rendering and evaluation included "
        f"({record['cpu_seconds'] / 60:.0f} minutes of processor time),",
        f"by two processes of one thread on {record['machine']}.",
        f"One training is {runs[0]['steps']} steps, {min(each):.0f} to {max(each):.0f} s of "
        "processor time.",
    ]


def seed_table(record: Mapping[str, Any], columns: Mapping[str, int]) -> list[str]:
    """Return Markdown lines with the figures of every run, the means, and the gain of fixed.

    Args:
        record: plain data with `runs`, and the `gain` of every column.
        columns: number of decimals of each column.
    """
    rows = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    means = []
    for variant in ("uniform", "fixed"):
        found = [run for run in record["runs"] if run["variant"] == variant]
        for run in found:
            cells = [f"{run['summary'][name]:.{digits}f}" for name, digits in columns.items()]
            rows.append(f"| {variant}, seed {run['seed']} | " + " | ".join(cells) + " |")
        cells = [
            mean_text([run["summary"][name] for run in found], digits)
            for name, digits in columns.items()
        ]
        means.append(f"| {variant}, mean | " + " | ".join(cells) + " |")
    cells = [gain_text(record["gain"][name], digits) for name, digits in columns.items()]
    return [*rows, *means, "| fixed - uniform | " + " | ".join(cells) + " |"]


def mean_text(values: Sequence[float] | NDArray[np.floating], digits: int = 2) -> str:
    """Format the mean of values with their standard deviation, if there are several."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} +- {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def plain_gains(
    gains: Mapping[str, Mapping[str, Interval]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return differences with their intervals, by name and column, as plain data."""
    return {name: {c: vars(each) for c, each in gain.items()} for name, gain in gains.items()}


def plain_differences(
    gains: Mapping[tuple[str, str], Mapping[str, Interval]],
) -> list[dict[str, Any]]:
    """Return differences by pair, second (`of`) minus first (`over`), as plain data."""
    return [
        {"of": second, "over": first, **{name: vars(each) for name, each in gained.items()}}
        for (first, second), gained in gains.items()
    ]


def gain_rows(gains: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return a Markdown row for each of `plain_gains`; columns without an interval stay empty."""
    return [
        f"| {name} | " + " | ".join(gain_text(gain[c]) if c in gain else "" for c in columns) + " |"
        for name, gain in gains.items()
    ]


def gain_text(gain: Mapping[str, float], digits: int = 2) -> str:
    """Format a difference with its interval."""
    value, low, high = (f"{gain[key]:+.{digits}f}" for key in ("difference", "low", "high"))
    return f"{value} [{low}, {high}]"


def verdict(better: Sequence[str], worse: Sequence[str], still_open: Sequence[str]) -> list[str]:
    """Return lines on the figures in which fixed is better, worse, or not shown to differ."""
    said = {
        "Beyond the interval, fixed is better in": better,
        "Beyond the interval, fixed is worse in": worse,
        "Not beyond the interval, so not shown either way, is the difference in": still_open,
    }
    return [f"- {words}: {', '.join(names) or 'nothing'}." for words, names in said.items()]


def thirds_of_rows(knots_y: NDArray[np.float64]) -> list[float]:
    """Return the shares of canvas rows for the upper, middle and lower third of the source.

    Args:
        knots_y: source coordinates in [-1, 1] of evenly spaced canvas coordinates.
    """
    even = np.linspace(-1, 1, len(knots_y))
    return [float(n) for n in np.diff(np.interp(np.linspace(-1, 1, 4), knots_y, even)) / 2]


def rows_spent(shares: Sequence[float]) -> str:
    """Return a line on the rows that the fixed warp gives each third, by `thirds_of_rows`."""
    upper, middle, lower = (f"{100 * share:.0f}" for share in shares)
    return (
        f"- The warp gives the upper, middle and lower third of the frame {upper}, {middle} and "
        f"{lower} % of the canvas's rows: what it adds in one it takes from the others."
    )


def origin(module: str) -> dict[str, str]:
    """Return the command line, of a module that `python -m` runs, and the machine's processor."""
    return {"command": f"python -m {module} {shlex.join(sys.argv[1:])}", "machine": machine()}


def machine() -> str:
    """Return the name of the processor that the training ran on."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
