"""Rewrite archives so that equal contents are equal bytes: `same_bytes.py FILE...`.

Names are sorted, times are SOURCE_DATE_EPOCH, owners are 0, and a mode keeps only the right to
execute. The contents stay, so a wheel's RECORD stays valid.
"""

import gzip
import io
import os
import sys
import tarfile
import time
import zipfile
from pathlib import Path

FIRST_OF_ZIP = 315532800
"""The earliest time in seconds that a zip file can hold: 1 January 1980."""


def mode(stored: int) -> int:
    """Return 0o755 for what its owner may execute, else 0o644."""
    return 0o755 if stored & 0o100 else 0o644


def rewrite_wheel(path: Path, epoch: int) -> None:
    """Rewrite a zip file in place."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for info in sorted(old.infolist(), key=lambda each: each.filename):
            entry = zipfile.ZipInfo(info.filename, time.gmtime(max(epoch, FIRST_OF_ZIP))[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whose modes follow
            entry.external_attr = (0o100000 | mode(info.external_attr >> 16)) << 16
            new.writestr(entry, old.read(info))
    path.write_bytes(made.getvalue())


def rewrite_tar(path: Path, epoch: int) -> None:
    """Rewrite a gzipped tar file in place."""
    made = io.BytesIO()
    with (
        tarfile.open(path) as old,
        gzip.GzipFile("", "wb", fileobj=made, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for info in sorted(old.getmembers(), key=lambda each: each.name):
            entry = tarfile.TarInfo(info.name)
            entry.mtime, entry.mode = epoch, mode(info.mode)
            if info.isdir():
                entry.type = tarfile.DIRTYPE
                new.addfile(entry)
                continue
            # A hard link becomes a file: which of two names is the link depends on the machine.
            content = old.extractfile(info).read()
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))
    path.write_bytes(made.getvalue())


def main() -> None:
    """Rewrite the wheels and source distributions that the command line names."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in map(Path, sys.argv[1:]):
        (rewrite_wheel if path.suffix == ".whl" else rewrite_tar)(path, epoch)


if __name__ == "__main__":
    main()
