"""Points of a sweep: the matrix's combinations as recipes and commands, checked before any job."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import absolute_paths, overridden, override, read_recipe
from lzu_export.recipes.tasks import TASKS
from lzu_export.sweep.schema import Settings, Sweep, told

LISTS = ("precision", "targets")
"""Recipe keys that are lists, of which a matrix may name single values."""
BASELINE = "baseline"
DIGITS = 12
"""Number of digits of the SHA-256 in the name of a point's folder."""


@dataclass(frozen=True)
class Point:
    """One export of a sweep."""

    settings: Settings
    """Values of the keys that tell it from the other points, as the sweep's file has them."""
    overrides: Settings
    """Values of all keys that differ from the recipe's file, with absolute paths."""
    recipe: Recipe

    @property
    def name(self) -> str:
        """The settings in one line."""
        return line(self.settings) or BASELINE

    @property
    def folder(self) -> str:
        """Name of its folder of bundles, which follows from the values alone."""
        text = json.dumps(self.overrides, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class Points:
    """Makes the points of a sweep, from one reading of its recipe."""

    def __init__(self, sweep: Sweep, path: Path) -> None:
        """Read the sweep's recipe.

        Args:
            sweep: the sweep.
            path: path of its file, which relative paths in it belong to.

        Raises:
            LzuError: there is no such recipe.
        """
        self.sweep, self.path = sweep, path
        beside = path.parent / sweep.recipe
        is_file = Path(sweep.recipe).suffix in (".yaml", ".yml") and sweep.recipe not in TASKS
        self.recipe = str(beside.resolve()) if is_file and beside.is_file() else sweep.recipe
        """Recipe as a command names it: task, shipped recipe or absolute path."""
        with self._named(""):
            self._data, self._recipe_path = read_recipe(self.recipe)

    def point(self, settings: Settings, where: str = "") -> Point:
        """Return the point with these values of keys.

        Args:
            settings: values by recipe key.
            where: place in the sweep's file, for messages; by default the settings.

        Raises:
            LzuError: the recipe refuses a key or a value, or has no weights for the point.
        """
        try:
            return self._point(settings)
        except LzuError as error:
            blamed = "set" if self._is_set_refused(str(error)) else where or line(settings)
            with self._named(blamed):
                raise

    def _point(self, settings: Settings) -> Point:
        overrides = self._overrides({**self.sweep.set, **settings})
        recipe = overridden(self._data, self._recipe_path, overrides)
        if recipe.checkpoint.get(recipe.variant) is None and recipe.random_weights is None:
            raise LzuError(
                f"the recipe has no checkpoint for the variant {recipe.variant}; give one by "
                "the key checkpoint, or random_weights to time an untrained network"
            )
        return Point(settings, overrides, recipe)

    def _is_set_refused(self, sentence: str) -> bool:
        """Return whether `set` alone is refused with the same sentence, whatever the point."""
        try:
            self._point({})
        except LzuError as error:
            return bool(self.sweep.set) and str(error) == sentence
        return False

    def baseline(self) -> Point | None:
        """Return the point that the others are compared with; None if there is none.

        Raises:
            LzuError: the recipe refuses it.
        """
        keys = self.sweep.baseline
        if keys is None:
            return None
        return self.point(keys, "baseline (which may be null, for none)")

    def grid(self) -> list[Point]:
        """Return the points of the matrix without the excluded ones, and the included ones.

        Raises:
            LzuError: a key has a range, an exclusion names a key outside the matrix or fits no
                point, all points are excluded, two points are the same export, or the recipe
                refuses one.
        """
        if self.sweep.ranges:
            key, span = next(iter(self.sweep.ranges.items()))
            raise LzuError(
                f"sweep {self.path}: matrix {key} is a range from {span.low:g} to {span.high:g}, "
                "which only a search chooses from; give --search N, or list values"
            )
        self.check_exclusions()
        matrix: dict[str, Any] = self.sweep.matrix
        every = [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]
        kept = [each for each in every if not self.excluded(each)] if matrix else []
        for partial in self.sweep.exclude:
            if not any(_fits(partial, each) for each in every):
                raise LzuError(
                    f"sweep {self.path}: exclude {line(partial)} fits no point; remove it"
                )
        settings = [*kept, *self.sweep.include]
        if not settings:
            raise LzuError(f"sweep {self.path}: exclude leaves no point; remove an exclusion")
        points = [self.point(each) for each in settings]
        self._refuse_equal(points)
        return points

    def check_exclusions(self) -> None:
        """Refuse exclusions that name a key outside the matrix.

        Raises:
            LzuError: one does; the message names the nearest key.
        """
        for partial in self.sweep.exclude:
            for key in partial:
                if key not in self.sweep.matrix:
                    close = difflib.get_close_matches(key, self.sweep.matrix, n=1, cutoff=0.4)
                    hint = f"did you mean {close[0]}?" if close else "add it there, or remove it"
                    raise LzuError(
                        f"sweep {self.path}: exclude names {key}, which is not in matrix; {hint}"
                    )
            if not partial:
                raise LzuError(f"sweep {self.path}: exclude has an empty entry; remove it")

    def excluded(self, settings: Settings) -> bool:
        """Return whether an exclusion fits a point."""
        return any(_fits(partial, settings) for partial in self.sweep.exclude)

    def command(self, point: Point, out: Path) -> tuple[str, ...]:
        """Return the words after `lzu-export` that export a point into a folder of bundles."""
        words = ["export", self.recipe, "--variant", point.recipe.variant]
        for key, value in point.overrides.items():
            if key != "variant":
                words += ["--set", f"{key}={_yaml(value)}"]
        return (*words, "--out", str(out))

    def _overrides(self, given: Settings) -> Settings:
        """Return settings as recipe keys: lists where keys are lists, absolute paths."""
        values = dict(given)
        for key in LISTS:
            if isinstance(values.get(key), str):
                values[key] = [values[key]]
        if isinstance(values.get("checkpoint"), str):
            variant = values.get("variant", self._data.get("variant", "fixed"))
            values["checkpoint"] = {variant: values["checkpoint"]}
        if not self.sweep.scores:
            values["evaluation.dataset"] = None
        return {key: self._absolute(key, value) for key, value in values.items()}

    def _absolute(self, key: str, value: Any) -> Any:
        nested: Any = {}
        override(nested, key, value)
        absolute_paths(nested, self.path.parent.resolve())
        for part in key.split("."):
            nested = nested.get(part, value)
            if not isinstance(nested, dict):
                break
        return nested

    def _refuse_equal(self, points: Iterable[Point]) -> None:
        seen: dict[str, Point] = {}
        for each in points:
            text = each.recipe.model_dump_json()
            if text in seen:
                raise LzuError(
                    f"sweep {self.path}: the points {seen[text].name} and {each.name} are the same "
                    "export; remove one"
                )
            seen[text] = each

    def _named(self, point: str) -> "_Named":
        return _Named(f"sweep {self.path}" + (f", {point}" if point else ""))


class _Named:
    """A context that begins the sentence of an error with its place in the sweep."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LzuError):
            raise LzuError(f"{self._where}: {error}") from error


def varied(points: Iterable[Point]) -> list[str]:
    """Return the keys in which points differ, in the order of the sweep's file."""
    settings = [each.settings for each in points]
    keys = dict.fromkeys(key for each in settings for key in each)
    missing = object()

    def values(key: str) -> Iterator[str]:
        return (told(each[key]) if key in each else repr(missing) for each in settings)

    return [key for key in keys if len(set(values(key))) > 1] or list(keys)


def _fits(partial: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(key in settings and told(settings[key]) == told(partial[key]) for key in partial)


def line(settings: Mapping[str, Any]) -> str:
    """Return settings in one line."""
    return ", ".join(f"{key} {told(value)}" for key, value in settings.items())


def _yaml(value: Any) -> str:
    """Return a value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
