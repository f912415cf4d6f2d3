"""Parts that the training commands share: options, schedule and timing."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lzu_benchmarks.commands import add_json
from lzu_benchmarks.train.schedule import Schedule

OUT = "folder for checkpoints and saliency"
"""Help of `--out` of a training that writes a saliency."""


def training_parser(
    description: str | None, name: str, *, out: str = OUT, work: str, sequences: int, epochs: float
) -> argparse.ArgumentParser:
    """Make the parser of the options that every training has; read them by `parse`.

    Args:
        description: description of the command.
        name: last part of the name of the training's module.
        out: help of `--out`, the folder of the checkpoints.
        work: help of `--work`, the folder of everything else.
        sequences: default number of training sequences.
        epochs: default number of epochs.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--work", type=Path, default=Path(f"build/train-{name}"), help=work)
    parser.add_argument("--cache", type=Path, help="folder for rendered frames; default: WORK")
    parser.add_argument("--sequences", type=int, default=sequences)
    parser.add_argument("--epochs", type=float, default=epochs)
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, with `--json` as its last option, and make the folder WORK."""
    add_json(parser)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.work / "frames"
    return options


def schedule_of(
    options: argparse.Namespace, name: str, *, seed: int, rate: float = Schedule.rate
) -> Schedule:
    """Return the schedule of the run `name`, which writes a new log WORK/NAME.log."""
    log = options.work / f"{name}.log"
    log.unlink(missing_ok=True)
    return Schedule(epochs=options.epochs, seed=seed, rate=rate, log=log)


@contextmanager
def rendering() -> Iterator[None]:
    """Report on stderr how long the block took that makes the frames ready."""
    watch = Stopwatch()
    yield
    print(f"frames ready after {watch.seconds:.0f} s", file=sys.stderr, flush=True)


class Stopwatch:
    """Time since it was made."""

    def __init__(self) -> None:
        """Start."""
        self._began, self._used = time.time(), time.process_time()

    @property
    def seconds(self) -> float:
        """Elapsed seconds."""
        return time.time() - self._began

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time of this process."""
        return time.process_time() - self._used

    def figures(self, losses: Sequence[float]) -> dict[str, Any]:
        """Return the figures of a training that ends now, as plain data."""
        return {
            "steps": len(losses),
            "loss": float(np.mean(losses[-100:])),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
