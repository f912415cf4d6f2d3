"""Measure the INT8 ranges of a recipe's model on its calibration frames, or read a cache."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lzu_calibration.cache import Cache, CachedFrames, make_cache
from lzu_calibration.histogram import Histogram
from lzu_export.errors import LzuError
from lzu_export.graph.lowering.resample import LoweringMap
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.inputs.frame_sources import FrameList, open_frames
from lzu_export.quantization.calibration import (
    check_cache,
    check_method,
    collect,
    limit_of,
    read_cache,
)
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.checkout import option
from lzu_export.support.progress import Reporter
from lzu_export.support.session import Arrays, Session
from lzu_export.support.version import VERSION
from lzu_export.targets.precision import calibrated_tensors, float32_session
from lzu_export.tasks.predictors import make_predictor

log = logging.getLogger(__name__)

FILE = "calibration.json"


def recipe_frames(recipe: Recipe) -> FrameList:
    """Open the frames that a recipe calibrates on.

    Raises:
        LzuError: none are named, or they cannot be read.
    """
    settings = recipe.calibration
    if settings.frames is None:
        raise LzuError(
            "INT8 needs frames to measure ranges on: name some of the training set "
            f"({option('calibration', 'FOLDER')}, calibration.frames), or leave int8 out of "
            f"{option('precision')}"
        )
    return open_frames(settings.frames, count=settings.count, seed=settings.seed)


def measure_ranges(
    recipe: Recipe,
    model: onnx.ModelProto,
    lowerings: LoweringMap,
    warp: Mapping[str, Any],
    report: Reporter,
) -> Cache:
    """Run the float32 graph over the recipe's calibration frames, zoomed as at inference.

    Args:
        recipe: recipe that names frames and method.
        model: canonical float32 graph.
        lowerings: lowerings of the graph's warps for ONNX Runtime.
        warp: arrays of the warp, by name.
        report: reporter of the progress.

    Raises:
        LzuError: frames are missing, unreadable, black or of another size, or a tensor is not
            finite.
    """
    frames = recipe_frames(recipe)
    frames.check()
    every = range(len(frames))
    with report.steps(f"calibrating on {frames.name}", len(frames)) as advance:
        histograms = collect_histograms(recipe, model, lowerings, warp, frames, every, advance)
    return ranges_of(recipe, model, histograms, frames)


def collect_histograms(
    recipe: Recipe,
    model: onnx.ModelProto,
    lowerings: LoweringMap,
    warp: Mapping[str, Any],
    frames: FrameList,
    positions: range,
    advance: Callable[[int], None] = lambda frames: None,
) -> dict[str, Histogram]:
    """Count the values of the calibrated tensors in some of the frames, see `measure_ranges`.

    `positions` begin with a whole batch. Histograms of several parts may be merged: the result is
    that of all frames.

    Raises:
        LzuError: a frame is unreadable or of another size, the method is unknown, or a tensor is
            not finite.
    """
    settings = recipe.calibration
    check_method(settings.method, settings.percentile)
    session = float32_session(model, lowerings, calibrated_tensors(model, recipe.higher_precision))
    whole = session
    if recipe.follows_boxes:
        whole = float32_session(model, lowerings, [value.name for value in model.graph.output])
    return collect(
        session.run,
        _feeds(recipe, session, whole, warp, frames.part(positions)),
        lambda feeds: advance(feeds * recipe.batch),
        count=settings.method != "max",
    )


def ranges_of(
    recipe: Recipe,
    model: onnx.ModelProto,
    histograms: Mapping[str, Histogram],
    frames: FrameList,
) -> Cache:
    """Choose the range of every tensor by the recipe's method, from its histogram over all frames.

    Raises:
        LzuError: a tensor has no range.
    """
    settings = recipe.calibration
    ranges = {
        name: limit_of(each, settings.method, settings.percentile)
        for name, each in histograms.items()
    }
    return make_cache(
        model=graph_digest(model),
        frames=_cached(recipe, frames),
        method=settings.method,
        percentile=settings.percentile,
        ranges=ranges,
        version=VERSION,
    )


def packed_histograms(histograms: Mapping[str, Histogram]) -> dict[str, NDArray[Any]]:
    """Return the arrays of histograms, for `merged_histograms`."""
    states = np.stack([each.state() for each in histograms.values()])
    return {"names": np.array(list(histograms)), "states": states}


def merged_histograms(parts: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, Histogram]:
    """Merge the histograms of parts of the frames; the order of the parts does not matter."""
    merged: dict[str, Histogram] = {}
    for part in parts:
        for name, state in zip(part["names"].tolist(), part["states"], strict=True):
            merged.setdefault(name, Histogram()).merge(Histogram.of(state))
    return merged


def find_ranges(recipe: Recipe, model: onnx.ModelProto, earlier: Path) -> Cache | None:
    """Read ranges that were measured before, from the recipe's cache or an earlier export.

    Returns:
        The ranges, or None if the recipe names no cache and that of the earlier export is missing
        or does not fit.

    Raises:
        LzuError: the recipe's cache has another model, other frames or another method.
    """
    named = recipe.calibration.cache
    path = named or earlier
    if not path.is_file() and named is None:
        return None
    try:
        cache = read_cache(path)
        check_cache(
            cache,
            path,
            model=graph_digest(model),
            frames=_cached(recipe, recipe_frames(recipe)),
            method=recipe.calibration.method,
            percentile=recipe.calibration.percentile,
            tensors=calibrated_tensors(model, recipe.higher_precision),
        )
    except LzuError as error:
        if named is not None:
            raise
        log.info("calibrating again: %s", error)
        return None
    return cache


def describe_ranges(cache: Cache) -> dict[str, str | int | float | None]:
    """Return the manifest's entry about the ranges."""
    return {
        "file": FILE,
        "frames": cache.frames.name,
        "count": cache.frames.count,
        "seed": cache.frames.seed,
        "method": cache.method,
        "percentile": cache.percentile,
    }


