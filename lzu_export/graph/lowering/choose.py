"""Choose a lowering for every warp of a graph, and record the reason.

A measured choice is made once for the same step of several graphs, such as those of the uniform and
the fixed variant, so that a comparison of the two concerns the warps alone. Differences that are
uncertain or small count as ties, which go to the lowering that comes first in a fixed order: the
same machine chooses the same lowerings again.
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
from lzu_export.graph.dialect import DEFAULT_BLOCKS, Blocks
from lzu_export.graph.lowering.resample import (
    Kind,
    is_grid,
    lower_node,
    possible_lowerings,
    resample_nodes,
)
from lzu_export.graph.passes import is_zoom
from lzu_export.support.ratio import ratio_of

EXACT_GRID = 1024
"""Largest image side for which `auto` considers GridSample. Its float32 coordinates are off by 1e-4
pixel at a width of 1920, which a sharp image turns into a deviation above the limits."""

NO_BF16_GRID = "bfloat16 needs opset 22, whose GridSample is misread"
"""Reason why graphs in BF16 have another lowering instead of GridSample."""

MARGIN = 1.25
"""Factor by which a lowering must certainly be slower than another one to be rejected. Smaller
differences are a few percent of a frame's time and change from day to day."""

LEAST_LOSS = 5e-5
"""Seconds by which a rejected lowering must also be slower, since the time of steps of a few
microseconds is the cost of a call."""

Timer = Callable[[Sequence[onnx.ModelProto]], Sequence[Sequence[float]]]
"""Function that returns the seconds that each small model takes on the target, by round; a model
that is hopelessly slow runs in the first rounds only."""


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
    """A warp whose lowering is to be measured, as a step of a graph."""

    place: str
    """Name of the warp's output tensor."""
    key: str
    """Place, operator, shapes and lowerings: warps with the same key are the same step, whatever
    their tables."""
    lowerings: tuple[Kind, ...]
    """Possible lowerings of the warp, in the order in which they win ties."""
    node: gs.Node
    blocks: Blocks = DEFAULT_BLOCKS
    """Rows and columns in a block of a banded product."""

    def model(self, kind: Kind) -> onnx.ModelProto:
        """Return a model of this step alone, lowered as `kind`."""
        return one_node_model(self.node, kind, self.blocks)


Decision = tuple[Kind, str, str]
"""A lowering, the reason for it, and the machine and software that it was measured on."""


def choose_lowerings(
    model: onnx.ModelProto,
    *,
    zoom: Kind | str,
    unzoom: Kind | str,
    defaults: Mapping[str, tuple[Kind, str]] = MappingProxyType({}),
    decide: Callable[[Step], Decision] | None = None,
    blocks: Blocks = DEFAULT_BLOCKS,
) -> list[Choice]:
    """Choose a lowering for each warp of `model` that samples at tables.

    Args:
        model: the canonical graph; the warp of the image is the zoom, all others are unzooms.
        zoom: lowering of the zoom, or `auto`.
        unzoom: lowering of the unzooms, or `auto`.
        defaults: lowering and reason for `auto` without measurements, by place (`zoom`, `unzoom`).
        decide: returns the measured decision for `auto`; None where nothing is measured.
        blocks: rows and columns in a block of the target's banded products.

    Raises:
        LzuError: a lowering that the recipe sets cannot express a warp.
    """
    choices = []
    for place, node, wanted in _wanted(model, zoom, unzoom):
        name = node.outputs[0].name
        possible = possible_lowerings(node)
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
            step = _step(node, possible, blocks)
            kind, reason, measured_on = decide(step)
            choices.append(Choice(name, kind, reason, step.key, measured_on))
            continue
        kind, reason = defaults[place]
        if kind not in possible:
            kind, reason = _instead(node, possible, why)
        choices.append(Choice(name, kind, reason))
    return choices


def steps_to_measure(
    model: onnx.ModelProto, *, zoom: str, unzoom: str, blocks: Blocks = DEFAULT_BLOCKS
) -> list[Step]:
    """Return the warps of a canonical graph for which `choose_lowerings` calls `decide`."""
    return [
        _step(node, _sensible(node)[0], blocks)
        for _, node, wanted in _wanted(model, zoom, unzoom)
        if wanted == "auto"
    ]


