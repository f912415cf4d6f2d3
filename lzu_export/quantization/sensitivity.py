"""Rank the layers of a bundle by what they cost its task's metric in INT8. No torch.

Layers that a recipe keeps in higher precision already are measured like all others: the list that
comes out replaces the recipe's.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_calibration.cache import Cache
from lzu_calibration.sensitivity import (
    MANY,
    Evaluations,
    Sensitivity,
    Units,
    group_layers,
    keep_patterns,
    most_evaluations,
)
from lzu_export import __version__
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer, named_sets, open_dataset
from lzu_export.evaluation.evaluate import check_classes, evaluate
from lzu_export.graph.quantize import place
from lzu_export.inputs.frame import check_frame
from lzu_export.quantization.calibration import search
from lzu_export.quantization.ranges import graph_digest
from lzu_export.quantization.recalibrate import (
    Asked,
    Float32Bundle,
    beside,
    new_ranges,
    outside,
    ranges_at_hand,
)
from lzu_export.recipes.schema import KeepHigh
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import PACKAGE, source_digest
from lzu_export.targets.onnxruntime import version
from lzu_export.targets.precision import emulated, half_graph, int8_graph
from lzu_export.warp.saliency import BOX_INPUTS

FRAMES = 64
"""Default number of frames of the evaluation set."""
FORMAT = 1
_DIGITS = 2
"""Decimals of a metric that float32 gives again, however many threads compute it."""


@dataclass(frozen=True)
class Outcome:
    """The result of a search, and the frames and settings it used."""

    found: Sensitivity
    bundle: str
    by: str
    layers: tuple[str, ...]
    """All that INT8 can take, in the order of the network."""
    metric: str
    dataset: str
    note: str
    """How the metric is meant."""
    frames: int
    model: str
    """Digest of the float32 graph."""
    ranges: Cache
    evaluations: int
    """Sets of layers that were measured, now or before."""
    resumed: int
    """How many of them an earlier run had left."""
    file: Path

    @property
    def picture(self) -> Path:
        """Path of the curve's picture."""
        return self.file.with_suffix(".png")

    @property
    def keep_high(self) -> list[str]:
        """Names and patterns for the recipe's keep_high.int8."""
        return keep_patterns(self.found.keep, self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the file holds it."""
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
            "keep_high": self.keep_high,
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
            "lzu_export": __version__,
        }


def measure_sensitivity(
    bundle: Path,
    *,
    dataset: str | None = None,
    frames: int = FRAMES,
    limit: float | None = None,
    by: str | None = None,
    asked: Asked | None = None,
    ranges: Path | None = None,
    out: Path | None = None,
    report: Reporter | None = None,
) -> Outcome:
    """Rank a bundle's layers by what INT8 costs the metric, and find the list to keep higher.

    Writes nothing but the state of the search, from which an interrupted one goes on, and ranges
    where it has to measure them; `sensitivity_report.write_report` writes the result.

    Args:
        bundle: folder that export made.
        dataset: a set's name or path; by default the one that the bundle was measured on, if it
            has a name.
        frames: at most so many of the set, evenly taken.
        limit: points that may be lost; by default the recipe's tolerances.metric.int8.
        by: `layer`, or `group` (see `group_layers`), which is the default in networks of more than
            `MANY` layers.
        asked: how to calibrate, where that is to differ from the bundle's recipe.
        ranges: measured before, instead.
        out: JSON file of the result; by default beside the bundle, under a name like its own.
        report: where progress is shown.

    Raises:
        LzuError: an input is missing or unfit, or no list of layers meets the limit.
    """
    report, asked = report or Reporter(quiet=True), asked or Asked()
    check_matplotlib()
    file = outside(bundle, out or beside(bundle, "sensitivity.json"))
    if file.suffix != ".json":
        raise LzuError(f"{file} is where results go as JSON, a picture beside; end it in .json")
    if ranges is not None and asked.options:
        raise LzuError(
            f"--ranges {ranges} were measured already; leave out --{' --'.join(asked.options)}"
        )
    if by not in (None, "layer", "group"):
        raise LzuError(f"--by is {by}; choose layer or group")
    opened = Float32Bundle(bundle)
    limit = _limit(limit, opened)
    frames_of = _open(opened, dataset, frames)
    layers = tuple(place(gs.import_onnx(opened.model)).layers)
    if not layers:
        raise LzuError(f"{bundle} has no layer that INT8 can take; leave int8 out of PRECISION")
    by = by or ("group" if len(layers) > MANY else "layer")
    units: Units = group_layers(layers) if by == "group" else {each: (each,) for each in layers}
    at_hand = ranges_at_hand(opened, asked, ranges)
    kept = KeptFrames.of(frames_of, opened, report)
    if opened.recipe.follows_boxes:
        with report.working("finding the boxes that frames are zoomed by"):
            kept.boxes = find_boxes(opened, kept)
    with report.working("measuring float32"):
        summary = float32_metrics(opened, kept)
    baseline = _baseline(summary, kept)
    cache, where = at_hand or new_ranges(opened, asked, report)
    report.note(f"  ranges: {where.name}, {cache.method} of {cache.frames.count} frames")
    measure = Measured(opened, cache.ranges, layers, kept)
    state = file.with_suffix(".state.json")
    evaluations = Evaluations(measure, state, _key(opened, cache, kept, summary))
    if evaluations.resumed:
        report.note(f"  going on from {evaluations.resumed} evaluations in {state.name}")
    title = f"{kept.metric} on {len(kept)} frames of {kept.name}"
    with report.steps(title, most_evaluations(len(units))) as advance:

        def counted(int8: frozenset[str]) -> float:
            new = int8 not in evaluations.asked
            metric = evaluations(int8)
            advance(int(new))
            return metric

        found = search(units, counted, baseline=baseline, limit=limit)
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


def check_matplotlib() -> None:
    """Refuse before any work what could not be drawn after it.

    Raises:
        LzuError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise LzuError("the curve is drawn by matplotlib; pip install 'lzu-export[bench]'")


class KeptFrames:
    """Frames of an evaluation set, read or rendered once: PNG in memory, which loses nothing."""

    def __init__(self, dataset: EvaluationSet, samples: list[tuple[Sample, NDArray[Any]]]) -> None:
        """`samples` are without their frames, which stand beside them as PNG."""
        self._dataset, self._samples = dataset, samples
        self.name, self.note = dataset.name, dataset.note
        self.classes, self.metric = tuple(dataset.classes), dataset.metric
        self.boxes: list[NDArray[np.float32]] = []
        """By sample, the boxes (n, 4) that a model that follows boxes looks at it by."""

    @classmethod
    def of(cls, dataset: EvaluationSet, opened: Float32Bundle, report: Reporter) -> "KeptFrames":
        """Read a set.

        Raises:
            LzuError: a frame is of another size, naming its file, there are fewer than two, or all
                are black.
        """
        samples, black = [], True
        with report.steps(f"reading {dataset.name}", len(dataset)) as advance:
            for each in dataset.samples():
                name = each.name or f"frame {each.number} of {dataset.name}"
                frame = check_frame(each.shot.frame, opened.recipe.source, name)
                black &= not frame.any()
                done, packed = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                assert done, "frames of any size can be PNG"
                shot = each.shot._replace(frame=np.empty((0, 0, 3), np.uint8))
                samples.append((each._replace(shot=shot), packed))
                advance()
        if len(samples) < 2:
            number = "one frame only" if samples else "no frames"
            raise LzuError(
                f"the evaluation set {dataset.name} holds {number}, on which a metric says "
                "nothing; give one of dozens of frames (--dataset)"
            )
        if black:
            raise LzuError(
                f"all {len(samples)} frames of the evaluation set {dataset.name} are black; give "
                "one that shows something (--dataset)"
            )
        return cls(dataset, samples)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._samples)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """All samples from the one of place `start` on, in order."""
        for each, packed in self._samples[start:]:
            frame = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
            yield each._replace(shot=each.shot._replace(frame=frame))

    def scorer(self) -> Scorer:
        """The task's metrics, with nothing counted."""
        return self._dataset.scorer()

    @property
    def digest(self) -> str:
        """sha256 of the frames' numbers and pixels."""
        digest = hashlib.sha256()
        for each in self.samples():
            digest.update(f"{each.number} {each.shot.frame.shape} ".encode())
            digest.update(each.shot.frame.tobytes())
        return digest.hexdigest()


