"""Train and evaluate the demonstration detectors that are zoomed by the previous boxes.

`python -m lzu_benchmarks.train.adaptive --out benchmarks/demo/lzu_export_demo/det` adds two
detectors to those of `lzu_benchmarks.train.det`: an adaptive one, and FOVEA's, which only zooms.
Frames, architecture, schedule, order, flips and seed are the same. Each image has its own warp,
drawn anew whenever the image is shown. Its boxes are the ground truth of half a second earlier,
disturbed like detections; in the last third of the training they are the detector's own detections
there.

Amplitude and bandwidth are those of the fixed warp. On training frames the boxes of half a second
earlier then magnify small objects 1.6 times (geometric mean of both axes), as the fixed warp does.
Bandwidth 64 gives 1.5. Bandwidth 16 gives 1.75, but stretches rows up to 3 times, although the
source has only twice the canvas' pixels.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.commands import print_result, write_json
from lzu_benchmarks.demo.dataset import DemoDataset, open_demo
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.train.adaptive_detectors import (
    AdaptiveDetector,
    Boxes,
    FoveaDetector,
    Zoomed,
    load,
)
from lzu_benchmarks.train.adaptive_figures import (
    FEEDBACK,
    FOVEA,
    TRUTH,
    WITHOUT,
    compare,
    section,
    with_section,
)
from lzu_benchmarks.train.cache import mirror
from lzu_benchmarks.train.command import Stopwatch, parse, rendering, schedule_of
from lzu_benchmarks.train.det import (
    Detector,
    Found,
    detector_parser,
    detector_record,
    learn_boxes,
    predict_split,
    stack_targets,
)
from lzu_benchmarks.train.drawn_boxes import Noise, jitter, like_detections
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.schedule import Picks, Schedule
from lzu_benchmarks.train.setup import Setup
from lzu_export.cli import exits
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.warp.saliency_file import load_saliency

DETECTORS: dict[str, type[AdaptiveDetector]] = {
    "adaptive": AdaptiveDetector,
    "fovea": FoveaDetector,
}
"""Class of the detector of each variant."""

DISTURBED = Noise()
"""Disturbance that makes ground truth look like detections."""

CASCADE = 2 / 3
"""Share of the training after which the warp uses the detector's own detections."""


class BoxSource:
    """Source of the boxes that a training frame is zoomed by, drawn anew each time.

    Args:
        film: frames and ground truth.
        noise: disturbance that makes ground truth look like detections.
        seed: random seed.
    """

    def __init__(self, film: Film, noise: Noise, seed: int) -> None:
        self._film, self._noise = film, noise
        self._random = np.random.Generator(np.random.PCG64([seed, 1]))
        self._found: dict[int, NDArray[np.float64]] = {}

    def truth(self, place: int) -> NDArray[np.float64]:
        """Return the ground truth of the film's frame `place`, disturbed like detections."""
        other = int(self._random.integers(len(self._film.frames)))
        return like_detections(
            self._film.boxes(place), self._film.boxes(other), self._noise, self._random
        )

    def before(self, index: int) -> NDArray[np.float64]:
        """Draw the boxes of the frame before a training frame."""
        place = self._film.before(index)
        if place not in self._found:
            return self.truth(place)
        if self._random.random() < self._noise.empty:
            return np.zeros((0, 4))
        return jitter(self._found[place], self._noise.shift, self._noise.stretch, self._random)

    def cascade(self, detector: AdaptiveDetector) -> float:
        """Switch to the detector's own detections; return their mean number per frame.

        The frames before are themselves zoomed by their own ground truth, disturbed like
        detections, because the film does not have the frames of another half second earlier.
        """
        film = self._film
        places = sorted({film.before(index) for index in range(film.count)})
        detector.eval()
        for start in range(0, len(places), 8):
            part = places[start : start + 8]
            frames = [film.frames[p] for p in part]
            zoomed = detector.zoomer(frames, [self.truth(p) for p in part])
            for place, found in zip(part, detector.detect(zoomed), strict=True):
                self._found[place] = found.boxes
        detector.train()
        return float(np.mean([len(each) for each in self._found.values()]))


def train(
    detector: AdaptiveDetector,
    film: Film,
    schedule: Schedule,
    *,
    noise: Noise = DISTURBED,
    cascade: float = CASCADE,
) -> list[float]:
    """Train a detector on one thread, starting from its current weights.

    Args:
        detector: detector to train.
        film: frames and ground truth.
        schedule: length, order and rate; its seed is also that of the boxes.
        noise: disturbance of the ground truth.
        cascade: share of the training after which the warp uses the detector's own detections; at
            1 it never does.

    Returns:
        The loss of every step.
    """
    setup, zoomer, log = detector.setup, detector.zoomer, schedule.log
    source = BoxSource(film, noise, schedule.seed)
    first = round(cascade * schedule.steps(film.count))

    def batch_of(step: int, picks: Picks) -> tuple[Zoomed, dict[str, Any]]:
        if step == first and zoomer.mix > 0:
            count = source.cascade(detector)
            if log is not None:
                with log.open("a") as file:
                    file.write(f"own detections from step {step}: {count:.1f} boxes a frame\n")
        images, boxes = [], []
        for index, flipped in picks.pairs:
            image, before = film.frames[film.place(index)], source.before(index)
            images.append(image[:, ::-1] if flipped else image)
            boxes.append(mirror(before, setup.source[1]) if flipped else before)
        zoomed = zoomer(images, boxes)
        targets = [
            detector.targets(film, *each, knots_x, knots_y)
            for each, knots_x, knots_y in zip(
                picks.pairs, zoomed.knots_x, zoomed.knots_y, strict=True
            )
        ]
        return zoomed, stack_targets(targets)

    return learn_boxes(detector, setup, batch_of, film.count, schedule)


