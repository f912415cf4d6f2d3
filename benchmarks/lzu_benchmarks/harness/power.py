"""Measure watts and joules of a subject that runs alone, if a meter exists.

The meter is a process of its own (tegrastats, nvidia-smi) that writes to a file while the subject
runs; it is read afterwards. A board's figure is of the whole board, a card's of the card alone.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import IO

from lzu_benchmarks.harness import tegrastats
from lzu_benchmarks.harness.summary import Section
from lzu_export.support import nvidia
from lzu_export.support.interleave import Subject

INTERVAL = 100
"""Milliseconds from one line of a meter to the next."""


class Power(Section):
    """Power that a subject drew while it ran back to back."""

    meter: str
    watts: float
    """Mean."""
    idle_watts: float | None
    """Mean before it ran."""
    joules_per_query: float
    peak_memory: float | None
    """Bytes used by all processes, at most: of the board, or of the card."""
    seconds: float
    queries: int
    readings: int


@dataclass(frozen=True)
class Meter:
    """A command that prints watts over and over, and how its lines are read."""

    name: str
    command: Sequence[str]
    parse: Callable[[str], tuple[float | None, float | None]]
    """Parse a line: watts, and bytes of memory in use."""


def find_meter() -> Meter | None:
    """The meter of this machine, None where there is none."""
    if shutil.which("tegrastats"):
        return Meter("tegrastats, the board", tegrastats.command(INTERVAL), _tegra)
    if shutil.which("nvidia-smi") and any(card.watts is not None for card in nvidia.cards()):
        return Meter("NVML, the card", nvidia.power_command(INTERVAL), _nvidia)
    return None


def measure_power(
    meter: Meter, subject: Subject, *, seconds: float = 10.0, idle_seconds: float = 2.0
) -> Power | None:
    """Run a subject back to back for so long; None where the meter told nothing."""
    with tempfile.TemporaryFile("w+") as log:
        idle, _ = _metered(meter, log, lambda: time.sleep(idle_seconds))
    queries = 0
    spent = 0.0

    def run() -> None:
        nonlocal queries, spent
        start = time.perf_counter()
        while spent < seconds:
            value = subject.feed(queries)
            for stage in subject.stages.values():
                value = stage(value)
            queries += 1
            spent = time.perf_counter() - start

    with tempfile.TemporaryFile("w+") as log:
        watts, memory = _metered(meter, log, run)
    if not watts:
        return None
    mean = fmean(watts)
    return Power(
        meter=meter.name,
        watts=mean,
        idle_watts=fmean(idle) if idle else None,
        joules_per_query=mean * spent / queries,
        peak_memory=max(memory) if memory else None,
        seconds=spent,
        queries=queries,
        readings=len(watts),
    )


def _metered(
    meter: Meter, log: IO[str], work: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Watts and bytes that the meter reported during `work`."""
    by_line = ["stdbuf", "-oL"] if shutil.which("stdbuf") else []  # or a file gets whole pages
    command = [*by_line, *meter.command]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
    try:
        work()
    finally:
        process.terminate()
        process.wait()
    log.seek(0)
    rows = [meter.parse(line) for line in log]
    watts = [row[0] for row in rows if row[0] is not None]
    memory = [row[1] for row in rows if row[1] is not None]
    return watts, memory


def _tegra(line: str) -> tuple[float | None, float | None]:
    read = tegrastats.parse(line)
    return read.watts, None if read.memory is None else read.memory * 2**20


def _nvidia(line: str) -> tuple[float | None, float | None]:
    """Meter of the first card, on which engines run."""
    cells = [cell.strip() for cell in line.split(",")]
    try:
        return float(cells[0]), float(cells[1]) * 2**20
    except (ValueError, IndexError):
        return None, None
