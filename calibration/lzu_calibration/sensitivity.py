"""Rank layers by their INT8 cost, and find the fewest to exclude.

Knows names and a function that measures; tasks and graphs stay outside. `search` does three things:

1. It measures every unit (a layer or a group of layers) alone in INT8, all others high. Units rank
   by their cost, baseline minus metric, the most costly first; where costs are equal to a millionth
   of a point, by name. On few frames a metric such as COCO's AP is noisy: costs near zero, gains
   among them, say no more than that a unit costs little.
2. Along the ranking it keeps the k most costly units high, for up to `POINTS` lengths k evenly
   spaced from none to all. That is the curve, and it brackets the answer.
3. Between the shortest length that meets the limit and the longest shorter one, which does not, it
   bisects until the two are neighbours.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_calibration.errors import CalibrationError
from lzu_calibration.files import parse_json, read_bytes, write_text

Units = Mapping[str, tuple[str, ...]]
"""The names of layers, by the unit that they are quantised in."""
Measure = Callable[[frozenset[str]], float]
"""The metric in points, more is better, with exactly these layers in INT8."""

FORMAT = 1
POINTS = 9
"""Lengths of the kept list that are measured before the bisection, both ends among them."""
MANY = 40
"""Layers from which on a network is measured in groups unless asked otherwise."""
STATE_LIMIT = 1 << 30
"""Largest size in bytes of a state file that is read."""
_EQUAL_DIGITS = 6
"""Decimals in which the costs of two units must differ to count as different."""


@dataclass(frozen=True)
class Cost:
    """The metric and its loss with one unit alone in INT8."""

    name: str
    layers: tuple[str, ...]
    metric: float
    cost: float
    """Points below the baseline; infinite where the metric is NaN."""


@dataclass(frozen=True)
class Step:
    """The network with the most costly units kept high."""

    kept: int
    """Units of the ranking's head that are not in INT8."""
    int8_layers: int
    metric: float
    meets: bool


@dataclass(frozen=True)
class Sensitivity:
    """A ranking, and how far down it layers must stay high."""

    baseline: float
    limit: float
    ranking: tuple[Cost, ...]
    """The most costly first."""
    steps: tuple[Step, ...]
    """All that were measured, by ascending `kept`; the first has all in INT8, the last none."""
    kept: int
    """Length of the shortest measured list that meets the limit; one shorter was measured too."""

    @property
    def keep(self) -> tuple[Cost, ...]:
        """The units to keep high."""
        return self.ranking[: self.kept]

    @property
    def chosen(self) -> Step:
        """The step of that list."""
        return next(step for step in self.steps if step.kept == self.kept)


def search(units: Units, measure: Measure, *, baseline: float, limit: float) -> Sensitivity:
    """Rank units, and find the shortest head of the ranking whose keeping meets the limit.

    Metrics are not monotone: keeping one more unit may lose points, on few frames above all. So
    "shortest" is said of the lists that were measured. The one returned meets the limit, no shorter
    measured one does, and the one that is shorter by one unit was measured and does not.

    Args:
        units: layers by unit, at least one.
        measure: asked at most `most_evaluations(len(units))` times, if it remembers.
        baseline: the metric of the float32 network.
        limit: points that may be lost. A gain is no loss: what is gained on few frames is luck, and
            no reason to keep a layer.

    Raises:
        CalibrationError: even with all units high the limit is not met.
    """

    def step(kept: int, order: Sequence[Cost]) -> Step:
        layers = frozenset(name for unit in order[kept:] for name in unit.layers)
        metric = measure(layers)
        return Step(kept, len(layers), metric, baseline - metric <= limit)

    # Before the long part: with none in INT8 nothing is left to be kept.
    high = step(0, ())
    if not high.meets:
        raise CalibrationError(
            f"no list of layers meets the limit: with none in INT8 the metric is "
            f"{high.metric:.2f}, {baseline - high.metric:.2f} points below float32's "
            f"{baseline:.2f} where {limit:g} are allowed; raise the limit, or keep more in float32 "
            "(keep_high.fp16)"
        )
    ranking = rank(units, measure, baseline)
    steps = {kept: step(kept, ranking) for kept in _spaced(len(ranking))}
    meeting = min(kept for kept, each in steps.items() if each.meets)
    failing = max((kept for kept in steps if kept < meeting), default=-1)
    while meeting - failing > 1:
        kept = (meeting + failing) // 2
        steps[kept] = step(kept, ranking)
        if steps[kept].meets:
            meeting = kept
        else:
            failing = kept
    found = tuple(steps[kept] for kept in sorted(steps))
    return Sensitivity(baseline, limit, ranking, found, meeting)