@dataclass(frozen=True)
class Shown:
    """A frame of the held-out split.

    Attributes:
        frame_id: COCO's id of the image.
        image: (H, W, 3) uint8.
        boxes: (n, 4) ground truth without the objects to ignore.
    """

    frame_id: int
    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]


def held_out(dataset: DemoDataset) -> list[list[Shown]]:
    """Return the frames of each sequence of a data set, in temporal order."""
    cv2.setNumThreads(1)
    sequences: dict[int, list[Shown]] = {}
    for number, seed, frame in dataset.rendered():
        shown = Shown(number, frame.image, frame.boxes[~frame.ignore])
        sequences.setdefault(seed, []).append(shown)
    return list(sequences.values())


Feed = Callable[[Shown, Found], Boxes]
"""Function of a frame and its detections that returns the boxes for the next frame's zoom."""


def feedback(_shown: Shown, found: Found) -> Boxes:
    """Return all detections."""
    return found.boxes


def truth(shown: Shown, _found: Found) -> Boxes:
    """Return the ground truth, which a perfect detector would find."""
    return shown.boxes


def nothing(_shown: Shown, _found: Found) -> Boxes:
    """Return no boxes, so that the warp is always the identity."""
    return np.zeros((0, 4))


FEEDS: dict[str, Feed] = {FEEDBACK: feedback, TRUTH: truth, WITHOUT: nothing}


def run_sequences(
    detector: AdaptiveDetector, sequences: Sequence[Sequence[Shown]], feed: Feed
) -> list[dict[str, Any]]:
    """Return COCO detections of sequences, frame by frame; the first frames have no boxes."""
    results = []
    for start in range(0, len(sequences), 8):
        group = [list(frames) for frames in sequences[start : start + 8]]
        boxes: list[Boxes] = [np.zeros((0, 4))] * len(group)
        for at in range(max(map(len, group))):
            running = [i for i, frames in enumerate(group) if at < len(frames)]
            shown = [group[i][at] for i in running]
            zoomed = detector.zoomer([each.image for each in shown], [boxes[i] for i in running])
            found = detector.detect(zoomed)
            for i, frame, each in zip(running, shown, found, strict=True):
                results += each.to_coco(frame.frame_id)
                boxes[i] = feed(frame, each)
    return results


def predictions(setup: Setup, out: Path, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """Return COCO detections of all detectors in OUT, and of the adaptive one for each feed."""
    saliency = load_saliency(out / "saliency.npy", setup.lattice)
    found = {}
    for name, chosen in (("uniform", None), ("fixed", saliency)):
        detector = Detector(setup, chosen)
        load(out / f"{name}.pth", detector)
        found[name] = predict_split(detector, setup, chosen, limit)
    sequences = held_out(open_demo("val", limit))
    adaptive, fovea = (make(setup) for make in DETECTORS.values())
    for variant, each in zip(DETECTORS, (adaptive, fovea), strict=True):
        load(out / f"{variant}.pth", each)
    found[FOVEA] = run_sequences(fovea, sequences, feedback)
    for name, feed in FEEDS.items():
        found[name] = run_sequences(adaptive, sequences, feed)
    return found


def run_variant(variant: str, setup: Setup, options: argparse.Namespace) -> dict[str, Any]:
    """Train and save one variant on one thread."""
    torch.set_num_threads(1)
    film = Film(options.cache, setup, sequences=options.sequences)
    schedule = schedule_of(options, variant, seed=options.seed, rate=options.rate)
    torch.manual_seed(options.seed)
    detector = DETECTORS[variant](setup)
    watch = Stopwatch()
    losses = train(detector, film, schedule)
    path = options.out / f"{variant}.pth"
    save_checkpoint(path, detector.network.state_dict(), meta=setup.record(variant))
    return {"variant": variant, **watch.figures(losses)}


@exits.ending()
def main() -> None:
    """Run the command line."""
    parser = detector_parser(
        __doc__,
        "adaptive",
        out="folder of uniform.pth, fixed.pth and saliency.npy",
        work="logs and figures",
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--amplitude", type=float, default=Setup.amplitude)
    options = parse(parser)
    setup = Setup(fwhm=options.fwhm, amplitude=options.amplitude, bandwidth=options.bandwidth)
    with rendering():
        film = Film(options.cache, setup, sequences=options.sequences)
    jobs = [(variant, setup, options) for variant in DETECTORS]
    record = detector_record("lzu_benchmarks.train.adaptive", setup, options)
    record["frames"] = film.count
    record["runs"] = run_jobs(run_variant, jobs, len(jobs))
    write_json(options.work / "training.json", record)
    figures, shown = report(setup, options.out, options.work, record, options.frames)
    print_result(options.json, {**record, "figures": figures}, shown)


def report(
    setup: Setup, out: Path, work: Path, record: dict[str, Any], limit: int | None = None
) -> tuple[Mapping[str, Any], str]:
    """Evaluate the detectors in OUT; write and return the figures and the README's section."""
    figures = compare(predictions(setup, out, limit), limit)
    write_json(work / "figures.json", figures)
    readme = out / "README.md"
    text = readme.read_text() if readme.is_file() else ""
    made = section(figures, record)
    readme.write_text(with_section(text, made))
    return figures, made


if __name__ == "__main__":
    main()
