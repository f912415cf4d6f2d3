"""The file of a sweep: a recipe, the keys to vary, what to do with each point, how to rank."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lzu_export.errors import LzuError
from lzu_export.recipes.load import first_problem
from lzu_export.recipes.schema import FolderName, Section
from lzu_export.support.files.yaml_text import read_keys

Settings = dict[str, Any]
"""Values of recipe keys by dotted key, such as `{"warp.fwhm": 7}`."""
Work = Literal["export", "score", "time"]
By = Literal["accuracy", "time", "pareto"]
Direction = Literal["highest", "lowest"]


class Range(Section):
    """Numbers that `--search` chooses from."""

    low: int | float
    """Smallest number. If both ends are integers, integers are chosen."""
    high: int | float
    """Largest number."""
    log: bool = False
    """Whether numbers are chosen evenly on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}; change one")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 with log; raise it")
        return self

    @property
    def integers(self) -> bool:
        """Whether integers are chosen."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Rank(Section):
    """What the points are ranked by."""

    by: By
    """`accuracy`, `time`, or `pareto`: no other point is both more accurate and faster."""
    metric: str | None = None
    """Name of the accuracy's metric, such as `AP_small`; by default the task's own."""
    direction: Direction | None = None
    """Which end is better. By default the highest accuracy, and always the shortest time."""

    @model_validator(mode="after")
    def _consistent(self) -> "Rank":
        if self.by == "time" and self.metric is not None:
            raise ValueError("rank.metric belongs to accuracy, but rank.by is time; remove it")
        if self.by == "time" and self.direction == "highest":
            raise ValueError("rank.direction highest would rank the slowest first; remove it")
        return self


class Search(Section):
    """How `--search` chooses points."""

    seed: int = Field(0, ge=0)
    """Random seed: the same seed and results choose the same points."""
    at_once: int = Field(4, gt=0)
    """Number of points that are chosen together, before the results of any of them are known."""


class Sweep(Section):
    """A sweep: points of a matrix of recipe keys, what to do with them, and how to rank them."""

    name: FolderName | None = None
    """Name of the sweep's folder; by default that of the file."""
    recipe: str = Field(min_length=1)
    """Task, name of a shipped recipe, or path of a recipe."""
    matrix: dict[str, tuple[Any, ...] | Range] = Field({})
    """Values by recipe key. Every combination is a point."""
    exclude: tuple[Settings, ...] = ()
    """Parts of points. A point that has all values of one of them is left out."""
    include: tuple[Settings, ...] = ()
    """Further points, with any recipe keys."""
    set: Settings = Field({})
    """Recipe keys that are the same in all points."""
    do: tuple[Work, ...] = Field(("export", "score", "time"), min_length=1)
    """Work on each point. Every point is exported in any case."""
    rank: Rank | None = None
    """Order of the table; by default `pareto`, or whichever of accuracy and time is measured."""
    baseline: Settings | None = Field({"variant": "uniform"})
    """Point that the others are compared with, by the keys that differ from `set`; `null`: none."""
    search: Search = Field(default_factory=Search)

    @field_validator("matrix", mode="before")
    @classmethod
    def _values(cls, matrix: Any) -> Any:
        """Refuse what is no list of values, before pydantic's words about it."""
        if not isinstance(matrix, Mapping):
            raise ValueError("matrix must be recipe keys with lists of values; write it so")
        return {str(key): _matrix_values(key, values) for key, values in matrix.items()}

    @field_validator("rank", mode="before")
    @classmethod
    def _short_rank(cls, rank: Any) -> Any:
        """Take `rank: accuracy` for `rank: {by: accuracy}`."""
        return {"by": rank} if isinstance(rank, str) else rank

    @model_validator(mode="after")
    def _consistent(self) -> "Sweep":
        if not self.matrix and not self.include:
            raise ValueError("matrix has no keys and include no points; name a key to vary")
        both = sorted(set(self.matrix) & set(self.set))
        if both:
            raise ValueError(f"{both[0]} is in matrix and in set; keep it in one of them")
        for work, ranks in (("score", ("accuracy", "pareto")), ("time", ("time", "pareto"))):
            if self.rank is not None and self.rank.by in ranks and work not in self.do:
                raise ValueError(f"rank is by {self.rank.by}, which needs {work}; add it to do")
        if "time" in self.do and self.baseline is None:
            raise ValueError(
                "time is measured against the baseline, which is null; name one, or leave time out "
                "of do"
            )
        return self

    @property
    def scores(self) -> bool:
        """Whether accuracy is measured."""
        return "score" in self.do

    @property
    def times(self) -> bool:
        """Whether time is measured."""
        return "time" in self.do

    @property
    def ranked(self) -> Rank | None:
        """The order of the table; None if nothing is measured."""
        if self.rank is not None or not (self.scores or self.times):
            return self.rank
        both = self.scores and self.times
        return Rank(by="pareto" if both else "accuracy" if self.scores else "time")

    @property
    def ranges(self) -> dict[str, Range]:
        """The keys whose values only `--search` chooses."""
        return {key: each for key, each in self.matrix.items() if isinstance(each, Range)}


def _matrix_values(key: object, values: Any) -> tuple[Any, ...] | Range:
    """Return a key's values or range.

    Raises:
        ValueError: there are none, two are equal, or it is neither a list nor a range.
    """
    if isinstance(values, Range):
        return values
    if isinstance(values, Mapping):
        try:
            return Range.model_validate(values)
        except ValidationError as error:
            raise ValueError(f"matrix {key}: {first_problem(error, Range)}") from error
    if not isinstance(values, list | tuple):
        raise ValueError(
            f"matrix {key} is {told(values)} but must be a list, or a range of low and high; write "
            f"[{told(values)}]"
        )
    if not values:
        raise ValueError(f"matrix {key} has no values; list some, or remove the key")
    texts = [told(each) for each in values]
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"matrix {key} lists {text} twice; keep one")
    return tuple(values)


def told(value: Any) -> str:
    """Return a value of a recipe key as text; equal numbers are equal texts."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, float | int):
        return f"{value:.10g}"
    return json.dumps(value, default=str)


def read_sweep(path: Path) -> Sweep:
    """Read the file of a sweep.

    Raises:
        LzuError: the file is missing or no YAML, a key is unknown (the nearest known one is named)
            or a value is bad. The message names the file and the key.
    """
    if not path.is_file():
        raise LzuError(f"sweep file {path} does not exist; give a path that does")
    data = read_keys(path, "sweep", "name a recipe and a matrix of its keys")
    try:
        found = Sweep.model_validate(data)
    except ValidationError as error:
        raise LzuError(f"sweep {path}: {first_problem(error, Sweep)}") from error
    return found.model_copy(update={"name": found.name or path.stem})
