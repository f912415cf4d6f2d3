"""A flavour with plugins, run without them."""

import numpy as np
import onnx
import pytest

from adaptive_samples import FLOAT, HALF, chain, feeds, quantised_chain
from lzu_export.errors import LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.emulate.plugins import emulated
from lzu_export.graph.passes import keep_outputs
from samples import dialect, made_by, run_onnx


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
def test_it_is_the_graph_that_other_targets_run(dtype: int) -> None:
    canonical = chain(dtype)
    again = emulated(lower_for(dialect("tensorrt"), canonical, {})[0], canonical)
    theirs, _ = lower_for(dialect("onnxruntime"), canonical, {})
    inputs = feeds(canonical)
    for name, value in run_onnx(theirs, **inputs).items():
        np.testing.assert_array_equal(run_onnx(again, **inputs)[name], value)


def test_int8_levels_are_sampled_between_their_pairs() -> None:
    """The values are the canonical graph's, whose Q/DQ pairs and types are used."""
    canonical = quantised_chain()
    flavour, _ = lower_for(dialect("tensorrt"), canonical, {})
    again = emulated(flavour, canonical)
    inputs = feeds(canonical)
    wanted = run_onnx(lower_for(dialect("onnxruntime"), canonical, {})[0], **inputs)
    for name, value in run_onnx(again, **inputs).items():
        np.testing.assert_array_equal(value, wanted[name])


def test_tensors_have_the_canonical_names_again() -> None:
    """A plugin graph's `unzoomed_1` is not rounded yet, but probe points are found by name."""
    canonical = quantised_chain()
    flavour, _ = lower_for(dialect("tensorrt"), canonical, {})
    assert made_by(flavour, "unzoomed_0/int8") == "SeparableUnzoom"
    probes = ["knots_x", "level_1", "unzoomed_1"]
    again = emulated(flavour, canonical, [keep_outputs(probes)])
    assert [value.name for value in again.graph.output] == probes
    got, inputs = run_onnx(again, **feeds(again)), feeds(canonical)
    whole = run_onnx(canonical, **inputs)["unzoomed_1/dequantised"]
    assert 0 < np.abs(got["unzoomed_1"] - whole).max() <= 0.5 * 0.0201


def test_a_graph_without_the_functions_does_not_serve() -> None:
    canonical = chain()
    flavour, _ = lower_for(dialect("tensorrt"), canonical, {})
    with pytest.raises(LzuError, match=r"no function for lzu::BoxKnots"):
        emulated(flavour, onnx.ModelProto.FromString(flavour.SerializeToString()))
