"""Search for the layers to exclude from a precision so that a failed engine passes. No torch.

Every layer is run alone in the refused precision on the reference frames, which ranks the layers by
their cost. Then the head of that ranking is kept higher, one layer first and then more, until the
same comparison that refused the engine passes; layers that turn out to be needless are dropped. The
returned list was tried in exactly the form in which it is printed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_calibration.sensitivity import MANY, group_layers
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.half import is_layer, stay_high
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.graph.lowering.resample import LoweringMap
from lzu_export.graph.quantize import place
from lzu_export.graph.regions import layer_name
from lzu_export.manifest.schema import Derived, Engine, Parity
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.runtime.reference import Reference
from lzu_export.support.session import Session
from lzu_export.targets.precision import (
    emulated,
    emulated_lowered,
    half_graph,
    half_sizes,
    int8_graph,
)
from lzu_export.targets.registry import find
from lzu_export.verification.parity import compare, reference_inputs
from lzu_export.warp.grids import stored_zoom

Row = tuple[Engine | Derived, bool]
"""An engine, and whether it is run with the rounding of a device; see `parity.compare`."""

FIRST_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Lengths of a ranking's head that are tried, in this order."""
SMALLEST_NORMAL, STEP = 2.0**-14, 2.0**-24
"""FP16's smallest normal number, and the spacing of the numbers below it."""
DROPPED = 12
"""Longest list of layers from which each layer is tentatively removed."""


@dataclass(frozen=True)
class Remedy:
    """The result of a search."""

    costliest: tuple[str, ...]
    """The layer, or group of layers, that costs most when it alone is in the precision; empty where
    no layer is left."""
    keep: tuple[str, ...] | None
    """The full list for the recipe with which the engines pass; None where no list was found."""


class Trials:
    """A bundle's engines of one precision with layers kept higher, against the reference frames."""

    def __init__(
        self,
        recipe: Recipe,
        precision: str,
        model: onnx.ModelProto,
        ranges: Mapping[str, float],
        references: Sequence[Reference],
        warp: Mapping[str, NDArray[Any]],
    ) -> None:
        """Prepare the trials; nothing is run yet.

        Args:
            recipe: recipe whose lists of layers to keep higher were not enough.
            precision: `fp16`, `bf16` or `int8`.
            model: canonical graph in float32.
            ranges: absolute value that becomes 127, by tensor; used for `int8` only.
            references: frames and PyTorch's values for them.
            warp: arrays of the bundle's `warp.npz`.
        """
        self.recipe, self.precision, self.model, self.ranges = recipe, precision, model, ranges
        self.references, self.warp = references, warp
        graph = gs.import_onnx(model)
        self.layers = _layers(graph, precision, recipe.higher_precision)
        """Names of the layers in this precision, in the order of the network."""
        self._parities: dict[tuple[str, bool, frozenset[str]], Parity] = {}

    @property
    def key(self) -> str:
        """Name of the list in `higher_precision` that applies to the precision."""
        return keep_key(self.precision)

    def listed(self, high: Sequence[str]) -> tuple[str, ...]:
        """Return the recipe's list with these layers added."""
        return (*getattr(self.recipe.higher_precision, self.key), *high)

    def graph(self, high: Sequence[str]) -> onnx.ModelProto:
        """Return the canonical graph of the precision with these layers kept higher."""
        keep = self.recipe.higher_precision.model_copy(update={self.key: self.listed(high)})
        if self.precision != "int8":
            return half_graph(self.model, _half(self.precision), keep).model
        if set(high) >= set(self.layers):
            return half_graph(self.model, "fp16", self.recipe.higher_precision).model
        return int8_graph(self.model, self.ranges, keep).model

    def parity(self, row: Row, high: Sequence[str]) -> Parity:
        """Return an engine's deviation from PyTorch with these layers kept higher."""
        engine, emulate = row
        key = engine.target, emulate, frozenset(high)
        if key not in self._parities:
            with TemporaryDirectory(prefix="lzu-") as folder:
                self._parities[key] = self._compared(engine, Path(folder), high, emulate=emulate)
        return self._parities[key]

    def vanishing(self, lowerings: LoweringMap) -> str:
        """Return what FP16 rounds away: the smallest of all nonzero tensors and weights.

        Args:
            lowerings: lowerings of the warps for ONNX Runtime.

        Returns:
            The tensor and its size in words; empty where the smallest is a normal number.
        """
        if self.precision == "bf16":
            return ""  # its exponent range is float32's
        zoom = stored_zoom(self.warp)
        inputs = [reference_inputs(self.recipe, each, zoom) for each in self.references]
        sizes = half_sizes(self.model, lowerings, self.recipe.higher_precision, inputs)
        name, size = min(
            ((name, size) for name, size in sizes.items() if size > 0),
            key=lambda each: each[1],
            default=("", math.inf),
        )
        if size >= SMALLEST_NORMAL:
            return ""
        return f"{name}, which is at most {size:.2g} while FP16 has steps of {STEP:.2g} there"

    def session(self, row: Row, high: Sequence[str]) -> Session:
        """Return a session that runs an engine's graph with these layers kept higher."""
        engine, emulate = row
        model, lowerings = self.graph(high), lowerings_by_place(engine.lowerings)
        if emulate:
            return emulated(model, lowerings)
        target = find(engine.target)
        lowered = lower_for(target.dialect, model, lowerings)[0]
        if target.on_device:
            return emulated_lowered(lowered)
        return target.session(lowered.SerializeToString())

    def _compared(
        self, engine: Engine | Derived, folder: Path, high: Sequence[str], *, emulate: bool
    ) -> Parity:
        canonical, executable = folder / "canonical.onnx", folder / "executable.onnx"
        model = self.graph(high)
        onnx.save(model, canonical)
        onnx.save(
            lower_for(find(engine.target).dialect, model, lowerings_by_place(engine.lowerings))[0],
            executable,
        )
        return compare(
            self.recipe,
            engine,
            canonical,
            executable,
            self.references,
            self.warp,
            emulate=emulate,
        )


