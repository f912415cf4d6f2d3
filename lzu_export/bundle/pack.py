"""Pack the part of a bundle that one target needs on its device into one archive. No torch."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lzu_export.bundle.bundle import WARP_FILE, WARP_TENSORS, Bundle
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
from lzu_export.manifest.schema import FORMAT, Derived, Engine, Manifest
from lzu_export.manifest.seal import manifest_text
from lzu_export.runtime.plugin_library import VARIABLE, describe_library
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.support.files import replacing
from lzu_export.targets.base import Target
from lzu_export.targets.registry import find

SMALL = ("labels.txt", "recipe.yaml", WARP_FILE)
"""Files that go into every archive, besides the manifest."""
Content = Path | bytes
"""Content of an archive's entry, or the file that has it."""


class Archive(NamedTuple):
    """An archive that `pack` wrote."""

    path: Path
    files: dict[str, int]
    """Size in bytes by name within the archive, in the order of the archive."""
    left_out: tuple[str, ...]
    """Names of the bundle's files that are not in it."""
    bundle_bytes: int
    """Size of the bundle's files in bytes, the manifest included."""
    notes: tuple[str, ...]
    """Sentences on what the device needs besides."""

    @property
    def bytes(self) -> int:
        """Size of the archive in bytes."""
        return self.path.stat().st_size

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "archive": str(self.path),
            "bytes": self.bytes,
            "files": self.files,
            "left_out": self.left_out,
            "bundle_bytes": self.bundle_bytes,
            "notes": self.notes,
        }


def pack(
    bundle: str | Path,
    target: str,
    *,
    precision: str | None = None,
    out: Path | None = None,
    plugins: Path | None = None,
    verifiable: bool = False,
) -> Archive:
    """Write an archive of a bundle with only the files that one target's device needs.

    The archive is an uncompressed tar with one folder, named after the bundle's. The same bundle
    and options give the same bytes: entries are sorted and their times, owners and modes are fixed.
    Unpacked, the folder is a bundle that `load` opens with this target.

    A target whose engines are built on the device contributes its engines; if the bundle has none,
    the ONNX files that they are built from, and the reference that a new engine is run on.

    Args:
        bundle: folder that export made.
        target: name of the target.
        precision: precision of the engines; by default all.
        out: file to write; by default beside the bundle, named after bundle and target.
        plugins: plugin library of the device, which is put beside the folder.
        verifiable: also pack the reference and the graphs that `lzu-export verify` reads.

    Raises:
        LzuError: the folder is no bundle, a file was changed, the bundle has nothing for the
            target, the library is not the bundle's, or the archive cannot be written.
    """
    opened, wanted = Bundle(bundle), find(target)
    made = packed_engines(opened, wanted, precision)
    notes = _check_plugins(opened.manifest, wanted, plugins)
    names = _needed(opened.manifest, made, verifiable)
    manifest = _pruned(opened.manifest, made, names)
    folder = opened.folder.resolve().name
    entries: dict[str, Content] = {
        f"{folder}/{MANIFEST_FILE}": manifest_text(manifest.model_dump(mode="json")).encode(),
        **{f"{folder}/{name}": opened.file(name) for name in names},
    }
    if plugins is not None:
        entries[plugins.name] = plugins
    path = out or opened.folder.resolve().parent / f"{folder}.{target}.tar"
    sizes = write_archive(path, entries, opened.folder)
    if not any(isinstance(each, Engine) for each in made):
        notes.append(
            f"the bundle has no engine for {target} yet: build one on the device (lzu-export build "
            f"{folder} --target {target})"
        )
    left_out = tuple(name for name in manifest.left_out if name not in opened.manifest.left_out)
    return Archive(path, sizes, left_out, bundle_bytes(opened), tuple(notes))