def measure_step(steps: Mapping[str, Step], timer: Timer) -> tuple[Kind, str]:
    """Decide on the lowering of a step of several graphs, by the time it takes in all of them.

    Args:
        steps: the step in each bundle, by the bundle's name; their keys are equal.
        timer: the target's function that times a lowering.

    Returns:
        The lowering, and the reason for it.
    """
    lowerings = next(iter(steps.values())).lowerings
    pairs = [(kind, step) for kind in lowerings for step in steps.values()]
    rounds = timer([step.model(kind) for kind, step in pairs])
    seconds: dict[Kind, list[float]] = {}
    for place, kind in enumerate(lowerings):
        mine = rounds[place * len(steps) : (place + 1) * len(steps)]
        seconds[kind] = [sum(each) for each in zip(*mine, strict=False)]  # the rounds of all
    kind, reason = decide_by_times(seconds)
    return kind, f"measured with {', '.join(steps)}: {reason}"


def decide_by_times(seconds: Mapping[Kind, Sequence[float]]) -> tuple[Kind, str]:
    """Return the first lowering that no other one certainly and clearly beats, and the reason.

    One beats another if it is certainly `MARGIN` times faster and saves `LEAST_LOSS` seconds.

    Args:
        seconds: one value per round for each lowering, in the order in which they win ties; the
            values of a round were measured within moments of each other. A lowering may be
            missing in later rounds; it is compared in those that it has.
    """
    lowerings = list(seconds)
    typical = {kind: median(seconds[kind]) for kind in lowerings}
    against = {
        (slow, fast): ratio_of(*_common(seconds[slow], seconds[fast]))
        for slow in lowerings
        for fast in lowerings
        if slow != fast
    }

    def beats(fast: Kind, slow: Kind) -> bool:
        saved = typical[slow] - typical[fast]
        return against[slow, fast].low > MARGIN and saved > LEAST_LOSS

    chosen = next(
        (
            kind
            for kind in lowerings
            if not any(beats(other, kind) for other in lowerings if other != kind)
        ),
        min(lowerings, key=lambda kind: typical[kind]),
    )
    told = [f"{chosen} {1e3 * typical[chosen]:.2f} ms"]
    for kind in lowerings:
        if kind == chosen:
            continue
        found = against[kind, chosen]
        tied = not beats(chosen, kind) and not beats(kind, chosen)
        told.append(
            f"{kind} {1e3 * typical[kind]:.2f} ms, {found.value:.2f} times "
            f"[{found.low:.2f}, {found.high:.2f}]{' (a tie)' if tied else ''}"
        )
    return chosen, "; ".join(told)


def _common(*times: Sequence[float]) -> list[Sequence[float]]:
    """Return the rounds that all have."""
    return [each[: min(map(len, times))] for each in times]


def _wanted(model: onnx.ModelProto, zoom: str, unzoom: str) -> list[tuple[str, gs.Node, str]]:
    """Return each warp's place, node, and the lowering that the recipe sets for it."""
    found = []
    for node in resample_nodes(gs.import_onnx(model)):
        place = "zoom" if is_zoom(node) else "unzoom"
        wanted = zoom if place == "zoom" else unzoom
        if wanted == "gather" and not is_grid(node):
            wanted = "auto"  # the logits' resampling, while the recipe's setting means the warp
        found.append((place, node, wanted))
    return found


def _sensible(node: gs.Node) -> tuple[list[Kind], str]:
    """Return the possible lowerings that `auto` considers, and why others are left out."""
    possible = possible_lowerings(node)
    if max(int(node.attrs["height"]), int(node.attrs["width"])) > EXACT_GRID:
        kept: list[Kind] = [kind for kind in possible if kind != "gridsample"]
        return kept, f"one is not exact beyond {EXACT_GRID} pixels"
    return possible, "the antialiased sampler is none"


def _step(node: gs.Node, possible: Sequence[Kind], blocks: Blocks) -> Step:
    shapes = ("x".join(map(str, each.shape)) for each in (node.inputs[0], node.outputs[0]))
    name = node.outputs[0].name
    lowerings = tuple(sorted(possible, key=_preferred(node, blocks).index))
    key = f"{name}: {node.op} {' -> '.join(shapes)} by {', '.join(lowerings)}"
    return Step(name, key, lowerings, node, blocks)


