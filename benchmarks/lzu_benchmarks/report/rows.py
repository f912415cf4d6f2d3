"""Rows of the report's tables: one engine of one bundle, and its numbers as text."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lzu_benchmarks.harness.latency_results import EngineLatency
from lzu_benchmarks.report.pareto import front
from lzu_benchmarks.report.schema import ORDER, BundleResult, EngineResult, Report
from lzu_export.manifest.schema import UNTRAINED_MARK, Parity
from lzu_export.support.interleave import Ratio
from lzu_export.verification.parity import probe_order

VARIANTS = {
    "uniform": "uniform: every part of the frame alike",
    "fixed": "fixed: one warp for all frames, undone on the features",
    "adaptive": "adaptive: a warp by the boxes of the frame before, undone on the features",
    "fovea": "FOVEA: the same warp, undone on the boxes only",
    "external": "external: a warp that the host gives, undone on the features",
}
NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
"""Text of tables for a missing number, and the minus sign that replaces a hyphen."""
FEWEST_ROUNDS = 4
"""Smallest number of rounds for which the bootstrap interval of a ratio is shown."""
LOWER_IS_BETTER = ("mATE", "mASE", "mAOE")


class Row(NamedTuple):
    """One engine of one bundle in the tables."""

    bundle: BundleResult
    key: str
    engine: EngineResult
    latency: EngineLatency | None
    best: bool
    """Whether the engine is on the Pareto front of accuracy and latency."""

    @property
    def score(self) -> float | None:
        """Score of the engine in the task's metric; None if it was not scored."""
        if self.engine.score is None or self.bundle.metric is None:
            return None
        return self.engine.score.metrics[self.bundle.metric]

    @property
    def label(self) -> str:
        """Variant and scale of the bundle, marked if the bundle differs from its training."""
        mark = UNTRAINED_MARK if self.bundle.untrained else ""
        return f"{self.bundle.variant} {self.bundle.scale:g}x{mark}"

    @property
    def gain_span(self) -> tuple[float, float] | None:
        """Interval of the score; None without one."""
        return None

    @property
    def cost_span(self) -> tuple[float, float] | None:
        """Interval of `cost_of` that follows from the interval of the ratio; None without one."""
        if self.latency is None or self.latency.ratio is None:
            return None
        ratio = self.latency.ratio
        if ratio.rounds < FEWEST_ROUNDS or not ratio.value:
            return None
        unit = cost_of(self) / ratio.value
        return unit * ratio.low, unit * ratio.high

    @property
    def data(self) -> dict[str, str]:
        """Values by which the page filters rows and marks."""
        return {"data-scale": f"{self.bundle.scale:g}", "data-engine": self.key}


def rows_of(report: Report) -> list[Row]:
    """Return every scored, timed or failed engine, by target and precision, scale and variant."""
    rows = []
    for bundle in report.bundles:
        for key, engine in bundle.engines.items():
            latency = report.latency_of(bundle, key)
            if latency is not None or engine.score is not None or engine.failed:
                rows.append(Row(bundle, key, engine, latency, False))
    keys = list(dict.fromkeys(row.key for row in rows))
    rows.sort(key=lambda r: (keys.index(r.key), r.bundle.scale, ORDER.index(r.bundle.variant)))
    marked = []
    for key in keys:
        mine = [row for row in rows if row.key == key]
        best = front([(median(row), nan(row.score)) for row in mine])
        marked += [row._replace(best=i in best) for i, row in enumerate(mine)]
    return marked


def meaningful(row: Row) -> bool:
    """Return whether the engine's time is meaningful: a CPU only emulates lower precisions."""
    latency = row.latency
    if latency is None:
        return False
    return row.engine.precision == "fp32" or latency.provider != "CPUExecutionProvider"


def sentences(rows: Sequence[Row]) -> list[str]:
    """Summarise the comparison in one sentence per warp and scale, for the first engine."""
    found = []
    first = [row for row in rows if row.key == rows[0].key] if rows else []
    for row in first:
        if row.bundle.variant == "uniform" or row.score is None:
            continue
        base = next(
            (
                each
                for each in first
                if each.bundle.variant == "uniform" and each.bundle.scale == row.bundle.scale
            ),
            None,
        )
        if base is None or base.score is None:
            continue
        gain = row.score - base.score
        more = "more" if gain >= 0 else "less"
        text = (
            f"At {row.bundle.scale:g}x {row.bundle.variant} scores {row.score:.2f} "
            f"{row.bundle.metric}, {abs(gain):.2f} {more} than uniform"
        )
        if row.latency is not None and row.latency.ratio is not None:
            text += f", in {ratio_text(row.latency.ratio)} times its time"
        found.append(f"{text}.")
    return found