def packed_engines(
    bundle: Bundle, target: Target, precision: str | None = None
) -> list[Engine | Derived]:
    """Return the entries of a bundle that a target's device needs: engines, else derived files.

    Raises:
        LzuError: the bundle has neither; the message lists the engines and files that exist.
    """
    for entries in (bundle.manifest.engines, bundle.manifest.derived):
        found = [each for each in entries if each.target == target.name]
        if kept := [each for each in found if precision in (None, each.precision)]:
            return list(kept)
    there = ", ".join(f"{each.target} {each.precision}" for each in bundle.manifest.made) or "none"
    asked = f"{target.name} in {precision}" if precision else target.name
    remedy = (
        f"export it for that target (--target {target.name})"
        if target.exported
        else f"write the files first (lzu-export derive {bundle.folder})"
    )
    raise LzuError(f"the bundle has nothing for {asked}; it has {there}; {remedy}")


def write_archive(path: Path, entries: Mapping[str, Content], bundle: Path) -> dict[str, int]:
    """Write a tar of files and bytes, whose bytes follow from names and contents alone.

    Args:
        path: file to write; it is complete or absent.
        entries: contents, or the file with the contents, by name in the archive.
        bundle: folder of the bundle, which must not hold the archive.

    Returns:
        Sizes in bytes by name, in the order of the archive.

    Raises:
        LzuError: the archive cannot be written, or would lie in the bundle.
    """
    if bundle.resolve() in path.resolve().parents:
        raise LzuError(f"{path} lies in the bundle that is packed; name another place (--out)")
    sizes: dict[str, int] = {}
    with (
        readable_os_errors(str(path)),
        replacing(path, named=True) as new,
        tarfile.open(new, "w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(entries):
            sizes[name] = _add(archive, name, entries[name])
    return sizes


def _add(archive: tarfile.TarFile, name: str, content: Content) -> int:
    entry = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return entry.size
    with content.open("rb") as stream:
        entry.size = content.stat().st_size
        archive.addfile(entry, stream)
    return entry.size


def bundle_bytes(bundle: Bundle) -> int:
    """Return the size in bytes of a bundle's files that are there, the manifest included."""
    paths = [bundle.folder / name for name in (MANIFEST_FILE, *bundle.manifest.files)]
    return sum(path.stat().st_size for path in paths if path.exists())


def _needed(
    manifest: Manifest, made: Sequence[Engine | Derived], verifiable: bool
) -> tuple[str, ...]:
    """Return the names of the files to pack, sorted, without the manifest."""
    names = {*SMALL, *(each.file for each in made)}
    if WARP_TENSORS in manifest.files:
        names.add(WARP_TENSORS)
    if any(isinstance(each, Derived) for each in made):
        names.add(REFERENCE_FILE)
    if verifiable:
        names |= {REFERENCE_FILE, *(each.onnx for each in made)}
        names |= {manifest.graphs[each.precision].file for each in made}
    return tuple(sorted(names))


def _pruned(manifest: Manifest, made: Sequence[Engine | Derived], names: Sequence[str]) -> Manifest:
    """Return the manifest of the packed bundle: other engines are gone, every hash stays."""
    return manifest.model_copy(
        update={
            "format": FORMAT,
            "engines": tuple(each for each in made if isinstance(each, Engine)),
            "derived": tuple(each for each in made if isinstance(each, Derived)),
            "left_out": tuple(sorted(set(manifest.files) - set(names))),
        }
    )


def _check_plugins(manifest: Manifest, target: Target, library: Path | None) -> list[str]:
    """Check a plugin library against the bundle, and return a note on the device's need for it.

    Raises:
        LzuError: the file is no plugin library, is not the bundle's, or the target takes none.
    """
    called = manifest.plugins if target.dialect.plugins else None
    if library is not None:
        if not target.on_device:
            raise LzuError(f"{target.title} takes no plugin library; leave --plugins out")
        found, known = describe_library(library), called and called.library
        if known and found.sha256 != known.sha256:
            raise LzuError(
                f"{library} is not the {known.file} that the bundle was made for; name that one, "
                "or derive the bundle's graph for this library (lzu-export derive BUNDLE --plugins "
                "FILE)"
            )
        return [f"on the device set {VARIABLE} to the path of {library.name}"]
    if called:
        names = ", ".join(each.name for each in called.operators)
        return [f"the engine calls {names}: the device needs the plugin library (--plugins FILE)"]
    if target.on_device and manifest.recipe.input == "zoomed":
        return ["the GPU zooms only with the plugin library (--plugins FILE), else the processor"]
    return []