def find_remedy(
    trials: Trials, refused: Row, rows: Sequence[Row], tried: Callable[[], object] = lambda: None
) -> Remedy:
    """Find the layers to keep higher so that a precision's engines pass on the reference frames.

    Args:
        trials: trials of the precision's engines.
        refused: the engine that did not pass.
        rows: all engines of the precision that an export makes; they must pass as well.
        tried: called after every comparison.
    """
    watched = [refused]
    costliest: tuple[str, ...] = ()
    while True:
        failing = trials.parity(refused, ()).first
        ranking = rank(trials, watched, failing.name if failing else None, tried)
        costliest = costliest or (ranking[0] if ranking else ())
        high = _shortest(ranking, partial(_passes, trials, tuple(watched), tried))
        if high is None:
            return Remedy(costliest, None)
        others = [row for row in rows if not trials.parity(row, high).passed]
        if not others:
            return Remedy(costliest, trials.listed(high))
        watched += others[:1]


def rank(
    trials: Trials,
    rows: Sequence[Row],
    failing: str | None = None,
    tried: Callable[[], object] = lambda: None,
) -> list[tuple[str, ...]]:
    """Rank layers, or groups of them in large networks, by their cost alone, the largest first.

    Args:
        trials: trials of the precision's engines.
        rows: engines, of which the one with the largest cost counts.
        failing: probe point or figure of agreement at which the cost is measured; all by default.
        tried: called after every comparison.
    """
    layers = trials.layers
    units = list(group_layers(layers).values()) if len(layers) > MANY else [(n,) for n in layers]
    costs = {}
    for unit in units:
        others = [name for name in layers if name not in unit]
        costs[unit] = max(trials.parity(row, others).excess(failing) for row in rows)
        tried()
    return sorted(units, key=lambda unit: -costs[unit])


def heads(
    ranking: Sequence[tuple[str, ...]], lengths: Sequence[int] = FIRST_LENGTHS
) -> Iterator[tuple[str, ...]]:
    """Yield the first units of a ranking, more and more of them, but never all."""
    for length in lengths:
        if length >= len(ranking):
            return
        yield tuple(name for unit in ranking[:length] for name in unit)


def keep_key(precision: str) -> str:
    """Return the name of the list in `higher_precision` that applies to a precision."""
    return "int8" if precision == "int8" else "fp16"


def _shortest(
    ranking: Sequence[tuple[str, ...]], passes: Callable[[Sequence[str]], bool]
) -> tuple[str, ...] | None:
    """Return the shortest head of a ranking that passes, without its needless layers."""
    found = next((high for high in heads(ranking) if passes(high)), None)
    if found is not None and len(found) <= DROPPED:
        for name in reversed(found):
            others = tuple(each for each in found if each != name)
            if others and passes(others):
                found = others
    return found


def _passes(
    trials: Trials, rows: Sequence[Row], tried: Callable[[], object], high: Sequence[str]
) -> bool:
    held = all(trials.parity(row, high).passed for row in rows)
    tried()
    return held


def _layers(graph: gs.Graph, precision: str, keep: HigherPrecision) -> tuple[str, ...]:
    if precision == "int8":
        return tuple(place(graph, keep.int8).layers)
    kept = stay_high(graph, keep.fp16)
    names = (layer_name(n) for n in graph.nodes if is_layer(n) and n.name not in kept)
    return tuple(dict.fromkeys(names))


def _half(precision: str) -> Any:
    assert precision in ("fp16", "bf16")
    return precision
