"""Find tensors that overflow FP16, and the layers to exclude so that all tensors fit."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.graph.half import LARGEST, half_tensors, is_layer, stay_high, touched
from lzu_export.graph.regions import layer_name


def too_large(
    graph: gs.Graph, keep: Sequence[str], largest: Mapping[str, float], limit: float
) -> dict[str, float]:
    """Return the tensors too large for FP16 while these layers stay in float32, in graph order.

    Args:
        graph: canonical graph in float32, in topological order.
        keep: names or patterns of layers that stay in float32.
        largest: largest absolute value of each tensor, where it is known.
        limit: limit for computed tensors; constants are exact and may use FP16's full range.

    Returns:
        The largest absolute value by tensor, NaN and infinity included.
    """
    return {name: value for _, name, value in _misfits(graph, keep, largest, limit)}


def cure(
    graph: gs.Graph, keep: Sequence[str], largest: Mapping[str, float], limit: float
) -> list[str] | None:
    """Return the further layers to keep so that no tensor is too large, none of them needless.

    None if no list helps, because a value is not finite in float32 either.
    """
    if any(not np.isfinite(value) for value in largest.values()):
        return None
    chosen: list[str] = []
    while found := list(_misfits(graph, [*keep, *chosen], largest, limit)):
        layers = [layer_name(node) for node, _, _ in found if is_layer(node)]
        # A kept layer keeps the nodes it feeds; where no layer misfits, keep a node's feeder.
        chosen += list(dict.fromkeys(layers)) or [_feeder(found[0][0])]
    for name in list(chosen):
        others = [each for each in chosen if each != name]
        if not too_large(graph, [*keep, *others], largest, limit):
            chosen = others
    order = [name for node in graph.nodes for name in (layer_name(node), node.name)]
    return sorted(chosen, key=order.index)


def _feeder(node: gs.Node) -> str:
    """Return the name of the nearest layer that feeds a node, or the node's own without one."""
    waiting = [node]
    for each in waiting:
        for made_by in (maker for tensor in each.inputs for maker in tensor.inputs):
            if is_layer(made_by):
                return layer_name(made_by)
            waiting.append(made_by)
    return str(node.name)


def _misfits(
    graph: gs.Graph, keep: Sequence[str], largest: Mapping[str, float], limit: float
) -> Iterator[tuple[gs.Node, str, float]]:
    """Yield half-precision nodes with the first too large tensor that each reads or makes."""
    kept = stay_high(graph, keep)
    halves = set(half_tensors(graph, kept))
    for node in graph.nodes:
        if node.name in kept:
            continue
        for tensor in touched(node):
            if isinstance(tensor, gs.Constant):
                if tensor.dtype != np.float32:
                    continue
                sizes = np.abs(tensor.values)  # an infinite limit stays one
                value = float(sizes.max(initial=0, where=np.isfinite(sizes)))
                most = LARGEST["fp16"]
            elif tensor.name in halves and tensor.name in largest:
                value, most = largest[tensor.name], limit
            else:
                continue
            if not value <= most:
                yield node, tensor.name, value
                break
