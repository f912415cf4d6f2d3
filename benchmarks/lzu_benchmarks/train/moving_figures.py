"""Compute the figures of detectors on scenes of the steady and of the moving camera."""

from collections.abc import Mapping, Sequence
from typing import Any

from lzu_benchmarks.demo.dataset import DemoDataset, open_demo
from lzu_benchmarks.train.figures import gain_text, plain_differences
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences

KINDS = {"steady": "val", "moving": "moving-val"}
"""Split of each kind of scene."""

SHIPPED, TUNED = "shipped", "tuned"
"""Detectors trained on the steady scenes alone, and those trained further on the moving ones."""

PAIRS = (
    ("uniform", "fixed"),
    ("uniform", "adaptive"),
    ("uniform", "mixed"),
    ("fixed", "adaptive"),
    ("fixed", "mixed"),
    ("adaptive", "mixed"),
)
"""Warps whose difference, second minus first, is reported with an interval."""


def open_kind(kind: str, limit: int | None = None) -> DemoDataset:
    """Open whole held-out sequences of a kind of scene, of at most `limit` frames."""
    return open_demo(KINDS[kind], limit, whole=True)


def compare(
    found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    limit: int | None = None,
    *,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Evaluate COCO detections by kind of scene and by the detector's name, "STAGE WARP".

    Args:
        found: detections of each detector on each kind of scene.
        limit: number of frames that `open_kind` was given.
        resamples: number of resamples of the bootstrap.

    Returns:
        Plain data by kind: `accuracy` of each detector, `differences` of PAIRS at each stage with
        their bootstrap intervals over sequences, and the numbers of frames, sequences and objects.
    """
    figures = {}
    for kind, detections in found.items():
        dataset = open_kind(kind, limit)
        truth = dataset.coco_ground_truth()
        matched = {name: Evaluation(truth, each) for name, each in detections.items()}
        names = [
            (f"{stage} {first}", f"{stage} {second}")
            for stage in (SHIPPED, TUNED)
            for first, second in PAIRS
        ]
        pairs = {pair: [pair] for pair in names if set(pair) <= set(matched)}
        gains = bootstrap_ap_differences(truth, matched, pairs, resamples=resamples, sizes=False)
        figures[kind] = {
            "accuracy": {name: each.summary() for name, each in matched.items()},
            "differences": plain_differences(gains),
            "frames": len(dataset),
            "sequences": len({sequence for sequence, _ in dataset.keys}),
            "objects": sum(not a["iscrowd"] for a in truth["annotations"]),
        }
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """Return Markdown: AP of each warp, then differences, by stage and kind of scene."""
    columns = [(stage, kind) for stage in (SHIPPED, TUNED) for kind in figures]
    lines = [
        "| AP | " + " | ".join(f"{stage}, {kind} scenes" for stage, kind in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    accuracy = {kind: each["accuracy"] for kind, each in figures.items()}
    warps = dict.fromkeys(name.split()[1] for each in accuracy.values() for name in each)
    for warp in warps:
        cells = [
            f"{accuracy[kind][f'{stage} {warp}']['AP']:.2f}"
            if f"{stage} {warp}" in accuracy[kind]
            else "-"
            for stage, kind in columns
        ]
        lines.append(f"| {warp} | " + " | ".join(cells) + " |")
    gains = {
        (kind, each["over"], each["of"]): gain_text(each["AP"])
        for kind, of_kind in figures.items()
        for each in of_kind["differences"]
    }
    for first, second in PAIRS:
        cells = [
            gains.get((kind, f"{stage} {first}", f"{stage} {second}"), "-")
            for stage, kind in columns
        ]
        if set(cells) != {"-"}:
            lines.append(f"| {second} - {first} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
