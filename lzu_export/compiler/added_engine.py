"""Entries in a bundle's manifest of engines that are built after the export. Needs no torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import Derived, Engine, Manifest, Tensor
from lzu_export.runtime.plugin_library import describe_library, find_library
from lzu_export.targets.base import PRECISIONS
from lzu_export.targets.tensorrt.plan import BuiltEngine


def find_derived(manifest: Manifest, target: str, precision: str | None) -> Derived | None:
    """Return a bundle's file for a target, in the highest precision there is by default.

    Args:
        manifest: manifest of the bundle.
        target: name of the target.
        precision: precision of the file; None for the highest there is.

    Returns:
        The file's entry; None where there is no such file.
    """
    found = [each for each in manifest.derived if each.target == target]
    found = [each for each in found if precision in (None, each.precision)]
    return min(found, key=lambda each: PRECISIONS.index(each.precision), default=None)


def describe_engine(
    derived: Derived, built: BuiltEngine, name: str, file: Path, seconds: float
) -> Engine:
    """Return the entry of an engine.

    Args:
        derived: entry of the ONNX file that it was built from.
        built: result of the build.
        name: name of the engine's file in the bundle.
        file: the file as it is now.
        seconds: duration of the build.
    """
    return Engine(
        target=derived.target,
        precision=derived.precision,
        file=name,
        onnx=derived.file,
        version=built.version,
        compute_capabilities=built.compute_capabilities,
        inputs=tuple(Tensor(**asdict(each)) for each in built.inputs),
        outputs=tuple(Tensor(**asdict(each)) for each in built.outputs),
        lowerings=derived.lowerings,
        passes=derived.passes,
        build_seconds=seconds,
        bytes=file.stat().st_size,
    )


def add_engine(bundle: Bundle, entry: Engine, library: Path | None) -> None:
    """Add an engine to a bundle's manifest, in place of an earlier one of the same file.

    Where the bundle names no plugin library yet, the one used here is recorded.

    Args:
        bundle: opened bundle, whose folder has the engine's file.
        entry: entry of the engine.
        library: plugin library that was named; None for the one that is found.

    Raises:
        LzuError: the bundle calls plugins and there is no library.
        OSError: the manifest cannot be written.
    """
    manifest = bundle.manifest
    kept = [each for each in manifest.engines if each.file != entry.file]
    others = [each for each in kept if each.target != entry.target]
    mine = [*(each for each in kept if each.target == entry.target), entry]
    mine.sort(key=lambda each: PRECISIONS.index(each.precision))
    changes: dict[str, Any] = {"engines": (*others, *mine)}
    plugins = manifest.plugins
    if plugins is not None and plugins.library is None:  # `derive` had no library
        known = describe_library(find_library(library, bundle.folder))
        changes["plugins"] = plugins.model_copy(update={"library": known})
    bundle.rewrite([entry.file], changes)
