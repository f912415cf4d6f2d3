"""Train detectors further on scenes of a moving camera, and compare warps on both kinds of scenes.

`python -m lzu_benchmarks.train.moving --out build/moving` trains four detectors from the shipped
weights, each with its own warp: none, a fixed one by the density of these scenes' boxes, an
adaptive one by the detections of half a second earlier, and a mixed one, by half of either
saliency. Frames, schedule, order, flips and seed are the same. It then evaluates them and the
shipped detectors on the held-out sequences of the steady and of the moving camera.

Weights in OUT and detections in WORK are kept, so an interrupted command continues where it was,
and `--warps` trains some of the detectors only, or none.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.commands import print_result, write_json
from lzu_benchmarks.train.adaptive import feedback, held_out, run_sequences, train
from lzu_benchmarks.train.adaptive_detectors import AdaptiveDetector, load
from lzu_benchmarks.train.cache import fixed_saliency
from lzu_benchmarks.train.command import Stopwatch, parse, rendering, schedule_of, training_parser
from lzu_benchmarks.train.figures import origin
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.moving_figures import KINDS, SHIPPED, TUNED, compare, open_kind, table
from lzu_benchmarks.train.setup import Setup
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.support.demonstration import demonstration_file
from lzu_export.warp.saliency_file import load_saliency

DEMO = demonstration_file("det")
"""Folder of the shipped detectors and of the saliency of the steady scenes."""

SETTINGS = ("sequences", "epochs", "seed", "rate", "frames")
"""Options that decide the results."""


@dataclass(frozen=True)
class Warp:
    """A warp to compare.

    Attributes:
        start: name of the shipped weights that the training starts from.
        follows: share of the saliency that follows the boxes.
        fixed: whether the rest is the density of the training boxes, not uniform.
    """

    start: str
    follows: float
    fixed: bool

    def detector(self, setup: Setup, saliency: NDArray[np.float64]) -> AdaptiveDetector:
        """Build the detector with random weights."""
        return AdaptiveDetector(setup, saliency if self.fixed else None, self.follows)


WARPS = {
    "uniform": Warp("uniform", 0.0, fixed=False),
    "fixed": Warp("fixed", 0.0, fixed=True),
    "adaptive": Warp("adaptive", 1.0, fixed=False),
    "mixed": Warp("adaptive", 0.5, fixed=True),
}


def tune(names: Sequence[str], setup: Setup, options: argparse.Namespace) -> None:
    """Train detectors from shipped weights; save saliency and weights, and figures in WORK."""
    out: Path = options.out
    with rendering():
        film = Film(options.cache, setup, sequences=options.sequences, split="moving-train")
    boxes = np.concatenate([film.boxes(place) for place in range(len(film.frames))])
    np.save(out / "saliency.npy", fixed_saliency(setup, boxes).astype(np.float32))
    saliency = load_saliency(out / "saliency.npy", setup.lattice)
    for name in names:
        torch.manual_seed(options.seed)
        detector = WARPS[name].detector(setup, saliency)
        load(DEMO / f"{WARPS[name].start}.pth", detector)
        watch = Stopwatch()
        schedule = schedule_of(options, name, seed=options.seed, rate=options.rate)
        losses = train(detector, film, schedule)
        write_json(options.work / f"{name}.json", {"variant": name, **watch.figures(losses)})
        save_checkpoint(out / f"{name}.pth", detector.network.state_dict(), meta={})


def evaluate(setup: Setup, options: argparse.Namespace) -> dict[str, Any]:
    """Return COCO detections by kind of scene and name of the detector, from WORK where known."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        sequences = None
        found[kind] = {}
        for stage, folder in ((SHIPPED, DEMO), (TUNED, options.out)):
            for name, warp in WARPS.items():
                if not (folder / f"{name}.pth").is_file():
                    continue  # none is shipped of this warp, or it is not trained yet
                path = options.work / f"{kind}-{stage}-{name}.json"
                if not path.exists():
                    sequences = sequences or held_out(open_kind(kind, options.frames))
                    saliency = load_saliency(folder / "saliency.npy", setup.lattice)
                    detector = warp.detector(setup, saliency)
                    load(folder / f"{name}.pth", detector)
                    path.write_text(json.dumps(run_sequences(detector, sequences, feedback)))
                found[kind][f"{stage} {name}"] = json.loads(path.read_text())
    return found


def _options() -> argparse.Namespace:
    parser = training_parser(
        __doc__, "moving", work="logs, detections and figures", sequences=150, epochs=8.0
    )
    parser.add_argument(
        "--warps", nargs="*", choices=list(WARPS), default=list(WARPS), help="warps to train now"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument(
        "--frames",
        type=int,
        default=None,
        help="evaluate on whole sequences of at most this many frames of each kind",
    )
    return parse(parser)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all results share, and keep them in WORK.

    Raises:
        LzuError: WORK holds results of other settings.
    """
    settings = {name: getattr(options, name) for name in SETTINGS}
    path = options.work / "settings.json"
    if path.exists() and (kept := json.loads(path.read_text())) != settings:
        raise LzuError(
            f"{options.work} holds results of {kept}, but these settings are {settings}; give "
            "another --work and --out"
        )
    write_json(path, settings)
    return settings


@exits.ending()
def main() -> None:
    """Run the command line."""
    options = _options()
    torch.set_num_threads(1)
    setup = Setup()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = _settings(options)
    todo = [name for name in options.warps if not (options.out / f"{name}.pth").exists()]
    if todo:
        tune(todo, setup, options)
    runs = [
        json.loads((options.work / f"{name}.json").read_text())
        for name in WARPS
        if (options.out / f"{name}.pth").exists()
    ]
    figures = compare(evaluate(setup, options), options.frames)
    record = {**origin("lzu_benchmarks.train.moving"), **settings, "runs": runs, "figures": figures}
    write_json(options.work / "figures.json", record)
    print_result(options.json, record, table(figures))


if __name__ == "__main__":
    main()