class Measured:
    """The task's metric of a bundle with some of its layers in INT8, rounded as on a device."""

    def __init__(
        self,
        opened: Float32Bundle,
        ranges: Mapping[str, float],
        layers: tuple[str, ...],
        frames: KeptFrames,
    ) -> None:
        """`layers` are all that INT8 can take, `ranges` those of what they read."""
        self._opened, self._ranges = opened, ranges
        self._layers, self._frames = layers, frames

    def __call__(self, int8: frozenset[str]) -> float:
        """The metric with these layers in INT8 and all else as the lower precisions have it."""
        model, fp16 = self._opened.model, self._opened.recipe.keep_high.fp16
        if int8:
            high = tuple(layer for layer in self._layers if layer not in int8)
            converted = int8_graph(model, self._ranges, KeepHigh(fp16=fp16, int8=high))
        else:
            converted = half_graph(model, "fp16", KeepHigh(fp16=fp16))
        summary = _metrics(self._opened, converted.model, self._frames)
        return summary[self._frames.metric]


def float32_metrics(opened: Float32Bundle, frames: KeptFrames) -> dict[str, float]:
    """All metrics of the float32 graph."""
    return _metrics(opened, opened.model, frames)


def find_boxes(opened: Float32Bundle, frames: KeptFrames) -> list[NDArray[np.float32]]:
    """For each kept frame the boxes that an adaptive model is shown with it.

    They are the float32 network's own in the frame before, from the beginning of each sequence on,
    so that all sets of layers are measured under one warp.

    Raises:
        LzuError: the bundle runs several streams side by side.
    """
    recipe = opened.recipe
    check_single_stream(recipe.batch, f"{frames.name}, sequence by sequence,")
    predictor = _predictor(opened, opened.model)
    found = []
    sequence: int | str | None = None
    for sample in frames.samples():
        if sample.sequence != sequence:
            sequence = sample.sequence
            predictor.reset()
        boxes, valid = (predictor.other_inputs([sample.shot])[name][0] for name in BOX_INPUTS)
        found.append(boxes[valid > 0])
        predictor.run([sample.shot])
    return found


