"""Recipe keys that had another name in an earlier release, and are still read."""

from typing import Any

from lzu_export.support.former_keys import with_todays_keys

FORMER = {
    "keep_high": "higher_precision",
    "tolerances.arrow": "tolerances.probe",
    "tolerances.regression.drift": "tolerances.regression.deviation",
}
"""Current dotted key by former dotted key."""


def todays_key(dotted: str) -> str:
    """Return the current dotted key of a former one, or of a key below it."""
    for before, now in FORMER.items():
        if f"{dotted}.".startswith(f"{before}."):
            return now + dotted.removeprefix(before)
    return dotted


def todays_recipe(data: Any) -> Any:
    """Return a recipe's plain data with the current keys.

    Raises:
        ValueError: a key is given under both names.
    """
    return with_todays_keys(data, FORMER)
