"""Train, evaluate and compare the demonstration detectors.

One command makes all shipped files: `python -m lzu_benchmarks.train.det --out
lzu_export/demo/det`. Both variants share frames, architecture, schedule, augmentation and seed;
only the sampling of the image and the unzoom of the features differ.
"""

import argparse
import json
from collections.abc import Callable, Sequence
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
from lzu_export.cli import exits
from lzu_export.models.retinanet import RetinaNet, build_retinanet, decode
from lzu_export.runtime.postprocess import suppress

SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.5
MAX_DETECTIONS = 100
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
            score_threshold=SCORE_THRESHOLD,
            iou_threshold=IOU_THRESHOLD,
            max_detections=MAX_DETECTIONS,
        )
        found.append(Found(kept.astype(np.float64), sure, kinds))
    return found


def detect(
    detector: Detector, setup: Setup, canvases: NDArray[np.uint8], frame_ids: list[int]
) -> list[dict[str, Any]]:
    """Return COCO detections in source pixels of zoomed frames (N, H_c, W_c, 3)."""
    results = []
    for start, outputs in outputs_of(detector, canvases):
        found = found_in(outputs, setup)
        for frame_id, each in zip(frame_ids[start : start + len(found)], found, strict=True):
            results += each.to_coco(frame_id)
    return results


def predict_split(
    detector: Detector,
    setup: Setup,
    saliency: NDArray[np.float64] | None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return COCO detections on the validation split."""
    cv2.setNumThreads(1)
    matrices = setup.zoom_matrices(saliency)
    canvases, ids = [], []
    for sample in open_demo("val", limit):
        canvases.append(zoom(sample.image, matrices))
        ids.append(sample.frame_id)
    return detect(detector, setup, np.stack(canvases), ids)


def run_variant(
    variant: str, setup: Setup, saliency: NDArray[np.float64], options: argparse.Namespace
) -> dict[str, Any]:
    """Train and save one variant, then detect with the saved file on the validation split."""
    chosen = saliency if variant == "fixed" else None
    cache = Cache(options.cache, setup, saliency, sequences=options.sequences)
    watch = Stopwatch()
    detector, losses = train(setup, chosen, cache, schedule_of(options, variant, seed=options.seed))
    seconds = watch.seconds
    detector.save_and_load(options.out / f"{variant}.pth", setup.record(variant, chosen))
    detections = predict_split(detector.eval(), setup, chosen, options.frames)
    (options.work / f"{variant}.detections.json").write_text(json.dumps(detections))
    return {"variant": variant, "seconds": seconds, "steps": len(losses), "loss": losses[-1]}


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


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = detector_parser(__doc__, "det", work="logs, detections and figures")
    parser.add_argument(
        "--antialias", action="store_true", help="sample both variants without aliasing"
    )
    parser.add_argument("--variants", nargs="+", default=["uniform", "fixed"])
    options = parse(parser)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    setup = Setup(fwhm=options.fwhm, bandwidth=options.bandwidth, antialias=options.antialias)
    saliency = fixed_saliency(setup, training_boxes(SALIENCY_SEQUENCES, 2))
    np.save(out / "saliency.npy", saliency.astype(np.float32))
    saliency = np.load(out / "saliency.npy").astype(np.float64)
    with rendering():
        Cache(options.cache, setup, saliency, sequences=options.sequences)
    jobs = [(variant, setup, saliency, options) for variant in options.variants]
    results = run_jobs(run_variant, jobs, len(jobs))
    record = {**detector_record("lzu_benchmarks.train.det", setup, options), "results": results}
    write_json(options.work / "training.json", record)
    if set(options.variants) == {"uniform", "fixed"}:
        figures = compare(options.work, options.frames)
        write_json(options.work / "figures.json", figures)
        (out / "README.md").write_text(readme(figures, record))
        print_result(options.json, {**record, "figures": figures}, readme(figures, record))
    else:
        print_result(options.json, record)


if __name__ == "__main__":
    main()
