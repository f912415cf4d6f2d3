"""Files that other commands added to a bundle, which an export must keep.

An earlier export's precisions and targets are exported with those that are asked for. Files that
`derive` and `build` added are carried over where they were made from the same graph.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.manifest.schema import (
    Derived,
    Engine,
    Manifest,
    canonical_file,
    check_file,
    read_manifest,
)
from lzu_export.recipes import Recipe
from lzu_export.recipes.targets import exported_targets
from lzu_export.targets.base import PRECISIONS
from lzu_export.targets.registry import find, known


def there_before(final: Path) -> Manifest | None:
    """The bundle that stands where one is to be; None where there is none that can be read."""
    try:
        return read_manifest(final)
    except LzuError:
        return None


def with_those_of(recipe: Recipe, before: Manifest | None) -> Recipe:
    """The recipe with the precisions and targets, too, of the bundle in its place."""
    old = before.recipe if before is not None else recipe
    precision = tuple(each for each in PRECISIONS if each in {*recipe.precision, *old.precision})
    targets = tuple(each for each in exported_targets() if each in {*recipe.targets, *old.targets})
    return recipe.model_copy(update={"precision": precision, "targets": targets})


def check_additions(recipe: Recipe, asked: Recipe, final: Path) -> None:
    """Refuse where an export could not make again what the bundle in its place has.

    Args:
        recipe: see `with_those_of`.
        asked: what it was made of.
        final: the bundle.

    Raises:
        LzuError: INT8 lacks frames, or a target is not installed.
    """
    needs = ""
    if "int8" in set(recipe.precision) - set(asked.precision) and asked.calibration.frames is None:
        needs = "int8, whose ranges need frames: give them, too (--calibration, FRAMES)"
    for name in recipe.targets:
        if name not in asked.targets and find(name).version() is None:
            needs = f"engines for {name}: install it (pip install 'lzu-export[{find(name).extra}]')"
    if needs:
        raise LzuError(
            f"{final} has {needs}, or export into another folder (--out, OUT): this export would "
            "remove them"
        )


@dataclass
class CarriedOver:
    """What is taken from the bundle that stood there before."""

    changes: dict[str, Any] = field(default_factory=dict)
    """Of the manifest's fields."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 by name."""
    derive_again: list[str] = field(default_factory=list)
    """Precisions whose derived file is of another graph than the new one."""
    lost: list[str] = field(default_factory=list)
    """Engines that were built on a device from another graph than the new one."""


def added_engines(before: Manifest | None) -> list[Engine]:
    """Engines that were built on a device."""
    return [e for e in before.engines if _is_added(e.target)] if before is not None else []


def refuse_to_lose(before: Manifest | None, canonical: str, final: Path) -> None:
    """Refuse to replace a bundle whose engines were built on a device from another graph.

    Args:
        before: the bundle that stands there.
        canonical: sha256 of the new float32 graph.
        final: the bundle's folder.

    Raises:
        LzuError: there are such engines.
    """
    engines = added_engines(before)
    if before is not None and engines and before.files.get(canonical_file("fp32")) != canonical:
        listed = ", ".join(each.file for each in engines)
        raise LzuError(
            f"{final} holds {listed}, built on a device from another graph, which this export "
            "would remove; export into another folder (--out, OUT), or replace them with --force "
            "(FORCE=1) and build them again"
        )


def carry_over(before: Manifest | None, final: Path, new: Manifest, folder: Path) -> CarriedOver:
    """Copy what `derive` and `build` added to a bundle into the one that is to replace it.

    Args:
        before: the bundle that stands there.
        final: its folder.
        new: the manifest of the one that replaces it.
        folder: where that one grows.

    Raises:
        OSError: a file cannot be copied.
    """
    found = CarriedOver()
    if before is None:
        return found
    kept: list[Derived] = []
    for each in before.derived:
        name = canonical_file(each.precision)
        if each.precision not in new.graphs:
            continue  # `with_those_of` keeps all precisions
        if before.files.get(name) == new.files[name] and _copy(each.file, before, final, folder):
            kept.append(each)
        else:
            found.derive_again.append(each.precision)
    graphs = {each.file for each in kept}
    engines = []
    for engine in added_engines(before):
        if engine.onnx in graphs and _copy(engine.file, before, final, folder):
            engines.append(engine)
        else:
            found.lost.append(engine.file)
    names = [each.file for each in kept] + [each.file for each in engines]
    found.files = {name: before.files[name] for name in names}
    if kept:
        precisions = {each.precision for each in kept}
        parity = [d for d in before.parity if _is_added(d.target) and d.precision in precisions]
        found.changes = {
            "derived": tuple(kept),
            "engines": (*new.engines, *engines),
            "parity": (*new.parity, *parity),
            "plugins": before.plugins,
            "files": dict(sorted({**new.files, **found.files}.items())),
        }
    return found


def _copy(name: str, before: Manifest, final: Path, folder: Path) -> bool:
    """Copy a file unless it was changed."""
    try:
        path = check_file(final, name, before)
    except LzuError:
        return False
    shutil.copy2(path, folder / name)
    return True


def told(found: CarriedOver, final: Path) -> Sequence[str]:
    """What was lost in spite of all, and what makes it again."""
    if not found.lost:
        return []
    return [
        f"removed, as the model changed: {', '.join(found.lost)}; build them again on the device "
        f"(lzu-export build {final} --target tensorrt)"
    ]


def _is_added(target: str) -> bool:
    """Whether files of a target are added after an export; `emulated` rows are no target's."""
    return known(target) and not find(target).exported
