"""Read a JSON file of a data set."""

import json
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.files import read_bytes

MOST_BYTES = 4 << 30
"""Size of the largest file that is read; COCO's own are below 500 MB, LVIS' below 1.2 GB."""


def read_json(path: Path) -> Any:
    """Parse a JSON file in UTF-8, 16 or 32, with or without a byte order mark.

    Raises:
        LzuError: the file is missing, unreadable, too large or no JSON.
    """
    try:
        return json.loads(read_bytes(path, limit=MOST_BYTES, remedy="give a JSON file"))
    except (ValueError, RecursionError) as error:
        raise LzuError(f"{path} is damaged, or no JSON ({error}); write it again") from error
    except MemoryError as error:
        raise LzuError(f"{path} does not fit into this machine's memory; split it") from error
