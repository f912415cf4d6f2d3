"""Match the class names of a data set with those of a recipe."""

from collections.abc import Iterable, Sequence

from lzu_export.errors import LzuError


def match_classes(
    name: str, own: Sequence[str], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Map a data set's classes to their places in a recipe.

    Names are compared without case; spaces and hyphens count as underscores.

    Args:
        name: name of the set in error messages, such as `the evaluation set val.json`.
        own: classes of the set.
        wanted: classes of the recipe; the set's own if None.

    Returns:
        The classes in the recipe's order, and the place among them of each class in `own`.

    Raises:
        LzuError: the recipe has other classes.
    """
    if wanted is None:
        return tuple(own), list(range(len(own)))
    places = {plain(each): i for i, each in enumerate(wanted)}
    names = [plain(each) for each in own]
    if len(own) != len(wanted) or set(names) != set(places) or len(places) < len(wanted):
        raise LzuError(different_classes(name, own, wanted))
    return tuple(wanted), [places[each] for each in names]


def different_classes(name: str, own: Sequence[str], wanted: Sequence[str]) -> str:
    """Error message for a set `name` whose classes differ from the recipe's."""
    return f"{name} has the classes {_all(own)} but the recipe {_all(wanted)}; make them equal"


def plain(name: str) -> str:
    """Normalize a class name: lower case, with underscores for spaces and hyphens."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def listed(values: Iterable[object]) -> str:
    """Join the first three of several values for a message."""
    every = [str(each) for each in values]
    return ", ".join(every[:3]) + (", ..." if len(every) > 3 else "")


def _all(names: Sequence[str]) -> str:
    """Join class names for a message, at most the first 100."""
    most = 100
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
