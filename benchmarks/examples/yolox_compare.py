"""Train YOLOX uniform and with a fixed warp, several seeds each, and compare their AP.

`python benchmarks/examples/yolox_compare.py --out build/yolox`. Every network is exported, and its
FP32 engine, which the export compares with PyTorch, finds the boxes that are scored.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from streets import make_warp, read_scenes
from torch import nn
from yolox_network import STRIDES, yolox
from yolox_tutorial import save, train

import lzu_export as lzu
from lzu_benchmarks.commands import add_json, print_result, write_json
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.scenes import CLASSES
from lzu_benchmarks.train.command import Stopwatch
from lzu_benchmarks.train.figures import COLUMNS, gain_rows, machine, mean_text, plain_gains
from lzu_export.cli import exits
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences

FORMULA = "fixed-formula"
"""Fixed warp with cells at (i + 0.5) stride - 0.5 instead of the measured places."""
HALF = [
    "backbone.backbone.dark2.*",
    "backbone.backbone.dark4.1.*",
    "backbone.C3_p3.*",
    "backbone.C3_p4.*",
    "head.reg_convs.0.*",
    "head.reg_convs.1.*",
]
"""Layers that stay in half precision in INT8. Without them a refused export names them: depthwise
convolutions, whose channels differ in range, lose most."""


def trained(variant: str, seed: int, options: argparse.Namespace) -> tuple[nn.Module, float]:
    """Return a trained network, from OUT/VARIANT-SEED.pth if it is there, and its CPU seconds."""
    path = options.out / f"{variant}-{seed}.pth"
    scenes = read_scenes(options.sequences)
    warp = make_warp(scenes, variant.partition("-")[0])
    phase = {"backbone": [(s - 1) / 2 for s in STRIDES]} if variant == FORMULA else None
    if not path.exists():
        watch = Stopwatch()
        model = train(scenes, warp, options.steps, seed, phase=phase)
        torch.save({"state_dict": model.state_dict(), "cpu_seconds": watch.cpu_seconds}, path)
        return model, watch.cpu_seconds
    model = lzu.wrap(yolox(len(CLASSES)), warp, ["backbone"], phase=phase).eval()
    stored = torch.load(path, weights_only=True)
    model.load_state_dict(stored["state_dict"])
    return model, stored["cpu_seconds"]


def run(variant: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, export and apply one network; its files are OUT/VARIANT-SEED.{pth,json}."""
    name = f"{variant}-{seed}"
    result = options.out / f"{name}.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    model, seconds = trained(variant, seed, options)
    done = save(model, options.out, name, precision=["fp32"], targets=["onnxruntime"])
    detector = lzu.load(done.folder, threads=1)
    found = [
        box
        for each in open_demo("val", options.frames)
        for box in detector(each.image).to_coco(each.frame_id)
    ]
    figures = {"variant": variant, "seed": seed, "steps": options.steps, "cpu_seconds": seconds}
    figures |= {"bundle": str(done.folder), "detections": found}
    write_json(result, figures)
    return figures


def export(variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Export the first seed's network in all precisions for all targets, and score its engines."""
    model, _ = trained(variant, options.seeds[0], options)
    settings = {"evaluation.frames": options.export_frames, "higher_precision.int8": HALF}
    done = save(model, options.out, dataset="demo", settings=settings)
    return {"bundle": str(done.folder), "accuracy": done.manifest.model_dump()["accuracy"]}


def compare(
    runs: list[dict[str, Any]], frames: int | None, resamples: int = 1000
) -> dict[str, Any]:
    """Score the runs; differences of each pair of a seed, and their mean, by drawn sequences."""
    truth = open_demo("val", frames).coco_ground_truth()
    scored = {(r["variant"], r["seed"]): Evaluation(truth, r["detections"]) for r in runs}
    seeds = sorted({seed for variant, seed in scored if variant == "fixed"})
    pairs = {str(seed): [(("uniform", seed), ("fixed", seed))] for seed in seeds}
    pairs["mean"] = [each[0] for each in pairs.values()]
    others = [seed for variant, seed in scored if variant == FORMULA]
    pairs |= {f"formula, {seed}": [(("fixed", seed), (FORMULA, seed))] for seed in others}
    found = bootstrap_ap_differences(truth, scored, pairs, resamples=resamples)
    summaries = {f"{v}-{seed}": each.summary() for (v, seed), each in scored.items()}
    return {"accuracy": summaries, "gain": plain_gains(found)}


def table(record: dict[str, Any]) -> str:
    """Return the accuracy of every run, means and differences in Markdown."""
    rows = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    accuracy = record["accuracy"]
    for name, found in accuracy.items():
        rows.append(f"| {name} | " + " | ".join(f"{found[c]:.2f}" for c in COLUMNS) + " |")
    for variant in ("uniform", "fixed"):
        mine = [found for name, found in accuracy.items() if name.rpartition("-")[0] == variant]
        cells = [mean_text([found[c] for found in mine]) for c in COLUMNS]
        rows.append(f"| {variant}, mean | " + " | ".join(cells) + " |")
    gains = {f"difference, {name}": gain for name, gain in record["gain"].items()}
    return "\n".join([*rows, *gain_rows(gains, COLUMNS)])


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/yolox"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=["uniform", "fixed", FORMULA])
    parser.add_argument("--steps", type=int, default=1000, help="of 8 frames each")
    parser.add_argument("--sequences", type=int, default=600, help="of 4 frames each, to train on")
    parser.add_argument("--frames", type=int, help="evaluate on at most this many frames")
    parser.add_argument("--export", action="store_true", help="the first seed in all precisions")
    parser.add_argument("--export-frames", type=int, default=128, help="to score its engines on")
    parser.add_argument("--resamples", type=int, default=1000, help="of the intervals")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    add_json(parser)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    read_scenes(options.sequences)  # drawn once, before the processes start
    jobs = [
        (variant, seed, options)
        for seed in options.seeds
        for variant in options.variants
        if variant != FORMULA or seed == options.seeds[0]
    ]
    runs = run_jobs(run, sorted(jobs, key=lambda job: job[0] == FORMULA), options.processes)
    exports = {v: export(v, options) for v in ("uniform", "fixed")} if options.export else {}
    record = {
        "command": f"python {shlex.join(sys.argv)}",
        "machine": machine(),
        **compare(runs, options.frames, options.resamples),
        "exports": exports,
    }
    record["runs"] = [{k: v for k, v in each.items() if k != "detections"} for each in runs]
    write_json(options.out / "comparison.json", record)
    print_result(options.json, record, table(record))


if __name__ == "__main__":
    main()
