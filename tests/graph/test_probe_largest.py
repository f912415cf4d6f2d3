"""The magnitude of a graph's tensors, of those that are not finite too."""

import numpy as np
import pytest
from onnx import helper

from lzu_export.graph.passes import run_passes
from lzu_export.graph.probe import probe_largest
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from samples import graph_model

SHAPE = (1, 3, 7, 9)


@pytest.fixture(scope="module")
def probed() -> OnnxRuntimeSession:
    """The magnitudes of `doubled` and `positive` of an input x."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["doubled"]),
        helper.make_node("Relu", ["x"], ["positive"]),
    ]
    model = graph_model(nodes, {"x": SHAPE}, {"doubled": SHAPE, "positive": SHAPE})
    made, _ = run_passes(model, [probe_largest(["doubled", "positive"])])
    return OnnxRuntimeSession(made.SerializeToString())


def test_the_largest_magnitude_is_returned(probed: OnnxRuntimeSession) -> None:
    """That of a negative value, too; a sum beyond float32's range changes nothing."""
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x[0, 1, 2, 3] = -9
    assert [float(each) for each in probed.run({"x": x}).values()] == [18, float(x.max())]
    large = np.full(SHAPE, 1e38, np.float32)
    assert float(probed.run({"x": large})["doubled/largest"]) == float(np.float32(2e38))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_found_wherever_it_stands(
    bad: float, probed: OnnxRuntimeSession
) -> None:
    """ONNX Runtime's own maximum loses a NaN that is not the first value."""
    for place in (0, 1, 100, 188):
        x = np.ones(SHAPE, np.float32)
        x.flat[place] = bad
        found = float(probed.run({"x": x})["doubled/largest"])
        assert np.isnan(found) if np.isnan(bad) else found == np.inf
