"""Train the demonstration detector on two views of a frame, and score it beside the shipped ones.

`python benchmarks/examples/views_detector.py --out build/views`. The views are the shipped fixed
warp and a window of the horizon; `alone` is the same training without the window. Both start from
the shipped weights of the fixed warp. Every network is exported, and the FP32 engine, as `load`
opens it, finds the boxes that are scored.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streets import EXPORTED, images_of, read_scenes
from torch import nn

import lzu_export as lzu
from lzu_benchmarks.commands import add_json, print_result, write_json
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.scenes import Frame
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.train.cache import Targets, make_targets, mirror
from lzu_benchmarks.train.command import Stopwatch
from lzu_benchmarks.train.det import stack_targets
from lzu_benchmarks.train.figures import COLUMNS, gain_rows, machine, plain_gains
from lzu_benchmarks.train.loss import detection_loss
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.windows import VISIBLE, area
from lzu_export.cli import exits
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences
from lzu_export.models.checkpoint import load_into, load_state
from lzu_export.models.retinanet import build_retinanet
from lzu_export.recipes import load_recipe
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.interleave import Plan, ratio, subject, take_turns

WINDOW = (120, 110, 400, 180)
"""x, y, width, height of the window in pixels of the frame: its middle, so mirrored frames fit."""
THRESHOLDS = ("candidates_per_level", "score_threshold", "iou_threshold", "max_detections")
ANCHORS = ("octave_base_scale", "scales_per_octave", "ratios")
"""Recipe keys of the shipped detectors' post-processing."""
PAIRS = (("uniform", "views"), ("fixed", "views"), ("fixed", "alone"), ("alone", "views"))
"""Pairs whose difference, second minus first, is reported with an interval."""


def shipped_warp() -> lzu.FixedWarp:
    """Return the fixed warp of the shipped detector."""
    saliency = load_recipe("det", {"variant": "fixed"}).warp.saliency
    return lzu.FixedWarp.from_saliency(saliency, SOURCE_SIZE, scale=0.5)


def detector(views: Sequence[lzu.FixedWarp]) -> nn.Module:
    """Build the demonstration's RetinaNet behind views, with the shipped weights of `fixed`."""
    recipe = load_recipe("det", {"variant": "fixed"})
    network = build_retinanet(recipe.model)
    path = recipe.checkpoint["fixed"]
    load_into(network, load_state(path), name=str(path))
    return lzu.wrap(network, views, unzoom=["neck"])


def targets_in(
    view: lzu.FixedWarp, scenes: Sequence[Frame], picks: Picks, setup: Setup
) -> Iterator[Targets]:
    """Yield the targets of each picked frame in one view, in pixels of its canvas.

    Boxes are clipped to the view. Objects outside of it are left out, and those of which it shows
    less than `VISIBLE` are neither learned nor background.
    """
    anchors, (height, width) = setup.anchors(), view.canvas
    for index, flip in picks.pairs:
        frame = scenes[index]
        boxes = mirror(frame.boxes, SOURCE_SIZE[1]) if flip else frame.boxes
        boxes = view.boxes_to_canvas(boxes)
        within = boxes.clip(0, [width, height] * 2)
        share = area(within) / area(boxes)
        seen = share > 0
        ignored = frame.ignore[seen] | (share[seen] < VISIBLE)
        yield make_targets(setup, anchors, within[seen], frame.classes[seen], ignored)


def train(
    views: Sequence[lzu.FixedWarp], scenes: Sequence[Frame], schedule: Schedule
) -> tuple[nn.Module, list[float]]:
    """Train one network on all views of every frame; return it with the loss of every step."""
    torch.manual_seed(schedule.seed)
    network, setup = detector(views), Setup()
    anchors = torch.from_numpy(np.concatenate(setup.anchors()))
    classes = setup.config.num_classes

    def losses(_step: int, picks: Picks) -> torch.Tensor:
        # All frames in the first view, then all in the second, as the network sees them.
        targets = [each for view in views for each in targets_in(view, scenes, picks, setup)]
        outputs = network(images_of(scenes, picks))
        both = detection_loss(outputs, anchors, num_classes=classes, **stack_targets(targets))
        return torch.stack(both)

    return network, learn(network, losses, len(scenes), schedule)


def views_of(variant: str, window: Sequence[int]) -> list[lzu.FixedWarp]:
    """Return the views of a variant: `views`, or the warp `alone`."""
    warp = shipped_warp()
    if variant == "alone":
        return [warp]
    return [warp, lzu.FixedWarp.from_window(SOURCE_SIZE, window, canvas=warp.canvas)]


