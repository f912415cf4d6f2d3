"""Select the engines of a bundle that go into an archive. Imports no torch."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Derived, Engine
from lzu_export.packing.archive import Content
from lzu_export.targets.base import Target


class Packed(NamedTuple):
    """Entries of an archive, before it is written."""

    entries: dict[str, Content]
    """Contents by name in the archive."""
    taken: frozenset[str]
    """Names of the bundle's files that the entries come from."""
    notes: tuple[str, ...]
    """Sentences on what the device needs besides."""


def engines_of(bundle: Bundle, target: Target, precision: str | None) -> list[Engine]:
    """Return a bundle's engines for a target, in some precisions or all; empty if none."""
    return [each for each in bundle.manifest.engines if _is(each, target, precision)]


def derived_of(bundle: Bundle, target: Target, precision: str | None) -> list[Derived]:
    """Return a bundle's derived files for a target, in some precisions or all; empty if none."""
    return [each for each in bundle.manifest.derived if _is(each, target, precision)]


def refuse_empty(
    bundle: Bundle, target: Target, precision: str | None, found: Sequence[Engine | Derived]
) -> None:
    """Refuse a selection without engines and files.

    Raises:
        LzuError: the selection is empty; the message lists the engines and files that exist.
    """
    if found:
        return
    there = ", ".join(f"{each.target} {each.precision}" for each in bundle.manifest.made) or "none"
    asked = f"{target.name} in {precision}" if precision else target.name
    raise LzuError(
        f"the bundle has nothing for {asked}; it has {there}; {_remedy(bundle, target, precision)}"
    )


def _remedy(bundle: Bundle, target: Target, precision: str | None) -> str:
    """Return what adds a target's engine or file in a precision to a bundle."""
    folder = shlex.quote(str(bundle.folder))
    if precision is not None and precision not in bundle.manifest.graphs:
        return f"choose one of those, or export in that precision (--precision {precision})"
    if target.exported:
        return f"export it for that target (--target {target.name})"
    if target.with_plugins == target.name:
        return f"build one first (lzu-export build {folder} --target {target.name} --plugins FILE)"
    return f"write the files first (lzu-export derive {folder})"


def _is(each: Engine | Derived, target: Target, precision: str | None) -> bool:
    return each.target == target.name and (precision is None or each.precision in precision.split())
