"""Train, evaluate and compare the demonstration detectors.

One command makes all shipped files: `python -m lzu_benchmarks.train.det --out
lzu_export/demo/det`. Both variants share frames, architecture, schedule, augmentation and seed;
only the sampling of the image and the unzoom of the features differ.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.commands import Renamed, add_json, print_result
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.cache import (
    SALIENCY_SEQUENCES,
    Cache,
    Targets,
    describe,
    fixed_saliency,
    training_boxes,
)
from lzu_benchmarks.train.figures import compare, machine, readme
from lzu_benchmarks.train.loss import detection_loss
from lzu_benchmarks.train.schedule import learn, sampling_order
from lzu_benchmarks.train.setup import Setup, zoom
from lzu_export.cli import exits
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.retinanet import RetinaNet, build_retinanet, decode
from lzu_export.runtime.postprocess import suppress

SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.5
MAX_DETECTIONS = 100
CANDIDATES = 300  # per level


class Detector(torch.nn.Module):
    """The network from zoomed uint8 canvases to raw outputs in the frame of the labels."""

    def __init__(self, setup: Setup, saliency: NDArray[np.float64] | None) -> None:
        """Build with random weights; without saliency the variant is uniform and has no unzoom."""
        super().__init__()
        self.network: RetinaNet = build_retinanet(setup.config)
        self.pad = [n - m for n, m in zip(setup.network_input, setup.canvas, strict=True)]
        self.mean = torch.tensor(setup.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(setup.std).view(1, 3, 1, 1)
        matrices = setup.unzoom_matrices(saliency)
        self.unzoom = (
            None
            if matrices is None
            else [(torch.from_numpy(rows), torch.from_numpy(columns)) for rows, columns in matrices]
        )

    def forward(self, canvases: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map canvases (B, H_c, W_c, 3) BGR to class logits and box deltas per level."""
        levels = self.extract(canvases)
        if self.unzoom is not None:
            levels = [
                torch.matmul(torch.matmul(rows, level.contiguous()), columns.T).contiguous(
                    memory_format=torch.channels_last
                )
                for level, (rows, columns) in zip(levels, self.unzoom, strict=True)
            ]
        return self.network.head(levels)

    def extract(self, canvases: Tensor) -> list[Tensor]:
        """Map canvases (B, H_c, W_c, 3) BGR to feature levels in the frame of the canvas."""
        image = (canvases.permute(0, 3, 1, 2).float() - self.mean) / self.std
        image = torch.nn.functional.pad(image, (0, self.pad[1], 0, self.pad[0]))
        return list(self.network.extract(image.contiguous(memory_format=torch.channels_last)))


