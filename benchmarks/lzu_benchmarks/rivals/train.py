"""Train the demonstration detectors of everything that a user might take instead of a warp.

`python -m lzu_benchmarks.rivals.train --out build/rivals` trains every network of the comparison
from random weights at what it sees: the same frames, order, flips, schedule and number of steps.
Weights that are there already, and those that ship, are not trained again, so that an interrupted
command goes on where it stopped. `make bench TASK=det RIVALS=1` compares the networks.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.commands import print_result
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.rivals.networks import (
    FULL,
    NETWORKS,
    ZOOM,
    Budget,
    Weights,
    chosen_band,
    shipped,
    weights_in,
    write_band,
)
from lzu_benchmarks.train import adaptive, det
from lzu_benchmarks.train.adaptive_detectors import FoveaDetector
from lzu_benchmarks.train.cache import SALIENCY_SEQUENCES, Cache, training_boxes
from lzu_benchmarks.train.command import Stopwatch, parse, rendering, schedule_of, training_parser
from lzu_benchmarks.train.figures import origin
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.windows import best_band
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import load_recipe
from lzu_export.support.files import write_text
from lzu_export.warp.saliency_file import load_saliency

MODULE = "lzu_benchmarks.rivals.train"


def saliency_of(name: str) -> NDArray[np.float64] | None:
    """Return the shipped saliency (h, w) for the fixed warp; None for other networks."""
    if NETWORKS[name].variant != "fixed":
        return None
    path = load_recipe("det").warp.saliency
    assert path is not None, "the recipe ships with its saliency"
    return load_saliency(path, Setup.lattice)


def frames_of(name: str, options: argparse.Namespace, processes: int = 1) -> Cache | Film:
    """Open the training frames as a network sees them; they are rendered on first use."""
    setup, windows = NETWORKS[name].views(chosen_band(options.out))
    many = options.sequences
    if NETWORKS[name].variant == "fovea":
        return Film(options.cache, setup, sequences=many, processes=processes)
    return Cache(
        options.cache,
        setup,
        saliency_of(name),
        windows=windows,
        sequences=many,
        processes=processes,
    )


def train(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one network; write OUT/NAME-SEED.pth, then its record beside it, and return that."""
    torch.set_num_threads(1)
    variant, (setup, windows) = (
        NETWORKS[name].variant,
        NETWORKS[name].views(chosen_band(options.out)),
    )
    frames, saliency = frames_of(name, options), saliency_of(name)
    path: Path = options.out / f"{name}-{seed}.pth"
    schedule = det.schedule_over(windows, schedule_of(options, path.stem, seed=seed))
    watch = Stopwatch()
    detector: det.Detector
    if isinstance(frames, Film):
        torch.manual_seed(seed)
        detector = FoveaDetector(setup)
        losses = adaptive.train(detector, frames, schedule)
    else:
        detector, losses = det.train(setup, saliency, frames, schedule)
    save_checkpoint(path, detector.network.state_dict(), meta=setup.record(variant, saliency))
    record = {
        **origin(MODULE),
        "network": name,
        "seed": seed,
        **Budget(options.epochs, options.sequences)._asdict(),
        **watch.figures(losses),
    }
    write_text(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return record


def choose_band(folder: Path) -> dict[str, Any]:
    """Choose the static crop from training boxes, unless the folder holds the choice."""
    path = folder / "band.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    boxes = training_boxes(SALIENCY_SEQUENCES, 2)
    window, share = best_band(np.asarray(boxes), Setup.source, Setup.scale, zoom=ZOOM)
    return write_band(folder, window, share)


def jobs_of(options: argparse.Namespace) -> list[tuple[str, int]]:
    """Return the networks and seeds to train: those without weights of this budget.

    Raises:
        LzuError: the folder holds weights of another budget.
    """
    budget = Budget(options.epochs, options.sequences)
    found = weights_in(options.out)
    own = [each for each in found if each.path.parent == options.out]
    if own and own[0].budget != budget:
        epochs, sequences = own[0].budget
        raise LzuError(
            f"{options.out} holds weights of {own[0].budget}; give --epochs {epochs:g} "
            f"--sequences {sequences}, or another --out"
        )
    known: list[Weights] = [*own, *(shipped() if budget == FULL else ())]
    there = {(each.network, each.seed) for each in known}
    return [
        (name, seed)
        for seed in options.seeds
        for name in options.networks
        if (name, seed) not in there
    ]


@exits.ending("trained networks are kept; give the same command to go on")
def main() -> None:
    """Run the command line."""
    parser = training_parser(
        __doc__,
        "rivals",
        out="folder of the weights",
        work="logs",
        sequences=FULL.sequences,
        epochs=FULL.epochs,
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parse(parser)
    options.out.mkdir(parents=True, exist_ok=True)
    band = choose_band(options.out)
    window = band["window"]
    print(
        f"static crop: rows {window['y']} to {window['y'] + window['height']}, "
        f"{band['rule']} ({100 * band['share']:.0f} % of them)",
        file=sys.stderr,
        flush=True,
    )
    jobs = [(*job, options) for job in jobs_of(options)]
    with rendering():
        for name in dict.fromkeys(name for name, _, _ in jobs):
            frames_of(name, options, options.processes)
    runs = run_jobs(train, jobs, min(options.processes, len(jobs))) if jobs else []
    left = ", ".join(f"{each['network']}-{each['seed']}" for each in runs) or "nothing was left"
    print_result(options.json, {"band": band, "runs": runs}, f"trained into {options.out}: {left}")


if __name__ == "__main__":
    main()
