"""Watch the machine during a measurement, and mark doubtful figures."""

import time
from collections.abc import Sequence
from pathlib import Path

from lzu_export.support.machine import ROOT, Reading, Section, read

EVERY = 1.0
"""Seconds from one look at the machine to the next, between queries."""
SLOWER = 0.95
"""A clock below this part of its highest reading has fallen."""
NEAR = 1.0
"""Degrees below its limit at which a zone counts as there."""
BUSY = 0.1
"""Processors' worth of other processes beside which a figure is doubtful."""


class Conditions(Section):
    """The machine's state while it was measured."""

    seconds: float
    readings: int
    cpu_mhz: tuple[float, float] | None
    """Lowest and highest."""
    gpu_mhz: tuple[float, float] | None
    celsius: dict[str, tuple[float, float]]
    """Lowest and highest of every zone and card."""
    load: float | None
    """When it began."""
    others: float | None
    """Processors that other processes kept busy, on average; includes what a host took away."""
    throttled: tuple[str, ...]
    """Why the machine held back, a sentence each; empty where nothing says so."""
    doubts: tuple[str, ...]
    """Further reasons that make the times doubtful."""


class Watch:
    """Reads the machine now and then; call it between queries."""

    def __init__(self, root: Path = ROOT, *, every: float = EVERY) -> None:
        """Begin with a reading."""
        self._root, self._every = root, every
        self.readings: list[Reading] = [read(root)]
        self._start = self._last = time.monotonic()

    def __call__(self) -> None:
        """Read, unless that was just done."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self.readings.append(read(self._root))
            self._last = time.monotonic()

    def finish(self) -> Conditions:
        """Read once more, and summarise."""
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
    """Every sign that the machine was slowed down by a limit, a sentence each."""
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
