"""`auto` takes what is surely faster, else the preferred, or the documented default; it says so."""

from collections.abc import Sequence
from functools import partial
from itertools import permutations

import numpy as np
import onnx
import pytest

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.choose import (
    Choice,
    Decision,
    Step,
    choose_lowerings,
    decide_by_times,
    measure_step,
    steps_to_measure,
)
from lzu_export.graph.lowering.resample import KINDS, Kind
from samples import dialect, random_tables, run_onnx, warp_model

RTX = dialect("tensorrt-rtx").lowerings


def warp(channels: int, *, antialias: bool = False, batch: int = 1) -> onnx.ModelProto:
    rows, cols = random_tables(0, (30, 40), (12, 20), antialias=antialias)
    return warp_model((batch, channels, 30, 40), rows, cols)


class FakeTimer:
    """Says that each kind takes the given time, and keeps the models it was shown."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.models = seconds, []

    def __call__(self, models: Sequence[onnx.ModelProto]) -> list[list[float]]:
        self.models += models
        return [[self.seconds[kind_of(each)]] * 9 for each in models]


def kind_of(model: onnx.ModelProto) -> str:
    """The lowering of a one-step model."""
    operators = [node.op_type for node in model.graph.node]
    if "GridSample" in operators:
        return "gridsample"
    return "banded" if "Concat" in operators else "matmul"


def by(timer: FakeTimer, step: Step) -> Decision:
    return (*measure_step({"it": step}, timer), "here")


def choose(model: onnx.ModelProto, *, timer: FakeTimer | None = None, **changes: object) -> Choice:
    decide = None if timer is None else partial(by, timer)
    arguments = {"zoom": "auto", "unzoom": "auto", "defaults": RTX, "decide": decide, **changes}
    (choice,) = choose_lowerings(model, **arguments)
    return choice


@pytest.mark.parametrize("fastest", KINDS)
def test_the_measured_fastest_is_taken(fastest: Kind) -> None:
    timer = FakeTimer(**{kind: 0.001 if kind == fastest else 0.002 for kind in KINDS})
    choice = choose(warp(8), timer=timer)
    assert (choice.place, choice.kind) == ("warped", fastest)
    assert choice.reason.startswith(f"measured with it: {fastest} 1.00 ms; ")
    for kind in set(KINDS) - {fastest}:
        assert f"{kind} 2.00 ms, 2.00 times [2.00, 2.00]" in choice.reason
    assert choice.step.startswith("warped: SeparableResample 1x8x30x40 -> 1x8x12x20 by ")
    assert choice.measured_on == "here"


@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_timed_is_the_warp_itself(batch: int) -> None:
    model, timer = warp(8, batch=batch), FakeTimer(matmul=1, banded=2, gridsample=3)
    choose(model, timer=timer)
    x = np.random.default_rng(0).standard_normal((batch, 8, 30, 40)).astype(np.float32)
    expected = run_onnx(model, x=x)["warped"]
    assert len(timer.models) == len(KINDS)
    operators = [{node.op_type for node in each.graph.node} for each in timer.models]
    assert ["GridSample" in each for each in operators] == [False, False, True]
    for each in timer.models:
        np.testing.assert_allclose(run_onnx(each, x=x)["y"], expected, atol=1e-4)


def test_choosing_does_not_change_the_graph() -> None:
    model = warp(8)
    before = model.SerializeToString()
    choose(model, timer=FakeTimer(matmul=1, banded=2, gridsample=3))
    assert model.SerializeToString() == before


def test_defaults_without_a_timer_give_their_reason() -> None:
    zoom, unzoom = choose(warp(3)), choose(warp(8))
    assert (zoom.kind, zoom.reason) == RTX["zoom"]
    assert (unzoom.kind, unzoom.reason) == RTX["unzoom"]
    assert zoom.reason != unzoom.reason
    assert "not measured" in zoom.reason


def test_the_recipe_decides_per_place() -> None:
    timer = FakeTimer(matmul=1, banded=2, gridsample=3)
    zoom = choose(warp(3), zoom="gridsample", unzoom="banded", timer=timer)
    unzoom = choose(warp(8), zoom="gridsample", unzoom="banded", timer=timer)
    assert (zoom.kind, unzoom.kind) == ("gridsample", "banded")
    assert zoom.reason == unzoom.reason == "set in the recipe"
    assert not timer.models


def test_antialiased_falls_back_and_says_why() -> None:
    choice = choose(warp(3, antialias=True))
    assert choice.kind == "banded"
    assert "antialiased" in choice.reason
    timer = FakeTimer(matmul=2, banded=3, gridsample=1)
    choice = choose(warp(3, antialias=True), timer=timer)
    assert choice.kind == "matmul"
    assert len(timer.models) == 2
    assert "gridsample" not in choice.reason


def test_wide_images_get_no_grid_sample_by_itself() -> None:
    """One float32 coordinate is not exact there; a recipe may still ask for GridSample."""
    rows, cols = random_tables(0, (30, 1400), (12, 20))
    model = warp_model((1, 3, 30, 1400), rows, cols)
    choice = choose(model)
    assert choice.kind == "banded"
    assert "1024 pixels" in choice.reason
    timer = FakeTimer(matmul=2, banded=3, gridsample=1)
    assert choose(model, timer=timer).kind == "matmul"
    assert choose(model, zoom="gridsample").kind == "gridsample"


def test_antialiased_as_a_grid_sample_is_refused() -> None:
    with pytest.raises(LzuError, match=r"lowering\.zoom is gridsample.*one of matmul, banded"):
        choose(warp(3, antialias=True), zoom="gridsample")


def test_a_graph_without_warps_needs_no_choice() -> None:
    model = warp(3)
    del model.graph.node[:]
    assert choose_lowerings(model, zoom="auto", unzoom="auto", defaults={}) == []


def noisy(
    seed: int, seconds: dict[Kind, float], rounds: int = 15, runs: int = 3
) -> dict[Kind, list[float]]:
    """Times of a busy machine: the fastest of a few runs in each round, a fifth of noise on each,
    a load that comes and goes, and runs that wait for another process.
    """
    random = np.random.default_rng(seed)
    load = np.exp(np.cumsum(random.normal(0, 0.2, rounds)))
    found = {}
    for kind, each in seconds.items():
        spikes = random.exponential(5, (rounds, runs)) * (random.random((rounds, runs)) < 0.3)
        taken = each * (np.exp(random.normal(0, 0.2, (rounds, runs))) + spikes) * load[:, None]
        found[kind] = taken.min(axis=1).tolist()
    return found


@pytest.mark.parametrize("order", list(permutations(("matmul", "banded", "gridsample"))))
def test_noise_never_changes_a_choice(order: tuple[Kind, ...]) -> None:
    """The first of lowerings within a few percent is taken, in each of many measurements."""
    seconds = dict(zip(order, (1.03e-3, 1.0e-3, 1.05e-3), strict=True))
    chosen = [decide_by_times(noisy(seed, seconds)) for seed in range(100)]
    assert {kind for kind, _ in chosen} == {order[0]}
    assert all("(a tie)" in reason for _, reason in chosen)


@pytest.mark.parametrize("place", range(3))
def test_half_the_time_is_always_found(place: int) -> None:
    for seed in range(100):
        times = noisy(seed, {kind: 1e-3 / (1 + (i == place)) for i, kind in enumerate(KINDS)})
        assert decide_by_times(times)[0] == KINDS[place]


def test_a_small_gain_is_a_tie_however_sure() -> None:
    """It would be a percent of a frame's time, and differ from day to day."""
    kind, reason = decide_by_times({"banded": [1.1] * 9, "matmul": [1.0] * 9})
    assert kind == "banded"
    assert "matmul 1000.00 ms, 0.91 times [0.91, 0.91] (a tie)" in reason