def metric_columns(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of the first table, which excludes metrics of single classes."""
    names = dict.fromkeys(
        name
        for row in rows
        if row.engine.score is not None
        for name in row.engine.score.metrics
        if not name.startswith("IoU ")
    )
    return list(names)


def class_columns(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of single classes."""
    scores = [row.engine.score for row in rows if row.engine.score is not None]
    names = dict.fromkeys(n for score in scores for n in score.metrics if n.startswith("IoU "))
    return list(names)


def number(value: float | None, digits: int = 2) -> str:
    """Format a number for tables."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}".replace("-", MINUS)


def ratio_text(ratio: Ratio) -> str:
    """Format a ratio, with its interval if there were enough rounds."""
    if ratio.rounds < FEWEST_ROUNDS:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def worst(engine: EngineResult) -> str:
    """Format the largest deviation in FP32, or the lowest signal-to-noise ratio otherwise."""
    parity = engine.parity
    if parity.limit is None:
        return f"{min(parity.snr.values()):.0f} dB" if parity.snr else NOTHING
    values = [*parity.probes.values(), *parity.outputs.values()]
    return f"{max(values):.1e}".replace("-", MINUS) if values else NOTHING


def chain(parity: Parity) -> list[str]:
    """Return the probe points in order, followed by the outputs."""
    names = parity.probes or parity.snr
    return [*probe_order(list(names)), *parity.outputs]


def median(row: Row) -> float:
    """Return the median milliseconds of a frame; NaN without a measurement."""
    if row.latency is None:
        return math.nan
    return row.latency.end_to_end.p50 / row.latency.frames_per_query


def cost_of(row: Row) -> float:
    """Return the milliseconds of a frame in the diagrams, see `median`."""
    return median(row)


def spanned(span: tuple[float, float] | None) -> str:
    """Format an interval behind its number; nothing without one."""
    return "" if span is None else f" [{number(span[0])}, {number(span[1])}]"


def nan(value: float | None) -> float:
    """Return a number, NaN if it is missing."""
    return math.nan if value is None else value


def score_text(row: Row, metric: str) -> str:
    """Format a metric of a row."""
    if row.engine.score is None:
        return NOTHING
    return number(row.engine.score.metrics.get(metric), 3 if metric in LOWER_IS_BETTER else 2)


def deviation(value: float | None) -> str:
    """Format a relative difference from PyTorch."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return "equal" if value == 0 else f"{value:.1e}".replace("-", MINUS)


def signed(value: float) -> str:
    """Format a difference with its sign."""
    return number(value) if value < 0 else f"+{number(value)}"


class Card(NamedTuple):
    """The verdict on one warp: what it gains and what it costs, as text."""

    variant: str
    title: str
    metric: str
    gain: str
    gain_note: str
    ratio: str
    ratio_note: str


def cards(rows: Sequence[Row]) -> list[Card]:
    """Return a card of each warp and scale that is compared with uniform, for the first engine."""
    first = [row for row in rows if row.key == rows[0].key]
    uniform = {row.bundle.scale: row for row in first if row.bundle.variant == "uniform"}
    found = []
    for row in first:
        base = uniform.get(row.bundle.scale)
        if row.bundle.variant == "uniform" or base is None:
            continue
        gain = gain_note = ratio = ratio_note = ""
        if row.score is not None and base.score is not None:
            gain = signed(row.score - base.score)
            gain_note = f"{number(row.score)} against {number(base.score)}"
        if row.latency is not None and row.latency.ratio is not None:
            ratio = number(row.latency.ratio.value, 3)
            ratio_note = ratio_text(row.latency.ratio).removeprefix(ratio).strip()
        if gain or ratio:
            metric = (row.bundle.metric or "").replace("_", " ")
            found.append(
                Card(row.bundle.variant, row.label, metric, gain, gain_note, ratio, ratio_note)
            )
    return found
