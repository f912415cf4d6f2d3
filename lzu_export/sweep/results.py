"""Results of a sweep: a row for each point, its place in the ranking, and the files of all."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from lzu_export.cluster.jobs import Outcome
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.resampling import difference
from lzu_export.manifest.fields import Number
from lzu_export.manifest.schema import Manifest
from lzu_export.support.files import replacing, write_text
from lzu_export.support.pareto import front
from lzu_export.support.ratio import Ratio
from lzu_export.support.section import Section
from lzu_export.sweep.points import Point
from lzu_export.sweep.schema import Rank, told
from lzu_export.targets.registry import runs_anywhere

FILE = "results.json"
TABLE = "results.parquet"
PAGE = "sweep.html"
INCOMPLETE = "the export's answer is no manifest of this version; give the workers this version"


class Gain(Section):
    """Difference of a point's metric from the baseline's, in points of the metric."""

    difference: Number
    low: Number | None = None
    """Lower end of the 95 % interval over the choice of frames; None where there is none."""
    high: Number | None = None


class Row(Section):
    """One point of a sweep and its results."""

    name: str
    """Its settings in one line."""
    settings: dict[str, Any]
    """Values of the recipe keys that tell it from the other points."""
    status: Literal["done", "failed"]
    sentence: str = ""
    """Why it failed; empty if it did not."""
    rank: int | None = None
    """Place in the ranking, from 1; None if it has no figures to be ranked by."""
    front: bool = False
    """Whether no other point is both more accurate and faster."""
    engine: str = ""
    """Engine that the figures belong to, `target/precision`."""
    metric: Number | None = None
    """Value of the metric that the sweep ranks by, in points."""
    metrics: dict[str, Number] = Field({})
    """All metrics of the engine."""
    gain: Gain | None = None
    milliseconds: Number | None = None
    """Median milliseconds per frame, from camera bytes to predictions."""
    ratio: Ratio | None = None
    """Time divided by the baseline's, which was timed in turns with it."""
    doubt: str = ""
    """Why the time is doubtful; empty if it is not."""
    bytes: int | None = None
    """Size of the engine's file in bytes."""
    bundle: str = ""
    """Folder of the bundle, on the worker."""
    worker: str = ""
    """Name of the worker that exported it."""
    seconds: Number = 0.0
    """Seconds that the export took."""


class Result(Section):
    """A whole sweep: what was asked, and its rows in the order of the ranking."""

    name: str
    recipe: str
    keys: tuple[str, ...]
    """Recipe keys in which the points differ."""
    rank: Rank | None
    metric: str | None
    """Name of the metric."""
    dataset: str | None
    frames: int | None
    baseline: Row | None
    rows: tuple[Row, ...]
    created: str
    machine: str
    """Where the jobs ran."""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Row]:
        """Rows that failed, the baseline's included."""
        return [each for each in (*self.rows, *([self.baseline] if self.baseline else []))
                if each.status == "failed"]  # fmt: skip

    @property
    def best(self) -> Row | None:
        """The first row of the ranking; None if no row has a place."""
        return next((each for each in self.rows if each.rank == 1), None)


class Exported:
    """A point's export: its row, and the manifest of its bundle."""

    def __init__(self, point: Point, outcome: Outcome, metric: str | None) -> None:
        """Read the outcome of an export.

        Args:
            point: the point.
            outcome: outcome of its job.
            metric: name of the metric; by default the task's own.

        Raises:
            LzuError: the accuracy has no such metric; the nearest one is named.
        """
        self.point, self.outcome = point, outcome
        self.manifest: Manifest | None = None
        self.engine, self.metric = "", metric
        sentence = outcome.sentence
        if outcome.status == "done":
            try:
                (answer,) = json.loads(outcome.answer["stdout"])
                self.bundle = str(answer.pop("bundle"))
                answer.pop("status")
                self.manifest = Manifest.model_validate(answer)
            except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
                sentence = INCOMPLETE
        values: dict[str, Any] = {"status": "failed", "sentence": sentence or "it did not run"}
        if self.manifest is not None:
            values = {"status": "done", "bundle": self.bundle, **self._figures(self.manifest)}
        self.row = Row(
            name=point.name,
            settings=point.settings,
            worker=outcome.worker,
            seconds=outcome.seconds,
            **values,
        )

    def _figures(self, manifest: Manifest) -> dict[str, Any]:
        self.engine = engine_of(manifest)
        file = next((e.bytes for e in manifest.engines if e.name == self.engine), None)
        values: dict[str, Any] = {"engine": self.engine, "bytes": file}
        accuracy = manifest.accuracy
        if accuracy is None:
            return values
        metrics = accuracy.engines.get(self.engine) or next(iter(accuracy.engines.values()))
        self.metric = name = self.metric or accuracy.metric
        if name not in metrics:
            close = difflib.get_close_matches(name, metrics, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(metrics)}"
            raise LzuError(f"rank.metric is {name}, which the accuracy does not have; {hint}")
        value = metrics[name]
        return values | {"metrics": metrics, "metric": value if math.isfinite(value) else None}

    def over(self, base: "Exported | None") -> Row:
        """Return the row with its gain over the baseline."""
        if base is None or self.row.metric is None or base.row.metric is None:
            return self.row
        drawn = [
            each.manifest.accuracy.resampled.get(each.engine)
            if each.manifest and each.manifest.accuracy
            else None
            for each in (self, base)
        ]
        value = self.row.metric - base.row.metric
        own = self._is_own_metric()
        found = difference(value, *drawn) if own else None
        gain = Gain(
            difference=value,
            low=None if found is None else found.low,
            high=None if found is None else found.high,
        )
        return self.row.model_copy(update={"gain": gain})

    def _is_own_metric(self) -> bool:
        """Return whether the metric is the task's own, of which alone resampled sets are kept."""
        accuracy = self.manifest.accuracy if self.manifest else None
        return accuracy is not None and accuracy.metric == self.metric


