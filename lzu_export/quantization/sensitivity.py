"""Rank a bundle's layers by the loss of its task's metric in INT8. Imports no torch.

Layers that the recipe already excludes from INT8 are measured like all others, since the resulting
list replaces the recipe's.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx_graphsurgeon as gs

from lzu_calibration.cache import Cache
from lzu_calibration.sensitivity import (
    MANY,
    Evaluations,
    Sensitivity,
    Step,
    Units,
    group_layers,
    keep_patterns,
    most_evaluations,
)
from lzu_export.bundle.bundle import outside
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, named_sets, open_dataset
from lzu_export.evaluation.evaluate import check_classes
from lzu_export.graph.quantize import place
from lzu_export.quantization.calibration import search
from lzu_export.quantization.frame_cache import FrameCache
from lzu_export.quantization.metrics import Int8Metric, find_boxes, float32_metrics
from lzu_export.quantization.overrides import CalibrationOverrides
from lzu_export.quantization.ranges import graph_digest
from lzu_export.quantization.recalibrate import (
    Float32Bundle,
    beside,
    new_ranges,
    ranges_at_hand,
)
from lzu_export.support.checkout import option
from lzu_export.support.plots import check_matplotlib
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import PACKAGE, source_digest
from lzu_export.support.version import VERSION
from lzu_export.targets.onnxruntime import version

FRAMES = 64
"""Default number of frames of the evaluation set that are measured on."""
FORMAT = 1
_DIGITS = 2
"""Decimals of a float32 metric that are reproducible with any number of threads."""


@dataclass(frozen=True)
class Outcome:
    """Result of a search, with the frames and settings that it used."""

    found: Sensitivity
    bundle: str
    by: str
    layers: tuple[str, ...]
    """All layers that INT8 supports, in the order of the network."""
    metric: str
    dataset: str
    note: str
    """Note on the definition of the metric."""
    frames: int
    model: str
    """Digest of the float32 graph, see `graph_digest`."""
    ranges: Cache
    evaluations: int
    """Number of sets of layers that were measured, in this run or an earlier one."""
    resumed: int
    """Number of these sets that were read from the state of an earlier run."""
    file: Path

    @property
    def picture(self) -> Path:
        """Path of the picture of the curve."""
        return self.file.with_suffix(".png")

    @property
    def page(self) -> Path:
        """Path of the page."""
        return self.file.with_suffix(".html")

    def higher_layers(self, step: Step) -> int:
        """Return the number of layers that a step keeps in higher precision."""
        return len(self.layers) - step.int8_layers

    @property
    def higher_precision(self) -> list[str]:
        """Names and patterns for the recipe's higher_precision.int8."""
        return keep_patterns(self.found.keep, self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as written to the file."""
        found, frames = self.found, self.ranges.frames
        return {
            "format": FORMAT,
            "bundle": self.bundle,
            "model": self.model,
            "metric": self.metric,
            "dataset": self.dataset,
            "frames": self.frames,
            "note": self.note,
            "limit": found.limit,
            "baseline": found.baseline,
            "all_int8": _plain(found.steps[0].metric),
            "no_int8": _plain(found.steps[-1].metric),
            "higher_precision": self.higher_precision,
            "chosen": _step(found, found.kept),
            "by": self.by,
            "ranking": [
                {
                    "name": each.name,
                    "layers": list(each.layers),
                    "metric": _plain(each.metric),
                    "cost": _plain(each.cost),
                }
                for each in found.ranking
            ],
            "search": [_step(found, step.kept) for step in found.steps],
            "evaluations": self.evaluations,
            "ranges": {
                "frames": frames.name,
                "count": frames.count,
                "seed": frames.seed,
                "method": self.ranges.method,
                "percentile": self.ranges.percentile,
            },
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "lzu_export": VERSION,
        }


def measure_sensitivity(
    bundle: Path,
    *,
    dataset: str | None = None,
    frames: int = FRAMES,
    limit: float | None = None,
    by: str | None = None,
    overrides: CalibrationOverrides | None = None,
    ranges: Path | None = None,
    out: Path | None = None,
    report: Reporter | None = None,
) -> Outcome:
    """Rank a bundle's layers by the metric's loss in INT8, and find the layers to exclude.

    It writes the state of the search, from which an interrupted search resumes, and the ranges if
    it has to measure them; `report.write_report` writes the result.

    Args:
        bundle: folder of the bundle that export wrote.
        dataset: name or path of an evaluation set; by default the one that the bundle was measured
            on, if it has a name.
        frames: number of frames of the set, evenly spaced, at most.
        limit: points that may be lost; by default the recipe's tolerances.metric.int8.
        by: `layer` or `group` (see `group_layers`); by default `group` for more than `MANY` layers.
        overrides: calibration settings that differ from the bundle's recipe.
        ranges: file of ranges to use instead of measuring them.
        out: JSON file of the result; by default beside the bundle, under a name like its own.
        report: reporter of the progress.

    Raises:
        LzuError: an input is missing or unfit, or no list of layers meets the limit.
    """
    report, overrides = report or Reporter(quiet=True), overrides or CalibrationOverrides()
    check_matplotlib()
    file = outside(bundle, out or beside(bundle, "sensitivity.json"))
    _check_options(file, ranges, overrides, by)
    opened = Float32Bundle(bundle)
    limit = _limit(limit, opened)
    dataset_frames = _open(opened, dataset, frames)
    layers = _layers(opened, bundle)
    by = by or ("group" if len(layers) > MANY else "layer")
    at_hand = ranges_at_hand(opened, overrides, ranges)
    kept = _read_frames(dataset_frames, opened, report)
    with report.working("measuring float32"):
        summary = float32_metrics(opened, kept)
    baseline = _baseline(summary, kept)
    cache, where = at_hand or new_ranges(opened, overrides, report)
    report.note(f"  ranges: {where.name}, {cache.method} of {cache.frames.count} frames")
    measure = Int8Metric(opened, cache.ranges, layers, kept)
    state = file.with_suffix(".state.json")
    evaluations = Evaluations(measure, state, _key(opened, cache, kept, summary))
    if evaluations.resumed:
        report.note(f"  going on from {evaluations.resumed} evaluations in {state.name}")
    units: Units = group_layers(layers) if by == "group" else {each: (each,) for each in layers}
    found = _search(units, evaluations, baseline, limit, kept, report)
    return Outcome(
        found=found,
        bundle=bundle.resolve().name,
        by=by,
        layers=layers,
        metric=kept.metric,
        dataset=kept.name,
        note=kept.note,
        frames=len(kept),
        model=cache.model,
        ranges=cache,
        evaluations=len(evaluations.asked),
        resumed=evaluations.resumed,
        file=file,
    )


def _check_options(
    file: Path, ranges: Path | None, overrides: CalibrationOverrides, by: str | None
) -> None:
    """Refuse options that contradict each other."""
    if file.suffix != ".json":
        raise LzuError(f"{file} is where results go as JSON, a picture beside; end it in .json")
    if ranges is not None and overrides.options:
        raise LzuError(
            f"--ranges {ranges} already fixes the calibration frames and their method; leave out "
            f"--{' --'.join(overrides.options)}"
        )
    if by not in (None, "layer", "group"):
        raise LzuError(f"--by is {by}; choose layer or group")


def _layers(opened: Float32Bundle, bundle: Path) -> tuple[str, ...]:
    """Return all layers that INT8 supports, in the order of the network."""
    layers = tuple(place(gs.import_onnx(opened.model)).layers)
    if not layers:
        raise LzuError(
            f"{bundle} has no layer that INT8 can take; leave int8 out of {option('precision')}"
        )
    return layers


def _read_frames(dataset: EvaluationSet, opened: Float32Bundle, report: Reporter) -> FrameCache:
    """Read the set's frames and, for a model that follows boxes, find the boxes that zoom each."""
    kept = FrameCache.of(dataset, opened, report)
    if opened.recipe.follows_boxes:
        with report.working("finding the boxes that frames are zoomed by"):
            kept.boxes = find_boxes(opened, kept)
    return kept


def _search(
    units: Units,
    evaluations: Evaluations,
    baseline: float,
    limit: float,
    frames: FrameCache,
    report: Reporter,
) -> Sensitivity:
    """Search for the shortest list, counting each new evaluation as one step of the progress."""
    title = f"{frames.metric} on {len(frames)} frames of {frames.name}"
    with report.steps(title, most_evaluations(len(units))) as advance:

        def counted(int8: frozenset[str]) -> float:
            new = int8 not in evaluations.asked
            metric = evaluations(int8)
            advance(int(new))
            return metric

        return search(units, counted, baseline=baseline, limit=limit)


def _open(opened: Float32Bundle, name: str | None, frames: int) -> EvaluationSet:
    """Open the evaluation set and the number of its frames that are measured on."""
    recipe = opened.recipe
    own = recipe.evaluation.dataset
    if name is None and own is None:
        raise LzuError(
            f"{opened.folder} was exported without an evaluation set; give one (--dataset), such "
            "as demo or COCO annotations"
        )
    if name is None and own not in named_sets():
        raise LzuError(
            f"{opened.folder} was measured on {own}, whose path a bundle does not hold; give it "
            "(--dataset)"
        )
    if frames < 2:
        raise LzuError(f"--frames is {frames}; ask for at least 2, better {FRAMES}")
    opened_set = open_dataset(name or str(own), frames, recipe.scored_as, recipe)
    check_classes(opened_set, recipe)
    return opened_set


def _limit(given: float | None, opened: Float32Bundle) -> float:
    if given is None:
        return float(opened.recipe.tolerances.metric.int8)
    if not (math.isfinite(given) and given > 0):
        raise LzuError(f"--limit is {given:g}; give a positive number of points")
    return given


def _baseline(summary: Mapping[str, float], frames: FrameCache) -> float:
    """Return float32's metric after checking that it is above 0."""
    baseline = summary[frames.metric]
    if not baseline > 0:
        raise LzuError(
            f"{frames.metric} of the float32 network on {len(frames)} frames of {frames.name} is "
            f"{baseline:g}, so that no layer can cost any; give frames of what it was trained for "
            "(--dataset), or more of them (--frames)"
        )
    return baseline


def _key(
    opened: Float32Bundle, cache: Cache, frames: FrameCache, summary: Mapping[str, float]
) -> dict[str, Any]:
    """Return everything that the metric of a set of layers depends on.

    Float32's metrics represent the ground truth, whose form depends on the set's scorer.
    """
    ranges = json.dumps(sorted(cache.ranges.items()))
    return {
        "model": graph_digest(opened.model),
        "ranges": hashlib.sha256(ranges.encode()).hexdigest(),
        "higher_precision.fp16": list(opened.recipe.higher_precision.fp16),
        "lowerings": opened.lowerings,
        "postprocess": opened.recipe.postprocess.model_dump(mode="json"),
        "dataset": frames.name,
        "frames": len(frames),
        "pixels": frames.digest,
        "metric": frames.metric,
        "float32": {name: str(round(value, _DIGITS)) for name, value in summary.items()},
        "passes": source_digest(PACKAGE / "graph"),
        "onnxruntime": version(),
    }


def _step(found: Sensitivity, kept: int) -> dict[str, Any]:
    step = next(each for each in found.steps if each.kept == kept)
    return {
        "kept": kept,
        "int8_layers": step.int8_layers,
        "metric": _plain(step.metric),
        "meets": step.meets,
    }


def _plain(value: float) -> float | str:
    """Convert a number for JSON: one that is not finite becomes its name."""
    return value if math.isfinite(value) else str(value)
