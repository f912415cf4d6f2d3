"""Settings of the results that a user chooses on opening a bundle, in place of the recipe's."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe


@dataclass(frozen=True)
class Choice:
    """Changes to the recipe's `postprocess`; None and False change nothing.

    `make_choice` checks them; predictors take only checked choices.
    """

    score_threshold: float | None = None
    """Lowest score of a detection, exclusive."""
    iou_threshold: float | None = None
    """Highest overlap of two detections, inclusive."""
    max_detections: int | None = None
    """Largest number of detections per frame."""
    class_agnostic: bool = False
    """Whether a detection also suppresses detections of other classes."""
    classes: Collection[str] | None = None
    """Names of the classes that are kept; others neither appear nor suppress."""

    def __bool__(self) -> bool:
        """Whether any setting differs from the recipe's."""
        return self != Choice()

    def settings(self, recipe: Any) -> dict[str, Any]:
        """Return the thresholds and the number of results: the chosen ones, else the recipe's."""
        names = ("score_threshold", "iou_threshold", "max_detections")
        chosen = {name: getattr(self, name) for name in names}
        return {
            name: getattr(recipe.postprocess, name) if value is None else value
            for name, value in chosen.items()
        }

    def labels(self, recipe: Recipe) -> NDArray[np.bool_] | None:
        """Return the mask (classes,) of the classes that are kept; None for all."""
        if self.classes is None:
            return None
        return np.array([name in self.classes for name in recipe.classes])


def make_choice(recipe: Recipe, asked: Choice) -> Choice:
    """Check a choice against a recipe's graph, and drop its values that equal the recipe's.

    Raises:
        LzuError: the task returns no detections, a value is out of range, a class is unknown, or
            more results are asked for than the graph has candidates.
    """
    if isinstance(asked.classes, str):
        raise LzuError(f"classes is the text {asked.classes!r}; give a list of names")
    choice = asked if asked.classes is None else replace(asked, classes=tuple(asked.classes))
    values = {each.name: getattr(choice, each.name) for each in fields(choice)}
    given = [name for name, value in values.items() if value is not None and value is not False]
    if not given:
        return choice
    if recipe.most_detections is None:
        raise LzuError(
            f"{given[0]} does not apply to task {recipe.task}, whose engine returns no "
            "detections to choose from; leave it out"
        )
    if (score := choice.score_threshold) is not None and not 0 <= score < 1:
        raise LzuError(f"score_threshold is {score}; give a number in [0, 1)")
    if (overlap := choice.iou_threshold) is not None and not 0 < overlap <= 1:
        raise LzuError(f"iou_threshold is {overlap}; give a number in (0, 1]")
    _check_most(choice.max_detections, recipe.most_detections)
    for name in choice.classes or ():
        if name not in recipe.classes and (recipe.classes or not name.isdecimal()):
            import difflib

            close = difflib.get_close_matches(name, recipe.classes, n=1)
            listed = ", ".join(recipe.classes) or "numbers instead of names, such as '0'"
            hint = f"did you mean {close[0]}?" if close else f"it has {listed}"
            raise LzuError(f"the bundle has no class {name!r}; {hint}")
    if choice.classes is not None and not choice.classes:
        raise LzuError("classes is empty, so nothing could be found; name at least one")
    own: Any = recipe.postprocess
    same: dict[str, Any] = {
        name: None
        for name in ("score_threshold", "iou_threshold", "max_detections")
        if getattr(choice, name) == getattr(own, name)
    }
    if choice.classes is not None and set(choice.classes) == set(recipe.classes):
        same["classes"] = None
    return replace(choice, **same)


def _check_most(most: int | None, held: int) -> None:
    """Refuse a number of results that is invalid or exceeds the graph's candidates."""
    if most is None:
        return
    if isinstance(most, bool) or most != int(most) or most < 1:
        raise LzuError(f"max_detections is {most}; give a positive whole number")
    if most > held:
        raise LzuError(
            f"max_detections is {most}, but the graph holds {held} candidates of a frame; lower "
            "it, or export with a larger postprocess.candidates_per_level"
        )


def missing_candidates(recipe: Any, scores: NDArray[np.floating], threshold: float) -> str | None:
    """Describe a score threshold that the graph's candidates do not reach; None if they do.

    Args:
        recipe: a recipe with `candidates` and `entries` of each level.
        scores: (K,) scores of one frame's candidates, level after level.
        threshold: lowest score that is asked for.
    """
    if len(scores) != sum(recipe.candidates):
        return None
    first = 0
    for number, (held, entries) in enumerate(zip(recipe.candidates, recipe.entries, strict=True)):
        lowest = float(scores[first : first + held].min())
        first += held
        if held < entries and lowest > threshold:
            return (
                f"score_threshold {threshold:g} is below what the graph holds: of level {number} "
                f"it hands over the best {held} of {entries} entries, down to a score of "
                f"{lowest:.2g}; raise it, or export with a larger postprocess.candidates_per_level"
            )
    return None
