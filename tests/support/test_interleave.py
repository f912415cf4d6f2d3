"""Turns: how often, in which order, and that the harness itself costs next to nothing."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.support.interleave import Plan, Subject, Timings, drift, overhead, ratio, take_turns
from lzu_export.support.session import Arrays, TensorSpec

QUICK = {"warmup_queries": 2, "warmup_seconds": 0.0}


class EmptySession:
    """An engine that does nothing for a known time, and keeps its own account of it."""

    inputs = (TensorSpec("x", "float32", (1,)),)
    outputs = inputs
    provider = "none"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.known: list[int] = []

    def run(self, inputs: Arrays) -> dict[str, Any]:
        start = time.perf_counter_ns()
        until = start + int(self.seconds * 1e9)
        while time.perf_counter_ns() < until:
            pass
        self.known.append(time.perf_counter_ns() - start)
        return dict(inputs)


def test_the_harness_adds_less_than_2_percent(capsys: pytest.CaptureFixture[str]) -> None:
    """To a millisecond, in three stages: the session's own account is what is true."""
    session = EmptySession(1e-3)
    inputs = {"x": np.zeros(1, np.float32)}
    stages: dict[str, Callable[[Any], Any]] = {
        "pre": lambda value: value,
        "engine": session.run,
        "post": lambda value: value,
    }
    plan = Plan(queries=128, block=8, settle=1, **QUICK)
    timings = take_turns({"empty": Subject(stages, lambda number: inputs)}, plan)["empty"]
    timed = [known for i, known in enumerate(session.known[2:]) if i % 9 != 0]
    assert len(timed) == len(timings.totals) == 128
    added = np.array(timings.totals) - np.array(timed)
    share = float(np.median(added / np.array(timed)))
    with capsys.disabled():
        print(f"\nharness overhead: {np.median(added):.0f} ns on 1 ms, {share:.3%}")
    assert 0 < share < 0.02
    assert overhead(3, queries=200) < 0.02 * 1e6


def test_every_subject_takes_equally_many_turns_in_a_drawn_order() -> None:
    log: list[str] = []

    def subject(name: str) -> Subject:
        return Subject({"run": lambda value: log.append(name)}, lambda number: None)

    plan = Plan(queries=20, block=4, settle=1, **QUICK)
    timings = take_turns({name: subject(name) for name in "abc"}, plan)
    assert {len(each.totals) for each in timings.values()} == {20}
    assert {len(turn) for each in timings.values() for turn in each.turns} == {4}
    timed = log[3 * 2 :]
    turns = [timed[i : i + 5] for i in range(0, len(timed), 5)]
    assert all(len(set(turn)) == 1 for turn in turns)  # in a row
    order = [turn[0] for turn in turns]
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert all(set(each) == set("abc") for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1  # not always the same


def test_queries_are_fed_by_number_and_feeding_is_not_timed() -> None:
    fed: list[int] = []

    def feed(number: int) -> int:
        fed.append(number)
        time.sleep(2e-3)
        return number

    seen: list[int] = []
    plan = Plan(queries=6, block=3, settle=1, **QUICK)
    timings = take_turns({"a": Subject({"run": seen.append}, feed)}, plan)
    assert fed == seen == list(range(2 + 2 * 4))
    assert np.median(timings["a"].totals) < 1e6


def test_it_goes_on_until_the_least_seconds_are_timed() -> None:
    session = EmptySession(1e-3)
    subject = Subject({"run": session.run}, lambda number: {})
    plan = Plan(queries=1, seconds=0.03, block=2, settle=0, **QUICK)
    totals = take_turns({"a": subject}, plan)["a"].totals
    assert sum(totals) >= 0.03e9
    assert sum(totals[:-2]) < 0.03e9


def test_a_warmup_lasts_as_long_as_it_says() -> None:
    session = EmptySession(1e-3)
    subject = Subject({"run": session.run}, lambda number: {})
    plan = Plan(queries=1, block=1, settle=0, warmup_queries=1, warmup_seconds=0.02)
    take_turns({"a": subject}, plan)
    assert sum(session.known[:-1]) >= 0.015e9


def test_stages_add_up_to_the_whole() -> None:
    session = EmptySession(1e-3)
    stages: dict[str, Callable[[Any], Any]] = {"one": session.run, "two": session.run}
    plan = Plan(queries=8, block=4, **QUICK)
    timings = take_turns({"a": Subject(stages, lambda number: {})}, plan)["a"]
    both = np.array(timings.stages["one"]) + np.array(timings.stages["two"])
    assert (both == timings.totals).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"queries": 0}, "queries is 0"), ({"settle": -1}, "settle is -1"), ({"seconds": -1}, "or m")],
)
def test_plans_that_measure_nothing_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LzuError, match=sentence):
        Plan(**change)


def timings(totals: list[int]) -> Timings:
    return Timings(totals=totals, stages={}, block=8)


def test_a_ratio_is_of_neighbours_and_knows_how_sure_it_is() -> None:
    """Parity that hits both does not change it."""
    noise = np.random.default_rng(0).normal(1, 0.02, (2, 128))
    slowing = np.linspace(1, 3, 128)
    base = timings([int(1e6 * each) for each in noise[0] * slowing])
    mine = timings([int(1.1e6 * each) for each in noise[1] * slowing])
    found = ratio(mine, base)
    assert found.rounds == 16
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(1.1, abs=0.03)
    assert found.high - found.low < 0.06
    assert ratio(base, base).value == ratio(base, base).high == 1


def test_deviation_is_the_last_quarter_against_the_first() -> None:
    assert drift(timings([100] * 30 + [120] * 10)) == pytest.approx(0.2)
    assert drift(timings([100])) == 0
