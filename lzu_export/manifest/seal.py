"""The hash that a manifest contains of its own data."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
"""Key of the manifest's own hash, see `seal`."""


def seal(data: Mapping[str, Any]) -> str:
    """Return the hash that a manifest contains of itself: SHA-256 of its other keys as JSON.

    The JSON is canonical: sorted keys, no blanks, only ASCII. The hash detects accidental changes;
    anyone who edits a manifest on purpose can compute it again.

    Raises:
        ValueError: a value cannot be written as JSON.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def manifest_text(data: Mapping[str, Any]) -> str:
    """Return the text of a manifest file: the manifest's plain data and its `seal`."""
    bare = {key: value for key, value in data.items() if key != SEAL}
    return json.dumps({**bare, SEAL: seal(bare)}, indent=2) + "\n"
