"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside a file to write to; at the end it takes the file's place in one rename.

    Readers see the old file or the new one, never a part, and of several writers the last one's.
    After an error the old one stays and nothing remains of the new one. What is no file, such as a
    pipe, is written to itself; behind a link it is the file that is replaced.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    file = path.resolve()
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}.new")
    try:
        yield new
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, see `replacing`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