def rank(units: Units, measure: Measure, baseline: float) -> tuple[Cost, ...]:
    """Each unit alone in INT8, the most costly first, equal ones by name."""
    costs = []
    for name, layers in units.items():
        metric = measure(frozenset(layers))
        cost = math.inf if math.isnan(metric) else baseline - metric
        costs.append(Cost(name, layers, metric, cost))
    return tuple(sorted(costs, key=lambda each: (-round(each.cost, _EQUAL_DIGITS), each.name)))


def most_evaluations(units: int) -> int:
    """Upper bound of the different sets of layers that `search` measures.

    None in INT8, all, each unit alone, `POINTS` - 2 lengths in between, and the bisection of the
    widest gap between two lengths.
    """
    gap = -(-units // (POINTS - 1))
    return units + len(_spaced(units)) + max(0, gap - 1).bit_length()


def group_layers(layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group layers by the module that they belong to, in the order of their first ones.

    A number in a name counts the members of a list of modules. A layer's group is its name up to
    the first number, if there are more layers under it: a residual block (`backbone.layer1.0`).
    Where a member holds one layer only, its group is the list: the convolutions of a neck or of a
    head's tower (`neck.fpn_convs`). A layer without a number is a group of its own.
    """
    names = list(layers)
    members: dict[str, int] = {}
    for name in names:
        member = _member(name)
        members[member] = members.get(member, 0) + 1
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        member = _member(name)
        alone = members[member] == 1 and member.rpartition(".")[2].isdigit()
        group = member.rpartition(".")[0] or member if alone else member
        groups[group] = (*groups.get(group, ()), name)
    return groups


def keep_patterns(keep: Iterable[Cost], layers: Iterable[str]) -> list[str]:
    """What a recipe writes to keep these units: a pattern where it says no more than the names."""
    names, patterns = list(layers), []
    for unit in keep:
        prefix = f"{unit.name}."
        exact = {name for name in names if name.startswith(prefix)} == set(unit.layers)
        patterns += [f"{prefix}*"] if exact and len(unit.layers) > 1 else list(unit.layers)
    return patterns


class Evaluations:
    """A measure that remembers, in a file too: an interrupted search goes on where it was.

    The file is written in one rename after each new value, and read only where its key is equal.
    """

    def __init__(self, measure: Measure, path: Path, key: Mapping[str, Any]) -> None:
        """`key` says, in JSON, all that the values depend on."""
        self._measure, self._path = measure, path
        self._key: dict[str, Any] = json.loads(json.dumps(dict(key)))
        self._values = self._read()
        self.resumed = len(self._values)
        """How many values the file held."""
        self.asked: set[frozenset[str]] = set()
        """All sets that were asked for, remembered ones included."""

    def __call__(self, layers: frozenset[str]) -> float:
        """The metric with these layers in INT8.

        Raises:
            CalibrationError: a folder is in the way, or the file cannot be written (`WriteError`).
        """
        if layers not in self._values:
            self._values[layers] = self._measure(layers)
            self._write()
        self.asked.add(layers)
        return self._values[layers]

    def _read(self) -> dict[frozenset[str], float]:
        try:
            data = parse_json(read_bytes(self._path, limit=STATE_LIMIT, remedy="delete it"))
            if data["format"] != FORMAT or data["key"] != self._key:
                return {}
            return {
                frozenset(map(str, each["int8"])): _number(each["metric"])
                for each in data["evaluations"]
            }
        except (CalibrationError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # absent or damaged: what it held is measured again

    def _write(self) -> None:
        evaluations = [
            {"metric": None if math.isnan(metric) else metric, "int8": sorted(layers)}
            for layers, metric in self._values.items()
        ]
        data = {"format": FORMAT, "key": self._key, "evaluations": evaluations}
        text = json.dumps(data, indent=1) + "\n"
        write_text(self._path, text, f"the state of the search {self._path}")


def _spaced(units: int) -> list[int]:
    """Up to `POINTS` different lengths from 0 to `units`, evenly spaced."""
    return sorted({i * units // (POINTS - 1) for i in range(POINTS)})


def _member(name: str) -> str:
    """A layer's name up to its first number, that included."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return name


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
