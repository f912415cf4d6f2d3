"""Find layers by name or pattern, and suggest the nearest name."""

import difflib
import fnmatch
from collections.abc import Mapping, Sequence

from lzu_export.errors import LzuError


def matching(patterns: Sequence[str], names: Mapping[str, Sequence[str]], key: str) -> list[str]:
    """Return the keys of `names` any of whose names match a pattern, in the order of `names`.

    Args:
        patterns: names, or patterns with `*` and `?`.
        names: the names of each node.
        key: the recipe's key that holds the patterns, for the error.

    Raises:
        LzuError: a pattern matches nothing; the message names the nearest.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = {
            node for node, own in names.items() if any(fnmatch.fnmatchcase(n, pattern) for n in own)
        }
        if not hits:
            known = sorted({own[0] for own in names.values() if own})
            close = difflib.get_close_matches(pattern.replace("*", ""), known, n=1, cutoff=0.3)
            hint = f"did you mean {close[0]}?" if close else "see `lzu-export inspect` for layers"
            raise LzuError(f"{key} names {pattern}, which matches no layer; {hint}")
        found |= hits
    return [node for node in names if node in found]
