"""Unpack a bundle's archive: regular files in one folder, nothing else."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from lzu_export.errors import LzuError, readable_os_errors

MEMBERS = 1000
"""Largest number of files in an archive; a bundle has some twenty."""


def unpack(archive: Path, name: str, into: Path) -> Path:
    """Unpack an archive of `lzu-export pack` and return the bundle's folder.

    Args:
        archive: uncompressed tar.
        name: name of the bundle's folder in it.
        into: folder in which that folder is made.

    Raises:
        LzuError: the archive is damaged, or holds anything but regular files in that folder; or
            they cannot be written.
    """
    folder = into / name
    with readable_os_errors(f"the unpacked bundle {folder}"):
        folder.mkdir(parents=True)
        try:
            with tarfile.open(archive, "r:") as opened:
                for count, member in enumerate(opened, start=1):
                    _refuse_unfit(member, name, count)
                    source = opened.extractfile(member)
                    assert source is not None, "a regular file has content"
                    with (folder / PurePosixPath(member.name).name).open("xb") as target:
                        shutil.copyfileobj(source, target)
        except (tarfile.TarError, EOFError) as error:
            raise LzuError(f"the archive of {name} is damaged ({error}); pack it again") from error
        except FileExistsError as error:
            raise LzuError(f"the archive of {name} holds a file twice; pack it again") from error
    return folder


def _refuse_unfit(member: tarfile.TarInfo, name: str, count: int) -> None:
    """Refuse what `lzu-export pack` does not write, which may lead out of the folder.

    Raises:
        LzuError: the member is such a one.
    """
    parts = PurePosixPath(member.name).parts
    inside = len(parts) == 2 and parts[0] == name and parts[1] not in ("..", "/")
    if not inside or not member.isreg() or member.issparse() or count > MEMBERS:
        raise LzuError(
            f"the archive of {name} holds {member.name!r}, which is no file of a bundle; pack it "
            "again with lzu-export pack"
        )
