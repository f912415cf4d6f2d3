"""Make the canonical graphs of lower precisions from the float32 one. No torch.

For FP16 and BF16, the network is in that type, see `graph.half`. For INT8, convolutions follow
QuantizeLinear and DequantizeLinear, see `graph.quantize`, and the rest is in FP16.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.dialect import Dialect
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.fit_half import cure, too_large
from lzu_export.graph.half import LARGEST, HalfType, half_tensors, stay_high, to_half, touched
from lzu_export.graph.lowering.resample import LoweringMap
from lzu_export.graph.passes import drop_unused_inputs, keep_outputs, run_passes
from lzu_export.graph.probe import probe_largest
from lzu_export.graph.quantize import place, quantise
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.support.checkout import option
from lzu_export.support.session import Arrays
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.onnxruntime_target import DIALECT, ROUNDED

HEADROOM = 2.0
"""Safety factor: tensors of the reference frames stay below 1/HEADROOM of FP16's range."""


@dataclass(frozen=True)
class Converted:
    """A canonical graph of a lower precision."""

    model: onnx.ModelProto
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Names of nodes or layers that stay in a higher precision, by reason."""
    int8_layers: list[str] = field(default_factory=list)
    """Names of the layers in INT8."""


def half_graph(model: onnx.ModelProto, kind: HalfType, keep: HigherPrecision) -> Converted:
    """Convert the network of a canonical graph to half precision."""
    kept = stay_high(gs.import_onnx(model), keep.fp16)
    converted, _ = run_passes(model, [to_half(kind, kept)])
    return Converted(converted, by_reason(kept))


def int8_graph(
    model: onnx.ModelProto, ranges: Mapping[str, float], keep: HigherPrecision
) -> Converted:
    """Convert the network of a canonical graph to INT8 where that pays, and the rest to FP16.

    Args:
        model: canonical graph in float32.
        ranges: absolute value that becomes 127, by tensor.
        keep: layers that stay in a higher precision.

    Raises:
        LzuError: a range is missing or unfit, or a pattern matches no layer.
    """
    placement = place(gs.import_onnx(model), keep.int8)
    if not placement.layers:
        raise LzuError(
            "no layer is left for INT8: all are predictions, deformable or kept by "
            f"higher_precision.int8; leave int8 out of {option('precision')}"
        )
    quantised, _ = run_passes(model, [quantise(placement, ranges)])
    kept = stay_high(gs.import_onnx(quantised), keep.fp16)
    converted, _ = run_passes(quantised, [to_half("fp16", kept)])
    reasons = by_reason({**placement.kept, **kept})
    return Converted(converted, reasons, list(placement.layers))


def calibrated_tensors(model: onnx.ModelProto, keep: HigherPrecision) -> list[str]:
    """Return the tensors whose ranges INT8 needs, with and without the layers a recipe keeps."""
    graph = gs.import_onnx(model)
    names = [*place(graph).calibrated, *place(graph, keep.int8).calibrated]
    return list(dict.fromkeys(names))


def float32_session(
    model: onnx.ModelProto, lowerings: LoweringMap, outputs: Sequence[str]
) -> OnnxRuntimeSession:
    """Open a canonical float32 graph up to some of its tensors, without its unused inputs."""
    before = [keep_outputs(outputs), drop_unused_inputs()]
    return _session(lower_for(DIALECT, model, lowerings, before=before)[0])


def check_range(
    model: onnx.ModelProto, lowerings: LoweringMap, keep: HigherPrecision, inputs: Sequence[Arrays]
) -> dict[str, float]:
    """Check that the float32 values of all tensors that become FP16 stay within half its range.

    Returns:
        The largest absolute value of each such tensor.

    Raises:
        LzuError: a tensor is larger or not finite. The message names the first in the order of the
            graph, and the shortest list of layers that have to stay in float32.
    """
    graph = gs.import_onnx(model)
    # All tensors that any list of kept layers could leave in FP16, so that a remedy can be tried.
    names = half_tensors(graph, stay_high(graph))
    largest = _largest(model, lowerings, names, inputs)
    limit = LARGEST["fp16"] / HEADROOM
    if found := too_large(graph, keep.fp16, largest, limit):
        # Prefer a computed tensor to weights, which may be harmless by themselves.
        name = next((each for each in found if each in largest), next(iter(found)))
        value = found[name]
        raise LzuError(_explain(graph, keep.fp16, largest, name, value))
    return {name: largest[name] for name in half_tensors(graph, stay_high(graph, keep.fp16))}


def half_sizes(
    model: onnx.ModelProto, lowerings: LoweringMap, keep: HigherPrecision, inputs: Sequence[Arrays]
) -> dict[str, float]:
    """Return the largest absolute values of tensors and weights that become FP16; no biases."""
    graph = gs.import_onnx(model)
    kept = stay_high(graph, keep.fp16)
    found = {
        tensor.name: float(np.abs(tensor.values).max(initial=0))
        for node in graph.nodes
        if node.name not in kept
        for tensor in touched(node)
        if isinstance(tensor, gs.Constant) and tensor.dtype == np.float32 and tensor.values.ndim > 1
    }
    return {**found, **_largest(model, lowerings, half_tensors(graph, kept), inputs)}


def _largest(
    model: onnx.ModelProto,
    lowerings: LoweringMap,
    names: Sequence[str],
    inputs: Sequence[Arrays],
) -> dict[str, float]:
    """Return the largest absolute value of each tensor over all inputs; NaN if it has a NaN."""
    session = _session(lower_for(DIALECT, model, lowerings, before=[probe_largest(names)])[0])
    wanted = {spec.name for spec in session.inputs}
    found = dict.fromkeys(names, np.float32(0))
    for each in inputs:
        values = session.run({name: value for name, value in each.items() if name in wanted})
        for name, value in zip(names, values.values(), strict=True):
            found[name] = np.maximum(found[name], np.float32(value))  # keeps NaN
    return {name: float(value) for name, value in found.items()}


def _explain(
    graph: gs.Graph, keep: Sequence[str], largest: Mapping[str, float], name: str, value: float
) -> str:
    """Return the sentence on what is too large for FP16, with the remedy."""
    limit = LARGEST["fp16"] / HEADROOM
    layers = cure(graph, keep, largest, limit)
    if layers is None:
        bad = next(each for each, size in largest.items() if not np.isfinite(size))
        return (
            f"the tensor {bad} is not finite on the reference frames, in float32 already; no "
            "precision mends that: check the weights, the normalisation and the frames"
        )
    remedy = f"higher_precision.fp16=[{', '.join((*keep, *layers))}]"
    if name in largest:
        what = f"tensor {name} reaches {value:.4g} on the reference frames, over half of"
        shown = f"FP16's range ({limit:g})"
    else:
        what, shown = (
            f"weights {name} reach {value:.4g}, beyond",
            f"FP16's range ({LARGEST['fp16']:g})",
        )
    return (
        f"the {what} {shown}; keep what makes and what reads it in float32, after which all "
        f"tensors fit: {remedy}"
    )


def emulated(
    model: onnx.ModelProto, lowerings: LoweringMap, outputs: Sequence[str] = ()
) -> OnnxRuntimeSession:
    """Open a canonical graph of a lower precision with the rounding of a device.

    ONNX Runtime's CPU computes half precision in float32 and hardly rounds, so the graph contains
    the rounding explicitly. See `graph.emulate`.

    Args:
        model: canonical graph in any precision; a float32 graph runs unchanged.
        lowerings: lowering of each warp.
        outputs: names of the tensors to return; by default the graph's outputs.
    """
    before = [keep_outputs(outputs)] if outputs else []
    return _session(lower_for(ROUNDED, model, lowerings, before=before)[0])


def emulated_lowered(model: onnx.ModelProto) -> OnnxRuntimeSession:
    """Open an executable graph of another target with the rounding of a device; see `emulated`."""
    return _session(run_passes(model, [emulate_half()])[0])


def marked(
    dialect: Dialect,
    executable: onnx.ModelProto,
    canonical: onnx.ModelProto,
    lowerings: LoweringMap,
    outputs: Sequence[str],
) -> list[onnx.ModelProto]:
    """Return an executable graph with these tensors as outputs, and another for missing ones.

    A lowering may merge a tensor with others, such as a warp's result between INT8 pairs. The
    tensor is then taken from the canonical graph, lowered again up to that tensor.

    Raises:
        LzuError: the canonical graph has no such tensor either.
    """
    made = {name for node in executable.graph.node for name in node.output}
    there = [name for name in outputs if name in made]
    merged = [name for name in outputs if name not in made]
    found = []
    if there:
        found.append(run_passes(executable, [keep_outputs(there)])[0])
    if merged:
        found.append(lower_for(dialect, canonical, lowerings, before=[keep_outputs(merged)])[0])
    return found


def by_reason(kept: Mapping[str, str]) -> dict[str, list[str]]:
    """Group names by their reason, in order."""
    grouped: dict[str, list[str]] = {}
    for name, reason in kept.items():
        grouped.setdefault(reason, []).append(name)
    return grouped


def _session(model: onnx.ModelProto) -> OnnxRuntimeSession:
    # Never timed, but run a few times beside other sessions.
    return OnnxRuntimeSession(model.SerializeToString(), spin=False, reuse=False)
