"""Match the class names of a data set with a recipe's."""

from collections.abc import Iterable, Sequence

from lzu_export.errors import LzuError


def match_classes(
    name: str, own: Sequence[str], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Find the classes that a set's labels count, in the order of a recipe's.

    Names are equal but for capitals, and spaces and hyphens where others have underscores.

    Args:
        name: what the set is called in a sentence, such as `the evaluation set val.json`.
        own: its classes.
        wanted: the recipe's; the set's own if None.

    Returns:
        The classes, and the place among them of each of `own`.

    Raises:
        LzuError: the recipe has others.
    """
    if wanted is None:
        return tuple(own), list(range(len(own)))
    places = {plain(each): i for i, each in enumerate(wanted)}
    names = [plain(each) for each in own]
    if len(own) != len(wanted) or set(names) != set(places) or len(places) < len(wanted):
        raise LzuError(different_classes(name, own, wanted))
    return tuple(wanted), [places[each] for each in names]


def different_classes(name: str, own: Sequence[str], wanted: Sequence[str]) -> str:
    """The sentence on a set `name` of other classes than a recipe's."""
    return f"{name} has the classes {_all(own)} but the recipe {_all(wanted)}; make them equal"


def plain(name: str) -> str:
    """A class name without what makes no difference."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def listed(values: Iterable[object]) -> str:
    """The first three of several values, for a sentence."""
    every = [str(each) for each in values]
    return ", ".join(every[:3]) + (", ..." if len(every) > 3 else "")


def _all(names: Sequence[str]) -> str:
    """Class names for a sentence; of very many the first ones."""
    most = 100
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
