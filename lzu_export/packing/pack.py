"""Pack the part of a bundle that one target needs on its device into one archive. No torch."""

from pathlib import Path
from typing import Any, NamedTuple

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
from lzu_export.packing.archive import write_archive
from lzu_export.packing.deepstream_layout import deepstream_entries
from lzu_export.packing.device import device_entries
from lzu_export.packing.selection import Packed
from lzu_export.packing.triton import triton_entries
from lzu_export.targets.registry import DEFAULT_TARGET, find

LAYOUTS = {"bundle": DEFAULT_TARGET, "triton": DEFAULT_TARGET, "deepstream": "tensorrt"}
"""Default target by layout: a bundle, a model repository of Triton, a folder for DeepStream."""


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
    target: str | None = None,
    *,
    layout: str = "bundle",
    precision: str | None = None,
    out: Path | None = None,
    plugins: Path | None = None,
    verifiable: bool = False,
    to_build: bool = False,
) -> Archive:
    """Write an archive with only the files of a bundle that one target's device needs.

    The archive is an uncompressed tar. The same bundle and options give the same bytes: entries are
    sorted and their times, owners and modes are fixed.

    Args:
        bundle: folder that export made.
        target: name of the target; by default that of the layout.
        layout: `bundle` for `load`, see `device_entries`; `triton` for a Triton server, see
            `triton_entries`; `deepstream` for Gst-nvinfer, see `deepstream_entries`.
        precision: precision of the engines, or several separated by spaces; by default all.
        out: file to write; by default beside the bundle, named after bundle and target or layout.
        plugins: plugin library of the device, for the layout `bundle`.
        verifiable: also pack what `lzu-export verify` reads, for the layout `bundle`.
        to_build: pack what engines are built from instead of engines, for the layout `bundle`.

    Raises:
        LzuError: the folder is no bundle, a file was changed, the bundle has nothing for the
            target, the layout does not fit the bundle, or the archive cannot be written.
    """
    if layout not in LAYOUTS:
        raise LzuError(f"there is no format {layout}; choose one of {', '.join(LAYOUTS)}")
    opened, wanted = Bundle(bundle), find(target or LAYOUTS[layout])
    found: Packed
    if layout == "bundle":
        found = device_entries(
            opened, wanted, precision, verifiable=verifiable, plugins=plugins, to_build=to_build
        )
    else:
        if verifiable or plugins is not None:
            raise LzuError(
                f"--verifiable and --plugins are not for --format {layout}; leave it out"
            )
        make = triton_entries if layout == "triton" else deepstream_entries
        found = make(opened, wanted, precision)
    kind = wanted.name if layout == "bundle" else layout
    path = out or opened.folder.resolve().parent / f"{opened.folder.resolve().name}.{kind}.tar"
    sizes = write_archive(path, found.entries, opened.folder)
    there = set(opened.manifest.files) - set(opened.manifest.left_out)
    return Archive(
        path, sizes, tuple(sorted(there - found.taken)), bundle_bytes(opened), found.notes
    )


def bundle_bytes(bundle: Bundle) -> int:
    """Return the size in bytes of a bundle's files that are there, the manifest included."""
    paths = [bundle.folder / name for name in (MANIFEST_FILE, *bundle.manifest.files)]
    return sum(path.stat().st_size for path in paths if path.exists())
