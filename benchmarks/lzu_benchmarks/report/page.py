"""Render a report as one self-contained HTML page and as Markdown."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.report.charts import figures_of, parity_scope
from lzu_benchmarks.report.embedded import pictures_of
from lzu_benchmarks.report.lowerings import lowerings_of, measured_on
from lzu_benchmarks.report.rivals import best, headings, milliseconds, rival_notes, spread_text
from lzu_benchmarks.report.rows import (
    LOWER_IS_BETTER,
    VARIANTS,
    Row,
    chain,
    class_columns,
    deviation,
    meaningful,
    metric_columns,
    number,
    ratio_text,
    rows_of,
    score_text,
    worst,
)
from lzu_benchmarks.report.schema import ORDER, LatencyGroup, Report
from lzu_benchmarks.report.verdict import (
    captions,
    cards,
    difference_text,
    doubts_of,
    gain_text,
    kept_text,
    sentences,
    uniform_there,
)
from lzu_export.errors import readable_os_errors
from lzu_export.support.escaping import markdown, visible
from lzu_export.support.files import write_text
from lzu_export.support.look import page as look
from lzu_export.support.look.svg import plain
from lzu_export.tasks.registry import find_task

TEMPLATES = Path(__file__).parent / "templates"
OWN_MARKUP = (
    "number",
    "ratio_text",
    "gain_text",
    "kept_text",
    "difference_text",
    "spread_text",
)
"""Functions of the templates whose text is Markdown already."""
COSTS = ("latency", "flops")
"""Costs of the diagrams of accuracy."""


def context_of(report: Report, pictures: Path) -> dict[str, Any]:
    """Return the variables of the templates."""
    rows = rows_of(report)
    return {
        "report": report,
        "rows": rows,
        "tables": [[row for row in rows if row.key == key] for key in _keys(rows)],
        "sentences": sentences(rows),
        "metrics": metric_columns(rows),
        "classes": class_columns(rows),
        "figures": figures_of(report, rows),
        "stages": STAGES,
        "doubts": doubts_of(report),
        "captions": captions(report, rows),
        "gain_text": gain_text,
        "kept_text": kept_text,
        "difference_text": difference_text,
        "uniform_there": partial(uniform_there, report),
        "tail": any(row.latency and row.latency.end_to_end.p99 is not None for row in rows),
        **pictures_of(report, pictures),
        "number": number,
        "ratio_text": ratio_text,
        "meaningful": meaningful,
        "heading": find_task(report.task).title,
        "variants": {v: VARIANTS[v] for v in ORDER if any(r.bundle.variant == v for r in rows)},
        "lower": LOWER_IS_BETTER,
        "groups": _machines(report.latency),
        "latency_notes": list(dict.fromkeys(n for g in report.latency for n in g.run.notes)),
        "parity_of": parity_scope(report),
        "plain": plain,
        "policy": look.policy(),
        "cards": cards(rows),
        "score_of": score_text,
        "deviation": deviation,
        "lowerings": lowerings_of(report),
        "measured_on": measured_on(report),
        "rival_notes": rival_notes(report.rivals) if report.rivals else [],
        "rivals_best": best(report.rivals) if report.rivals else [],
        "rival_milliseconds": partial(milliseconds, report.rivals) if report.rivals else None,
        "rival_headings": headings(report.rivals) if report.rivals else [],
        "spread_text": spread_text,
        "toggles": toggles_of(rows),
        "gains": any(row.gain is not None for row in rows),
        "worst": worst,
        "probes": chain,
        "value_at": lambda parity, probe: {**parity.probes, **parity.outputs}.get(probe),
        "megabytes": lambda count: number(count / 1e6, 1),
    }


def contents_of(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that the page has, by their identifiers."""
    figures = context["figures"]
    there = {
        ("trade-off", "Accuracy against cost"): any(f"{n}-wide" in figures for n in COSTS),
        ("results", "Results"): context["rows"],
        ("rivals", "Instead of a warp"): context["report"].rivals,
        ("frames", "Frames"): context["viewer"],
        ("warps", "The warp"): context["warps"],
        ("latency", "Latency"): context["report"].latency,
        ("parity", "Deviation"): "parity-wide" in figures or "noise-wide" in figures,
        ("lowerings", "Lowerings"): context["lowerings"],
        ("ablation", "Ablation"): context["report"].ablation,
        ("provenance", "Provenance"): True,
    }
    return [section for section, given in there.items() if given]


def toggles_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the values of each toggle, in the order of the rows; those that do not vary have none.

    A value of a toggle is one of the rows' `data`.
    """
    found: dict[str, dict[str, None]] = {}
    for row in sorted(rows, key=lambda row: row.bundle.scale):
        for name, value in row.choices.items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items() if len(values) > 1}


def _machines(groups: Sequence[LatencyGroup]) -> list[LatencyGroup]:
    """Return the first group of each machine and plan."""
    seen: dict[tuple[str, str], LatencyGroup] = {}
    for group in groups:
        seen.setdefault((group.run.machine.identity, str(sorted(group.run.plan.items()))), group)
    return list(seen.values())


def _keys(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.key for row in rows))


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
    context["contents"] = contents_of(context)
    # Escape every value of a template, unless it is marked as markup made here.
    html = Environment(loader=loader, autoescape=True, finalize=_in_html, **settings)
    own_text = {name: Markup(text) for name, text in context["figures"].items()}
    page = html.get_template("report.html.j2").render(
        {
            **context,
            "figures": own_text,
            "style": Markup(look.style()),
            "script": Markup(look.script()),
        }
    )
    plain = Environment(loader=loader, autoescape=False, finalize=_in_markdown, **settings)
    own = {
        name: lambda *values, make=context[name], **more: Markup(make(*values, **more))
        for name in OWN_MARKUP
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