def trained(variant: str, options: argparse.Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network, from OUT/VARIANT.pth if it is there, and figures of its training."""
    path, views = options.out / f"{variant}.pth", views_of(variant, options.window)
    if path.exists():
        stored = torch.load(path, weights_only=True)
        network = detector(views).eval()
        network.load_state_dict(stored["state_dict"])
        return network, stored["figures"]
    scenes = read_scenes(options.sequences)
    epochs = options.steps * Schedule.batch / len(scenes)
    log = options.out / f"{variant}.log"
    watch = Stopwatch()
    schedule = Schedule(epochs, options.seed, rate=options.rate, log=log)
    network, losses = train(views, scenes, schedule)
    figures = watch.figures(losses)
    torch.save({"state_dict": network.state_dict(), "figures": figures}, path)
    return network, figures


def bundle(variant: str, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """Export a variant's FP32 engine; return its folder, and figures of its training if any."""
    only = {"precision": ["fp32"], "targets": ["onnxruntime"]}
    recipe = load_recipe("det", {"variant": "fixed"})
    if variant in ("uniform", "fixed"):
        unscored = {"evaluation.dataset": None, "calibration.frames": None}
        shipped = load_recipe("det", {"variant": variant, **only, **unscored})
        return lzu.export(shipped, options.out).folder, {}
    network, figures = trained(variant, options)
    levels = range(len(recipe.model.strides))
    own = recipe.postprocess.model_dump()
    scores = {"kind": "anchors", **{key: own[key] for key in THRESHOLDS}}
    scores |= {key: getattr(recipe.model, key) for key in ANCHORS}
    scores |= {"scores": [f"output_0_{i}" for i in levels]}
    scores["boxes"] = [f"output_1_{i}" for i in levels]
    done = lzu.export(
        network, options.out, name=variant, postprocess=scores, **EXPORTED, **only, force=True
    )
    return done.folder, figures


def found_by(folder: Path, frames: int | None) -> list[dict[str, Any]]:
    """Return the COCO detections of a bundle, as `load` opens it, on the validation split."""
    predict = lzu.load(folder, threads=1)
    return [
        box
        for each in open_demo("val", frames)
        for box in predict(each.image).to_coco(each.frame_id)
    ]


def run(variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train, export and apply a variant; the result is in OUT/VARIANT.json from then on."""
    result = options.out / f"{variant}.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    folder, figures = bundle(variant, options)
    record = {"variant": variant, "bundle": str(folder), "training": figures}
    record["detections"] = found_by(folder, options.frames)
    write_json(result, record)
    return record


def times(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return each bundle's time per frame over that of `fixed`, interleaved on one thread."""
    image = next(iter(open_demo("val", 1))).image

    def timed(predict: Predictor) -> Any:
        return subject(lambda: predict(image))

    opened = {each["variant"]: lzu.load(each["bundle"], threads=1) for each in runs}
    found = take_turns({name: timed(each) for name, each in opened.items()}, Plan(queries=160))
    return {name: ratio(each, found["fixed"]).model_dump() for name, each in found.items()}


def compare(runs: Sequence[dict[str, Any]], frames: int | None) -> dict[str, Any]:
    """Score the runs, and the differences of PAIRS with intervals over sequences."""
    truth = open_demo("val", frames).coco_ground_truth()
    scored = {each["variant"]: Evaluation(truth, each["detections"]) for each in runs}
    pairs = {
        f"{second} - {first}": [(first, second)]
        for first, second in PAIRS
        if {first, second} <= set(scored)
    }
    gains = bootstrap_ap_differences(truth, scored, pairs)
    return {
        "accuracy": {name: each.summary() for name, each in scored.items()},
        "gain": plain_gains(gains),
    }


def table(record: dict[str, Any]) -> str:
    """Return the accuracy of every variant and the differences in Markdown."""
    rows = ["| | time | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, found in record["accuracy"].items():
        cells = [f"{record['time'][name]['value']:.2f}", *(f"{found[c]:.2f}" for c in COLUMNS)]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, *gain_rows(record["gain"], ("time", *COLUMNS))])


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/views"))
    parser.add_argument("--variants", nargs="+", default=["uniform", "fixed", "alone", "views"])
    parser.add_argument("--window", type=int, nargs=4, default=WINDOW, help="x y width height")
    parser.add_argument("--steps", type=int, default=600, help="of 8 frames each")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequences", type=int, default=300, help="of 4 frames each, to train on")
    parser.add_argument("--frames", type=int, help="evaluate on at most this many frames")
    add_json(parser)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [run(variant, options) for variant in options.variants]
    record = {
        "command": f"python {shlex.join(sys.argv)}",
        "machine": machine(),
        "time": times(runs),
        **compare(runs, options.frames),
    }
    record["runs"] = [{k: v for k, v in each.items() if k != "detections"} for each in runs]
    write_json(options.out / "comparison.json", record)
    print_result(options.json, record, table(record))


if __name__ == "__main__":
    main()
