"""Check cases against their truths, and time them by events with rotating inputs."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from lzu_benchmarks.gpu_kernels.card import Card
from lzu_benchmarks.gpu_kernels.case import Case, Memory

LAUNCHES = 64
"""Launches between two events, at least."""
MOST_SETS = 64
MOST_BYTES = 2 << 30
"""Bounds of the memory that inputs rotate through."""
REPEATS = 15
WARM_UP = 3
POISON = 77


@dataclass
class Result:
    """A case's deviations and times."""

    kernel: str
    shape: str
    moved_bytes: int
    limit: float
    deviations: dict[str, float] = field(default_factory=dict)
    """Largest difference over all tactics from each truth."""
    microseconds: dict[int, float] = field(default_factory=dict)
    """Median time of a launch by tactic."""
    grid_sample_microseconds: float | None = None
    """Median time of PyTorch's `grid_sample` for the same work; None where it cannot do it."""
    sets: int = 0
    beyond_cache: bool = False
    """Whether the sets together are larger than the L2 cache."""
    graph: bool = False
    """Whether launches were timed in a CUDA graph."""
    computed: float | None = None
    """Computed bound in microseconds."""
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether every deviation is within the limit."""
        return not self.failure and all(each <= self.limit for each in self.deviations.values())

    @property
    def best(self) -> tuple[int, float] | None:
        """Quickest tactic and its time; None if nothing was timed."""
        return min(self.microseconds.items(), key=lambda each: each[1], default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "passed": self.passed}


def measure(card: Card, case: Case, *, seed: int = 0, timed: bool = True) -> Result:
    """Check a case with every tactic, then time it.

    Raises:
        LzuError: a kernel was not launched or failed.
    """
    generator = torch.Generator(card.device).manual_seed(seed)
    first = case.make(generator)
    result = Result(case.kernel, case.shape, case.moved, case.limit)
    for tactic in range(case.tactics):
        for name, deviation in check(card, case, first, tactic).items():
            result.deviations[name] = max(result.deviations.get(name, 0.0), deviation)
    if not timed:
        return result
    sets = [first]
    wanted = min(MOST_SETS, MOST_BYTES // max(case.moved, 1), 2 * card.facts.l2_bytes // case.moved)
    sets += [case.make(generator) for _ in range(max(wanted, 1))]
    result.sets, result.beyond_cache = len(sets), len(sets) * case.moved > card.facts.l2_bytes
    for tactic in range(case.tactics):
        calls = [each.call(tactic) for each in sets]
        works = [lambda call=call: card.launch(case.launcher, call) for call in calls]
        result.microseconds[tactic], result.graph = time_launches(card, works)
    references = [each.torch for each in sets if each.torch is not None]
    if references:
        result.grid_sample_microseconds, _ = time_launches(card, references)
    return result


def check(card: Card, case: Case, memory: Memory, tactic: int) -> dict[str, float]:
    """Run a tactic once and return the largest difference from each truth; NaN counts as inf.

    Raises:
        LzuError: the kernel was not launched or failed.
    """
    for output in memory.outputs:
        output.fill_(POISON)  # so that what is not written differs
    card.launch(case.launcher, memory.call(tactic))
    card.finish()
    found = memory.values()
    deviations = {}
    for name, truth in memory.truths.items():
        differences = [
            (mine.double() - theirs.double()).abs().nan_to_num(nan=torch.inf).max()
            for mine, theirs in zip(found, truth(), strict=True)
        ]
        deviations[name] = float(max(differences))
    return deviations


def time_launches(card: Card, works: Sequence[Callable[[], object]]) -> tuple[float, bool]:
    """Return the median microseconds of one of these works, taken in turn, and if as a graph."""
    rounds = -(-LAUNCHES // len(works))

    def all_of_them() -> None:
        for _ in range(rounds):
            for work in works:
                work()

    all_of_them()
    card.finish()
    run, recorded = card.recorded(all_of_them)
    for _ in range(WARM_UP):
        run()
    card.finish()
    times = [card.milliseconds(run) for _ in range(REPEATS)]
    return 1e3 * statistics.median(times) / (rounds * len(works)), recorded
