"""Render a report as one self-contained HTML page and as Markdown."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.harness.latency_results import EngineLatency
from lzu_benchmarks.report import figures
from lzu_benchmarks.report.pareto import front
from lzu_benchmarks.report.schema import ORDER, BundleResult, EngineResult, LatencyGroup, Report
from lzu_export.errors import readable_os_errors
from lzu_export.manifest.schema import UNTRAINED_MARK, Parity
from lzu_export.support.escaping import markdown, visible
from lzu_export.support.files import write_text
from lzu_export.support.interleave import Ratio
from lzu_export.targets.registry import DEFAULT_TARGET
from lzu_export.tasks.registry import find_task
from lzu_export.verification.parity import probe_order

TEMPLATES = Path(__file__).parent / "templates"
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
        best = front([(_median(row), _nan(row.score)) for row in mine])
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


def figures_of(report: Report, rows: Sequence[Row]) -> dict[str, str]:
    """Draw every diagram that has data, as SVG by its name."""
    drawn: dict[str, str] = {}
    metric = next((row.bundle.metric for row in rows if row.bundle.metric), "")
    timed = [row for row in rows if meaningful(row) and row.score is not None]
    several = len({row.key for row in timed}) > 1

    def points(cost: Any, chosen: Sequence[Row]) -> list[figures.Point]:
        return [
            figures.Point(
                row.bundle.variant,
                cost(row),
                _nan(row.score),
                f"{row.bundle.scale:g}x" + (f" {row.engine.precision}" if several else ""),
            )
            for row in chosen
        ]

    if timed:
        drawn["latency"] = figures.trade_off(
            points(_median, timed),
            name="latency",
            x="latency, camera bytes to predictions (ms, median)",
            y=f"{metric} (points)",
            description=f"{metric} against latency",
        )
    scored = [row for row in rows if row.score is not None and row.key == rows[0].key]
    if scored:
        drawn["flops"] = figures.trade_off(
            points(lambda row: row.bundle.flops.total / 1e9, scored),
            name="flops",
            x="operations a frame (GFLOP, computed)",
            y=f"{metric} (points)",
            description=f"{metric} against floating-point operations",
        )
    stages = {
        f"{row.label} {row.engine.precision}": {
            stage: row.latency.stages[stage].p50 for stage in STAGES
        }
        for row in rows
        if row.latency is not None and meaningful(row)
    }
    if stages:
        drawn["stages"] = figures.stage_bars(
            stages, name="stages", description="milliseconds of every stage"
        )
    drawn |= _parity_figures(report)
    if report.ablation is not None:
        drawn |= _ablation_figures(report)
    return drawn


def _parity_of(report: Report) -> str:
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
                ordered = {a: max(v, 1e-9) for a, v in ordered.items()} if exact else ordered
                series.append((bundle.variant, engine.precision, ordered))
                limit = parity.limit if exact else parity.snr_limit
                if limit is not None:
                    limits[engine.precision] = limit
        if series:
            drawn[name] = figures.parity_lines(
                series,
                limits,
                decibels=not exact,
                name=name,
                description="deviation from PyTorch at every probe point",
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
                    else _nan(by_place[a, w].score)
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


def embedded(folder: Path, file: str | None) -> str | None:
    """Return a picture as a data URI, None if the file is missing."""
    if file is None or not (folder / file).is_file():
        return None
    kind = {".png": "png", ".jpg": "jpeg"}[(folder / file).suffix]
    return f"data:image/{kind};base64,{base64.b64encode((folder / file).read_bytes()).decode()}"


def context_of(report: Report, pictures: Path) -> dict[str, Any]:
    """Return the variables of the templates."""
    rows = rows_of(report)
    doubts: dict[str, None] = {}
    for group in report.latency:
        doubts |= dict.fromkeys(group.run.doubts)
    warps = [
        (bundle, uri)
        for bundle in report.bundles
        if (uri := embedded(pictures, bundle.pictures.warp)) is not None
    ]
    count = max((len(bundle.pictures.found) for bundle in report.bundles), default=0)
    samples = [
        [
            (bundle, uri)
            for bundle in report.bundles
            if i < len(bundle.pictures.found)
            and (uri := embedded(pictures, bundle.pictures.found[i])) is not None
        ]
        for i in range(count)
    ]
    return {
        "report": report,
        "rows": rows,
        "tables": [[row for row in rows if row.key == key] for key in _keys(rows)],
        "sentences": sentences(rows),
        "metrics": metric_columns(rows),
        "classes": class_columns(rows),
        "figures": figures_of(report, rows),
        "stages": STAGES,
        "doubts": list(doubts),
        "warps": warps,
        "samples": [each for each in samples if each],
        "number": number,
        "ratio_text": ratio_text,
        "base_of": _base_of(rows),
        "meaningful": meaningful,
        "heading": find_task(report.task).title,
        "variants": {v: VARIANTS[v] for v in ORDER if any(r.bundle.variant == v for r in rows)},
        "lower": LOWER_IS_BETTER,
        "groups": _machines(report.latency),
        "latency_notes": list(dict.fromkeys(n for g in report.latency for n in g.run.notes)),
        "parity_of": _parity_of(report),
        "worst": worst,
        "probes": chain,
        "value_at": lambda parity, probe: {**parity.probes, **parity.outputs}.get(probe),
        "megabytes": lambda count: number(count / 1e6, 1),
    }


def worst(engine: EngineResult) -> str:
    """Format the largest deviation in FP32, or the lowest signal-to-noise ratio otherwise."""
    parity = engine.parity
    if parity.limit is None:
        return f"{min(parity.snr.values()):.0f} dB" if parity.snr else NOTHING
    values = [*parity.probes.values(), *parity.outputs.values()]
    return f"{max(values):.1e}".replace("-", MINUS) if values else NOTHING


def _machines(groups: Sequence[LatencyGroup]) -> list[LatencyGroup]:
    """Return the first group of each machine and plan."""
    seen: dict[tuple[str, str], LatencyGroup] = {}
    for group in groups:
        seen.setdefault((group.run.machine.identity, str(sorted(group.run.plan.items()))), group)
    return list(seen.values())


def _keys(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.key for row in rows))


def chain(parity: Parity) -> list[str]:
    """Return the probe points in order, followed by the outputs."""
    names = parity.probes or parity.snr
    return [*probe_order(list(names)), *parity.outputs]


def _base_of(rows: Sequence[Row]) -> Any:
    bases = {(r.key, r.bundle.scale): r for r in rows if r.bundle.variant == "uniform"}
    return lambda row: bases.get((row.key, row.bundle.scale))


def render(report: Report, pictures: Path) -> tuple[str, str]:
    """Return the page and the Markdown.

    Args:
        report: report to render.
        pictures: folder with the pictures of the results.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(TEMPLATES)
    settings: dict[str, Any] = {
        "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True,
    }  # fmt: skip
    context = context_of(report, pictures)
    # Escape every value of a template, unless it is marked as markup made here.
    html = Environment(loader=loader, autoescape=True, finalize=_in_html, **settings)
    svg = {name: Markup(text) for name, text in context["figures"].items()}
    page = html.get_template("report.html.j2").render({**context, "figures": svg})
    plain = Environment(loader=loader, autoescape=False, finalize=_in_markdown, **settings)
    own = {
        name: lambda *values, make=context[name]: Markup(make(*values))
        for name in ("number", "ratio_text")
    }
    return page, plain.get_template("report.md.j2").render({**context, **own})


def _in_html(value: Any) -> Any:
    """Spell out the invisible characters of a template's value; jinja escapes the markup."""
    return visible(value, lines=True) if type(value) is str else value


def _in_markdown(value: Any) -> Any:
    return markdown(value) if type(value) is str else value


def write_pages(report: Report, folder: Path, pictures: Path) -> None:
    """Write `report.html` and `report.md`.

    Raises:
        LzuError: a file cannot be written.
    """
    page, markdown = render(report, pictures)
    with readable_os_errors(f"the report in {folder}"):
        write_text(folder / "report.html", page)
        write_text(folder / "report.md", markdown)


def _median(row: Row) -> float:
    if row.latency is None:
        return math.nan
    return row.latency.end_to_end.p50 / row.latency.frames_per_query


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
