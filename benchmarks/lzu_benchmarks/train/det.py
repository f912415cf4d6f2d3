"""Train, evaluate and compare the demonstration detectors.

One command makes all shipped files: `python -m lzu_benchmarks.train.det --out
benchmarks/demo/lzu_export_demo/det`. Both variants share frames, architecture, schedule,
augmentation and seed; only the sampling of the image and the unzoom of the features differ.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.commands import Renamed, print_result, write_json
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.train.cache import (
    SALIENCY_SEQUENCES,
    Cache,
    Targets,
    describe,
    fixed_saliency,
    training_boxes,
)
from lzu_benchmarks.train.command import (
    OUT,
    Stopwatch,
    parse,
    rendering,
    schedule_of,
    training_parser,
)
from lzu_benchmarks.train.figures import compare, origin, readme
from lzu_benchmarks.train.loss import detection_loss
from lzu_benchmarks.train.network import ZoomedNetwork, outputs_of
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_benchmarks.train.setup import Setup, zoom
from lzu_benchmarks.train.views import Views, views_of
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.models.retinanet import RetinaNet, build_retinanet, decode
from lzu_export.recipes.sections import Window
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.postprocessing.views import merge_boxes

KEEP: dict[str, Any] = {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100}
"""Settings of the suppression."""
CANDIDATES = 300  # per level


class Detector(ZoomedNetwork):
    """RetinaNet from zoomed uint8 canvases to raw outputs in the frame of the labels."""

    network: RetinaNet

    def __init__(self, setup: Setup, saliency: NDArray[np.float64] | None) -> None:
        """Build with random weights; without saliency the variant is uniform and has no unzoom."""
        found = setup.unzoom_matrices(saliency)
        unzoom = None
        if found is not None:
            unzoom = [
                (torch.from_numpy(rows), torch.from_numpy(columns)) for rows, columns in found
            ]
        super().__init__(build_retinanet(setup.config), setup, unzoom)


def make_batch(
    cache: Cache, images: NDArray[np.uint8], picks: Picks
) -> tuple[Tensor, dict[str, Any]]:
    """Return canvases (B, H_c, W_c, 3) uint8 and the arguments of the loss."""
    canvases = np.stack(picks.of(images))
    return torch.from_numpy(canvases), stack_targets([cache.targets(*each) for each in picks.pairs])


def stack_targets(found: Sequence[Targets]) -> dict[str, Any]:
    """Return the arguments of the loss for a batch."""
    rows = np.arange(len(found))
    return {
        "positive": (
            torch.from_numpy(np.repeat(rows, [len(t.positive) for t in found])),
            torch.from_numpy(np.concatenate([t.positive for t in found])),
        ),
        "labels": torch.from_numpy(np.concatenate([t.labels for t in found])),
        "boxes": torch.from_numpy(np.concatenate([t.boxes for t in found])),
        "ignored": (
            torch.from_numpy(np.repeat(rows, [len(t.ignored) for t in found])),
            torch.from_numpy(np.concatenate([t.ignored for t in found])),
        ),
    }


def train(
    setup: Setup, saliency: NDArray[np.float64] | None, cache: Cache, schedule: Schedule
) -> tuple[Detector, list[float]]:
    """Train one variant on one thread.

    Returns:
        The detector and the loss of every step.
    """
    torch.manual_seed(schedule.seed)
    detector = Detector(setup, saliency)
    images = cache.images("uniform" if saliency is None else "fixed")

    def batch_of(_step: int, picks: Picks) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        canvases, targets = make_batch(cache, images, picks)
        return (canvases,), targets

    return detector, learn_boxes(detector, setup, batch_of, cache.count, schedule)


def learn_boxes(
    detector: Detector,
    setup: Setup,
    batch_of: Callable[[int, Picks], tuple[tuple[Tensor, ...], dict[str, Any]]],
    frames: int,
    schedule: Schedule,
) -> list[float]:
    """Train a detector as `learn` does, whatever its warp; return the loss of every step.

    `batch_of` makes the detector's inputs and the arguments of the loss from the number of a step
    and its frames.
    """
    anchors = torch.from_numpy(np.concatenate(setup.anchors()))

    def losses_of(step: int, picks: Picks) -> Tensor:
        inputs, targets = batch_of(step, picks)
        classes, boxes = detection_loss(
            detector(*inputs), anchors, num_classes=setup.config.num_classes, **targets
        )
        return torch.stack([classes, boxes])

    return learn(detector, losses_of, frames, schedule)


class Found(NamedTuple):
    """Detections of one image, boxes (n, 4) in source pixels."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def to_coco(self, frame_id: int) -> list[dict[str, Any]]:
        """Return the detections in COCO's format of results."""
        return [
            {
                "image_id": frame_id,
                "category_id": int(label) + 1,
                "bbox": [float(v) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, label in zip(*self, strict=True)
        ]


def found_in(
    outputs: tuple[list[Tensor], list[Tensor]],
    setup: Setup,
    to_source: Callable[[Tensor], Tensor] | None = None,
) -> list[Found]:
    """Decode the raw outputs of a batch to detections, image by image.

    `to_source` maps boxes (B, K, 4) from the canvas to the source. By default boxes are scaled,
    which is right for unzoomed features.
    """
    anchors = [torch.from_numpy(a) for a in setup.anchors()]
    boxes, scores, labels = decode(*outputs, anchors, setup.canvas, CANDIDATES)
    boxes = (
        boxes.double() * torch.from_numpy(setup.label_scale)
        if to_source is None
        else to_source(boxes)
    )
    found = []
    for i in range(len(boxes)):
        kept, sure, kinds = suppress(
            boxes[i].numpy(),
            scores[i].numpy(),
            labels[i].numpy(),
            **KEEP,
        )
        found.append(Found(kept.astype(np.float64), sure, kinds))
    return found


def found_on(detector: Detector, setup: Setup, canvases: NDArray[np.uint8]) -> list[Found]:
    """Return the detections of each of some canvases (N, H_c, W_c, 3), in pixels of the view."""
    return [
        found for _, outputs in outputs_of(detector, canvases) for found in found_in(outputs, setup)
    ]


def detect(
    detector: Detector, setup: Setup, canvases: NDArray[np.uint8], frame_ids: list[int]
) -> list[dict[str, Any]]:
    """Return COCO detections in source pixels of zoomed frames (N, H_c, W_c, 3)."""
    found = found_on(detector, setup, canvases)
    return [box for n, each in zip(frame_ids, found, strict=True) for box in each.to_coco(n)]


def predict_split(
    detector: Detector,
    setup: Setup,
    saliency: NDArray[np.float64] | None,
    limit: int | None = None,
    windows: Sequence[Window] | None = None,
) -> list[dict[str, Any]]:
    """Return COCO detections on the validation split.

    The detector sees every window of a frame, by default the setup's. The boxes of several windows
    are merged as the runtime merges those of views.
    """
    cv2.setNumThreads(1)
    matrices = setup.zoom_matrices(saliency)
    shown: Sequence[Window | None] = windows or [setup.window]
    canvases, frames = [], []
    for sample in open_demo("val", limit):
        canvases += [zoom(sample.image, matrices, window) for window in shown]
        frames.append((sample.frame_id, sample.image.shape[:2]))
    found = found_on(detector, setup, np.stack(canvases))
    results = []
    for i, (frame_id, size) in enumerate(frames):
        parts = found[i * len(shown) : (i + 1) * len(shown)]
        results += in_frame(parts, shown, size).to_coco(frame_id)
    return results


def in_frame(
    found: Sequence[Found], windows: Sequence[Window | None], size: tuple[int, int]
) -> Found:
    """Return the detections of all windows of a frame of `size` (height, width), in its pixels."""
    corners = [(0, 0) if window is None else (window.x, window.y) for window in windows]
    moved = [
        Found(each.boxes + np.tile(corner, 2), each.scores, each.labels)
        for each, corner in zip(found, corners, strict=True)
    ]
    if len(moved) == 1:
        return moved[0]
    kept = [Kept(each.boxes.astype(np.float32), each.scores, each.labels) for each in moved]
    merged = merge_boxes(kept, windows, size, **KEEP)
    return Found(merged.boxes.astype(np.float64), merged.scores, merged.labels)


def run_variant(
    variant: str,
    seed: int,
    name: str,
    views: Views,
    saliency: NDArray[np.float64] | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train and save one variant, then detect with the saved file on the validation split.

    The files are `name`.pth, in OUT for the first seed and in WORK for others, and
    WORK/`name`.detections.json.
    """
    setup, windows = views
    chosen = saliency if variant == "fixed" else None
    cache = Cache(options.cache, setup, saliency, sequences=options.sequences, windows=windows)
    schedule = schedule_over(windows, schedule_of(options, name, seed=seed))
    watch = Stopwatch()
    detector, losses = train(setup, chosen, cache, schedule)
    figures = {"variant": variant, "seed": seed, **watch.figures(losses)}
    folder: Path = options.out if seed == options.seeds[0] else options.work
    detector.save_and_load(folder / f"{name}.pth", setup.record(variant, chosen))
    detections = predict_split(detector.eval(), setup, chosen, options.frames, windows)
    (options.work / f"{name}.detections.json").write_text(json.dumps(detections))
    return figures


def schedule_over(windows: Sequence[Window] | None, schedule: Schedule) -> Schedule:
    """Return the schedule of as many steps when every window of a frame is an image of its own."""
    return replace(schedule, epochs=schedule.epochs / len(windows or [None]))


def named(variant: str, seed: int, options: argparse.Namespace) -> str:
    """Return the name of a run's files: the variant, with the seed if it is not the first."""
    return variant if seed == options.seeds[0] else f"{variant}-{seed}"


def detector_parser(
    description: str | None, name: str, *, out: str = OUT, work: str
) -> argparse.ArgumentParser:
    """Make the parser of a training of detectors, see `training_parser`."""
    parser = training_parser(description, name, out=out, work=work, sequences=1000, epochs=9.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--frames", type=int, default=None, help="evaluate on at most this many frames"
    )
    parser.add_argument("--limit", action=Renamed, const="--frames", help=argparse.SUPPRESS)
    parser.add_argument("--fwhm", type=float, default=Setup.fwhm)
    parser.add_argument("--bandwidth", type=float, default=Setup.bandwidth)
    return parser


def detector_record(module: str, setup: Setup, options: argparse.Namespace) -> dict[str, Any]:
    """Return the parts of a record, as plain data, that the trainings of detectors share."""
    return {**origin(module), "seed": options.seed, "setup": describe(setup)}


def checked(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        LzuError: a window and tiles, or the fixed warp of a part of the frame, are asked for.
    """
    if options.window and options.tiles:
        raise LzuError("--window and --tiles are two ways to cut a frame; give one of them")
    if (options.window or options.tiles) and options.variants != ["uniform"]:
        raise LzuError("a window or tiles are shown evenly; give --variants uniform as well")


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = detector_parser(__doc__, "det", work="logs, detections and figures")
    parser.add_argument(
        "--antialias", action="store_true", help="sample both variants without aliasing"
    )
    parser.add_argument("--variants", nargs="+", default=["uniform", "fixed"])
    parser.add_argument("--seeds", type=int, nargs="+", help="several, in place of --seed")
    parser.add_argument("--scale", type=float, default=Setup.scale, help="canvas over view")
    parser.add_argument(
        "--window", type=int, nargs=4, metavar=("X", "Y", "WIDTH", "HEIGHT"), help="seen part"
    )
    parser.add_argument(
        "--tiles", metavar="ROWSxCOLUMNS", help="seen parts, each on a whole frame's canvas"
    )
    options = parse(parser)
    options.seeds = options.seeds or [options.seed]
    checked(options)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    setup = Setup(
        scale=options.scale,
        fwhm=options.fwhm,
        bandwidth=options.bandwidth,
        antialias=options.antialias,
    )
    views = views_of(setup, options.window, options.tiles)
    saliency = None
    if "fixed" in options.variants:
        saliency = fixed_saliency(setup, training_boxes(SALIENCY_SEQUENCES, 2))
        np.save(out / "saliency.npy", saliency.astype(np.float32))
        saliency = np.load(out / "saliency.npy").astype(np.float64)
    with rendering():
        Cache(
            options.cache, views.setup, saliency, sequences=options.sequences, windows=views.windows
        )
    jobs = [
        (variant, seed, named(variant, seed, options), views, saliency, options)
        for seed in options.seeds
        for variant in options.variants
    ]
    results = run_jobs(run_variant, jobs, min(2, len(jobs)))
    record = detector_record("lzu_benchmarks.train.det", views.setup, options)
    record |= {"windows": [w.model_dump() for w in views.windows or ()], "results": results}
    write_json(options.work / "training.json", record)
    if set(options.variants) == {"uniform", "fixed"}:
        runs = [{v: named(v, seed, options) for v in options.variants} for seed in options.seeds]
        figures = compare(options.work, options.frames, runs)
        write_json(options.work / "figures.json", figures)
        (out / "README.md").write_text(readme(figures, record))
        print_result(options.json, {**record, "figures": figures}, readme(figures, record))
    else:
        print_result(options.json, record)


if __name__ == "__main__":
    main()
