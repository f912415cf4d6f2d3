"""The search for layers to keep high, on made-up metrics."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_calibration.errors import CalibrationError
from lzu_calibration.sensitivity import (
    POINTS,
    Cost,
    Evaluations,
    Measure,
    Sensitivity,
    Units,
    group_layers,
    keep_patterns,
    most_evaluations,
    rank,
    search,
)
from samples import loaded_by

BASELINE = 50.0


def units_of(count: int, size: int = 1) -> Units:
    return {f"u{i}": tuple(f"u{i}.{j}" for j in range(size)) for i in range(count)}


def additive(units: Units, costs: list[float], noise: float = 0.0, seed: int = 0) -> Measure:
    """Every layer costs its share; noise depends on the set, so that nothing is monotone."""
    share = {
        layer: cost / len(layers)
        for (layers, cost) in zip(units.values(), costs, strict=True)
        for layer in layers
    }

    def measure(int8: frozenset[str]) -> float:
        if not int8:
            return BASELINE
        luck = random.Random(f"{seed} {sorted(int8)}").uniform(-noise, noise)
        return BASELINE - sum(share[layer] for layer in sorted(int8)) + luck

    return measure


class Counted:
    """A measure that counts different sets."""

    def __init__(self, measure: Measure) -> None:
        self.measure, self.seen = measure, list[frozenset[str]]()

    def __call__(self, int8: frozenset[str]) -> float:
        self.seen.append(int8)
        return self.measure(int8)


def check(found: Sensitivity, units: Units, limit: float) -> None:
    """What is promised of any result."""
    assert sorted(each.name for each in found.ranking) == sorted(units)
    costs = [each.cost for each in found.ranking]
    assert all(a >= b - 1e-5 for a, b in itertools.pairwise(costs))
    steps = {step.kept: step for step in found.steps}
    assert list(steps) == sorted(steps)
    assert {0, len(units)} <= set(steps)
    assert found.keep == found.ranking[: found.kept]
    assert steps[found.kept] is found.chosen
    for kept, step in steps.items():
        assert step.meets == (BASELINE - step.metric <= limit)
        assert step.int8_layers == sum(len(each.layers) for each in found.ranking[kept:])
        assert step.meets is False or kept >= found.kept  # the shortest of all that were measured
    assert steps[found.kept].meets
    if found.kept:
        assert not steps[found.kept - 1].meets


CASES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-0.5, 3), min_size=n, max_size=n),
        st.floats(0, 2),
        st.floats(0.01, 3),
        st.integers(1, 3),
        st.integers(0, 9),
    )
)


@given(CASES)
def test_the_list_meets_the_limit_and_one_shorter_does_not(
    case: tuple[list[float], float, float, int, int],
) -> None:
    """Monotone or not, within the stated number of evaluations."""
    costs, noise, limit, size, seed = case
    units = units_of(len(costs), size)
    counted = Counted(additive(units, costs, noise, seed))
    found = search(units, counted, baseline=BASELINE, limit=limit)
    check(found, units, limit)
    assert len(set(counted.seen)) <= most_evaluations(len(units))
    gap = math.ceil(len(units) / (POINTS - 1))
    inner = min(POINTS, len(units) + 1)
    assert most_evaluations(len(units)) == len(units) + inner + math.ceil(math.log2(gap))


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=60), st.floats(0.01, 20))
def test_monotone_costs_give_the_shortest_list_there_is(costs: list[float], limit: float) -> None:
    """By trying all."""
    units = units_of(len(costs))
    measure = additive(units, costs)
    found = search(units, measure, baseline=BASELINE, limit=limit)
    names = [each.name for each in found.ranking]
    for kept in range(found.kept):
        assert BASELINE - measure(frozenset(f"{name}.0" for name in names[kept:])) > limit


@given(CASES, st.integers(0, 80))
def test_an_interrupted_search_resumes_to_the_same_result(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[list[float], float, float, int, int],
    after: int,
) -> None:
    """And measures nothing twice."""
    costs, noise, limit, size, seed = case
    path = tmp_path_factory.mktemp("state") / "state.json"
    units = units_of(len(costs), size)
    measure = additive(units, costs, noise, seed)
    whole = search(units, measure, baseline=BASELINE, limit=limit)
    counted = Counted(measure)

    def failing(int8: frozenset[str]) -> float:
        if len(counted.seen) == after:
            raise KeyboardInterrupt
        return counted(int8)

    try:
        search(units, Evaluations(failing, path, {"a": 1}), baseline=BASELINE, limit=limit)
    except KeyboardInterrupt:
        assert len(counted.seen) == after
    resumed = Evaluations(counted, path, {"a": 1})
    assert resumed.resumed == len(set(counted.seen))
    assert search(units, resumed, baseline=BASELINE, limit=limit) == whole
    assert len(counted.seen) == len(set(counted.seen))
    assert resumed.asked == set(counted.seen)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_all_in_int8_where_that_meets_the_limit() -> None:
    """The list is empty, the ranking is not."""
    units = units_of(20)
    found = search(units, additive(units, [0.01] * 20), baseline=BASELINE, limit=1)
    assert (found.kept, found.keep) == (0, ())
    assert found.chosen.int8_layers == 20
    assert len(found.steps) == POINTS


def test_a_limit_that_no_list_meets_is_refused_before_the_long_part() -> None:
    """With one evaluation."""
    counted = Counted(lambda int8: 40.0)
    with pytest.raises(
        CalibrationError, match=r"no list of layers meets .* 40\.00, 10\.00 .* 50\.00 .* 1"
    ):
        search(units_of(30), counted, baseline=BASELINE, limit=1)
    assert counted.seen == [frozenset()]
    with pytest.raises(CalibrationError, match="no list of layers"):
        search(units_of(3), lambda int8: math.nan, baseline=BASELINE, limit=1)


def test_a_gain_is_no_loss() -> None:
    """However large, it keeps no layer high."""
    units = units_of(2)
    found = search(units, additive(units, [-3, 0.1]), baseline=BASELINE, limit=1)
    assert [each.name for each in found.ranking] == ["u1", "u0"]
    assert found.kept == 0


def test_the_ranking_breaks_ties_by_name_and_puts_nan_first() -> None:
    """Rounding is no cost."""
    units = {name: (name,) for name in ("d", "b", "c", "a", "lost")}
    values = {"a": 49.0, "b": 49.0 + 1e-9, "c": 49.0 - 1e-9, "d": 48.0, "lost": math.nan}
    ranking = rank(units, lambda int8: values[next(iter(int8))], BASELINE)
    assert [each.name for each in ranking] == ["lost", "d", "a", "b", "c"]
    assert ranking[0].cost == math.inf


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 9, "key": {}}'])
def test_a_damaged_state_is_measured_again(tmp_path: Path, content: str) -> None:
    """And replaced."""
    path = tmp_path / "state.json"
    path.write_text(content)
    evaluations = Evaluations(lambda int8: 1.0, path, {})
    assert evaluations.resumed == 0
    evaluations(frozenset({"a"}))
    assert Evaluations(lambda int8: 2.0, path, {})(frozenset({"a"})) == 1.0


def test_a_foreign_state_is_not_used(tmp_path: Path) -> None:
    """Any part of the key tells; NaN comes back."""
    path = tmp_path / "state.json"
    values = iter((1.0, math.nan))
    first = Evaluations(lambda int8: next(values), path, {"model": "a", "frames": (1, 2)})
    first(frozenset())
    first(frozenset({"b", "a"}))
    json.loads(path.read_text(), parse_constant=pytest.fail)
    same = Evaluations(lambda int8: 5.0, path, {"model": "a", "frames": (1, 2)})
    assert same.resumed == 2
    assert math.isnan(same(frozenset({"a", "b"})))
    assert Evaluations(lambda int8: 5.0, path, {"model": "b", "frames": (1, 2)}).resumed == 0


def test_a_state_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """Of the file."""
    evaluations = Evaluations(lambda int8: 1.0, tmp_path / "gone" / "state.json", {})
    with pytest.raises(
        CalibrationError, match=r"the state of the search .*state\.json cannot be written"
    ):
        evaluations(frozenset())


def test_groups_are_blocks_and_lists() -> None:
    """By the first number of a name."""
    groups = group_layers(
        [
            "backbone.conv1",
            "backbone.stem.0",
            "backbone.stem.3",
            "backbone.layer1.0.conv1",
            "backbone.layer1.0.downsample.0",
            "backbone.layer1.10.conv1",
            "backbone.layer1.10.conv2",
            "neck.fpn_convs.0.conv",
            "backbone.layer1.0.conv2",
            "neck.fpn_convs.1.conv",
            "decode_head.bottleneck.conv",
            "7",
        ]
    )
    assert groups == {
        "backbone.conv1": ("backbone.conv1",),
        "backbone.stem": ("backbone.stem.0", "backbone.stem.3"),
        "backbone.layer1.0": (
            "backbone.layer1.0.conv1",
            "backbone.layer1.0.downsample.0",
            "backbone.layer1.0.conv2",
        ),
        "backbone.layer1.10": ("backbone.layer1.10.conv1", "backbone.layer1.10.conv2"),
        "neck.fpn_convs": ("neck.fpn_convs.0.conv", "neck.fpn_convs.1.conv"),
        "decode_head.bottleneck.conv": ("decode_head.bottleneck.conv",),
        "7": ("7",),
    }


@given(st.lists(st.from_regex(r"[ab01](\.[ab01]){0,4}", fullmatch=True), unique=True))
def test_groups_part_the_layers(names: list[str]) -> None:
    """Each layer is in one group, and patterns say the groups exactly."""
    from lzu_export.graph.names import matching

    groups = group_layers(names)
    assert sorted(name for layers in groups.values() for name in layers) == sorted(names)
    for group, layers in groups.items():
        patterns = keep_patterns([Cost(group, layers, 0, 0)], names)
        kept = matching(patterns, {name: (name,) for name in names}, "higher_precision.int8")
        assert sorted(kept) == sorted(layers)


def test_patterns_are_written_where_they_say_no_more() -> None:
    """A list whose other members are groups of their own is spelt out."""
    names = ["l.0.a", "l.0.b", "l.1.a", "l.2.a", "n.0", "n.1"]
    groups = group_layers(names)
    assert set(groups) == {"l.0", "l", "n"}
    keep = [Cost(name, layers, 0, 0) for name, layers in groups.items()]
    assert keep_patterns(keep, names) == ["l.0.*", "l.1.a", "l.2.a", "n.*"]


def test_the_search_knows_neither_tasks_nor_graphs() -> None:
    """Nor onnx."""
    others = ("torch", "onnx", "lzu_benchmarks", "lzu_export.tasks", "lzu_export.graph")
    assert loaded_by("lzu_calibration.sensitivity", others) == []