class _Looking:
    """An adaptive predictor that looks at every frame by the boxes kept beside it."""

    remembers = True

    def __init__(self, predictor: Predictor, boxes: list[NDArray[np.float32]]) -> None:
        self.recipe, self._predictor, self._boxes = predictor.recipe, predictor, iter(boxes)

    def reset(self) -> None:
        """Nothing is remembered but what is kept."""

    def run(self, shots: Sequence[Shot]) -> list[Any]:
        self._predictor.reset()
        self._predictor.look_at(next(self._boxes))  # type: ignore[attr-defined]
        return self._predictor.run(shots)


def _metrics(opened: Float32Bundle, model: onnx.ModelProto, frames: KeptFrames) -> dict[str, float]:
    """All metrics of a canonical graph of a bundle."""
    predictor: Any = _predictor(opened, model)
    if frames.boxes:
        predictor = _Looking(predictor, frames.boxes)
    return evaluate({"": predictor}, frames)[""]


def _predictor(opened: Float32Bundle, model: onnx.ModelProto) -> Predictor:
    """Make a predictor of a canonical graph, rounded as on a device."""
    session = emulated(model, opened.kinds)
    return opened.predictor(session)


def _open(opened: Float32Bundle, name: str | None, frames: int) -> EvaluationSet:
    """The evaluation set, some of whose frames are measured on."""
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
    opened_set = open_dataset(name or str(own), frames, recipe.task, recipe)
    check_classes(opened_set, recipe)
    return opened_set


def _limit(given: float | None, opened: Float32Bundle) -> float:
    if given is None:
        return float(opened.recipe.tolerances.metric.int8)
    if not (math.isfinite(given) and given > 0):
        raise LzuError(f"--limit is {given:g}; give a positive number of points")
    return given


def _baseline(summary: Mapping[str, float], frames: KeptFrames) -> float:
    """Float32's metric, if there is anything to lose."""
    baseline = summary[frames.metric]
    if not baseline > 0:
        raise LzuError(
            f"{frames.metric} of the float32 network on {len(frames)} frames of {frames.name} is "
            f"{baseline:g}, so that no layer can cost any; give frames of what it was trained for "
            "(--dataset), or more of them (--frames)"
        )
    return baseline


def _key(
    opened: Float32Bundle, cache: Cache, frames: KeptFrames, summary: Mapping[str, float]
) -> dict[str, Any]:
    """All that the metric of a set of layers depends on.

    Float32's metrics stand for the truth, whose form only the set's scorer knows.
    """
    ranges = json.dumps(sorted(cache.ranges.items()))
    return {
        "model": graph_digest(opened.model),
        "ranges": hashlib.sha256(ranges.encode()).hexdigest(),
        "keep_high.fp16": list(opened.recipe.keep_high.fp16),
        "lowerings": opened.kinds,
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
    """A number as JSON has it: one that is not finite is its name."""
    return value if math.isfinite(value) else str(value)