@pytest.mark.parametrize(("seconds", "chosen"), [(1.5e-5, "banded"), (1.5e-3, "matmul")])
def test_a_few_microseconds_are_a_tie_however_many_times_as_long(
    seconds: float, chosen: Kind
) -> None:
    """A call's overhead is no property of a lowering and differs between measurements."""
    kind, reason = decide_by_times({"banded": [2 * seconds] * 9, "matmul": [seconds] * 9})
    assert kind == chosen
    assert ("(a tie)" in reason) is (kind == "banded")


def test_a_lowering_without_later_rounds_is_compared_in_its_own() -> None:
    """A slow start of all is no reason to prefer what ran in that start only, or to drop it."""
    seconds = {"banded": [9.0, 9.0, 9.0], "matmul": [3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0]}
    kind, reason = decide_by_times(seconds)
    assert kind == "matmul"
    assert "banded 9000.00 ms, 3.00 times [3.00, 3.00]" in reason


def test_the_preferred_lowering_goes_by_shapes_alone() -> None:
    """It is the same for warps of any support: banded, unless the matrices are small."""
    for out, first in (((12, 20), "matmul"), ((12, 128), "matmul"), ((12, 130), "banded")):
        keys = set()
        for seed in range(2):
            rows, cols = random_tables(seed, (30, 140), out)
            model = warp_model((1, 8, 30, 140), rows, cols)
            (step,) = steps_to_measure(model, zoom="auto", unzoom="auto")
            assert step.lowerings[0] == first
            keys.add(step.key)
        assert len(keys) == 1


def test_a_step_of_two_graphs_is_decided_on_by_its_time_in_both() -> None:
    """The fastest lowering in one graph may be slow in the other."""
    steps = {}
    for seed, name in enumerate(("uniform", "fixed")):
        rows, cols = random_tables(seed, (30, 140), (12, 130))
        model = warp_model((1, 8, 30, 140), rows, cols)
        (steps[name],) = steps_to_measure(model, zoom="auto", unzoom="auto")
    times = iter([9.0, 2.0, 4.0, 4.0, 2.0, 9.0])  # banded, matmul, gridsample; uniform and fixed
    kind, reason = measure_step(steps, lambda models: [[next(times)] * 9 for _ in models])
    assert kind == "matmul"
    assert reason.startswith("measured with uniform, fixed: matmul 8000.00 ms; banded 11000.00 ms")


def test_what_the_recipe_decides_is_not_measured() -> None:
    assert steps_to_measure(warp(8), zoom="auto", unzoom="banded") == []
    assert len(steps_to_measure(warp(3), zoom="auto", unzoom="banded")) == 1
