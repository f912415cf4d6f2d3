"""`auto` takes the measured fastest, or the documented default, and says so."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from lzu_export.errors import LzuError
from lzu_export.graph.choose import Choice, choose_lowerings
from lzu_export.graph.lower_resample import KINDS, Kind
from lzu_export.graph.targets import DEFAULTS
from samples import random_tables, run_onnx, warp_model

RTX = DEFAULTS["tensorrt-rtx"]


def warp(channels: int, *, antialias: bool = False, batch: int = 1) -> onnx.ModelProto:
    rows, cols = random_tables(0, (30, 40), (12, 20), antialias=antialias)
    return warp_model((batch, channels, 30, 40), rows, cols)


class FakeTimer:
    """Says that each kind takes the given time, and keeps the models it was shown."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.models = seconds, []

    def __call__(self, models: Sequence[onnx.ModelProto]) -> list[float]:
        self.models += models
        return [self.seconds[kind] for kind in KINDS[: len(models)]]


def choose(model: onnx.ModelProto, **changes: object) -> Choice:
    arguments = {"zoom": "auto", "unzoom": "auto", "defaults": RTX, "timer": None, **changes}
    (choice,) = choose_lowerings(model, **arguments)
    return choice


@pytest.mark.parametrize("fastest", KINDS)
def test_the_measured_fastest_is_taken(fastest: Kind) -> None:
    timer = FakeTimer(**{kind: 0.001 if kind == fastest else 0.002 for kind in KINDS})
    choice = choose(warp(8), timer=timer)
    assert (choice.place, choice.kind) == ("warped", fastest)
    assert choice.reason.startswith("measured: ")
    for kind in KINDS:
        assert f"{kind} {1 if kind == fastest else 2}.00 ms" in choice.reason


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
    """One float32 coordinate is not exact there; who names it in the recipe gets it."""
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
    assert choose_lowerings(model, zoom="auto", unzoom="auto", defaults={}, timer=None) == []
