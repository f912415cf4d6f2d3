"""Train the demonstration models of everything that a user might take instead of a warp.

`python -m lzu_benchmarks.rivals.train --out build/rivals` trains every network of the comparison
from random weights at what it sees: the same frames, order, flips, schedule and number of steps.
Weights that are there already, and those that ship, are not trained again, so that an interrupted
command goes on where it stopped. `make bench TASK=det RIVALS=1` compares the networks. The same is
done for segmentation by `--task seg --out build/rivals-seg` and `make bench TASK=seg RIVALS=1`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lzu_benchmarks.commands import print_result
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.rivals import detectors, segmenters
from lzu_benchmarks.rivals.networks import (
    DET,
    TASKS,
    Budget,
    RivalTask,
    Weights,
    band_record,
    shipped,
    weights_in,
    write_band,
)
from lzu_benchmarks.train.cache import SALIENCY_SEQUENCES, training_boxes
from lzu_benchmarks.train.command import Stopwatch, parse, rendering, training_parser
from lzu_benchmarks.train.figures import origin
from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.windows import best_band
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.files import write_text

MODULE = "lzu_benchmarks.rivals.train"
TRAINERS: Mapping[str, ModuleType] = {"det": detectors, "seg": segmenters}
"""Module of each task, whose `render` makes frames ready and whose `train` trains a network."""


def train(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one network; write OUT/NAME-SEED.pth, then its record beside it, and return that."""
    torch.set_num_threads(1)
    task = TASKS[options.task]
    path: Path = options.out / f"{name}-{seed}.pth"
    watch = Stopwatch()
    losses = TRAINERS[task.name].train(task.networks[name], seed, path, options)
    record = {
        **origin(MODULE),
        "task": task.name,
        "network": name,
        "seed": seed,
        **Budget(options.epochs, options.sequences)._asdict(),
        **watch.figures(losses),
    }
    write_text(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return record


def choose_band(folder: Path, task: RivalTask) -> dict[str, Any]:
    """Choose the static crop from training boxes, unless the folder holds the choice."""
    stored = band_record(folder)
    if stored is not None:
        return stored
    boxes = training_boxes(SALIENCY_SEQUENCES, 2)
    window, share = best_band(np.asarray(boxes), Setup.source, task.scale, zoom=task.zoom)
    return write_band(folder, window, share, task.zoom)


def jobs_of(options: argparse.Namespace) -> list[tuple[str, int]]:
    """Return the networks and seeds to train: those without weights of this budget.

    Raises:
        LzuError: the folder holds weights of another task or budget.
    """
    task = TASKS[options.task]
    budget = Budget(options.epochs, options.sequences)
    found = weights_in(options.out, task)
    own = [each for each in found if each.path.parent == options.out]
    if own and own[0].budget != budget:
        epochs, sequences = own[0].budget
        raise LzuError(
            f"{options.out} holds weights of {own[0].budget}; give --epochs {epochs:g} "
            f"--sequences {sequences}, or another --out"
        )
    known: list[Weights] = [*own, *(shipped(task) if budget == task.full else ())]
    there = {(each.network, each.seed) for each in known}
    return [
        (name, seed)
        for seed in options.seeds
        for name in options.networks
        if (name, seed) not in there
    ]


def given() -> argparse.Namespace:
    """Read the command line; the task gives what is left out.

    Raises:
        LzuError: a network is none of the task's.
    """
    parser = training_parser(
        __doc__,
        "rivals",
        out="folder of the weights",
        work="logs",
        sequences=DET.full.sequences,
        epochs=DET.full.epochs,
    )
    parser.set_defaults(sequences=None, epochs=None)
    parser.add_argument("--task", choices=TASKS, default=DET.name)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="default: all of the task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parse(parser)
    task = TASKS[options.task]
    options.epochs = task.full.epochs if options.epochs is None else options.epochs
    options.sequences = options.sequences or task.full.sequences
    options.networks = options.networks or list(task.networks)
    unknown = [name for name in options.networks if name not in task.networks]
    if unknown:
        raise LzuError(
            f"--networks names {unknown[0]}; those of {task.name} are {', '.join(task.networks)}"
        )
    return options


@exits.ending("trained networks are kept; give the same command to go on")
def main() -> None:
    """Run the command line."""
    options = given()
    task = TASKS[options.task]
    options.out.mkdir(parents=True, exist_ok=True)
    band = choose_band(options.out, task)
    window = band["window"]
    print(
        f"static crop: rows {window['y']} to {window['y'] + window['height']}, "
        f"{band['rule']} ({100 * band['share']:.0f} % of them)",
        file=sys.stderr,
        flush=True,
    )
    jobs = [(*job, options) for job in jobs_of(options)]
    with rendering():
        names = dict.fromkeys(name for name, _, _ in jobs)
        TRAINERS[task.name].render([task.networks[name] for name in names], options)
    runs = run_jobs(train, jobs, min(options.processes, len(jobs))) if jobs else []
    left = ", ".join(f"{each['network']}-{each['seed']}" for each in runs) or "nothing was left"
    print_result(options.json, {"band": band, "runs": runs}, f"trained into {options.out}: {left}")


if __name__ == "__main__":
    main()