def engine_of(manifest: Manifest) -> str:
    """Return the engine whose figures stand for a bundle: the first one that runs on any machine,
    else the first one that was scored, else the first one.
    """
    anywhere = [each.name for each in manifest.engines if runs_anywhere(each.target)]
    scored = list(manifest.accuracy.engines) if manifest.accuracy else []
    return next(iter([*anywhere, *scored, *(each.name for each in manifest.engines), ""]))


def timed(row: Row, outcome: Outcome) -> Row:
    """Return a row with the result of its timing against the baseline."""
    if outcome.status == "done":
        try:
            return row.model_copy(update=_paired(json.loads(outcome.answer["stdout"])))
        except (ValueError, KeyError, TypeError):
            return row.model_copy(update={"status": "failed", "sentence": INCOMPLETE})
    return row.model_copy(update={"status": "failed", "sentence": f"timing: {outcome.sentence}"})


def _paired(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "milliseconds": float(answer["milliseconds"]),
        "ratio": Ratio.model_validate(answer["ratio"]),
        "doubt": str(answer["doubt"]),
    }


def ranked(rows: Sequence[Row], rank: Rank | None) -> tuple[Row, ...]:
    """Return rows in the order of a ranking, with their places; those without figures come last.

    By `pareto` the front comes first, the most accurate point at its head, then the others.
    """
    if rank is None:
        return tuple(rows)
    sign = -1.0 if rank.direction == "lowest" else 1.0
    gains = [math.nan if each.metric is None else sign * each.metric for each in rows]
    times = [math.nan if each.ratio is None else each.ratio.value for each in rows]
    best = set(front(list(zip(times, gains, strict=True))))
    every: dict[str, list[tuple[float, ...]]] = {
        "accuracy": [(-gain,) for gain in gains],
        "time": [(time,) for time in times],
        "pareto": [(i not in best, -gain, times[i]) for i, gain in enumerate(gains)],
    }
    costs = every[rank.by]
    fit = [i for i, cost in enumerate(costs) if not any(map(math.isnan, cost))]
    order = sorted(fit, key=lambda i: costs[i])
    rest = [i for i in range(len(rows)) if i not in set(fit)]
    placed = [
        rows[i].model_copy(update={"rank": place, "front": i in best})
        for place, i in enumerate(order, start=1)
    ]
    return (*placed, *(rows[i] for i in rest))


def write_results(result: Result, folder: Path, formats: Sequence[str] = ()) -> list[Path]:
    """Write a sweep's results, and return the files.

    Args:
        result: the results.
        folder: folder to write to.
        formats: further formats: `parquet`.

    Raises:
        LzuError: the disk refuses, or pyarrow is not installed.
    """
    files = [folder / FILE]
    with readable_os_errors(f"the results {files[0]}"):
        write_text(files[0], json.dumps(result.model_dump(mode="json"), indent=1) + "\n")
    if "parquet" in formats:
        files.append(folder / TABLE)
        import pyarrow
        import pyarrow.parquet

        rows = pyarrow.Table.from_pylist(flat_rows(result))
        with readable_os_errors(f"the results {files[1]}"), replacing(files[1]) as new:
            pyarrow.parquet.write_table(rows, new)
    return files


def flat_rows(result: Result) -> list[dict[str, Any]]:
    """Return the rows as flat dictionaries with the same keys, for a table's columns.

    Values of a recipe key are texts where they are not all numbers.
    """
    keys = dict.fromkeys(key for row in result.rows for key in row.settings)
    kinds = {
        key: float
        if all(
            isinstance(row.settings.get(key, 0), float | int)
            and not isinstance(row.settings.get(key), bool)
            for row in result.rows
        )
        else told
        for key in keys
    }
    names = dict.fromkeys(name for row in result.rows for name in row.metrics)
    return [
        {
            **{
                key: kind(row.settings[key]) if key in row.settings else None
                for key, kind in kinds.items()
            },
            **{name: row.metrics.get(name) for name in names},
            **{f"gain_{part}": getattr(row.gain, part, None) for part in Gain.model_fields},
            **{
                f"ratio_{part}": getattr(row.ratio, part, None) for part in ("value", "low", "high")
            },
            **row.model_dump(exclude={"settings", "metrics", "gain", "ratio"}),
        }
        for row in result.rows
    ]
