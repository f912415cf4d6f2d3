"""Measure a bundle's INT8 ranges again, on other frames or by another method. Imports no torch."""

from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from lzu_calibration.cache import Cache
from lzu_export.bundle.bundle import Bundle, outside
from lzu_export.graph.lowering.choose import exact_lowerings, lowerings_by_place
from lzu_export.graph.lowering.resample import Kind
from lzu_export.graph.read import load_graph
from lzu_export.manifest.schema import Manifest
from lzu_export.quantization.calibration import (
    check_cache,
    read_cache,
    write_cache,
)
from lzu_export.quantization.overrides import CalibrationOverrides, with_overrides
from lzu_export.quantization.ranges import (
    FILE,
    find_ranges,
    graph_digest,
    measure_ranges,
)
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.support.progress import Reporter
from lzu_export.targets.precision import calibrated_tensors
from lzu_export.targets.registry import DEFAULT_TARGET


class Float32Bundle(Bundle):
    """Bundle with its canonical float32 graph, which every bundle has whatever its precisions."""

    @cached_property
    def model(self) -> onnx.ModelProto:
        """Canonical float32 graph of the bundle.

        Raises:
            LzuError: the graph's file is missing or was changed.
        """
        return load_graph(self.canonical("fp32"))

    @cached_property
    def lowerings(self) -> dict[str, Kind]:
        """Lowerings of the graph's warps for ONNX Runtime, by place."""
        return _lowerings(self.manifest, self.model)


def recalibrate(
    bundle: Path,
    overrides: CalibrationOverrides,
    *,
    out: Path | None = None,
    report: Reporter | None = None,
) -> dict[str, Any]:
    """Measure ranges and write the cache that an export of the same model can use.

    The file is written to `out`, by default beside the bundle under a name of bundle and method.
    The bundle itself is not changed.

    Returns:
        Dictionary of file, frames, count, seed, method, percentile, tensors, and under `export` the
        options of an export that uses the file.

    Raises:
        LzuError: the bundle is damaged, frames are missing or unfit, or the method is unknown.
    """
    opened = Float32Bundle(bundle)
    recipe = with_overrides(opened.recipe, overrides)
    path = outside(bundle, out or _cache_path(bundle, recipe))
    cache = measure_ranges(
        recipe, opened.model, opened.lowerings, opened.warp, report or Reporter(quiet=True)
    )
    write_cache(path, cache)
    return {
        "file": str(path),
        "frames": cache.frames.name,
        "count": cache.frames.count,
        "seed": cache.frames.seed,
        "method": cache.method,
        "percentile": cache.percentile,
        "tensors": len(cache.ranges),
        "export": _export_options(opened.recipe, recipe, path),
    }


def ranges_at_hand(
    opened: Float32Bundle, overrides: CalibrationOverrides, given: Path | None
) -> tuple[Cache, Path] | None:
    """Find ranges of a bundle's float32 graph that were measured before, and their file.

    They are read from the file `given`; else, without overrides, from the bundle; else from an
    earlier calibration in the bundle or beside it, if it fits.

    Raises:
        LzuError: the file belongs to another model or has unusable ranges, or `with_overrides`
            refuses the overrides.
    """
    if given is not None:
        return _fitting(opened, given), given
    own = opened.folder / FILE
    if not overrides.options and FILE in opened.manifest.files:
        return _fitting(opened, opened.file(FILE)), own
    recipe = _of_all_layers(opened, overrides)
    for path in (own, _cache_path(opened.folder, recipe)):
        cache = find_ranges(recipe, opened.model, path)
        if cache is not None:
            return cache, path
    return None


def new_ranges(
    opened: Float32Bundle, overrides: CalibrationOverrides, report: Reporter
) -> tuple[Cache, Path]:
    """Measure ranges of all layers, and write them beside the bundle for later use.

    Raises:
        LzuError: as in `recalibrate`.
    """
    recipe = _of_all_layers(opened, overrides)
    path = _cache_path(opened.folder, recipe)
    cache = measure_ranges(recipe, opened.model, opened.lowerings, opened.warp, report)
    write_cache(path, cache)
    return cache, path


def beside(bundle: Path, ending: str) -> Path:
    """Return the path of a file beside a bundle, named after it."""
    return bundle.resolve().parent / f"{bundle.resolve().name}.int8.{ending}"


def _of_all_layers(opened: Float32Bundle, overrides: CalibrationOverrides) -> Recipe:
    """Return the recipe with overrides, with no layers excluded from INT8."""
    recipe = with_overrides(opened.recipe, overrides)
    return recipe.model_copy(
        update={"higher_precision": HigherPrecision(fp16=recipe.higher_precision.fp16)}
    )


def _cache_path(bundle: Path, recipe: Recipe) -> Path:
    return beside(bundle, f"{recipe.calibration.method}.{FILE}")


def _fitting(opened: Float32Bundle, path: Path) -> Cache:
    """Read ranges of this model and all its layers, measured on any frames."""
    cache = read_cache(path)
    check_cache(
        cache,
        path,
        model=graph_digest(opened.model),
        frames=cache.frames,
        method=cache.method,
        percentile=cache.percentile,
        tensors=calibrated_tensors(opened.model, HigherPrecision()),
    )
    return cache


def _lowerings(manifest: Manifest, model: onnx.ModelProto) -> dict[str, Kind]:
    """Return the bundle's lowerings for ONNX Runtime, or, if it has none, exact ones."""
    for engine in manifest.engines:
        if engine.target == DEFAULT_TARGET:
            return lowerings_by_place(engine.lowerings)
    return lowerings_by_place(exact_lowerings(model))


def _export_options(before: Recipe, now: Recipe, path: Path) -> list[str]:
    """Return the options with which an export of the bundle's recipe uses the file."""
    settings, old = now.calibration, before.calibration
    options = ["--ranges", str(path)]
    if settings.frames != old.frames:
        options += ["--calibration", str(settings.frames)]
    for name in ("count", "seed", "method", "percentile"):
        if getattr(settings, name) != getattr(old, name):
            options += ["--set", f"calibration.{name}={getattr(settings, name)}"]
    return options
