"""Read a JSON file of a data set."""

import json
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError

MOST_BYTES = 4 << 30
"""Size of the largest file that is read; COCO's own are below 500 MB, LVIS' below 1.2 GB."""


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file in UTF-8, 16 or 32, with or without a byte order mark.

    Args:
        path: the file.
        what: its role in a sentence, such as `saliency`; may be empty.

    Raises:
        LzuError: the file is missing, unreadable, too large or no JSON.
    """
    name = f"{what} {path}".strip()
    try:
        if path.exists() and not path.is_file():
            raise LzuError(f"{name} is no regular file; give a JSON file")
        if path.stat().st_size > MOST_BYTES:
            raise LzuError(f"{name} is over {MOST_BYTES >> 30} GiB; split it")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LzuError(f"{name} cannot be read ({error.strerror}); check it") from error
    except (ValueError, RecursionError) as error:
        raise LzuError(f"{name} is damaged, or no JSON ({error}); write it again") from error
    except MemoryError as error:
        raise LzuError(f"{name} does not fit into this machine's memory; split it") from error
