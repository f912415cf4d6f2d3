"""The hash that a manifest carries of itself."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
"""Key of the manifest's own hash, see `seal`."""


def seal(data: Mapping[str, Any]) -> str:
    """The hash that a manifest carries of itself: sha256 of its other keys as canonical JSON.

    Canonical is: keys sorted, no blanks, nothing but ASCII. It finds accidents; who edits a
    manifest on purpose can write it anew.

    Raises:
        ValueError: a value is no JSON.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def manifest_text(data: Mapping[str, Any]) -> str:
    """What a manifest file holds: plain data of a manifest and its `seal`."""
    bare = {key: value for key, value in data.items() if key != SEAL}
    return json.dumps({**bare, SEAL: seal(bare)}, indent=2) + "\n"