def make_batch(
    cache: Cache, images: NDArray[np.uint8], picks: NDArray[np.int64], flips: NDArray[np.bool_]
) -> tuple[Tensor, dict[str, Any]]:
    """Return canvases (B, H_c, W_c, 3) uint8 and the arguments of the loss."""
    canvases = np.stack(
        [images[i][:, ::-1] if f else images[i] for i, f in zip(picks, flips, strict=True)]
    )
    found = [cache.targets(int(i), bool(f)) for i, f in zip(picks, flips, strict=True)]
    return torch.from_numpy(canvases), stack_targets(found)


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
    setup: Setup,
    saliency: NDArray[np.float64] | None,
    cache: Cache,
    *,
    epochs: float,
    seed: int = 0,
    batch: int = 8,
    rate: float = 2e-3,
    log: Path | None = None,
) -> tuple[Detector, list[float]]:
    """Train one variant on one thread.

    Returns:
        The detector and the loss of every step.
    """
    torch.manual_seed(seed)
    detector = Detector(setup, saliency)
    images = cache.images("uniform" if saliency is None else "fixed")
    order, flips = sampling_order(cache.count, epochs, seed)

    def batch_of(step: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        window = slice(step * batch, (step + 1) * batch)
        canvases, targets = make_batch(cache, images, order[window], flips[window])
        return (canvases,), targets

    steps = step_count(cache.count, epochs, batch)
    return detector, learn_boxes(detector, setup, batch_of, steps=steps, rate=rate, log=log)


def step_count(frames: int, epochs: float, batch: int) -> int:
    """Return the number of steps that show `frames` frames `epochs` times, at least 2."""
    return max(2, round(epochs * frames / batch))


def learn_boxes(
    detector: Detector,
    setup: Setup,
    batch_of: Callable[[int], tuple[tuple[Tensor, ...], dict[str, Any]]],
    *,
    steps: int,
    rate: float = 2e-3,
    log: Path | None = None,
) -> list[float]:
    """Train a detector on one thread, whatever its warp; return the loss of every step.

    `batch_of` makes the detector's inputs and the arguments of the loss for a step.
    """
    anchors = torch.from_numpy(np.concatenate(setup.anchors()))

    def losses_of(step: int) -> Tensor:
        inputs, targets = batch_of(step)
        classes, boxes = detection_loss(
            detector(*inputs), anchors, num_classes=setup.config.num_classes, **targets
        )
        return torch.stack([classes, boxes])

    return learn(detector, losses_of, steps=steps, rate=rate, log=log)


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
    with torch.inference_mode():
        for start in range(0, len(canvases), 8):
            found = found_in(detector(torch.from_numpy(canvases[start : start + 8])), setup)
            for frame_id, each in zip(frame_ids[start : start + 8], found, strict=True):
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
    variant: str,
    setup: Setup,
    saliency: NDArray[np.float64],
    cache_folder: str,
    sequences: int,
    epochs: float,
    seed: int,
    out: Path,
    work: Path,
    limit: int | None,
) -> dict[str, Any]:
    """Train and save one variant, then detect with the saved file on the validation split."""
    chosen = saliency if variant == "fixed" else None
    cache = Cache(cache_folder, setup, saliency, sequences=sequences)
    began = time.time()
    log = work / f"{variant}.log"
    log.unlink(missing_ok=True)
    detector, losses = train(setup, chosen, cache, epochs=epochs, seed=seed, log=log)
    seconds = time.time() - began
    path = out / f"{variant}.pth"
    save_checkpoint(path, detector.network.state_dict(), meta=setup.record(variant, chosen))
    load_into(
        detector.network, load_state(path), name=str(path)
    )  # evaluate the shipped weights, which are in half precision
    detections = predict_split(detector.eval(), setup, chosen, limit)
    (work / f"{variant}.detections.json").write_text(json.dumps(detections))
    return {"variant": variant, "seconds": seconds, "steps": len(losses), "loss": losses[-1]}


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options that the trainings of detectors share."""
    parser.add_argument("--cache", type=Path, help="folder for rendered frames; default: WORK")
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=9.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--frames", type=int, default=None, help="evaluate on at most this many frames"
    )
    parser.add_argument("--limit", action=Renamed, const="--frames", help=argparse.SUPPRESS)
    parser.add_argument("--fwhm", type=float, default=Setup.fwhm)
    parser.add_argument("--bandwidth", type=float, default=Setup.bandwidth)


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and saliency"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/train-det"), help="logs, detections and figures"
    )
    add_training(parser)
    parser.add_argument(
        "--antialias", action="store_true", help="sample both variants without aliasing"
    )
    parser.add_argument("--variants", nargs="+", default=["uniform", "fixed"])
    add_json(parser)
    options = parser.parse_args()
    out: Path = options.out
    work: Path = options.work
    cache = str(options.cache or work / "frames")
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    setup = Setup(fwhm=options.fwhm, bandwidth=options.bandwidth, antialias=options.antialias)
    saliency = fixed_saliency(setup, training_boxes(SALIENCY_SEQUENCES, 2))
    np.save(out / "saliency.npy", saliency.astype(np.float32))
    saliency = np.load(out / "saliency.npy").astype(np.float64)
    began = time.time()
    Cache(cache, setup, saliency, sequences=options.sequences)
    print(f"frames ready after {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    with workers(len(options.variants)) as pool:
        jobs = [
            (v, setup, saliency, cache, options.sequences, options.epochs, options.seed,
             out, work, options.frames)
            for v in options.variants
        ]  # fmt: skip
        results = pool.starmap(run_variant, jobs, chunksize=1)
    record = {
        "command": "python -m lzu_benchmarks.train.det " + shlex.join(sys.argv[1:]),
        "machine": machine(),
        "seed": options.seed,
        "setup": describe(setup),
        "results": results,
    }
    (work / "training.json").write_text(json.dumps(record, indent=1))
    if set(options.variants) == {"uniform", "fixed"}:
        figures = compare(work, options.frames)
        (work / "figures.json").write_text(json.dumps(figures, indent=1))
        (out / "README.md").write_text(readme(figures, record))
        print_result(options.json, {**record, "figures": figures}, readme(figures, record))
    else:
        print_result(options.json, record)


if __name__ == "__main__":
    main()
