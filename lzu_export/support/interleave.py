"""Time several subjects interleaved in one process, so that clock drift affects all alike.

Queries form a single stream, as in MLPerf Inference: a query is issued when the previous one is
done. A subject takes a turn of a few queries in a row. The first query of a turn finds cold caches
and is not timed. The order of the turns is drawn anew in every round. Work between queries
(fetching the next frame, reading the machine's state) is not timed. Garbage collection is off while
subjects are timed.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.support.ratio import Ratio, ratio_of

clock = time.perf_counter_ns


@dataclass(frozen=True)
class Subject:
    """A timed subject: a chain of stages, each of which takes the previous stage's result."""

    stages: Mapping[str, Callable[[Any], Any]]
    """Functions by the stage's name, in the order in which they run."""
    feed: Callable[[int], Any]
    """Function from a query's number to the input of the first stage; its time does not count."""


@dataclass(frozen=True)
class Plan:
    """Number and duration of the queries to measure."""

    queries: int = 64
    """Smallest number of timed queries per subject."""
    seconds: float = 0.0
    """Smallest total of timed seconds per subject; a submission to MLPerf takes 600."""
    warmup_queries: int = 4
    """Smallest number of warm-up queries per subject."""
    warmup_seconds: float = 0.5
    """Smallest duration in seconds of a subject's warm-up."""
    block: int = 8
    """Number of timed queries per turn."""
    settle: int = 1
    """Number of queries at the beginning of a turn that are not timed."""
    seed: int = 0
    """Random seed for the order of the turns."""

    def __post_init__(self) -> None:
        """Refuse a plan that measures nothing.

        Raises:
            LzuError: a number is not positive, or negative where 0 is allowed.
        """
        for name in ("queries", "block"):
            if getattr(self, name) < 1:
                raise LzuError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("seconds", "warmup_queries", "warmup_seconds", "settle"):
            if getattr(self, name) < 0:
                raise LzuError(f"{name} is {getattr(self, name)}; give 0 or more")


@dataclass
class Timings:
    """Times in nanoseconds of one subject's timed queries, in chronological order."""

    totals: list[int] = field(default_factory=list)
    """Nanoseconds of each query, all stages together."""
    stages: dict[str, list[int]] = field(default_factory=dict)
    """Nanoseconds of each query, by the stage's name."""
    block: int = 1
    """Number of timed queries per turn."""

    @property
    def turns(self) -> list[list[int]]:
        """Totals grouped by turn."""
        return [self.totals[i : i + self.block] for i in range(0, len(self.totals), self.block)]


def take_turns(
    subjects: Mapping[str, Subject],
    plan: Plan,
    between: Callable[[], None] = lambda: None,
    into: dict[str, Timings] | None = None,
) -> dict[str, Timings]:
    """Time every subject by a plan, in turns.

    Args:
        subjects: subjects by name.
        plan: number and duration of the queries.
        between: function that is called after each turn, not timed.
        into: dictionary to fill with the timings, so that they remain after an interrupt: those of
            complete rounds.

    Returns:
        Timings by name; all subjects have the same number of queries.
    """
    numbers = dict.fromkeys(subjects, 0)
    timings = {} if into is None else into
    for name, each in subjects.items():
        timings[name] = Timings(stages={stage: [] for stage in each.stages}, block=plan.block)
    for name, subject in subjects.items():
        numbers[name] = _warm_up(subject, plan)
    order = np.random.default_rng(plan.seed)
    names = list(subjects)
    collected = gc.isenabled()
    gc.collect(1)  # not the old objects: with torch loaded, theirs takes longer than many queries
    gc.disable()
    try:
        while not all(_enough(timings[name], plan) for name in names):
            for i in order.permutation(len(names)):
                name = names[i]
                subject, mine = subjects[name], timings[name]
                first = numbers[name]
                for number in range(first, first + plan.settle):
                    _query(subject, number)
                first += plan.settle
                for number in range(first, first + plan.block):
                    _record(_query(subject, number), mine)
                numbers[name] = first + plan.block
                between()
    except KeyboardInterrupt:
        _cut(timings.values(), plan.block)
        raise
    finally:
        if collected:
            gc.enable()
    return timings


def _cut(timings: Iterable[Timings], block: int) -> None:
    """Remove the queries after the last complete round."""
    lists = [each for one in timings for each in (one.totals, *one.stages.values())]
    whole = min(map(len, lists)) // block * block
    for each in lists:
        del each[whole:]


def _query(subject: Subject, number: int) -> list[int]:
    """Run one query; return the clock's readings before and after every stage."""
    value = subject.feed(number)
    marks = [clock()]
    for stage in subject.stages.values():
        value = stage(value)
        marks.append(clock())
    return marks


def _record(marks: Sequence[int], into: Timings) -> None:
    into.totals.append(marks[-1] - marks[0])
    for i, spent in enumerate(into.stages.values()):
        spent.append(marks[i + 1] - marks[i])


def _warm_up(subject: Subject, plan: Plan) -> int:
    """Warm a subject up as the plan asks; return the number of queries that were run."""
    number = 0
    until = clock() + plan.warmup_seconds * 1e9
    while number < plan.warmup_queries or clock() < until:
        _query(subject, number)
        number += 1
    return number


def _enough(timings: Timings, plan: Plan) -> bool:
    return len(timings.totals) >= plan.queries and sum(timings.totals) >= plan.seconds * 1e9


def overhead(stages: int, *, queries: int = 2000) -> float:
    """Measure the nanoseconds that the harness adds to a query of so many stages.

    The result is the median time of queries with empty stages.
    """
    empty = Subject({str(i): lambda value: value for i in range(stages)}, lambda number: None)
    plan = Plan(queries=queries, warmup_queries=200, warmup_seconds=0.0, block=100)
    return float(np.median(take_turns({"empty": empty}, plan)["empty"].totals))


def subject(run: Callable[[], Any]) -> Subject:
    """Make a subject of one stage that takes no input."""
    return Subject({"run": lambda _: run()}, lambda number: None)


def ratio(timings: Timings, base: Timings, *, seed: int = 0) -> Ratio:
    """Return a subject's time relative to `base`, which took turns with it.

    Args:
        timings: timings of the subject, of `take_turns`.
        base: timings of the base, of the same call.
        seed: random seed of the interval's resampling.
    """
    mine, theirs = ([median(turn) for turn in each.turns] for each in (timings, base))
    return ratio_of(mine, theirs, seed=seed)


def drift(timings: Timings) -> float:
    """Return the last quarter's median over the first quarter's, minus 1: above 0 means slower."""
    quarter = max(1, len(timings.totals) // 4)
    return median(timings.totals[-quarter:]) / median(timings.totals[:quarter]) - 1
