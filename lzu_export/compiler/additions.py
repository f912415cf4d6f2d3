"""Files that other commands added to a bundle, which an export must keep.

An earlier export's precisions and targets are exported with the requested ones. Files that
`derive` and `build` added are carried over where they were made from the same graph.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import (
    Derived,
    Engine,
    Manifest,
    canonical_file,
    read_manifest,
)
from lzu_export.recipes import Recipe
from lzu_export.recipes.targets import exported_targets
from lzu_export.support.checkout import option
from lzu_export.targets.base import PRECISIONS
from lzu_export.targets.registry import find, known


def there_before(final: Path) -> Manifest | None:
    """Return the manifest of the bundle at the output path; None where none can be read."""
    try:
        return read_manifest(final)
    except LzuError:
        return None


def with_those_of(recipe: Recipe, before: Manifest | None) -> Recipe:
    """Return the recipe with the precisions and targets of the bundle it replaces added."""
    old = before.recipe if before is not None else recipe
    precision = tuple(each for each in PRECISIONS if each in {*recipe.precision, *old.precision})
    targets = tuple(each for each in exported_targets() if each in {*recipe.targets, *old.targets})
    return recipe.model_copy(update={"precision": precision, "targets": targets})


def check_additions(recipe: Recipe, asked: Recipe, final: Path) -> None:
    """Refuse an export that cannot make again what the bundle it replaces has.

    Args:
        recipe: result of `with_those_of`.
        asked: the recipe without those additions.
        final: folder of the bundle that is replaced.

    Raises:
        LzuError: INT8 has no calibration frames, or a target is not installed.
    """
    needs = ""
    if "int8" in set(recipe.precision) - set(asked.precision) and asked.calibration.frames is None:
        needs = f"int8, whose ranges need frames: give them, too ({option('calibration')})"
    for name in recipe.targets:
        if name not in asked.targets and find(name).version() is None:
            needs = f"engines for {name}: install it (pip install 'lzu-export[{find(name).extra}]')"
    if needs:
        raise LzuError(
            f"{final} has {needs}, or export into another folder ({option('out')}): this export "
            "would remove them"
        )


@dataclass
class CarriedOver:
    """The files and manifest entries taken over from the bundle that is replaced."""

    changes: dict[str, Any] = field(default_factory=dict)
    """New values of the manifest's fields, by name."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the copied files, by name."""
    derive_again: list[Derived] = field(default_factory=list)
    """Derived files that were made from a graph other than the new one."""
    lost: list[Engine] = field(default_factory=list)
    """Engines that were added from a graph other than the new one."""


def added_engines(before: Manifest | None) -> list[Engine]:
    """Return the engines of a bundle that were built on a device."""
    return [e for e in before.engines if _is_added(e.target)] if before is not None else []


def refuse_to_lose(before: Manifest | None, canonical: str, final: Path) -> None:
    """Refuse to replace a bundle with engines that were built on a device from another graph.

    Args:
        before: manifest of the bundle that is replaced; None where there is none.
        canonical: SHA-256 of the new float32 graph.
        final: folder of the bundle.

    Raises:
        LzuError: there are such engines.
    """
    engines = added_engines(before)
    if before is not None and engines and before.files.get(canonical_file("fp32")) != canonical:
        listed = ", ".join(each.file for each in engines)
        raise LzuError(
            f"{final} holds {listed}, built on a device from another graph, which this export "
            f"would remove; export into another folder ({option('out')}), or replace "
            f"them with {option('force')} and build them again"
        )


def carry_over(before: Manifest | None, final: Path, new: Manifest, folder: Path) -> CarriedOver:
    """Copy the files that `derive` and `build` added to a bundle into the one that replaces it.

    Args:
        before: manifest of the bundle that is replaced; None where there is none.
        final: folder of the bundle that is replaced.
        new: manifest of the new bundle.
        folder: working folder of the new bundle.

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
            found.derive_again.append(each)
    graphs = {each.file for each in kept}
    engines = []
    for engine in added_engines(before):
        if engine.onnx in graphs and _copy(engine.file, before, final, folder):
            engines.append(engine)
        else:
            found.lost.append(engine)
    files = [each.file for each in kept] + [each.file for each in engines]
    found.files = {name: before.files[name] for name in files}
    if kept:
        names = {each.name for each in kept}
        parity = [each for each in before.parity if f"{each.target}/{each.precision}" in names]
        found.changes = {
            "derived": tuple(kept),
            "engines": (*new.engines, *engines),
            "parity": (*new.parity, *parity),
            "plugins": before.plugins,
            "files": dict(sorted({**new.files, **found.files}.items())),
        }
    return found


def _copy(name: str, before: Manifest, final: Path, folder: Path) -> bool:
    """Copy a file unless it was changed, and return whether it was copied."""
    try:
        path = Bundle(final, before).file(name)
    except LzuError:
        return False
    shutil.copy2(path, folder / name)
    return True


def told(found: CarriedOver, final: Path) -> Sequence[str]:
    """Return remarks on the engines that were lost, and the command that builds them again."""
    remarks = []
    for target in dict.fromkeys(each.target for each in found.lost):
        files = ", ".join(each.file for each in found.lost if each.target == target)
        remarks.append(
            f"removed, as the model changed: {files}; build them again "
            f"(lzu-export build {final} --target {target})"
        )
    return remarks


def _is_added(target: str) -> bool:
    """Return whether a target's files are added after an export; `emulated` is no target."""
    return known(target) and not find(target).exported
