"""Measure how an export's time and memory grow with its size.

`python -m lzu_benchmarks export_growth` exports the demonstration detector, fixed and in FP32, at
several scales, batches, numbers of levels and numbers of scored frames, each in a process of its
own. An exponent is the slope between neighbouring sizes: 1 means that time or memory grows as fast
as the work, less that a part of it is the same for every size. Times are of processors, user and
system, which other load on the machine changes least; of several runs the least counts.
"""

import argparse
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support import hardware
from lzu_export.support.interpreter import run_module
from lzu_export.support.progress import Reporter

NEEDS = "extras runtime, export, bench, demo"


@dataclass(frozen=True)
class Axis:
    """One size of an export that is varied."""

    title: str
    sizes: tuple[float, ...]
    options: Callable[[float], list[str]]
    """Options of `lzu-export export` at a size."""
    work: Callable[[float], float]
    """Work at a size, in any unit."""


def _set(key: str, *more: str) -> Callable[[float], list[str]]:
    """Return a function from a size to the options that set a recipe's key to it."""
    return lambda size: ["--set", f"{key}={size:g}", *more]


UNTRAINED = ("--random-weights", "0", "--dataset", "none")
"""Options for networks that no checkpoint fits, whose accuracy is not measured."""
AXES = {
    "scale": Axis(
        "scale",
        (0.25, 0.5, 1, 2),
        lambda size: ["--scale", f"{size:g}", *UNTRAINED],
        lambda size: size**2,
    ),
    "batch": Axis("frames in a batch", (1, 2, 4), _set("batch", *UNTRAINED), float),
    # The network's backbone alone has four.
    "levels": Axis("levels", (4, 5, 6), _set("model.num_outs", *UNTRAINED), float),
    "frames": Axis("scored frames", (64, 128, 256), _set("evaluation.frames"), float),
}


@dataclass(frozen=True)
class Point:
    """An export of one size."""

    size: float
    work: float
    seconds: float
    """Seconds of processors, user and system."""
    megabytes: float
    """Largest resident memory."""


def measure(axis: Axis, sizes: Sequence[float], runs: int, report: Reporter) -> list[Point]:
    """Export at each size, in ascending order."""
    points = []
    with report.steps(axis.title, len(sizes) * runs) as advance:
        for size in sorted(sizes):
            found = []
            for _ in range(runs):
                found.append(_export(axis.options(size)))
                advance()
            seconds, megabytes = map(min, zip(*found, strict=True))
            points.append(Point(size, axis.work(size), seconds, megabytes))
    return points


def _export(options: Sequence[str]) -> tuple[float, float]:
    """Export in a process of its own; return its seconds of processors and its megabytes.

    Raises:
        LzuError: the export fails.
    """
    command = run_module("lzu_export", "export", "det-demo", "--json", "--variant", "fixed")
    command += ["--precision", "fp32", *options]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, "--out", folder], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise LzuError(f"an export with {' '.join(options)} failed: {lines[-1]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def exponents(points: Sequence[Point], value: Callable[[Point], float]) -> list[float]:
    """Return the slopes of a value over the work between neighbours, both as logarithms."""
    return [
        math.log(value(larger) / value(smaller)) / math.log(larger.work / smaller.work)
        for smaller, larger in pairwise(points)
    ]


def rows(points: Sequence[Point]) -> list[dict[str, float | None]]:
    """Return the points as plain data, each but the first with its exponents."""
    times = exponents(points, lambda point: point.seconds)
    memory = exponents(points, lambda point: point.megabytes)
    return [
        {
            "size": point.size,
            "work": point.work / points[0].work,
            "seconds": point.seconds,
            "megabytes": point.megabytes,
            "time_exponent": times[i - 1] if i else None,
            "memory_exponent": memory[i - 1] if i else None,
        }
        for i, point in enumerate(points)
    ]


def table(axis: Axis, found: Sequence[Mapping[str, float | None]]) -> Table:
    """Return an axis' rows as a table."""
    made = Table(title=f"Export over {axis.title}")
    for heading in (axis.title, "work", "CPU s", "exponent", "MB", "exponent"):
        made.add_column(heading, justify="right")
    for row in found:
        cells = [f"{row['size']:g}", f"{row['work']:.2f}", f"{row['seconds']:.1f}"]
        cells += [_exponent(row["time_exponent"]), f"{row['megabytes']:.0f}"]
        made.add_row(*cells, _exponent(row["memory_exponent"]))
    return made


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's options."""
    made = study_parser(__file__, __doc__)
    made.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    made.add_argument("--sizes", nargs="+", type=float, help="of a single axis")
    made.add_argument("--runs", type=int, default=3, help="exports of each size")
    add_json(made)
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser().parse_args(arguments)
    if given.sizes and len(given.axes) != 1:
        raise LzuError("--sizes belongs to a single axis; name it with --axes")
    if given.runs < 1 or (given.sizes and min(given.sizes) <= 0):
        raise LzuError("--runs and --sizes are positive numbers; give such")
    if given.sizes and len(set(given.sizes)) < len(given.sizes):
        raise LzuError("--sizes names a size twice; give each once")
    result: dict[str, Any] = {"machine": hardware.identity(), "runs": given.runs, "axes": {}}
    report = Reporter()
    for name in given.axes:
        points = measure(AXES[name], given.sizes or AXES[name].sizes, given.runs, report)
        result["axes"][name] = rows(points)
    tables = [table(AXES[name], found) for name, found in result["axes"].items()]
    print_result(given.json, result, result["machine"], *tables)


if __name__ == "__main__":
    main()
