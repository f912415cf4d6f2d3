"""Pack the bundles of a fleet: one archive each, named by its hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.fleet.messages import Request, Sent
from lzu_export.manifest.schema import Derived, Engine
from lzu_export.packing.pack import pack
from lzu_export.packing.selection import derived_of, engines_of, refuse_empty
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.base import PRECISIONS, Target
from lzu_export.targets.registry import find


@dataclass(frozen=True)
class Archived:
    """A packed bundle and its archive."""

    sent: Sent
    path: Path

    @cached_property
    def content(self) -> bytes:
        """The archive's bytes, read once for all boards."""
        return self.path.read_bytes()


def pack_bundles(
    bundles: Sequence[Path], target: str, precisions: Sequence[str], folder: Path
) -> tuple[list[Archived], tuple[str, ...]]:
    """Pack bundles with what boards need to build, verify and time their engines.

    Args:
        bundles: folders of bundles, with names of their own.
        target: target of the engines.
        precisions: precisions of the engines; empty for all that every bundle has.
        folder: folder of the archives.

    Returns:
        The archives in the order of the bundles, and the precisions.

    Raises:
        LzuError: two bundles have one name, a bundle has nothing for the target in a precision, or
            an archive cannot be written.
    """
    wanted, opened = find(target), [Bundle(each) for each in bundles]
    folders = [each.folder.resolve() for each in opened]
    for i, path in enumerate(folders):
        if path.name in [each.name for each in folders[:i]]:
            raise LzuError(
                f"two bundles are called {path.name}, and reports tell bundles by their names; "
                "rename one folder"
            )
    chosen = tuple(precisions) or _shared(opened, wanted)
    archived = []
    for bundle, path in zip(opened, folders, strict=True):
        for precision in chosen:
            refuse_empty(bundle, wanted, precision, _files(bundle, wanted, precision))
        packed = pack(
            path,
            target,
            precision=" ".join(chosen),
            out=folder / f"{path.name}.tar",
            verifiable=True,
            to_build=not wanted.exported,
        )
        sent = _sent(path.name, packed.path)
        archived.append(Archived(sent, packed.path))
    return archived, chosen


def request_of(
    archived: Sequence[Archived],
    target: str,
    precisions: tuple[str, ...],
    build: Sequence[str],
    timing: Sequence[str],
) -> Request:
    """Return the work for a board.

    Args:
        archived: packed bundles.
        target: target of the engines.
        precisions: their precisions.
        build: options of `lzu-export build`.
        timing: options of `python -m lzu_benchmarks.harness.latency`.

    Raises:
        LzuError: there are options for a build, and the bundles have the target's engines.
    """
    exported = find(target).exported
    if exported and build:
        raise LzuError(
            f"{build[0]} is for engines that the boards build, and a bundle has those of {target}; "
            "leave it out"
        )
    return Request(
        bundles=tuple(each.sent for each in archived),
        target=target,
        precisions=precisions,
        build=None if exported else tuple(build),
        timing=tuple(timing),
    )


def _sent(name: str, archive: Path) -> Sent:
    """Describe an archive.

    Raises:
        LzuError: the bundle's folder has a name that boards refuse.
    """
    try:
        return Sent(name=name, sha256=sha256(archive), bytes=archive.stat().st_size)
    except ValidationError as error:
        raise LzuError(
            f"the bundle's folder is called {name!r}, and boards take names of the letters a to z, "
            "digits and ._+- alone; rename it"
        ) from error


def _files(
    bundle: Bundle, target: Target, precision: str | None
) -> Sequence[Engine] | Sequence[Derived]:
    if target.exported:
        return engines_of(bundle, target, precision)
    return derived_of(bundle, target, precision)


def _shared(bundles: Sequence[Bundle], target: Target) -> tuple[str, ...]:
    """Return the precisions that every bundle has for a target.

    Raises:
        LzuError: there are none.
    """
    there = []
    for bundle in bundles:
        files = _files(bundle, target, None)
        refuse_empty(bundle, target, None, files)
        there.append({each.precision for each in files})
    shared = tuple(each for each in PRECISIONS if all(each in one for one in there))
    if not shared:
        raise LzuError(
            f"the bundles share no precision for {target.name}; give bundles of one precision, or "
            "write those that are missing with lzu-export derive"
        )
    return shared
