"""A fleet's folder: each board's result and engines, kept for the next time."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.fleet.messages import ENGINES, BoardEngine, Look, Request, Work
from lzu_export.fleet.rows import Row
from lzu_export.support.files import clear, make_folder, read_json, replacing, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.locking import holding

FILE = "board.json"
"""Name of the file with a board's row, in the folder of the board."""


def key_of(request: Request, look: Look) -> str:
    """Return the hash of everything that a board's result depends on; empty where unknown.

    It covers bundles and options, the board itself, its system, power mode and driver, and the
    releases of the target's library and of lzu_export.
    """
    if look.key is None:
        return ""
    parts = [look.key, look.machine, look.jetpack, look.version, look.lzu_export]
    text = json.dumps([request.model_dump(mode="json"), parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def damaged(work: Work, files: Mapping[str, bytes]) -> str:
    """Return a sentence on an engine that is missing or arrived damaged; empty if none is."""
    for each in work.engines:
        content = files.get(_place(each))
        if content is None or hashlib.sha256(content).hexdigest() != each.sha256:
            return f"its engine {each.file} arrived damaged; run the fleet again"
    return ""


def _place(engine: BoardEngine) -> str:
    return f"{ENGINES}/{engine.bundle}/{engine.file}"


class Results:
    """The folder of a fleet: `BOARD/board.json` and `BOARD/engines/BUNDLE/FILE`."""

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self.folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder, and hold it for one fleet.

        Raises:
            LzuError: another fleet writes there, or the folder cannot be written.
        """
        refusal = (
            f"another fleet writes to {self.folder}; wait until it is done, or name another "
            "folder (--out)"
        )
        with holding(self.folder / ".lock", f"the folder {self.folder}", refusal):
            yield

    def find(self, row: Row) -> Row | None:
        """Return a board's earlier row with the same key if it is done, and its engines are whole.

        Args:
            row: the board's row of now, with its key.
        """
        path = self.folder / row.folder / FILE
        if not row.key or not path.is_file():
            return None
        with suppress(LzuError, ValidationError):
            found = Row.model_validate(read_json(path))
            if found.key != row.key or found.status != "done" or found.work is None:
                return None
            for each in found.work.engines:
                place = path.parent / ENGINES / each.bundle / each.file
                if not place.is_file() or sha256(place) != each.sha256:
                    return None
            now = {"board": row.board, "tag": row.tag, "worker": row.worker, "host": row.host}
            return found.model_copy(update={**now, "stored": True, "sent_bytes": 0})
        return None

    def put(self, row: Row, files: Mapping[str, bytes]) -> None:
        """Write a board's row and engines; the row last, so that it never names what is not there.

        Args:
            row: row with a result.
            files: contents of the engines by `engines/BUNDLE/FILE`, which `damaged` has checked.

        Raises:
            LzuError: a file cannot be written.
        """
        assert row.work is not None, "only a result is stored"
        folder = self.folder / row.folder
        with readable_os_errors(f"the result of {row.board}"):
            make_folder(folder, below=self.folder)
            clear(folder / ENGINES)
            for each in row.work.engines:
                place = folder / ENGINES / each.bundle / each.file
                make_folder(place.parent, below=folder)
                with replacing(place) as new:
                    new.write_bytes(files[_place(each)])
            write_text(folder / FILE, row.model_dump_json(indent=2) + "\n")
