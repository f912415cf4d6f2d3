"""Measure power and energy of a subject that runs alone, if a meter exists.

The meter is a separate process (tegrastats, nvidia-smi) that writes to a file while the subject
runs; the file is read afterwards. tegrastats measures the whole board, nvidia-smi only the card.
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
from lzu_export.support import nvidia
from lzu_export.support.interleave import Subject
from lzu_export.support.section import Section

INTERVAL = 100
"""Milliseconds from one line of a meter to the next."""


class Power(Section):
    """Power that a subject drew while it ran back to back."""

    meter: str
    """Name of the meter, and what it measures: the board or the card."""
    watts: float
    """Mean power in watts while the subject ran."""
    idle_watts: float | None
    """Mean power in watts before the subject ran."""
    joules_per_query: float
    """Energy in joules of a query: mean power times duration."""
    peak_memory: float | None
    """Peak memory of all processes on the board or the card, in bytes."""
    seconds: float
    """Seconds that the subject ran."""
    queries: int
    """Number of queries in that time."""
    readings: int
    """Number of readings of the meter in that time."""


@dataclass(frozen=True)
class Meter:
    """A command that prints power readings repeatedly, and the parser of its lines."""

    name: str
    """Name of the meter, and what it measures."""
    command: Sequence[str]
    """Words of the command."""
    parse: Callable[[str], tuple[float | None, float | None]]
    """Parse a line into watts and bytes of memory in use."""


def find_meter() -> Meter | None:
    """Return the power meter of this machine, None if it has none."""
    if shutil.which("tegrastats"):
        return Meter("tegrastats, the board", tegrastats.command(INTERVAL), _tegra)
    if shutil.which("nvidia-smi"):
        for card in nvidia.cards_in_use():
            if card.watts is not None:
                return Meter("NVML, the card", nvidia.power_command(INTERVAL, card), _nvidia)
    return None


def measure_power(
    meter: Meter, subject: Subject, *, seconds: float = 10.0, idle_seconds: float = 2.0
) -> Power | None:
    """Measure power while a subject runs back to back; None if the meter reported nothing.

    Args:
        meter: power meter of this machine.
        subject: subject to run.
        seconds: duration of the run.
        idle_seconds: duration of the idle measurement before it.
    """
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
    """Return the readings in watts and in bytes that the meter reported during `work`."""
    # Without line buffering the meter writes whole pages, and the last readings are lost.
    by_line = ["stdbuf", "-oL"] if shutil.which("stdbuf") else []
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
    """Parse a line of nvidia-smi for the card that engines run on."""
    cells = [cell.strip() for cell in line.split(",")]
    try:
        return float(cells[0]), float(cells[1]) * 2**20
    except (ValueError, IndexError):
        return None, None