def graph_digest(model: onnx.ModelProto) -> str:
    """Compute the SHA-256 of a graph's operators, connections and weights.

    Names that an exporter numbers are included; producer, documentation and metadata are not.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        bare.ClearField(field)
    for part in (bare.graph, *bare.graph.node, *bare.graph.initializer, *bare.graph.value_info):
        for field in ("doc_string", "metadata_props"):
            part.ClearField(field)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _cached(recipe: Recipe, frames: FrameList) -> CachedFrames:
    return CachedFrames(
        name=frames.name,
        count=len(frames),
        seed=recipe.calibration.seed,
        digest=frames.digest,
    )


def _feeds(
    recipe: Recipe,
    session: Session,
    whole: Session,
    warp: Mapping[str, Any],
    reader: Iterator[tuple[str, Frame]],
) -> Iterator[tuple[str, Arrays]]:
    """Yield the first frame's identity and the graph's inputs for each batch of frames.

    A last batch that is too short is filled with copies of its last frame.
    """
    predictor = make_predictor(recipe, session, warp)
    finder = make_predictor(recipe, whole, warp) if predictor.is_stateful else None
    while batch := list(islice(reader, recipe.batch)):
        checked: list[Frame] = [check_frame(f, recipe.source, name) for name, f in batch]
        checked += checked[-1:] * (recipe.batch - len(checked))
        image = {**predictor.preprocess_image(checked), **predictor.knot_inputs()}
        if finder is None:
            yield batch[0][0], image
            continue
        # Each frame's own detections replace those of the previous frame.
        finder.reset()
        camera_frames = [CameraFrame(frame) for frame in checked]
        finder.run(camera_frames)
        yield batch[0][0], {**image, **finder.other_inputs(camera_frames)}
