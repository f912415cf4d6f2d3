"""Train and evaluate the adaptive demonstration detector, whose warp looks at the boxes before.

`python -m lzu_benchmarks.train.adaptive --out lzu_export/demo/det` adds it to the detectors that
`lzu_benchmarks.train.det` made there: frames, architecture, schedule, order, flips and seed are
theirs. Each image has a warp of its own, drawn anew whenever it is shown: of the ground truth half
a second earlier, made to look like detections, and, in the last third, of what the detector itself
finds there.

Amplitude and bandwidth are those of the fixed warp. On training frames the boxes of half a second
before then magnify small objects 1.6 times (geometric mean of both axes; the fixed warp too). With
bandwidth 64 it is 1.5; with 16 it is 1.75, but rows are stretched up to 3 times, where the source
has only twice the canvas' pixels.

With `--start CHECKPOINT` it goes on from there. Then the fixed detector in OUT goes on alike, to
tell what further training does without another warp.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.datasets import open_demo
from lzu_benchmarks.train.adaptive_figures import (
    CONTROL,
    FEEDBACK,
    TRUTH,
    WITHOUT,
    compare,
    section,
    with_section,
)
from lzu_benchmarks.train.cache import describe, mirror
from lzu_benchmarks.train.det import (
    Detector,
    Found,
    found_in,
    learn,
    predict_split,
    stack_targets,
    step_count,
)
from lzu_benchmarks.train.drawn_boxes import Noise, jitter, like_detections, padded
from lzu_benchmarks.train.figures import machine
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.schedule import sampling_order
from lzu_benchmarks.train.setup import Setup
from lzu_export.models.adaptive import AdaptiveUnzoom, BoxWarp
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.runtime.preprocess import Taps, resample
from lzu_export.warp.geometry import zoom_positions
from lzu_export.warp.saliency import load_saliency, uniform_saliency

Boxes = NDArray[np.floating]

CASCADE = 2 / 3
"""Share of the training after which the boxes are the detector's own."""


