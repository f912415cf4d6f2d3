"""The INT8 plugin's kernel against the graph that stands for it in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from host_calls import unzoom
from host_kernels import CHW4, CHW32, I8

from adaptive_samples import feeds, quantised_chain
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.emulate.plugins import emulated
from lzu_export.graph.half import to_half
from lzu_export.graph.lowering.adaptive import lower_adaptive
from lzu_export.graph.passes import Pass, keep_outputs, raise_opset, run_passes
from lzu_export.graph.quantize import OPSET
from samples import dialect

LEVELS = [f"level_{i}/int8" for i in range(3)]
UNZOOMED = [f"unzoomed_{i}/int8" for i in range(3)]
KNOTS = ["knots_x", "knots_y"]


def run_whole(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs, INT8 ones too, which no engine has; of the values the graph's inputs are taken."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    given = {each.name: values[each.name] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, given), strict=True))


def inputs(model: onnx.ModelProto, seed: int, scales: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Levels of any value within their ranges and a little beyond; boxes anywhere."""
    rng = np.random.default_rng(seed)
    values = feeds(model)
    for i, scale in enumerate(scales):
        level = values[f"level_{i}"]
        level[...] = rng.uniform(-130, 130, level.shape) * scale
    corner, side = rng.uniform(-10, 90, (2, 6, 2)), rng.exponential(15, (2, 6, 2))
    values["boxes"] = np.concatenate([corner, corner + side], axis=2).astype(np.float32)
    values["valid"] = rng.integers(0, 2, (2, 6)).astype(np.float32)
    return values


def compare(seed: int, layout: int, scales: tuple[float, ...], upscale: int) -> list[np.ndarray]:
    """Steps by which the flavour's call, run by the kernel, differs from its emulation."""
    canonical = quantised_chain(scales, upscale=upscale)
    flavour, _ = lower_for(dialect("tensorrt"), canonical, {})
    (call,) = (node for node in flavour.graph.node if node.op_type == "SeparableUnzoom")
    assert list(call.input) == [*LEVELS, *KNOTS]
    said = {each.name: onnx.helper.get_attribute_value(each) for each in call.attribute}
    axes = [
        ((sy, oy), (sx, ox))
        for sy, oy, sx, ox in zip(
            said["scale_y"], said["offset_y"], said["scale_x"], said["offset_x"], strict=True
        )
    ]
    standing_in = emulated(flavour, canonical, [keep_outputs([*LEVELS, *UNZOOMED, *KNOTS])])
    values = run_whole(standing_in, inputs(canonical, seed, scales))
    knots = [values[name] for name in KNOTS]
    levels = [values[name] for name in LEVELS]
    results = unzoom(levels, *knots, axes, layout, upscale=said["upscale"])
    return [
        np.abs(tensor.astype(int) - values[name])
        for (tensor, _), name in zip(results, UNZOOMED, strict=True)
    ]


@pytest.mark.parametrize("layout", [I8, CHW4, CHW32])
def test_the_kernel_and_the_emulation_agree(layout: int) -> None:
    """Rounded once from sums in float32, both differ at ties only: by a step, in one of 10^4."""
    apart = [each for seed in range(3) for each in compare(seed, layout, (0.01, 0.5, 3.0), 1)]
    assert max(each.max() for each in apart) <= 1
    assert np.mean([(each > 0).mean() for each in apart]) < 1e-3


@pytest.mark.parametrize("upscale", [2, 3])
def test_at_the_smallest_and_the_largest_scales(upscale: int) -> None:
    for each in compare(upscale, I8, (2.0**-20, 1.0, 65504.0), upscale):
        assert each.max() <= 1


def test_the_pair_that_samples_in_half_precision_is_within_a_step() -> None:
    """What a target without the plugin computes of the same canonical graph."""
    scales = (0.01, 0.5, 3.0)
    canonical = quantised_chain(scales)
    raised = Pass("opset", "scales in float16", lambda graph: raise_opset(graph, OPSET) or graph)
    half, _ = run_passes(canonical, [raised, to_half("fp16", {"BoxKnots": "knots"})])
    passes = [keep_outputs([*LEVELS, *UNZOOMED, *KNOTS]), lower_adaptive(), emulate_half()]
    other, _ = run_passes(half, passes)
    flavour, _ = lower_for(dialect("tensorrt"), half, {})
    standing_in = emulated(flavour, half, [keep_outputs([*UNZOOMED])])
    given = inputs(canonical, 1, scales)
    found = [run_whole(model, given) for model in (other, standing_in)]
    # Of all cells together: the smallest level has eight.
    apart = np.concatenate(
        [np.abs(found[0][n].astype(int) - found[1][n]).ravel() for n in UNZOOMED]
    )
    assert apart.max() <= 1
    assert 0 < (apart > 0).mean() < 0.05
