"""Time of one warp alone: instructions in order, each as soon as its operands are ready."""

from dataclasses import dataclass

from lzu_benchmarks.machine_code.paths import Path, Repeat
from lzu_benchmarks.machine_code.sass import Instruction, Sources

FAR = 600.0
"""Cycles until a load from memory gives its value; assumed."""
NEAR = 40.0
"""The same where the value lies in the first cache."""
LATENCIES = {
    "LDS": 28.0, "SHFL": 24.0, "LDC": 40.0, "ATOMS": 60.0, "MUFU": 20.0, "I2F": 14.0, "F2I": 14.0,
    "FRND": 14.0, "F2F": 14.0, "POPC": 14.0, "FLO": 14.0, "FCHK": 14.0, "S2R": 20.0, "S2UR": 20.0,
    "IMAD": 5.0, "HADD2": 5.0, "HFMA2": 5.0,
}  # fmt: skip
"""Cycles from the issue of an instruction to the use of its value; assumed."""
OTHERS = 4.5
BARRIER = 30.0
SHOWN = 3
"""Passes of a loop that are followed; the others take as long as the last of these."""


class NearTest:
    """Decides by its source whether a load finds its value in a cache."""

    def __init__(self, parts: tuple[str, ...], sources: Sources) -> None:
        self._parts, self._sources = parts, sources

    def __call__(self, instruction: Instruction) -> bool:
        """Return True where a line of the load's source has one of the parts."""
        lines = [self._sources.line(frame) for frame in instruction.frames]
        return any(part in line for part in self._parts for line in lines)


@dataclass
class Walk:
    """A warp on its way: the cycle of the last issue, and when registers are ready."""

    time: float = 0.0
    in_flight: int = 0
    """Largest number of loads from memory on the way at once."""

    def __post_init__(self) -> None:
        self._ready: dict[str, float] = {}
        self._loads: list[float] = []

    def follow(self, path: Path, is_near: NearTest) -> None:
        """Go along a path."""
        for item in path:
            if isinstance(item, Repeat):
                self._repeat(item, is_near)
            else:
                self._issue(item[0], is_near)

    def _repeat(self, loop: Repeat, is_near: NearTest) -> None:
        shown = min(SHOWN, max(1, round(loop.passes)))
        before = self.time
        for _ in range(shown):
            before = self.time
            self.follow(loop.body, is_near)
        rest = (loop.passes - shown) * (self.time - before)
        self.time += rest
        self._ready = {name: ready + rest for name, ready in self._ready.items()}
        self._loads = [ready + rest for ready in self._loads]

    def _issue(self, instruction: Instruction, is_near: NearTest) -> None:
        waits = [self._ready.get(name, 0.0) for name in instruction.read()]
        self.time = max([self.time + 1, *waits])
        if instruction.name == "BAR":
            self.time += BARRIER
        latency = LATENCIES.get(instruction.name, OTHERS)
        if instruction.name in ("LDG", "ATOMG"):
            near = is_near(instruction)
            latency = NEAR if near else FAR
            if not near:
                self._loads = [ready for ready in self._loads if ready > self.time]
                self._loads.append(self.time + latency)
                self.in_flight = max(self.in_flight, len(self._loads))
        for name in instruction.written():
            self._ready[name] = self.time + latency
