"""Passes over graphs, and the function that runs and logs them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from lzu_export.errors import LzuError
from lzu_export.ops import separable_zoom
from lzu_export.ops.registry import FIXED_WARPS

G_LOGGER.severity = G_LOGGER.ERROR  # no warnings about constant folding, which is done on purpose
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """A named change of a graph, and the reason for it."""

    name: str
    why: str
    apply: Callable[[gs.Graph], gs.Graph]


@dataclass(frozen=True)
class PassRecord:
    """Record of a pass for the log and the manifest."""

    name: str
    why: str
    nodes_before: int
    nodes_after: int


def run_passes(
    model: onnx.ModelProto, passes: Sequence[Pass], *, skip: Sequence[str] = ()
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """Apply passes in order, except those named in `skip`; the input model is not changed.

    Returns:
        The resulting model, and a record of every pass that ran.

    Raises:
        LzuError: `skip` names no such pass.
    """
    unknown = set(skip) - {each.name for each in passes}
    if unknown:
        names = ", ".join(each.name for each in passes)
        raise LzuError(f"there is no pass named {sorted(unknown)[0]}; the passes are {names}")
    graph = import_graph(model)
    records = []
    for each in passes:
        if each.name in skip:
            log.info("pass %s skipped on request", each.name)
            continue
        before = len(graph.nodes)
        graph = each.apply(graph)
        records.append(PassRecord(each.name, each.why, before, len(graph.nodes)))
        log.info("pass %s: %d -> %d nodes (%s)", each.name, before, len(graph.nodes), each.why)
    exported = gs.export_onnx(graph)
    exported.ir_version = min(model.ir_version, 10)
    exported.producer_name, exported.producer_version = "lzu_export", ""
    return exported, records


def import_graph(model: onnx.ModelProto) -> gs.Graph:
    """Import a model as a graph whose bfloat16 tensors have a NumPy type, too.

    GraphSurgeon writes ml_dtypes' bfloat16, but reads it as ONNX's number of the type.
    """
    graph = gs.import_onnx(model)
    stored = {each.name: each for each in model.graph.initializer}
    for tensor in graph.tensors().values():
        if isinstance(tensor.dtype, int) and tensor.dtype == onnx.TensorProto.BFLOAT16:
            import ml_dtypes

            if isinstance(tensor, gs.Constant):
                values = onnx.numpy_helper.to_array(stored[tensor.name])
                tensor.values = values.astype(ml_dtypes.bfloat16)
            else:
                tensor.dtype = np.dtype(ml_dtypes.bfloat16)
    return graph


def raise_opset(graph: gs.Graph, opset: int) -> None:
    """Raise a graph and its functions to `opset` where theirs is older.

    Of what the graphs use, only the names of GridSample's modes change up to opset 22, in opset 20.
    """
    for each in (graph, *graph.functions):
        for node in each.nodes if each.opset < 20 <= opset else ():
            if node.op == "GridSample" and node.attrs.get("mode") == "bilinear":
                node.attrs["mode"] = "linear"
        newest = max(each.opset, opset)
        if each.import_domains is not None:  # a graph that was read, not made
            # New entries, since the old ones belong to the model that the graph was read from.
            each.import_domains = [
                onnx.helper.make_opsetid(
                    imported.domain,
                    newest if imported.domain in ("", "ai.onnx") else imported.version,
                )
                for imported in each.import_domains
            ]
        each.opset = newest


def drop_unused_domain(graph: gs.Graph, domain: str) -> None:
    """Remove the import of a domain that no node and no function uses."""
    if not any(each.domain == domain for each in (*graph.nodes, *graph.functions)):
        graph.import_domains = [d for d in graph.import_domains or [] if d.domain != domain]


def tensors_named(graph: gs.Graph, names: Sequence[str]) -> list[gs.Tensor]:
    """Return the graph's tensors of these names.

    Raises:
        LzuError: the graph has no tensor of a name.
    """
    tensors = graph.tensors()
    missing = [name for name in names if name not in tensors]
    if missing:
        raise LzuError(f"the graph has no tensor named {missing[0]}; export it again")
    return [tensors[name] for name in names]


def keep_outputs(names: Sequence[str]) -> Pass:
    """Make exactly these tensors the graph's outputs and drop nodes that no output needs."""

    def apply(graph: gs.Graph) -> gs.Graph:
        outputs = tensors_named(graph, names)
        untyped = [each.name for each in outputs if each.dtype is None]
        if untyped:
            raise LzuError(f"the tensor {untyped[0]} has no type in the graph; export it again")
        graph.outputs = outputs
        return graph.cleanup().toposort()

    return Pass("keep-outputs", f"outputs are {', '.join(names)}", apply)


def drop_unused_inputs() -> Pass:
    """Remove the graph's inputs that no output depends on."""

    def apply(graph: gs.Graph) -> gs.Graph:
        return graph.cleanup(remove_unused_graph_inputs=True).toposort()

    return Pass("drop-unused-inputs", "nobody has to feed what changes nothing", apply)


def fold_constants() -> Pass:
    """Evaluate nodes that depend on constants only."""

    def apply(graph: gs.Graph) -> gs.Graph:
        return graph.fold_constants().cleanup().toposort()

    return Pass("fold-constants", "nothing constant is computed per frame", apply)


def is_zoom(node: gs.Node) -> bool:
    """Return whether a warp resamples the image: three channels, and no convolution before it."""
    tensor = node.inputs[0]
    if tensor.shape is None or tensor.shape[1] != 3:
        return False
    while tensor.inputs and tensor.inputs[0].inputs:
        if tensor.inputs[0].op == "Conv":
            return False
        tensor = tensor.inputs[0].inputs[0]
    return True


def name_zoom() -> Pass:
    """Name the zoom's output `zoom`, so that logs and choices refer to it by that name.

    In a graph that computes its zoom, a fixed warp of the image makes the saliency network's input
    instead, and its output is named `saliency_input`. Further views of the image are `zoom_1`,
    `zoom_2` and so on.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        zooms = [n for n in graph.nodes if n.op in FIXED_WARPS]
        computed = [n for n in zooms if not isinstance(n.inputs[1], gs.Constant)]
        elsewhere = computed or any(node.op == separable_zoom.NAME for node in graph.nodes)
        views = 0
        for node in filter(is_zoom, zooms):
            if node not in computed and elsewhere:
                node.outputs[0].name = "saliency_input"
                continue
            node.outputs[0].name = f"zoom_{views}" if views else "zoom"
            views += 1
        return graph

    return Pass("name-zoom", "the warp of the image has a name of its own", apply)
