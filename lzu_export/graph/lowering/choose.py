"""Choose a lowering for every warp of a graph, and record the reason.

A measured choice is made once for the same step of several graphs, such as those of the uniform and
the fixed variant, so that a comparison of the two is one of the warps alone. Differences that are
not certain, or small, count as ties, which go to the lowering that stands first in a fixed order:
the same machine chooses the same lowerings again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.resample import (
    BLOCK,
    Kind,
    is_grid,
    lower_node,
    possible_kinds,
    resample_nodes,
)
from lzu_export.graph.passes import is_zoom
from lzu_export.support.interleave import ratio_of

EXACT_GRID = 1024
"""Widest image whose GridSample `auto` considers: its one float32 coordinate a pixel is off by
1e-4 pixel at 1920, which a sharp image turns into a deviation above the limits."""

NO_BF16_GRID = "bfloat16 needs opset 22, whose GridSample is misread"
"""Why graphs in BF16 have another lowering in place of a GridSample."""

MARGIN = 1.25
"""How many times slower than another a lowering must be, and surely so, to be passed over. Smaller
differences are of a few percent of a frame and change from day to day."""

LEAST_LOSS = 5e-5
"""Seconds that it must lose besides: steps of a few microseconds measure the cost of a call."""

Timer = Callable[[Sequence[onnx.ModelProto]], Sequence[Sequence[float]]]
"""Seconds that each small model takes on the target, by round; all take a turn in every round."""


@dataclass(frozen=True)
class Choice:
    """The lowering of one warp."""

    place: str
    kind: Kind
    reason: str
    step: str = ""
    """Key of the measured step, see `Step.key`; empty if nothing was measured."""
    measured_on: str = ""
    """Machine and software of the measurement."""


@dataclass(frozen=True)
class Step:
    """A warp whose lowering is to be measured."""

    place: str
    """Name of its output tensor."""
    key: str
    """Place, operator, shapes and kinds: warps with one key are the same step, whatever their
    tables."""
    kinds: tuple[Kind, ...]
    """Its possible lowerings, the one that wins ties first."""
    node: gs.Node

    def model(self, kind: Kind) -> onnx.ModelProto:
        """A model of nothing but this step."""
        return one_node_model(self.node, kind)


Decision = tuple[Kind, str, str]
"""A kind, the reason for it, and the machine and software that it was measured on."""


def choose_lowerings(
    model: onnx.ModelProto,
    *,
    zoom: Kind | str,
    unzoom: Kind | str,
    defaults: Mapping[str, tuple[Kind, str]] = MappingProxyType({}),
    decide: Callable[[Step], Decision] | None = None,
) -> list[Choice]:
    """Pick a lowering for each warp of `model` that samples at tables.

    Args:
        model: the canonical graph; the warp of the image is the zoom, all others are unzooms.
        zoom: a kind, or `auto`.
        unzoom: a kind, or `auto`.
        defaults: for `auto` without measurements, by place (`zoom`, `unzoom`): kind and reason.
        decide: for `auto`, what measurements decided on; None where the target is not present.
    """
    choices = []
    for place, node, wanted in _wanted(model, zoom, unzoom):
        name = node.outputs[0].name
        possible = possible_kinds(node)
        if wanted != "auto":
            if wanted not in possible:
                raise LzuError(
                    f"lowering.{place} is {wanted}, which cannot express {name}: it is "
                    "antialiased, or loses an edge of an axis of one cell; choose one of "
                    f"{', '.join(possible)}"
                )
            choices.append(Choice(name, wanted, "set in the recipe"))
            continue
        possible, why = _sensible(node)
        if decide is not None:
            step = _step(node, possible)
            kind, reason, measured_on = decide(step)
            choices.append(Choice(name, kind, reason, step.key, measured_on))
            continue
        kind, reason = defaults[place]
        if kind not in possible:
            kind, reason = _instead(node, possible, why)
        choices.append(Choice(name, kind, reason))
    return choices


def steps_to_measure(model: onnx.ModelProto, *, zoom: str, unzoom: str) -> list[Step]:
    """The warps of a canonical graph that `choose_lowerings` asks `decide` for."""
    return [
        _step(node, _sensible(node)[0])
        for _, node, wanted in _wanted(model, zoom, unzoom)
        if wanted == "auto"
    ]


def measure_step(steps: Mapping[str, Step], timer: Timer) -> tuple[Kind, str]:
    """Decide on the lowering of a step of several graphs, by the time it takes in all of them.

    Args:
        steps: by the name of what has it; their keys are equal.
        timer: of the target.

    Returns:
        The kind, and the reason for it.
    """
    kinds = next(iter(steps.values())).kinds
    pairs = [(kind, step) for kind in kinds for step in steps.values()]
    rounds = timer([step.model(kind) for kind, step in pairs])
    seconds: dict[Kind, list[float]] = {}
    for place, kind in enumerate(kinds):
        mine = rounds[place * len(steps) : (place + 1) * len(steps)]
        seconds[kind] = [sum(each) for each in zip(*mine, strict=True)]
    kind, reason = decide_by_times(seconds)
    return kind, f"measured with {', '.join(steps)}: {reason}"


def decide_by_times(seconds: Mapping[Kind, Sequence[float]]) -> tuple[Kind, str]:
    """The first lowering that no other one surely and clearly beats, and why.

    One beats another if it is surely `MARGIN` times faster and saves `LEAST_LOSS` seconds.

    Args:
        seconds: by kind, the one that wins ties first, a value a round; the values of a round
            were taken within moments of each other.
    """
    kinds = list(seconds)
    typical = {kind: median(seconds[kind]) for kind in kinds}
    against = {
        (slow, fast): ratio_of(seconds[slow], seconds[fast])
        for slow in kinds
        for fast in kinds
        if slow != fast
    }

    def beats(fast: Kind, slow: Kind) -> bool:
        saved = typical[slow] - typical[fast]
        return against[slow, fast].low > MARGIN and saved > LEAST_LOSS

    chosen = next(
        (kind for kind in kinds if not any(beats(other, kind) for other in kinds if other != kind)),
        min(kinds, key=lambda kind: typical[kind]),
    )
    told = [f"{chosen} {1e3 * typical[chosen]:.2f} ms"]
    for kind in kinds:
        if kind == chosen:
            continue
        found = against[kind, chosen]
        tied = not beats(chosen, kind) and not beats(kind, chosen)
        told.append(
            f"{kind} {1e3 * typical[kind]:.2f} ms, {found.value:.2f} times "
            f"[{found.low:.2f}, {found.high:.2f}]{' (a tie)' if tied else ''}"
        )
    return chosen, "; ".join(told)


def _wanted(model: onnx.ModelProto, zoom: str, unzoom: str) -> list[tuple[str, gs.Node, str]]:
    """Each warp with its place and what a recipe wants for it."""
    found = []
    for node in resample_nodes(gs.import_onnx(model)):
        place = "zoom" if is_zoom(node) else "unzoom"
        wanted = zoom if place == "zoom" else unzoom
        if wanted == "gather" and not is_grid(node):
            wanted = "auto"  # of the logits: what the recipe says is of the warp
        found.append((place, node, wanted))
    return found


def _sensible(node: gs.Node) -> tuple[list[Kind], str]:
    """The possible kinds that `auto` considers, and the reason for leaving out others."""
    possible = possible_kinds(node)
    if max(int(node.attrs["height"]), int(node.attrs["width"])) > EXACT_GRID:
        kept: list[Kind] = [kind for kind in possible if kind != "gridsample"]
        return kept, f"one is not exact beyond {EXACT_GRID} pixels"
    return possible, "the antialiased sampler is none"


def _step(node: gs.Node, possible: Sequence[Kind]) -> Step:
    shapes = ("x".join(map(str, each.shape)) for each in (node.inputs[0], node.outputs[0]))
    name = node.outputs[0].name
    kinds = tuple(sorted(possible, key=_preferred(node).index))
    key = f"{name}: {node.op} {' -> '.join(shapes)} by {', '.join(kinds)}"
    return Step(name, key, kinds, node)


def _preferred(node: gs.Node) -> list[Kind]:
    """Lowerings in the order in which they win ties: by shapes alone, so that variants agree.

    Products give the exact weights and read rows; a banded one does less arithmetic, which on maps
    of a band or two its additional nodes take back.
    """
    small = max(int(n) for n in node.outputs[0].shape[2:4]) <= 2 * BLOCK
    products: list[Kind] = ["matmul", "banded"] if small else ["banded", "matmul"]
    return [*products, "gridsample", "gather"]


class Lowered(Protocol):
    """A warp and its lowering: a `Choice`, or what a manifest keeps of one."""

    @property
    def place(self) -> str:
        """Name of the warp's output tensor."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""


def kinds_by_place(lowerings: Iterable[Lowered]) -> dict[str, Kind]:
    """By warp, its lowering."""
    return {each.place: cast(Kind, each.kind) for each in lowerings}


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
    """The kind that replaces a target's default, and the reason."""
    if not is_grid(node):
        return "banded", f"default for large images where no GridSample serves: {why}"
    if "gridsample" in possible:
        return "gridsample", "default: a non-separable warp is not a product of matrices"
    return "gather", f"default for large images where no GridSample serves: {why}"


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
