"""From a session and its feeds to a limit an output, in one feed's memory."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import helper

from lzu_calibration import METHODS, calibrate, collect
from lzu_calibration.calibrate import Arrays
from lzu_calibration.errors import CalibrationError
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from samples import graph_model, loaded_by

SHAPE = (1, 3, 40, 50)


def session() -> OnnxRuntimeSession:
    """`doubled` and `positive` of an input x."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["doubled"]),
        helper.make_node("Relu", ["x"], ["positive"]),
    ]
    model = graph_model(nodes, {"x": SHAPE}, {"doubled": SHAPE, "positive": SHAPE})
    return OnnxRuntimeSession(model.SerializeToString())


def feeds(count: int, seed: int = 0) -> Iterator[tuple[str, Arrays]]:
    generator = np.random.default_rng(seed)
    for i in range(count):
        yield f"frame {i}", {"x": generator.standard_normal(SHAPE).astype(np.float32)}


class Fake:
    """A model that copies its input to large outputs."""

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        return {f"y{i}": np.full(500_000, inputs["x"][0], self.dtype) for i in range(4)}


def test_every_output_has_its_limit() -> None:
    """Over all feeds; each is told as one step."""
    steps: list[int] = []
    ranges = calibrate(session().run, feeds(5), method="max", advance=steps.append)
    stacked = np.stack([inputs["x"] for _, inputs in feeds(5)])
    assert ranges == {
        "doubled": pytest.approx(2 * np.abs(stacked).max()),
        "positive": pytest.approx(stacked.max()),
    }
    assert steps == [1] * 5


def test_max_counts_no_values_and_still_finds_what_is_not_finite() -> None:
    """The largest magnitudes are those of histograms; a NaN is refused with its frame's name."""
    counted = collect(session().run, feeds(5))
    uncounted = collect(session().run, feeds(5), count=False)
    assert [each.largest for each in uncounted.values()] == [
        each.largest for each in counted.values()
    ]
    assert [each.total for each in uncounted.values()] == [0, 0]
    frames = list(feeds(2))
    frames[1][1]["x"][0, 0, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match="tensor doubled holds NaN on frame frame 1"):
        calibrate(session().run, frames, method="max")


@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_is_equal_and_the_order_of_frames_does_not_matter(method: str) -> None:
    """To the last bit."""
    forward = calibrate(session().run, feeds(6), method=method)
    backward = calibrate(session().run, reversed(list(feeds(6))), method=method)
    assert forward == backward == calibrate(session().run, feeds(6), method=method)


def test_percentiles_reach_the_method() -> None:
    """Half of the magnitudes of a Gaussian are below 0.674."""
    ranges = calibrate(session().run, feeds(6), method="percentile", percentile=50)
    assert ranges["doubled"] == pytest.approx(2 * 0.674, rel=0.03)


def test_memory_does_not_grow_with_the_number_of_feeds() -> None:
    """One feed's outputs, a histogram each and a little scratch."""

    def peak(count: int) -> int:
        tracemalloc.start()
        numbers = ((str(i), {"x": np.array([1.0 + i], np.float32)}) for i in range(count))
        collect(Fake(), numbers)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    outputs = 4 * 500_000 * 4
    few, many = peak(5), peak(50)
    assert abs(many - few) < 0.02 * few
    assert many < 1.5 * outputs


def test_what_has_no_range_is_refused() -> None:
    """Naming tensor and frame."""
    bad = np.zeros(SHAPE, np.float32)
    bad[0, 1, 2, 3] = np.nan
    broken = [*feeds(1), ("drive_000007", {"x": bad})]
    with pytest.raises(
        CalibrationError, match=r"tensor doubled holds NaN on frame drive_000007; check"
    ):
        calibrate(session().run, [*broken, *feeds(1)], method="max")
    bad[0, 1, 2, 3] = np.inf
    with pytest.raises(CalibrationError, match=r"holds infinity on frame drive_000007; check"):
        calibrate(session().run, broken, method="max")
    with pytest.raises(CalibrationError, match="there are no frames to calibrate on"):
        calibrate(session().run, [], method="max")
    with pytest.raises(
        CalibrationError, match="y0 is int64; only floating-point tensors have a range"
    ):
        calibrate(Fake("int64"), [("frame", {"x": np.ones(1)})], method="max")


def test_calibration_knows_neither_tasks_nor_torch() -> None:
    """Nor the harness, nor the passes that use its ranges."""
    others = ("torch", "scipy", "lzu_benchmarks", "lzu_export.tasks", "lzu_export.graph")
    assert loaded_by("lzu_calibration", others) == []


def test_a_method_is_refused_before_the_first_run() -> None:
    """Not after all frames."""

    def never() -> Iterator[tuple[str, Arrays]]:
        raise AssertionError("a frame was asked for")
        yield

    with pytest.raises(CalibrationError, match="unknown"):
        calibrate(session().run, never(), method="kl")
