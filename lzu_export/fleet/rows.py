"""Rows of a fleet's report: a board each, with its result or the reason why there is none."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from lzu_export.fleet.messages import BoardEngine, Look, Request, Work
from lzu_export.support.section import Section

NOTHING = "-"
"""Text in place of what was not measured."""

Status = Literal["done", "deviates", "failed", "absent", "lost"]


class Row(Section):
    """A board of a fleet, or a tag without a board."""

    board: str
    """Name of the board in the report, unique in it; of an absent one, the tag."""
    tag: str
    worker: str = ""
    """Name that the board's worker gave itself, or its address."""
    host: str = ""
    status: Status
    """`done`; `deviates`, an engine differs from PyTorch; `failed`, a step failed; `absent`, no
    worker has the tag; `lost`, the worker left and did not come back."""
    sentence: str = ""
    """Why there is no result, or no whole one; empty where the row is done."""
    look: Look | None = None
    work: Work | None = None
    sent_bytes: int = 0
    """Size in bytes of the archives that were sent to the board: 0 if it had them."""
    seconds: float = 0.0
    """Seconds that the board worked."""
    stored: bool = False
    """Whether the result is that of an earlier run."""
    key: str = ""
    """Hash of everything that the result depends on; empty where the board cannot be identified."""

    @property
    def folder(self) -> str:
        """Name of the row's folder."""
        kept = (each if each.isalnum() or each in "._-" else "-" for each in self.board)
        return "".join(kept).strip(".-") or "board"

    @property
    def about(self) -> str:
        """The board's hardware and software in words; empty where it was not reached."""
        if self.look is None:
            return ""
        parts = [self.look.device or self.look.machine.partition(";")[0]]
        if self.look.jetpack:
            parts.append(f"JetPack {self.look.jetpack.partition(',')[0]}")
        return ", ".join([*parts, f"Python {self.look.python}"])


class Fleet(Section):
    """The report over all boards."""

    created: str
    """Time of the report, ISO 8601 in UTC."""
    lzu_export: str
    """Release of lzu_export where the fleet was asked."""
    request: Request
    rows: tuple[Row, ...]

    @property
    def begun(self) -> bool:
        """Whether any board worked."""
        return any(row.work is not None for row in self.rows)

    @property
    def whole(self) -> bool:
        """Whether all rows are done."""
        return all(row.status == "done" for row in self.rows)


class Figures(NamedTuple):
    """Figures of one engine on one board; what was not measured is None."""

    bundle: str
    precision: str
    engine: BoardEngine | None
    """The built engine; None where the bundle had it."""
    verified: str
    """Status of the comparison with PyTorch, see `Parity.status`; empty where there was none."""
    whole: float | None
    """Median milliseconds from the camera's bytes to predictions."""
    alone: float | None
    """Median milliseconds of the engine alone."""
    ratio: tuple[float, float, float] | None
    """`whole` over that of the first bundle, with its 95 % interval; None of the first itself."""
    watts: float | None

    @property
    def ratio_texts(self) -> tuple[str, str]:
        """The ratio and its interval as text."""
        if self.ratio is None:
            return NOTHING, ""
        value, low, high = self.ratio
        return f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits; a dash where it was not measured."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def figures_of(row: Row, request: Request) -> Iterator[Figures]:
    """Yield the figures of every engine of a row with a result, in the order of the request.

    An engine that was timed with and without CUDA graph has the figures with it.
    """
    if row.work is None:
        return
    timed = _timed(row.work)
    built = {(each.bundle, each.precision): each for each in row.work.engines}
    for sent in request.bundles:
        for precision in request.precisions:
            at = (sent.name, precision)
            found = timed.get(at, {})
            yield Figures(
                *at,
                engine=built.get(at),
                verified=_verified(row.work, *at),
                whole=_number(found, "end_to_end", "p50"),
                alone=_number(found, "engine", "p50"),
                ratio=_ratio(found.get("ratio")),
                watts=_number(found, "power", "watts"),
            )


def ratio_sentences(fleet: Fleet) -> list[str]:
    """Return how many times the first bundle's time each other one takes, over all boards."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in fleet.rows:
        for each in figures_of(row, fleet.request):
            if each.ratio is not None:
                found.setdefault((each.bundle, each.precision), []).append(each.ratio[0])
    first = fleet.request.bundles[0].name
    said = []
    for (bundle, precision), ratios in found.items():
        low, high = (f"{value:.2f}" for value in (min(ratios), max(ratios)))
        times = low if low == high else f"{low} to {high}"
        where = "1 board" if len(ratios) == 1 else f"{len(ratios)} boards"
        said.append(f"{bundle} takes {times} times as long as {first} in {precision}, on {where}.")
    return said


def doubts_of(work: Work) -> list[str]:
    """Return the reasons to doubt the times, as the board recorded them."""
    conditions = (work.latency or {}).get("conditions")
    if not isinstance(conditions, dict):
        return []
    found = [*conditions.get("throttled", ()), *conditions.get("doubts", ())]
    return [str(each) for each in found]


def _timed(work: Work) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the latest figures by bundle and precision, with CUDA graph where there is one."""
    engines = (work.latency or {}).get("engines")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in engines.values() if isinstance(engines, dict) else ():
        at = (str(each.get("bundle")), str(each.get("precision")))
        if at not in found or each.get("cuda_graph"):
            found[at] = each
    return found


def _verified(work: Work, bundle: str, precision: str) -> str:
    """Return the status of an engine: that of the engine itself before that of its graph."""
    rows = [each for each in work.parity.get(bundle, ()) if each.get("precision") == precision]
    if any(each.get("status") == "failed" for each in rows):
        return "failed"
    rows.sort(key=lambda each: not each.get("on_device"))
    return str(rows[0].get("status", "")) if rows else ""


def _number(found: dict[str, Any], *names: str) -> float | None:
    value: Any = found
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def _ratio(found: Any) -> tuple[float, float, float] | None:
    names = ("value", "low", "high")
    values = [_number({"ratio": found}, "ratio", name) for name in names]
    low_to_high = [value for value in values if value is not None]
    return tuple(low_to_high) if len(low_to_high) == 3 else None  # type: ignore[return-value]
