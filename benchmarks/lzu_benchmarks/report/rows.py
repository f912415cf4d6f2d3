"""Rows of the report's tables: one engine of one bundle, and its numbers as text."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lzu_benchmarks.harness.latency_results import EngineLatency
from lzu_benchmarks.report.schema import ORDER, BundleResult, EngineResult, Report
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.resampling import difference
from lzu_export.manifest.schema import UNTRAINED_MARK, Parity
from lzu_export.support.pareto import front
from lzu_export.support.ratio import Ratio
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
    base: "Row | None" = None
    """The same engine of the uniform bundle of the same scale; None for uniform bundles."""

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
    def gain(self) -> Interval | None:
        """Difference of the score from uniform's, with its interval; None without an interval."""
        if self.base is None or self.score is None or self.base.score is None:
            return None
        subjects = [(b.dataset, b.frames, b.metric) for b in (self.bundle, self.base.bundle)]
        if subjects[0] != subjects[1]:
            return None
        scores = (self.engine.score, self.base.engine.score)
        resampled = (None if each is None else each.resampled for each in scores)
        return difference(self.score - self.base.score, *resampled)

    @property
    def milliseconds(self) -> float:
        """Milliseconds of a frame: uniform's median times the ratio, else the median.

        Ratios are of rounds, in which both ran shortly after each other; the difference of two
        medians may contradict them. NaN if the engine was not timed.
        """
        if self.latency is None:
            return math.nan
        ratio, base = self.latency.ratio, self.base
        if ratio is not None and base is not None and base.latency is not None:
            return ratio.value * base.milliseconds
        return self.latency.end_to_end.p50 / self.latency.frames_per_query

    @property
    def extra(self) -> float:
        """Milliseconds of a frame above uniform's, by the ratio; NaN for uniform."""
        if self.base is None:
            return math.nan
        return self.milliseconds - self.base.milliseconds

    @property
    def gain_span(self) -> tuple[float, float] | None:
        """Interval of the score that follows from that of the gain; None without one."""
        if self.gain is None or self.base is None or self.base.score is None:
            return None
        return self.base.score + self.gain.low, self.base.score + self.gain.high

    @property
    def cost_span(self) -> tuple[float, float] | None:
        """Interval of `milliseconds` that follows from that of the ratio; None without one."""
        if self.latency is None or self.latency.ratio is None:
            return None
        ratio = self.latency.ratio
        if ratio.rounds < FEWEST_ROUNDS or not ratio.value:
            return None
        unit = self.milliseconds / ratio.value
        return unit * ratio.low, unit * ratio.high

    @property
    def data(self) -> dict[str, str]:
        """Values by which the page filters rows and marks."""
        return {f"data-{name}": value for name, value in self.choices.items()}

    @property
    def choices(self) -> dict[str, str]:
        """Values of the page's toggles, by the name of each."""
        target, _, precision = self.key.partition("/")
        return {"target": target, "precision": precision, "scale": f"{self.bundle.scale:g}"}


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
    uniform = {(r.key, r.bundle.scale): r for r in rows if r.bundle.variant == "uniform"}
    rows = [
        row if row.bundle.variant == "uniform"
        else row._replace(base=uniform.get((row.key, row.bundle.scale)))
        for row in rows
    ]  # fmt: skip
    marked = []
    for key in keys:
        mine = [row for row in rows if row.key == key]
        best = front([(row.milliseconds, nan(row.score)) for row in mine])
        marked += [row._replace(best=i in best) for i, row in enumerate(mine)]
    return marked


def meaningful(row: Row) -> bool:
    """Return whether the engine's time is meaningful: a CPU only emulates lower precisions."""
    latency = row.latency
    if latency is None:
        return False
    return row.engine.precision == "fp32" or latency.provider != "CPUExecutionProvider"


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
