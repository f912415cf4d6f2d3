"""Tables of registers, instructions and bounds, as `plugins/README.md` shows them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lzu_benchmarks.machine_code.bounds import Bound, Measured
from lzu_benchmarks.machine_code.camera_launches import antialiased_cameras, cameras
from lzu_benchmarks.machine_code.cards import ARCHITECTURES, CARDS, Card
from lzu_benchmarks.machine_code.launches import FULL, KERNELS, RECIPES, Launch, unzooms, zooms
from lzu_benchmarks.machine_code.other_launches import (
    box_knots,
    feeds,
    inversions,
    ordered_suppressions,
    suppressions,
)
from lzu_benchmarks.machine_code.toolkit import Compiled, Toolkit, compile_kernels
from lzu_export.errors import LzuError

COUNTED = ("issue", "fma", "alu", "xu", "lsu")
LARGE = ("argoverse-hd", "nuscenes", "cityscapes")
"""Recipes of full size; those of the demonstrations move too little to be bound by bytes."""


def launches() -> list[Launch]:
    """Return all launches that are reported, those of one kernel and shape side by side."""
    return [
        *unzooms(RECIPES),
        *zooms(LARGE),
        *cameras(LARGE),
        *antialiased_cameras(LARGE),
        *box_knots([FULL]),
        *suppressions([1000, 5000]),
        *ordered_suppressions([5000]),
        *feeds(),
        *inversions([FULL]),
    ]


class Kernels:
    """Machine code of the kernels, compiled once for each source and architecture."""

    def __init__(self, toolkit: Toolkit, folder: Path) -> None:
        self._toolkit, self._folder = toolkit, folder
        self._compiled: dict[tuple[str, str], dict[str, Compiled]] = {}

    def measure(self, launch: Launch, architecture: str) -> Measured:
        """Return a launch with its machine code.

        Raises:
            LzuError: the source has no kernel of this name, or several.
        """
        key = (launch.source, architecture)
        if key not in self._compiled:
            self._compiled[key] = compile_kernels(
                self._toolkit, KERNELS / launch.source, architecture, self._folder
            )
        found = [each for name, each in self._compiled[key].items() if launch.symbol in name]
        if len(found) != 1:
            raise LzuError(
                f"{launch.source} has {len(found)} kernels of the name {launch.symbol}; correct "
                "the launches in lzu_benchmarks/machine_code"
            )
        return Measured(launch, found[0], architecture)

    def best(self, tactics: Sequence[Launch], card: Card) -> tuple[Measured, Bound]:
        """Return the tactic with the lowest bound on a card, the least busy of equals."""
        bounded = [
            (each, each.bound(card))
            for each in (self.measure(launch, card.architecture) for launch in tactics)
        ]
        return min(bounded, key=lambda pair: (pair[1].time, pair[1].busy))


def grouped(every: Iterable[Launch]) -> dict[tuple[str, str], list[Launch]]:
    """Gather launches by kernel and shape; those of one group are tactics."""
    found: dict[tuple[str, str], list[Launch]] = {}
    for launch in every:
        found.setdefault((launch.kernel, launch.shape), []).append(launch)
    return found


def number(value: float) -> str:
    """Write a number with three digits."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def bound_row(tactics: Sequence[Launch], kernels: Kernels, cards: Sequence[Card]) -> list[str]:
    """Return the cells of a row of bounds: first the kernel, shape and MB, then the cards'."""
    first = tactics[0]
    cells = [first.kernel, first.shape, number(first.moved / 1e6)]
    for card in cards:
        _, bound = kernels.best(tactics, card)
        if card is CARDS[0]:
            cells += [number(bound.floor), f"{number(bound.busy)} {bound.pipe}"]
        cells.append(f"{number(bound.time)} {bound.binding}")
    return cells


def bounds_table(kernels: Kernels, every: Iterable[Launch]) -> str:
    """Return the table of bounds in microseconds on all cards."""
    names = [f"{card.name}" for card in CARDS]
    head = ["kernel", "shape", "MB", f"{names[0]}: bytes", "busiest pipe", "bound", *names[1:]]
    rows = [bound_row(group, kernels, CARDS) for group in grouped(every).values()]
    return _markdown(head, rows, 2)


def code_row(tactics: Sequence[Launch], kernels: Kernels, card: Card) -> list[str]:
    """Return a row of one kernel's machine code on one architecture."""
    best, _ = kernels.best(tactics, card)
    chunk = best.per_chunk()
    return [
        best.launch.kernel,
        card.architecture,
        f"{best.launch.threads} x {best.launch.blocks}",
        str(best.compiled.registers),
        f"{100 * best.occupancy:.0f} %",
        *(number(chunk[name]) for name in COUNTED),
        str(best.walk.in_flight),
    ]


def code_cards() -> list[Card]:
    """Return the first card of each architecture."""
    return [next(card for card in CARDS if card.architecture == name) for name in ARCHITECTURES]


def code_table(kernels: Kernels, every: Iterable[Launch]) -> str:
    """Return the table of registers, occupancy, instructions and loads of each architecture."""
    head = [
        "kernel", "architecture", "threads x blocks", "registers", "occupancy", *COUNTED,
        "loads in flight",
    ]  # fmt: skip
    shown: dict[str, list[Launch]] = {}
    for (kernel, _), group in grouped(every).items():
        shown.setdefault(kernel, group)
    rows = [code_row(group, kernels, card) for group in shown.values() for card in code_cards()]
    return _markdown(head, rows, 1)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    lines = [
        "| " + " | ".join(head) + " |",
        "|---" * left + "|---:" * (len(head) - left) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def cards_table() -> str:
    """Return the table of the cards' figures."""
    rows = [
        [
            card.name, card.architecture, str(card.multiprocessors), f"{card.clock:g}",
            f"{card.bandwidth:g}",
        ]
        for card in CARDS
    ]  # fmt: skip
    return _markdown(["card", "architecture", "multiprocessors", "GHz", "GB/s"], rows, 1)