class AdaptiveDetector(Detector):
    """The network between canvases, each zoomed at knots of its own, and raw outputs."""

    def __init__(self, setup: Setup) -> None:
        """Build with random weights, those of the other variants for equal seeds."""
        super().__init__(setup, None)
        self.adaptive_unzoom = AdaptiveUnzoom(setup.levels, setup.canvas)

    def forward(  # type: ignore[override]
        self, canvases: Tensor, knots_x: Tensor, knots_y: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(B, H_c, W_c, 3) BGR, (B, w), (B, h) to class logits and box deltas per level."""
        levels = [level.contiguous() for level in self.extract(canvases)]
        return self.network.head(
            [
                level.contiguous(memory_format=torch.channels_last)
                for level in self.adaptive_unzoom(levels, knots_x, knots_y)
            ]
        )


class Zoomed(NamedTuple):
    """What the detector takes."""

    canvases: Tensor
    knots_x: Tensor
    knots_y: Tensor


class Zoomer:
    """Frames and boxes to what the detector takes."""

    def __init__(self, setup: Setup) -> None:
        """Keep the warp's settings."""
        self._canvas, self._source = setup.canvas, setup.source
        self._warp = BoxWarp(
            uniform_saliency(setup.lattice),
            setup.source,
            fwhm=setup.fwhm,
            amplitude=setup.amplitude,
            bandwidth=setup.bandwidth,
        )

    def __call__(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Boxes]) -> Zoomed:
        """Zoom each image (H, W, 3) at its boxes (n, 4) in source pixels."""
        knots_x, knots_y = self.knots(boxes)
        canvases = [
            self._zoom(image, x, y)
            for image, x, y in zip(images, knots_x.numpy(), knots_y.numpy(), strict=True)
        ]
        return Zoomed(torch.from_numpy(np.stack(canvases)), knots_x, knots_y)

    def knots(self, boxes: Sequence[Boxes]) -> tuple[Tensor, Tensor]:
        """Boxes of each image to its knots (B, w) and (B, h)."""
        with torch.no_grad():
            knots: tuple[Tensor, Tensor] = self._warp(
                *(torch.from_numpy(each) for each in padded(boxes))
            )
        return knots

    def _zoom(
        self, image: NDArray[np.uint8], knots_x: NDArray[np.float32], knots_y: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        # The same numbers as lzu::SeparableZoom, whose dense products would take longer than a
        # good part of the network does.
        rows, columns = (
            _taps((positions + 1) / 2 * (n - 1), n)
            for positions, n in zip(
                zoom_positions(knots_x, knots_y, self._canvas), self._source, strict=True
            )
        )
        return resample(image, rows, columns)


class FixedZoomer(Zoomer):
    """Zooms every frame alike: a fixed detector is trained on by the code of the adaptive one."""

    def __init__(self, setup: Setup, saliency: NDArray[np.float64]) -> None:
        """Keep the fixed warp's knots."""
        super().__init__(setup)
        self._knots = [torch.from_numpy(each).float()[None] for each in setup.knots(saliency)]

    def knots(self, boxes: Sequence[Boxes]) -> tuple[Tensor, Tensor]:
        """The fixed knots, whatever the boxes."""
        knots_x, knots_y = (each.repeat(len(boxes), 1) for each in self._knots)
        return knots_x, knots_y


def _taps(positions: NDArray[np.float64], n: int) -> Taps:
    """The two lines beside each position in an axis of `n` pixels, within the axis."""
    first = np.clip(np.floor(positions), 0, n - 2).astype(np.intp)
    fraction = positions - first
    return Taps(np.stack([first, first + 1]), np.stack([1 - fraction, fraction]).astype(np.float32))


class BoxSource:
    """The boxes that a trained frame is zoomed at, drawn anew each time.

    Args:
        film: frames and ground truth.
        noise: how ground truth becomes like detections.
        seed: of what is drawn.
    """

    def __init__(self, film: Film, noise: Noise, seed: int) -> None:
        self._film, self._noise = film, noise
        self._random = np.random.Generator(np.random.PCG64([seed, 1]))
        self._found: dict[int, NDArray[np.float64]] = {}

    def truth(self, place: int) -> NDArray[np.float64]:
        """Ground truth of one of the film's frames, made to look like detections."""
        other = int(self._random.integers(len(self._film.frames)))
        return like_detections(
            self._film.boxes(place), self._film.boxes(other), self._noise, self._random
        )

    def before(self, index: int) -> NDArray[np.float64]:
        """Boxes of the frame before a trained one."""
        place = self._film.before(index)
        if place not in self._found:
            return self.truth(place)
        if self._random.random() < self._noise.empty:
            return np.zeros((0, 4))
        return jitter(self._found[place], self._noise.shift, self._noise.stretch, self._random)

    def cascade(self, detector: AdaptiveDetector, setup: Setup, zoomer: Zoomer) -> float:
        """From now on take what the detector finds; return the mean number of boxes.

        The frames before are themselves zoomed at their own ground truth, made to look like
        detections: what lies another half second back is not on the film.
        """
        film = self._film
        places = sorted({film.before(index) for index in range(film.count)})
        detector.eval()
        for start in range(0, len(places), 8):
            part = places[start : start + 8]
            zoomed = zoomer([film.frames[p] for p in part], [self.truth(p) for p in part])
            for place, found in zip(part, detect_batch(detector, setup, zoomed), strict=True):
                self._found[place] = found.boxes
        detector.train()
        return float(np.mean([len(each) for each in self._found.values()]))


def detect_batch(detector: AdaptiveDetector, setup: Setup, zoomed: Zoomed) -> list[Found]:
    """What is found in each image of a batch."""
    with torch.inference_mode():
        return found_in(detector(*zoomed), setup)


def load(path: Path, detector: Detector) -> None:
    """Weights of a checkpoint into a detector, for evaluation."""
    load_into(detector.network, load_state(path), name=str(path))
    detector.eval()


def train(
    setup: Setup,
    film: Film,
    *,
    epochs: float,
    seed: int = 0,
    batch: int = 8,
    rate: float = 2e-3,
    start: Path | None = None,
    zoomer: Zoomer | None = None,
    log: Path | None = None,
) -> tuple[AdaptiveDetector, list[float]]:
    """Train on one thread, from random weights or from a checkpoint.

    Args:
        setup: the detectors.
        film: frames to train on.
        epochs: how often each is shown.
        seed: of weights, order, flips and boxes.
        batch: frames of a step.
        rate: highest learning rate.
        start: checkpoint to go on from.
        zoomer: at what frames are zoomed; by default at their boxes.
        log: file to append to.

    Returns:
        The detector and the loss of every step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    detector, zoomer = AdaptiveDetector(setup), zoomer or Zoomer(setup)
    if start is not None:
        load(start, detector)
    source = BoxSource(film, Noise(), seed)
    order, flips = sampling_order(film.count, epochs, seed)
    steps = step_count(film.count, epochs, batch)

    def batch_of(step: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        if step == round(CASCADE * steps) and not isinstance(zoomer, FixedZoomer):
            count = source.cascade(detector, setup, zoomer)
            if log is not None:
                with log.open("a") as file:
                    file.write(f"own detections from step {step}: {count:.1f} boxes a frame\n")
        images, boxes, targets = [], [], []
        window = slice(step * batch, (step + 1) * batch)
        for index, flipped in zip(order[window].tolist(), flips[window].tolist(), strict=True):
            image, before = film.frames[film.place(index)], source.before(index)
            images.append(image[:, ::-1] if flipped else image)
            boxes.append(mirror(before, setup.source[1]) if flipped else before)
            targets.append(film.targets(index, flipped))
        return zoomer(images, boxes), stack_targets(targets)

    return detector, learn(detector, setup, batch_of, steps=steps, rate=rate, log=log)


@dataclass(frozen=True)
class Shown:
    """A frame of the held-out split.

    Attributes:
        frame_id: COCO's.
        image: (H, W, 3).
        boxes: (n, 4) ground truth that is to be found.
    """

    frame_id: int
    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]


def held_out(limit: int | None = None) -> list[list[Shown]]:
    """The frames of each held-out sequence, in the order of time."""
    cv2.setNumThreads(1)
    sequences: dict[int, list[Shown]] = {}
    for number, seed, frame in open_demo("val", limit).rendered():
        shown = Shown(number, frame.image, frame.boxes[~frame.ignore])
        sequences.setdefault(seed, []).append(shown)
    return list(sequences.values())


Feed = Callable[[Shown, Found], Boxes]
"""From a frame and what was found in it to the boxes that the next one is zoomed at."""


def feedback(_shown: Shown, found: Found) -> Boxes:
    """All detections."""
    return found.boxes


def truth(shown: Shown, _found: Found) -> Boxes:
    """The ground truth: a detector that misses nothing would find it."""
    return shown.boxes


def nothing(_shown: Shown, _found: Found) -> Boxes:
    """No box, so that the warp is always the identity."""
    return np.zeros((0, 4))


FEEDS: dict[str, Feed] = {FEEDBACK: feedback, TRUTH: truth, WITHOUT: nothing}


def run_sequences(
    detector: AdaptiveDetector, setup: Setup, sequences: Sequence[Sequence[Shown]], feed: Feed
) -> list[dict[str, Any]]:
    """COCO detections, frame after frame in each sequence; the first is zoomed at no boxes."""
    zoomer = Zoomer(setup)
    results = []
    for start in range(0, len(sequences), 8):
        group = [list(frames) for frames in sequences[start : start + 8]]
        boxes: list[Boxes] = [np.zeros((0, 4))] * len(group)
        for at in range(max(map(len, group))):
            running = [i for i, frames in enumerate(group) if at < len(frames)]
            shown = [group[i][at] for i in running]
            zoomed = zoomer([each.image for each in shown], [boxes[i] for i in running])
            found = detect_batch(detector, setup, zoomed)
            for i, frame, each in zip(running, shown, found, strict=True):
                results += each.to_coco(frame.frame_id)
                boxes[i] = feed(frame, each)
    return results


def note(setup: Setup) -> dict[str, str]:
    """What the checkpoint remembers of its warp."""
    return {
        "variant": "adaptive",
        "geometry": "consistent",
        "lattice": "x".join(map(str, setup.lattice)),
        "fwhm": f"{setup.fwhm:g}",
        "amplitude": f"{setup.amplitude:g}",
        "bandwidth": f"{setup.bandwidth:g}",
    }


def predictions(
    setup: Setup, out: Path, limit: int | None, control: Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """COCO detections of all detectors that ship in OUT, and of the adaptive one by each feed.

    `control` is the checkpoint of a fixed detector that was trained on.
    """
    saliency = load_saliency(out / "saliency.npy", setup.lattice)
    others = [("uniform", out / "uniform.pth", None), ("fixed", out / "fixed.pth", saliency)]
    if control is not None:
        others.append((CONTROL, control, saliency))
    found = {}
    for name, path, chosen in others:
        detector = Detector(setup, chosen)
        load(path, detector)
        found[name] = predict_split(detector, setup, chosen, limit)
    adaptive = AdaptiveDetector(setup)
    load(out / "adaptive.pth", adaptive)
    sequences = held_out(limit)
    for name, feed in FEEDS.items():
        found[name] = run_sequences(adaptive, setup, sequences, feed)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of uniform.pth, fixed.pth and saliency.npy"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/train-adaptive"), help="logs and figures"
    )
    parser.add_argument("--cache", type=Path, help="folder for rendered frames; default: WORK")
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=9.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument(
        "--start", type=Path, help="checkpoint to go on from; default: random weights"
    )
    parser.add_argument("--limit", type=int, default=None, help="evaluate on so many frames only")
    parser.add_argument("--fwhm", type=float, default=Setup.fwhm)
    parser.add_argument("--amplitude", type=float, default=Setup.amplitude)
    parser.add_argument("--bandwidth", type=float, default=Setup.bandwidth)
    options = parser.parse_args()
    out: Path = options.out
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    setup = Setup(fwhm=options.fwhm, amplitude=options.amplitude, bandwidth=options.bandwidth)
    began = time.time()
    film = Film(options.cache or work / "frames", setup, sequences=options.sequences)
    print(f"frames ready after {time.time() - began:.0f} s", flush=True)
    runs = [run("adaptive", setup, film, options, out / "adaptive.pth")]
    control = work / "fixed-further.pth" if options.start else None
    if control is not None:
        runs.append(run("fixed", setup, film, options, control))
    record = {
        "command": "python -m lzu_benchmarks.train.adaptive " + shlex.join(sys.argv[1:]),
        "machine": machine(),
        "seed": options.seed,
        "setup": describe(setup),
        "frames": film.count,
        "start": options.start.name if options.start else None,
        "runs": runs,
    }
    (work / "training.json").write_text(json.dumps(record, indent=1))
    report(setup, options, record, control)


def run(
    variant: str, setup: Setup, film: Film, options: argparse.Namespace, path: Path
) -> dict[str, Any]:
    """Train the adaptive detector, or the fixed one of OUT further, and save it."""
    log: Path = options.work / f"{variant}.log"
    log.unlink(missing_ok=True)
    zoomer, start, remembered = Zoomer(setup), options.start, note(setup)
    if variant == "fixed":
        saliency = load_saliency(options.out / "saliency.npy", setup.lattice)
        zoomer, start = FixedZoomer(setup, saliency), options.out / "fixed.pth"
        remembered = setup.remembered(saliency)
    began, spent = time.time(), time.process_time()
    detector, losses = train(
        setup,
        film,
        epochs=options.epochs,
        seed=options.seed,
        rate=options.rate,
        start=start,
        zoomer=zoomer,
        log=log,
    )
    save_checkpoint(path, detector.network.state_dict(), meta=remembered)
    return {
        "variant": variant,
        "steps": len(losses),
        "loss": float(np.mean(losses[-100:])),
        "seconds": time.time() - began,
        "cpu_seconds": time.process_time() - spent,
    }


def report(
    setup: Setup, options: argparse.Namespace, record: dict[str, Any], control: Path | None
) -> None:
    """Evaluate what is in OUT and write the figures and the section of the README."""
    found = predictions(setup, options.out, options.limit, control)
    figures = compare(found, options.limit)
    (options.work / "figures.json").write_text(json.dumps(figures, indent=1))
    readme: Path = options.out / "README.md"
    text = readme.read_text() if readme.is_file() else ""
    readme.write_text(with_section(text, section(figures, record)))
    print(section(figures, record))


if __name__ == "__main__":
    main()