def _preferred(node: gs.Node, blocks: Blocks) -> list[Kind]:
    """Return the lowerings in the order in which they win ties, by shapes alone.

    By shapes alone, so that variants agree. Products have exact weights and read rows. The banded
    one does less arithmetic, but on maps of one or two bands its additional nodes cost as much.
    """
    sizes = zip(node.outputs[0].shape[2:4], blocks, strict=True)
    small = all(int(size) <= 2 * block for size, block in sizes)
    products: list[Kind] = ["matmul", "banded"] if small else ["banded", "matmul"]
    return [*products, "gridsample", "gather"]


class Lowered(Protocol):
    """A warp and its lowering: a `Choice`, or a manifest's record of one."""

    @property
    def place(self) -> str:
        """Name of the warp's output tensor."""

    @property
    def kind(self) -> str:
        """Lowering of the warp: one of `KINDS`."""


def lowerings_by_place(lowerings: Iterable[Lowered]) -> dict[str, Kind]:
    """Return the lowering of each warp, by place."""
    return {each.place: cast(Kind, each.kind) for each in lowerings}


def exact_lowerings(model: onnx.ModelProto) -> list[Choice]:
    """Return lowerings that are exact at any size, so that none is a GridSample."""
    choices = []
    for node in resample_nodes(gs.import_onnx(model)):
        kind: Kind = "gather" if is_grid(node) else "banded" if is_zoom(node) else "matmul"
        choices.append(Choice(node.outputs[0].name, kind, "exact at any size"))
    return choices


def without_grid_sample(
    model: onnx.ModelProto, choices: Sequence[Choice], reason: str
) -> list[Choice]:
    """Return the choices with the next best lowering instead of each GridSample."""
    nodes = {node.outputs[0].name: node for node in resample_nodes(gs.import_onnx(model))}
    others: dict[bool, Kind] = {True: "gather", False: "banded"}
    return [
        Choice(each.place, others[is_grid(nodes[each.place])], reason)
        if each.kind == "gridsample"
        else each
        for each in choices
    ]


def _instead(node: gs.Node, possible: list[Kind], why: str) -> tuple[Kind, str]:
    """Return the lowering that replaces a target's default, and the reason."""
    if not is_grid(node):
        return "banded", f"default for large images where no GridSample serves: {why}"
    if "gridsample" in possible:
        return "gridsample", "default: a non-separable warp is not a product of matrices"
    return "gather", f"default for large images where no GridSample serves: {why}"


def one_node_model(node: gs.Node, kind: Kind, blocks: Blocks = DEFAULT_BLOCKS) -> onnx.ModelProto:
    """Return a model of this resample node alone, lowered as `kind`."""
    x = gs.Variable("x", dtype=np.float32, shape=node.inputs[0].shape)
    y = gs.Variable("y", dtype=np.float32, shape=node.outputs[0].shape)
    tables = list(node.inputs[1:])
    if not all(isinstance(each, gs.Constant) for each in tables):
        tables = _stand_ins(node)
    copy = gs.Node(node.op, "warp", dict(node.attrs), [x, *tables], [y], domain="lzu")
    graph = gs.Graph([copy], [x], [y], opset=17)
    lower_node(graph, copy, kind, blocks)
    small = gs.export_onnx(graph.cleanup().toposort())
    small.ir_version = 8
    return small


def _stand_ins(node: gs.Node) -> list[gs.Constant]:
    """Return evenly spread positions instead of those that the graph computes."""
    rows, columns = node.inputs[1].shape[1:3]
    size = (int(node.attrs["height"]), int(node.attrs["width"]))
    y, x = (np.linspace(0, n - 1, out) for n, out in zip(size, (rows, columns), strict=True))
    place = np.stack(np.meshgrid(x, y), axis=-1)[None]
    parts = (np.floor(place), place - np.floor(place))
    return [gs.Constant(f"table_{i}", each.astype(np.float32)) for i, each in enumerate(parts)]
