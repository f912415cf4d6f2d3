"""Write the figures of the adaptive detectors and their section of the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.train.figures import COLUMNS, gain_text, plain_differences
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences

FEEDBACK, TRUTH, WITHOUT = "feedback", "truth", "no boxes"
"""Names of the boxes that zoom the adaptive detector's frames."""

FOVEA = "fovea"
"""Name of the detector that only zooms, by its own detections of the frame before."""

ROWS = {
    "uniform": "uniform",
    "fixed": "fixed",
    FOVEA: "fovea, feedback",
    FEEDBACK: "adaptive, feedback",
    TRUTH: "adaptive, ground truth",
    WITHOUT: "adaptive, no boxes",
}
PAIRS = (
    ("uniform", FEEDBACK),
    ("fixed", FEEDBACK),
    (FOVEA, FEEDBACK),
    (FEEDBACK, TRUTH),
)
"""Pairs whose difference, second minus first, is reported with an interval."""

HEADING = "## Adaptive"


def compare(
    found: Mapping[str, Sequence[Mapping[str, Any]]], limit: int | None = None
) -> dict[str, Any]:
    """Evaluate COCO detections, given by the keys of ROWS, on the validation split.

    Returns:
        Plain data: `accuracy` and `classes` of each, `differences` of PAIRS with their bootstrap
        intervals over sequences, and the numbers of frames, sequences and objects.
    """
    dataset = open_demo("val", limit)
    truth = dataset.coco_ground_truth()
    matched = {name: Evaluation(truth, found[name]) for name in ROWS}
    gains = bootstrap_ap_differences(truth, matched, {pair: [pair] for pair in PAIRS})
    return {
        "accuracy": {name: each.summary() for name, each in matched.items()},
        "classes": {name: each.by_class() for name, each in matched.items()},
        "differences": plain_differences(gains),
        "frames": len(dataset),
        "sequences": len({sequence for sequence, _ in dataset.keys}),
        "objects": sum(not a["iscrowd"] for a in truth["annotations"]),
    }


def section(figures: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return Markdown on the training of the checkpoints and on their accuracy."""
    accuracy, setup = figures["accuracy"], record["setup"]
    rows = [
        f"| {shown} | " + " | ".join(f"{accuracy[name][c]:.2f}" for c in COLUMNS) + " |"
        for name, shown in ROWS.items()
    ]
    for each in figures["differences"]:
        first, second = each["over"], each["of"]
        cells = [
            gain_text(each[c]) if c in each else f"{accuracy[second][c] - accuracy[first][c]:+.2f}"
            for c in COLUMNS
        ]
        rows.append(f"| {ROWS[second]} - {ROWS[first]} | " + " | ".join(cells) + " |")
    shown = ("uniform", "fixed", FOVEA, FEEDBACK)
    classes = figures["classes"]
    per_class = [
        f"| {kind} | " + " | ".join(f"{classes[name][kind]:.1f}" for name in shown) + " |"
        for kind in classes[FEEDBACK]
    ]
    interval = figures["differences"][0]["AP"]
    return "\n".join(
        [
            HEADING,
            "",
            "Two RetinaNets whose warp looks at the boxes of the frame half a second before: "
            "`adaptive`",
            "unzooms its features, `fovea` only zooms, learns from zoomed boxes and maps what it "
            "finds back.",
            f"Fwhm {setup['fwhm']:g}, amplitude {setup['amplitude']:g} and bandwidth "
            f"{setup['bandwidth']:g}. Frames, architecture, schedule, flips and seed are",
            "those of the others.",
            "",
            "Made by",
            "",
            f"    {record['command']}",
            "",
            *_training(record),
            "",
            f"COCO AP on {figures['frames']} frames of {figures['sequences']} held-out sequences "
            f"({figures['objects']} objects), as above.",
            "Feedback: each frame is zoomed at all detections of the frame before, scores above "
            "0.05,",
            "the first of a sequence at none. Ground truth: at the objects of the frame before, an",
            "upper bound. No boxes: at none, so that the warp is the identity. In brackets the "
            "95 %",
            f"interval of {interval['resamples']} bootstrap resamples of whole sequences.",
            "",
            "| | " + " | ".join(COLUMNS) + " |",
            "|---" * (len(COLUMNS) + 1) + "|",
            *rows,
            "",
            "| class | " + " | ".join(ROWS[name] for name in shown) + " |",
            "|---" * (len(shown) + 1) + "|",
            *per_class,
            "",
            "One seed, as above.",
            "",
        ]
    )


def _training(record: Mapping[str, Any]) -> list[str]:
    """Return Markdown lines on the duration and machine of the training."""
    runs = record["runs"]
    seconds = ", ".join(f"{run['variant']} {run['seconds']:.0f} s" for run in runs)
    return [
        f"{runs[0]['steps']} steps on {record['frames']} frames, seed {record['seed']}: {seconds},",
        f"one thread each, on {record['machine']}.",
    ]


def with_section(text: str, added: str) -> str:
    """Return a README with this section at its end, which replaces an older one."""
    before = text.partition(HEADING)[0].rstrip()
    return f"{before}\n\n{added}" if before else added
