"""Draw every diagram of a report that has data."""

from collections.abc import Callable, Mapping, Sequence

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.report import figures
from lzu_benchmarks.report.rivals import rivals_figure
from lzu_benchmarks.report.rows import (
    Row,
    chain,
    meaningful,
    nan,
    number,
    ratio_text,
    spanned,
)
from lzu_benchmarks.report.schema import Report
from lzu_benchmarks.report.trade_off import WIDTHS, Point, trade_off
from lzu_export.targets.registry import DEFAULT_TARGET


def figures_of(report: Report, rows: Sequence[Row]) -> dict[str, str]:
    """Draw every diagram that has data, as SVG by its name."""
    drawn: dict[str, str] = {}
    metric = next((row.bundle.metric for row in rows if row.bundle.metric), "")
    timed = [row for row in rows if meaningful(row) and row.score is not None]
    if timed:
        drawn |= _flavours(
            "latency",
            trade_off(
                _points(timed, lambda row: row.milliseconds, "ms", lambda row: row.cost_span),
                name="latency",
                x="ms a frame, camera bytes to predictions",
                y=f"{metric} (points)",
                description=f"{metric} against latency",
            ),
        )
    scored = [row for row in rows if row.score is not None and row.key == rows[0].key]
    if scored:
        drawn |= _flavours(
            "flops",
            trade_off(
                _points(scored, lambda row: row.bundle.flops.total / 1e9, "GFLOP"),
                name="flops",
                x="GFLOP a frame, computed",
                y=f"{metric} (points)",
                description=f"{metric} against floating-point operations",
            ),
        )
    stages = [row for row in rows if row.latency is not None and meaningful(row)]
    if stages:
        names = {id(row): f"{row.label} {row.engine.precision}" for row in stages}
        values = {
            names[id(row)]: {stage: row.latency.stages[stage].p50 for stage in STAGES}
            for row in stages
            if row.latency is not None
        }
        for flavour in WIDTHS:
            drawn[f"stages-{flavour}"] = figures.stage_bars(
                values,
                name=f"stages-{flavour}",
                description="milliseconds of every stage",
                keys={names[id(row)]: row.data for row in stages},
                narrow=flavour == "narrow",
            )
    drawn |= _parity_figures(report)
    if report.ablation is not None:
        drawn |= _ablation_figures(report)
    if report.rivals is not None:
        drawn |= rivals_figure(report.rivals)
    return drawn


def _flavours(name: str, drawn: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}-{flavour}": each for flavour, each in drawn.items()}


def _points(
    rows: Sequence[Row],
    cost: Callable[[Row], float],
    unit: str,
    span: Callable[[Row], tuple[float, float] | None] = lambda _: None,
) -> list[Point]:
    """Return the points of rows, named as far as they differ."""
    several = {
        "scale": len({row.bundle.scale for row in rows}) > 1,
        "key": len({row.key for row in rows}) > 1,
    }
    found = []
    for row in rows:
        label = row.bundle.variant + (f" {row.bundle.scale:g}x" if several["scale"] else "")
        label += f" {row.engine.precision}" if several["key"] else ""
        tip = [f"{row.label} {row.key}", f"{number(row.score)} {row.bundle.metric}"]
        tip[1] += spanned(row.gain_span)
        tip.append(f"{number(cost(row))} {unit}{spanned(span(row))}")
        if unit == "ms" and row.latency is not None and row.latency.ratio is not None:
            tip.append(f"{ratio_text(row.latency.ratio)} times the time of uniform")
        found.append(
            Point(
                row.bundle.variant, cost(row), nan(row.score), label, span(row), row.gain_span,
                "\n".join(tip), row.data,
            )
        )  # fmt: skip
    return found


def parity_scope(report: Report) -> str:
    """Return a sentence on the engines that the diagrams of deviation show."""
    scale = report.bundles[0].scale if report.bundles else 0
    others = len({bundle.scale for bundle in report.bundles}) > 1
    elsewhere = any(
        not name.startswith("onnxruntime/") for each in report.bundles for name in each.engines
    )
    told = f"Drawn: ONNX Runtime's engines at {scale:g}x"
    return f"{told}; the table has all." if others or elsewhere else f"{told}."


def _parity_figures(report: Report) -> dict[str, str]:
    drawn = {}
    scale = report.bundles[0].scale if report.bundles else 0
    shown = [bundle for bundle in report.bundles if bundle.scale == scale]
    for exact, name in ((True, "parity"), (False, "noise")):
        series, limits = [], {}
        for bundle in shown:
            for engine in bundle.engines.values():
                parity = engine.parity
                if engine.target != DEFAULT_TARGET or (parity.limit is not None) != exact:
                    continue
                values: Mapping[str, float] = (
                    {**parity.probes, **parity.outputs} if exact else parity.snr
                )
                ordered = {probe: values[probe] for probe in chain(parity) if probe in values}
                series.append((bundle.variant, engine.precision, ordered))
                limit = parity.limit if exact else parity.snr_limit
                if limit is not None:
                    limits[engine.precision] = limit
        for flavour in WIDTHS if series else ():
            drawn[f"{name}-{flavour}"] = figures.parity_lines(
                series,
                limits,
                decibels=not exact,
                name=f"{name}-{flavour}",
                description="deviation from PyTorch at every probe point",
                narrow=flavour == "narrow",
            )
    return drawn


def _ablation_figures(report: Report) -> dict[str, str]:
    drawn = {}
    ablation = report.ablation
    assert ablation is not None, "asked for only where there is one"
    for scale in dict.fromkeys(point.scale for point in ablation.grid):
        mine = [point for point in ablation.grid if point.scale == scale]
        amplitudes = sorted({point.amplitude for point in mine})
        widths = sorted({point.fwhm for point in mine})
        by_place = {(point.amplitude, point.fwhm): point for point in mine}
        trained = next(
            (
                (amplitudes.index(point.amplitude), widths.index(point.fwhm))
                for point in mine
                if point.trained
            ),
            None,
        )
        charts = [("magnification", "{:.2f}")]
        if any(point.score is not None for point in mine):
            charts.append(("score", "{:.2f}"))
        for what, form in charts:
            values = [
                [
                    by_place[a, w].box_magnification
                    if what == "magnification"
                    else nan(by_place[a, w].score)
                    for w in widths
                ]
                for a in amplitudes
            ]
            drawn[f"grid-{what}-{scale:g}"] = figures.heat(
                [f"{a:g}" for a in amplitudes],
                [f"{w:g}" for w in widths],
                values,
                name=f"grid-{what}-{scale:g}".replace(".", "-"),
                x="fwhm (lattice cells)",
                y="amplitude",
                form=form,
                description=f"{what} by amplitude and fwhm at {scale:g}x",
                marked=trained,
            )
    return drawn
