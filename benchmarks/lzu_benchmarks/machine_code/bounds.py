"""Bounds of launches on cards: by the bytes, by every pipe and by one warp's own time."""

from dataclasses import dataclass, replace
from functools import cached_property

from lzu_benchmarks.machine_code import latency, pipes
from lzu_benchmarks.machine_code.cards import (
    ARCHITECTURES,
    WARP,
    Card,
    resident_blocks,
)
from lzu_benchmarks.machine_code.launches import Launch
from lzu_benchmarks.machine_code.paths import Counter, Path, flat
from lzu_benchmarks.machine_code.sass import Sources
from lzu_benchmarks.machine_code.toolkit import Compiled


@dataclass(frozen=True)
class Bound:
    """Lower bounds of a launch's time on a card, in microseconds."""

    floor: float
    """Time in which the memory moves the bytes."""
    pipe: str
    """Pipe that is busy longest."""
    busy: float
    """Time for which that pipe is busy."""
    alone: float
    """Time that the warps of a multiprocessor take one after the other, none waiting for a pipe."""

    @property
    def time(self) -> float:
        """Largest of the three."""
        return max(self.floor, self.busy, self.alone)

    @property
    def binding(self) -> str:
        """Name of what gives the largest bound."""
        named = {"bytes": self.floor, self.pipe: self.busy, "latency": self.alone}
        return max(named, key=lambda name: named[name])


@dataclass(frozen=True)
class Measured:
    """A launch with the machine code of one architecture."""

    launch: Launch
    compiled: Compiled
    architecture: str

    @cached_property
    def paths(self) -> list[Path]:
        """Paths of the launch's parts."""
        steps = {"kTHREADS": self.launch.threads}
        return [
            Counter(
                self.compiled.listing, replace(rules, steps={**steps, **rules.steps}), _SOURCES
            ).path()
            for rules in self.launch.parts
        ]

    @cached_property
    def counts(self) -> dict[str, float]:
        """Mean warp instructions of a warp by pipe."""
        return pipes.count(item for path in self.paths for item in flat(path))

    @cached_property
    def walk(self) -> latency.Walk:
        """One warp alone."""
        walk = latency.Walk()
        for path in self.paths:
            walk.follow(path, latency.NearTest(self.launch.near, _SOURCES))
        return walk

    @property
    def resident(self) -> int:
        """Blocks that a multiprocessor holds at once."""
        return resident_blocks(
            ARCHITECTURES[self.architecture],
            self.compiled.registers,
            self.compiled.shared,
            self.launch.threads,
        )

    @property
    def occupancy(self) -> float:
        """Share of a multiprocessor's warps that are resident."""
        warps = self.resident * self.launch.threads // WARP
        return warps / ARCHITECTURES[self.architecture].warps

    def per_chunk(self) -> dict[str, float]:
        """Return thread instructions by pipe for each 16 bytes that must move."""
        threads = self.launch.blocks * self.launch.threads
        return {
            name: value * threads * 16 / self.launch.moved for name, value in self.counts.items()
        }

    def bound(self, card: Card) -> Bound:
        """Bound the launch on a card of this architecture."""
        launch = self.launch
        floor = launch.moved / card.bandwidth / 1e3
        on_one = -(-launch.blocks // card.multiprocessors)
        warps = launch.threads / WARP
        busy = {name: each * warps * on_one for name, each in pipes.cycles(self.counts).items()}
        pipe = max(busy, key=lambda name: busy[name])
        waves = -(-launch.blocks // (card.multiprocessors * self.resident))
        microseconds = 1 / (card.clock * 1e3)
        return Bound(floor, pipe, busy[pipe] * microseconds, waves * self.walk.time * microseconds)


_SOURCES = Sources()
