"""Choose a lowering for every warp of a graph, and say why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.lower_resample import (
    Kind,
    is_grid,
    lower_node,
    possible_kinds,
    resample_nodes,
)
from lzu_export.graph.passes import is_zoom

EXACT_GRID = 1024
"""Widest image whose GridSample `auto` considers: its one float32 coordinate a pixel is off by
1e-4 pixel at 1920, which a sharp image turns into a drift above the limits."""

Timer = Callable[[Sequence[onnx.ModelProto]], list[float]]
"""Seconds that one run of each small model takes on the target, measured in turn."""


@dataclass(frozen=True)
class Choice:
    """The lowering of one warp."""

    place: str
    kind: Kind
    reason: str


def choose_lowerings(
    model: onnx.ModelProto,
    *,
    zoom: Kind | str,
    unzoom: Kind | str,
    defaults: Mapping[str, tuple[Kind, str]] = MappingProxyType({}),
    timer: Timer | None = None,
) -> list[Choice]:
    """Pick a lowering for each warp of `model` that samples at tables.

    Args:
        model: the canonical graph; the warp of the image is the zoom, all others are unzooms.
        zoom: a kind, or `auto`.
        unzoom: a kind, or `auto`.
        defaults: for `auto` without a timer, by place (`zoom`, `unzoom`): kind and reason.
        timer: measures one-node models on the target; None where the target is not present.
    """
    graph = gs.import_onnx(model)
    choices = []
    for node in resample_nodes(graph):
        name = node.outputs[0].name
        place = "zoom" if is_zoom(node) else "unzoom"
        wanted = zoom if place == "zoom" else unzoom
        possible = possible_kinds(node)
        if wanted == "gather" and not is_grid(node):
            wanted = "auto"  # of the logits: what the recipe says is of the warp
        if wanted != "auto":
            if wanted not in possible:
                raise LzuError(
                    f"lowering.{place} is {wanted}, which cannot express {name}: it is "
                    "antialiased, or loses an edge of an axis of one cell; choose one of "
                    f"{', '.join(possible)}"
                )
            choices.append(Choice(name, wanted, "set in the recipe"))
            continue
        why = "the antialiased sampler is none"
        if max(int(node.attrs["height"]), int(node.attrs["width"])) > EXACT_GRID:
            possible = [kind for kind in possible if kind != "gridsample"]
            why = f"one is not exact beyond {EXACT_GRID} pixels"
        if timer is not None:
            choices.append(_measured(node, name, possible, timer))
            continue
        kind, reason = defaults[place]
        if kind not in possible:
            kind, reason = _instead(node, possible, why)
        choices.append(Choice(name, kind, reason))
    return choices


def exact_lowerings(model: onnx.ModelProto) -> list[Choice]:
    """Lowerings that are exact whatever the size: none is a GridSample."""
    choices = []
    for node in resample_nodes(gs.import_onnx(model)):
        kind: Kind = "gather" if is_grid(node) else "banded" if is_zoom(node) else "matmul"
        choices.append(Choice(node.outputs[0].name, kind, "exact at any size"))
    return choices


def without_grid_sample(
    model: onnx.ModelProto, choices: Sequence[Choice], reason: str
) -> list[Choice]:
    """The choices, with the next best lowering in place of a GridSample."""
    nodes = {node.outputs[0].name: node for node in resample_nodes(gs.import_onnx(model))}
    others: dict[bool, Kind] = {True: "gather", False: "banded"}
    return [
        Choice(each.place, others[is_grid(nodes[each.place])], reason)
        if each.kind == "gridsample"
        else each
        for each in choices
    ]


def _instead(node: gs.Node, possible: list[Kind], why: str) -> tuple[Kind, str]:
    """What a target's default gives way to, and why."""
    if not is_grid(node):
        return "banded", f"default for large images where no GridSample serves: {why}"
    if "gridsample" in possible:
        return "gridsample", "default: a non-separable warp is no product of matrices"
    return "gather", f"default for large images where no GridSample serves: {why}"


def _measured(node: gs.Node, name: str, possible: list[Kind], timer: Timer) -> Choice:
    times = timer([one_node_model(node, kind) for kind in possible])
    seconds = dict(zip(possible, times, strict=True))
    best = min(seconds, key=lambda kind: seconds[kind])
    listed = ", ".join(f"{kind} {1e3 * seconds[kind]:.2f} ms" for kind in possible)
    return Choice(name, best, f"measured: {listed}")


def one_node_model(node: gs.Node, kind: Kind) -> onnx.ModelProto:
    """A model of nothing but this resample node, lowered as `kind`."""
    x = gs.Variable("x", dtype=np.float32, shape=node.inputs[0].shape)
    y = gs.Variable("y", dtype=np.float32, shape=node.outputs[0].shape)
    tables = list(node.inputs[1:])
    if not all(isinstance(each, gs.Constant) for each in tables):
        tables = _stand_ins(node)
    copy = gs.Node(node.op, "warp", dict(node.attrs), [x, *tables], [y], domain="lzu")
    graph = gs.Graph([copy], [x], [y], opset=17)
    lower_node(graph, copy, kind)
    small = gs.export_onnx(graph.cleanup().toposort())
    small.ir_version = 8
    return small


def _stand_ins(node: gs.Node) -> list[gs.Constant]:
    """Evenly spread positions in the place of those that the graph computes."""
    rows, columns = node.inputs[1].shape[1:3]
    size = (int(node.attrs["height"]), int(node.attrs["width"]))
    y, x = (np.linspace(0, n - 1, out) for n, out in zip(size, (rows, columns), strict=True))
    place = np.stack(np.meshgrid(x, y), axis=-1)[None]
    parts = (np.floor(place), place - np.floor(place))
    return [gs.Constant(f"table_{i}", each.astype(np.float32)) for i, each in enumerate(parts)]
