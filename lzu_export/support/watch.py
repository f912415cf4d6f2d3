"""Watch the machine during a measurement, and mark doubtful figures."""

import time
from collections.abc import Sequence
from pathlib import Path

from lzu_export.support.machine import ROOT, Reading, read
from lzu_export.support.section import Section

EVERY = 1.0
"""Smallest time in seconds between two readings of the machine's state."""
SLOWER = 0.95
"""Fraction of its highest reading below which a clock counts as fallen."""
NEAR = 1.0
"""Distance from its limit, in degrees Celsius, at which a zone counts as having reached it."""
BUSY = 0.1
"""Number of processors busy with other processes above which a figure is doubtful."""


class Conditions(Section):
    """State of the machine during a measurement."""

    seconds: float
    """Duration of the measurement in seconds."""
    readings: int
    """Number of readings of the machine's state."""
    cpu_mhz: tuple[float, float] | None
    """Lowest and highest mean clock of the processors in MHz."""
    gpu_mhz: tuple[float, float] | None
    """Lowest and highest clock of the GPUs in MHz."""
    celsius: dict[str, tuple[float, float]]
    """Lowest and highest temperature in degrees Celsius of every zone and card."""
    load: float | None
    """Mean number of runnable processes when the measurement began."""
    others: float | None
    """Mean number of processors that other processes kept busy, with time that a host took away."""
    throttled: tuple[str, ...]
    """Sentences on why the machine was slowed down; empty if there is no sign of it."""
    doubts: tuple[str, ...]
    """Further reasons that make the times doubtful."""


class Watch:
    """Reads the machine's state from time to time; call it between queries."""

    def __init__(self, root: Path = ROOT, *, every: float = EVERY) -> None:
        """Take the first reading."""
        self._root, self._every = root, every
        self.readings: list[Reading] = [read(root)]
        self._start = self._last = time.monotonic()

    def __call__(self) -> None:
        """Take a reading, unless the last one is too recent."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self.readings.append(read(self._root))
            self._last = time.monotonic()

    def finish(self) -> Conditions:
        """Take the last reading and summarise all."""
        self.readings.append(read(self._root))
        return conditions(self.readings, time.monotonic() - self._start)


def conditions(readings: Sequence[Reading], seconds: float) -> Conditions:
    """Summarise readings over this many seconds."""
    first, last = readings[0], readings[-1]
    others = None
    if first.busy is not None and last.busy is not None and seconds > 0:
        spent = (last.busy - first.busy) - (last.own - first.own)
        others = max(0.0, spent / seconds)
    doubts = []
    if others is not None and others > BUSY:
        doubts.append(f"other processes kept {others:.1f} processors busy")
    clocks = [clock for each in readings for clock in _gpu_clocks(each)]
    return Conditions(
        seconds=seconds,
        readings=len(readings),
        cpu_mhz=_span([each.cpu_mhz for each in readings]),
        gpu_mhz=_span(clocks),
        celsius=_temperatures(readings),
        load=first.load,
        others=others,
        throttled=tuple(throttled(readings)),
        doubts=tuple(doubts),
    )


def throttled(readings: Sequence[Reading]) -> list[str]:
    """Return every sign that a limit slowed the machine down, a sentence each."""
    found = []
    first, last = readings[0], readings[-1]
    if first.throttles is not None and last.throttles is not None:
        count = last.throttles - first.throttles
        if count > 0:
            found.append(f"the hardware slowed itself down {count} times")
    for name, span in (
        ("the processor's clock", _span([each.cpu_mhz for each in readings])),
        ("the GPU's clock", _span([each.gpu_mhz for each in readings])),
    ):
        if span is not None and span[0] < SLOWER * span[1]:
            found.append(f"{name} fell to {span[0]:.0f} MHz from {span[1]:.0f}")
    limits = {name: limit for each in readings for name, limit in each.limits.items()}
    for name, (_, hottest) in _temperatures(readings).items():
        if name in limits and hottest >= limits[name] - NEAR:
            found.append(f"{name} reached {hottest:.0f} C, its limit is {limits[name]:.0f} C")
    active = dict.fromkeys(kind for each in readings for kind in each.cooling)
    found += [f"{kind} was held back by its temperature" for kind in active]
    for i, card in enumerate(last.cards):
        reasons = dict.fromkeys(reason for each in readings for reason in _limits_of_card(each, i))
        found += [f"{card.name} was held back: {reason}" for reason in reasons]
    return found


def _limits_of_card(reading: Reading, i: int) -> tuple[str, ...]:
    return reading.cards[i].limits if i < len(reading.cards) else ()


def _gpu_clocks(reading: Reading) -> list[float | None]:
    return [reading.gpu_mhz, *(card.clock for card in reading.cards)]


def _temperatures(readings: Sequence[Reading]) -> dict[str, tuple[float, float]]:
    spans: dict[str, tuple[float, float]] = {}
    for each in readings:
        cards = {card.name: card.celsius for card in each.cards if card.celsius is not None}
        for name, value in {**each.celsius, **cards}.items():
            low, high = spans.get(name, (value, value))
            spans[name] = min(low, value), max(high, value)
    return spans


def _span(values: Sequence[float | None]) -> tuple[float, float] | None:
    there = [value for value in values if value is not None]
    return (min(there), max(there)) if there else None
