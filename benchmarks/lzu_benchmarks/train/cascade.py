"""Train the adaptive demonstration detector on true and on its own boxes, and compare its AP.

`python -m lzu_benchmarks.train.cascade --out build/cascade` trains the adaptive detector further,
from the shipped uniform weights, with four sources of the boxes that zoom a training frame:

- jittered: the ground truth of half a second earlier, moved and stretched randomly;
- jittered-cascaded: the same, and in the last third of the training the detector's own detections
  there, jittered, as the paper trains its adaptive detector;
- disturbed: ground truth that also lacks objects and has false boxes;
- disturbed-cascaded: the same, and own detections in the last third, as the shipped detector was
  trained.

Frames, schedule, order, flips and seeds are the same. Every detector is then evaluated on the
held-out sequences, zoomed by its own detections of half a second earlier. Weights and detections
are kept in OUT, so an interrupted command continues where it was.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lzu_benchmarks.commands import print_result, write_json
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.train.adaptive import (
    CASCADE,
    DISTURBED,
    feedback,
    held_out,
    run_sequences,
    train,
)
from lzu_benchmarks.train.adaptive_detectors import AdaptiveDetector, load
from lzu_benchmarks.train.command import Stopwatch, parse, rendering, schedule_of, training_parser
from lzu_benchmarks.train.drawn_boxes import Noise
from lzu_benchmarks.train.figures import COLUMNS, gain_rows, mean_text, origin, plain_gains
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.moving import DEMO
from lzu_benchmarks.train.setup import Setup
from lzu_export.cli import exits
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences
from lzu_export.models.checkpoint import save_checkpoint

JITTERED = Noise(dropped=0.0, repeated=0.0, strange=0.0)
"""Disturbance that only moves and stretches boxes, and leaves some frames without any."""

VARIANTS: dict[str, tuple[Noise, float]] = {
    "jittered": (JITTERED, 1.0),
    "jittered-cascaded": (JITTERED, CASCADE),
    "disturbed": (DISTURBED, 1.0),
    "disturbed-cascaded": (DISTURBED, CASCADE),
}
"""Disturbance of the ground truth, and the share of the training after which own detections are
used."""

PAIRS = (
    ("jittered", "jittered-cascaded"),
    ("disturbed", "disturbed-cascaded"),
    ("jittered", "disturbed"),
    ("jittered", "disturbed-cascaded"),
)
"""Variants whose difference, second minus first, is reported with an interval."""


def run(variant: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and apply one detector; its files are OUT/VARIANT-SEED.{pth,json}."""
    name = f"{variant}-{seed}"
    result = options.out / f"{name}.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    torch.set_num_threads(1)
    setup = Setup()
    detector = AdaptiveDetector(setup)
    load(DEMO / "uniform.pth", detector)
    film = Film(options.cache, setup, sequences=options.sequences)
    noise, cascade = VARIANTS[variant]
    watch = Stopwatch()
    schedule = schedule_of(options, name, seed=seed, rate=options.rate)
    losses = train(detector, film, schedule, noise=noise, cascade=cascade)
    figures = {"variant": variant, "seed": seed, **watch.figures(losses)}
    save_checkpoint(options.out / f"{name}.pth", detector.network.state_dict(), meta={})
    sequences = held_out(open_demo("val", options.frames, whole=True))
    figures["detections"] = run_sequences(detector, sequences, feedback)
    write_json(result, figures)
    return figures


def compare(runs: Sequence[Mapping[str, Any]], frames: int | None) -> dict[str, Any]:
    """Score the runs; differences of PAIRS, each the mean over seeds, by drawn sequences."""
    truth = open_demo("val", frames, whole=True).coco_ground_truth()
    scored = {(r["variant"], r["seed"]): Evaluation(truth, r["detections"]) for r in runs}
    seeds = sorted({seed for _, seed in scored})
    pairs = {
        f"{b} - {a}": [((a, seed), (b, seed)) for seed in seeds]
        for a, b in PAIRS
        if {a, b} <= {variant for variant, _ in scored}
    }
    gains = bootstrap_ap_differences(truth, scored, pairs) if pairs else {}
    return {
        "accuracy": {f"{v}-{seed}": each.summary() for (v, seed), each in scored.items()},
        "gain": plain_gains(gains),
    }


def table(record: Mapping[str, Any]) -> str:
    """Return the mean accuracy of each variant over its seeds, and differences, in Markdown."""
    rows = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    by_variant: dict[str, list[Mapping[str, float]]] = {}
    for name, found in record["accuracy"].items():
        by_variant.setdefault(name.rpartition("-")[0], []).append(found)
    for variant, found in by_variant.items():
        cells = [mean_text([each[c] for each in found]) for c in COLUMNS]
        rows.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, *gain_rows(record["gain"], COLUMNS)])


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = training_parser(
        __doc__,
        "cascade",
        out="weights, logs and detections",
        work="rendered frames and figures",
        sequences=150,
        epochs=4.0,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--frames", type=int, help="evaluate on whole sequences of at most so many")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parse(parser)
    options.out.mkdir(parents=True, exist_ok=True)
    with rendering():
        Film(options.cache, Setup(), sequences=options.sequences)  # before the processes start
    jobs = [(variant, seed, options) for seed in options.seeds for variant in options.variants]
    runs = run_jobs(run, jobs, options.processes)
    record = {**origin("lzu_benchmarks.train.cascade"), **compare(runs, options.frames)}
    record["runs"] = [{k: v for k, v in each.items() if k != "detections"} for each in runs]
    write_json(options.work / "figures.json", record)
    print_result(options.json, record, table(record))


if __name__ == "__main__":
    main()
