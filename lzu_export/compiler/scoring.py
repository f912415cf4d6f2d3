"""The counters and predictors of an accuracy measurement, in one process or in parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from lzu_export.evaluation.datasets import EvaluationSet, Scorer
from lzu_export.evaluation.evaluate import AGREEMENTS, WATCH
from lzu_export.evaluation.parts import Merging
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.manifest.schema import Engine, canonical_file
from lzu_export.recipes import Recipe
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.session import Session
from lzu_export.targets.precision import emulated, emulated_lowered
from lzu_export.targets.registry import find, runs_anywhere
from lzu_export.tasks.agreement import Agreements
from lzu_export.tasks.predictors import make_predictor
from lzu_export.verification.sessions import is_emulated
from lzu_export.verification.streams import ComparedStreams, StreamWatch

PYTORCH = "pytorch"
"""Name of the reference among the predictors."""

Warp = Mapping[str, NDArray[Any]]
"""Arrays of a warp by name."""


def scored_names(engines: Sequence[Engine]) -> list[str]:
    """Return the names of the scored predictors in order: PyTorch, engines, emulated engines."""
    here = [each.name for each in engines if runs_anywhere(each.target)]
    rounded = [each.emulated_name for each in engines if _is_rounded(each)]
    return [PYTORCH, *here, *rounded]


def open_scored(
    recipe: Recipe, engines: Sequence[Engine], folder: Path, pytorch: Predictor, warp: Warp
) -> dict[str, Predictor]:
    """Open the predictors that are scored, by `scored_names`.

    Args:
        recipe: recipe of the bundle.
        engines: engines that run anywhere, and bfloat16 ones, which are only emulated.
        folder: folder of the unfinished bundle.
        pytorch: predictor of PyTorch.
        warp: arrays of the bundle's warp.

    Raises:
        LzuError: an engine does not open.
    """
    here = [each for each in engines if runs_anywhere(each.target)]
    sessions: list[Session] = [
        find(each.target).open_file(each, folder / each.file, spin=False) for each in here
    ]
    sessions += [_rounded(each, folder) for each in engines if _is_rounded(each)]
    opened = [make_predictor(recipe, session, warp) for session in sessions]
    return dict(zip(scored_names(engines), [pytorch, *opened], strict=True))


def _is_rounded(engine: Engine) -> bool:
    """Return whether an engine's graph is scored with the rounding of a device."""
    return is_emulated(engine) or not runs_anywhere(engine.target)


def _rounded(engine: Engine, folder: Path) -> Session:
    """Open an engine's graph with the rounding of a device.

    ONNX Runtime cannot run bfloat16 graphs on the CPU otherwise.
    """
    if is_emulated(engine):
        model = onnx.load(folder / canonical_file(engine.precision))
        return emulated(model, lowerings_by_place(engine.lowerings))
    return emulated_lowered(onnx.load(folder / engine.onnx))


def fp32_name(recipe: Recipe, names: Sequence[str]) -> str | None:
    """Return the name of the FP32 engine that is compared with PyTorch over whole sequences.

    None where the warp does not go by boxes, or the engine does not run here: lower precisions find
    other boxes.
    """
    found = (each for each in names if each.endswith("/fp32"))
    return next(found, None) if recipe.follows_boxes else None


def make_watch(
    recipe: Recipe, predictors: Mapping[str, Predictor], warp: Warp
) -> StreamWatch | None:
    """Make the watch that compares the FP32 engine with PyTorch, see `fp32_name`."""
    name = fp32_name(recipe, list(predictors))
    if name is None:
        return None
    pytorch = predictors[PYTORCH]
    told = make_predictor(recipe, predictors[name].session, warp)
    assert isinstance(pytorch, Detector), "warps by boxes are of detection"
    assert isinstance(told, Detector)
    return StreamWatch((PYTORCH, pytorch), (name, told))


@dataclass
class Counted:
    """The counters of a finished measurement."""

    scorers: dict[str, Scorer]
    agreements: Agreements
    streams: ComparedStreams | None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics of each predictor over the whole set, by name; empty until all frames are counted."""

    @classmethod
    def nothing(cls, recipe: Recipe, names: Sequence[str], dataset: EvaluationSet) -> "Counted":
        """Make counters of these predictors that have counted nothing."""
        fp32 = fp32_name(recipe, names)
        return cls(
            {name: dataset.scorer() for name in names},
            Agreements(recipe, PYTORCH, names),
            ComparedStreams(fp32) if fp32 is not None else None,
        )

    @property
    def counters(self) -> dict[str, Merging]:
        """All counters by name, in the order of `count_part`."""
        found: dict[str, Any] = {**self.scorers}
        if self.streams is not None:
            found[WATCH] = self.streams
        return {**found, AGREEMENTS: self.agreements}
