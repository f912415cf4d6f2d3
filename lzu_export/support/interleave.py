"""Time several subjects interleaved in one process, so that clock drift affects all alike.

Single stream, as in MLPerf Inference: a query is issued when the one before is done. A subject
takes a turn of a few queries in a row, the first of which finds cold caches and is not timed; the
order of the turns is drawn anew in every round. What happens between queries (fetching the next
frame, looking at the machine) is not timed. Garbage collection is off meanwhile.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lzu_export.errors import LzuError

clock = time.perf_counter_ns
RESAMPLES = 1000
"""Draws of the bootstrap behind a ratio's interval."""


@dataclass(frozen=True)
class Subject:
    """A timed subject: stages, each of which takes the result of the one before."""

    stages: Mapping[str, Callable[[Any], Any]]
    feed: Callable[[int], Any]
    """The input of the first stage for the query of this number; not timed."""


@dataclass(frozen=True)
class Plan:
    """How long is measured."""

    queries: int = 64
    """Least timed queries of every subject."""
    seconds: float = 0.0
    """Least timed seconds of every subject; a submission to MLPerf takes 600."""
    warmup_queries: int = 4
    warmup_seconds: float = 0.5
    block: int = 8
    """Timed queries of a turn."""
    settle: int = 1
    """Queries at the beginning of a turn that are not timed."""
    seed: int = 0
    """Random seed of the order of the turns."""

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
    """Nanoseconds of one subject's timed queries, in the order of time."""

    totals: list[int] = field(default_factory=list)
    stages: dict[str, list[int]] = field(default_factory=dict)
    block: int = 1
    """Queries of a turn."""

    @property
    def turns(self) -> list[list[int]]:
        """The totals, turn by turn."""
        return [self.totals[i : i + self.block] for i in range(0, len(self.totals), self.block)]


class Ratio(BaseModel):
    """A subject's time over another's: the median over rounds, with the bootstrap's 95 % interval.

    Rounds hold both within moments of each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    rounds: int


def take_turns(
    subjects: Mapping[str, Subject],
    plan: Plan,
    between: Callable[[], None] = lambda: None,
    into: dict[str, Timings] | None = None,
) -> dict[str, Timings]:
    """Time every subject by a plan, in turns.

    Args:
        subjects: by name.
        plan: how long.
        between: called after each turn, not timed.
        into: where timings are put, so that whoever interrupts this has those of whole rounds.

    Returns:
        By name; all have the same number of queries.
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
    gc.collect()
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
    """Leave out what follows the last round that is whole."""
    lists = [each for one in timings for each in (one.totals, *one.stages.values())]
    whole = min(map(len, lists)) // block * block
    for each in lists:
        del each[whole:]


def _query(subject: Subject, number: int) -> list[int]:
    """Run one query; the clock before and after every stage."""
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
    """Run until both least numbers are reached; how many queries that took."""
    number = 0
    until = clock() + plan.warmup_seconds * 1e9
    while number < plan.warmup_queries or clock() < until:
        _query(subject, number)
        number += 1
    return number


def _enough(timings: Timings, plan: Plan) -> bool:
    return len(timings.totals) >= plan.queries and sum(timings.totals) >= plan.seconds * 1e9


def overhead(stages: int, *, queries: int = 2000) -> float:
    """Nanoseconds that the harness itself adds to a query of so many stages: the median of empty
    ones.
    """
    empty = Subject({str(i): lambda value: value for i in range(stages)}, lambda number: None)
    plan = Plan(queries=queries, warmup_queries=200, warmup_seconds=0.0, block=100)
    return float(np.median(take_turns({"empty": empty}, plan)["empty"].totals))


def subject(run: Callable[[], Any]) -> Subject:
    """A subject of one stage that takes nothing."""
    return Subject({"run": lambda _: run()}, lambda number: None)


def ratio(timings: Timings, base: Timings, *, seed: int = 0) -> Ratio:
    """How much slower than `base`, which took turns with it."""
    mine, theirs = ([median(turn) for turn in each.turns] for each in (timings, base))
    return ratio_of(mine, theirs, seed=seed)


def ratio_of(times: Sequence[float], base: Sequence[float], *, seed: int = 0) -> Ratio:
    """The same of one value a round."""
    rounds = np.array([mine / theirs for mine, theirs in zip(times, base, strict=True)])
    drawn = np.random.default_rng(seed).choice(rounds, (RESAMPLES, len(rounds)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(
        value=float(np.median(rounds)), low=float(low), high=float(high), rounds=len(rounds)
    )


def drift(timings: Timings) -> float:
    """The last quarter's median over the first one's, less 1: above 0 it became slower."""
    quarter = max(1, len(timings.totals) // 4)
    return median(timings.totals[-quarter:]) / median(timings.totals[:quarter]) - 1
