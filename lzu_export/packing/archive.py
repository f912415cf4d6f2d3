"""Write archives whose bytes follow from names and contents alone. Imports no torch."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.files import replacing

Content = Path | bytes
"""Content of an archive's entry, or the file that has it."""


def write_archive(path: Path, entries: Mapping[str, Content], bundle: Path) -> dict[str, int]:
    """Write an uncompressed tar with sorted entries and fixed times, owners and modes.

    Args:
        path: file to write; it is complete or absent.
        entries: contents, or the file with the contents, by name in the archive.
        bundle: folder of the bundle, which must not hold the archive.

    Returns:
        Sizes in bytes by name, in the order of the archive.

    Raises:
        LzuError: the archive cannot be written, would lie in the bundle, or would replace a file
            that is no archive.
    """
    if bundle.resolve() in path.resolve().parents:
        raise LzuError(f"{path} lies in the bundle that is packed; name another place (--out)")
    sizes: dict[str, int] = {}
    with readable_os_errors(str(path)):
        if path.is_file() and path.stat().st_size and not tarfile.is_tarfile(path):
            raise LzuError(f"{path} is no archive and stays as it is; name another place (--out)")
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
