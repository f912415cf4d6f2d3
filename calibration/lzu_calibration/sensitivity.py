"""Rank layers by their INT8 cost, and find the fewest to exclude.

The module knows only names of layers and a function that measures, no tasks and no graphs. "High"
means in a higher precision than INT8. `search` has three steps:

1. Measure every unit (a layer or a group of layers) alone in INT8, with all others high. Rank the
   units by cost, which is baseline minus metric, the most costly first. Costs that are equal to a
   millionth of a point are ranked by name. On few frames a metric such as COCO's AP is noisy: a
   cost near zero, or a gain, shows only that a unit costs little.
2. Keep the k most costly units of the ranking high, for up to `POINTS` lengths k evenly spaced from
   none to all. The resulting curve brackets the answer.
3. Bisect between the shortest length that meets the limit and the longest shorter length, which
   does not, until the two are neighbours.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_calibration.errors import CalibrationError
from lzu_calibration.files import parse_json, read_bytes, write_text

Layers = tuple[str, ...]
"""Names of the layers of a unit, which are quantised together."""
Units = Mapping[str, Layers]
"""Layers of each unit by its name."""
Measure = Callable[[frozenset[str]], float]
"""Function that returns the metric in points, more is better, with exactly these layers in INT8."""

FORMAT = 1
POINTS = 9
"""Number of lengths of the kept list that are measured before the bisection, with both ends."""
MANY = 40
"""Number of layers from which on a network is measured in groups by default."""
STATE_LIMIT = 1 << 30
"""Largest size in bytes of a state file that is read."""
_EQUAL_DIGITS = 6
"""Number of decimals to which costs of units are rounded before they are compared."""


@dataclass(frozen=True)
class Cost:
    """The metric and its loss with one unit alone in INT8."""

    name: str
    """Name of the unit: of its group, or of its only layer."""
    layers: Layers
    metric: float
    cost: float
    """Points below the baseline; infinite if the metric is NaN."""


@dataclass(frozen=True)
class Step:
    """Measurement of the network with the most costly units kept high."""

    kept: int
    """Number of units at the head of the ranking that are not in INT8."""
    int8_layers: int
    metric: float
    meets: bool


@dataclass(frozen=True)
class Sensitivity:
    """A ranking, and the number of units at its head that must stay high."""

    baseline: float
    limit: float
    ranking: tuple[Cost, ...]
    """Costs of all units, the most costly first."""
    steps: tuple[Step, ...]
    """All measured steps by ascending `kept`; the first has all units in INT8, the last none."""
    kept: int
    """Length of the shortest measured list that meets the limit; the list that is shorter by one
    unit, if any, was measured too and does not meet it."""

    @property
    def keep(self) -> tuple[Cost, ...]:
        """Units to keep high."""
        return self.ranking[: self.kept]

    @property
    def chosen(self) -> Step:
        """Step that keeps these units high."""
        return next(step for step in self.steps if step.kept == self.kept)


def search(units: Units, measure: Measure, *, baseline: float, limit: float) -> Sensitivity:
    """Rank units, and find the fewest at the head of the ranking that must stay high.

    Metrics are not monotone: keeping one more unit may lose points, mainly on few frames. So the
    result is the shortest list among those measured. It meets the limit, and no shorter measured
    list does. The list that is shorter by one unit was measured and does not meet the limit.

    Args:
        units: layers of each unit; at least one unit.
        measure: function that measures the metric. It measures at most
            `most_evaluations(len(units))` different sets of layers.
        baseline: metric of the float32 network.
        limit: number of points that may be lost. A gain never counts as a loss: on few frames it is
            chance, and no reason to keep a layer.

    Raises:
        CalibrationError: the limit is not met even with all units high.
    """

    def step(kept: int, order: Sequence[Cost]) -> Step:
        layers = frozenset(name for unit in order[kept:] for name in unit.layers)
        metric = measure(layers)
        return Step(kept, len(layers), metric, baseline - metric <= limit)

    # Check this before the long part: with no layer in INT8, no further unit can be kept high.
    high = step(0, ())
    if not high.meets:
        raise CalibrationError(
            f"no list of layers meets the limit: with none in INT8 the metric is "
            f"{high.metric:.2f}, {baseline - high.metric:.2f} points below float32's "
            f"{baseline:.2f} where {limit:g} are allowed; raise the limit, or keep more in float32 "
            "(higher_precision.fp16)"
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
    """Measure each unit alone in INT8; sort by cost, the most costly first, equal ones by name."""
    costs = []
    for name, layers in units.items():
        metric = measure(frozenset(layers))
        cost = math.inf if math.isnan(metric) else baseline - metric
        costs.append(Cost(name, layers, metric, cost))
    return tuple(sorted(costs, key=lambda each: (-round(each.cost, _EQUAL_DIGITS), each.name)))


def most_evaluations(units: int) -> int:
    """Return an upper bound of the number of different sets of layers that `search` measures.

    The sets are: no layer in INT8, all layers, each unit alone, `POINTS` - 2 lengths in between,
    and the bisection of the widest gap between two lengths.
    """
    gap = -(-units // (POINTS - 1))
    return units + len(_spaced(units)) + max(0, gap - 1).bit_length()


def group_layers(layers: Iterable[str]) -> dict[str, Layers]:
    """Group layers by their module, in the order of each group's first layer.

    A number in a name is the index of a member in a list of modules. If several layers share a
    name up to the first number, that name is their group: a residual block (`backbone.layer1.0`).
    If a member holds only one layer, its group is the list: the convolutions of a neck or of a
    head's tower (`neck.fpn_convs`). A layer without a number is a group of its own.
    """
    names = list(layers)
    members: dict[str, int] = {}
    for name in names:
        member = _member(name)
        members[member] = members.get(member, 0) + 1
    groups: dict[str, Layers] = {}
    for name in names:
        member = _member(name)
        alone = members[member] == 1 and member.rpartition(".")[2].isdigit()
        group = member.rpartition(".")[0] or member if alone else member
        groups[group] = (*groups.get(group, ()), name)
    return groups


def keep_patterns(keep: Iterable[Cost], layers: Iterable[str]) -> list[str]:
    """Return a recipe's entries that keep these units high.

    A unit of several layers becomes a pattern if the pattern matches exactly its layers; otherwise
    its layers are listed.
    """
    names, patterns = list(layers), []
    for unit in keep:
        prefix = f"{unit.name}."
        exact = {name for name in names if name.startswith(prefix)} == set(unit.layers)
        patterns += [f"{prefix}*"] if exact and len(unit.layers) > 1 else list(unit.layers)
    return patterns


class Evaluations:
    """A measure with a cache in memory and in a file, so that an interrupted search can resume.

    The file is written atomically after each new value, and used only if its key is equal.
    """

    def __init__(self, measure: Measure, path: Path, key: Mapping[str, Any]) -> None:
        """Read the file, if its key equals `key`: JSON data on which the values depend."""
        self._measure, self._path = measure, path
        self._key: dict[str, Any] = json.loads(json.dumps(dict(key)))
        self._values = self._read()
        self.resumed = len(self._values)
        """Number of values read from the file."""
        self.asked: set[frozenset[str]] = set()
        """All requested sets of layers, including those whose value was cached."""

    def __call__(self, layers: frozenset[str]) -> float:
        """Return the metric with these layers in INT8, measured once.

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
            return {}  # the file is missing or damaged: measure its values again

    def _write(self) -> None:
        evaluations = [
            {"metric": None if math.isnan(metric) else metric, "int8": sorted(layers)}
            for layers, metric in self._values.items()
        ]
        data = {"format": FORMAT, "key": self._key, "evaluations": evaluations}
        text = json.dumps(data, indent=1) + "\n"
        write_text(self._path, text, f"the state of the search {self._path}")


def _spaced(units: int) -> list[int]:
    """Return up to `POINTS` different lengths from 0 to `units`, evenly spaced."""
    return sorted({i * units // (POINTS - 1) for i in range(POINTS)})


def _member(name: str) -> str:
    """Return a layer's name up to and including its first number."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return name


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
