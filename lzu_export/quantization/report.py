"""Report the result of a search for sensitive layers: files, tables and recipe lines."""

import json

import yaml
from rich.text import Text

from lzu_export.errors import readable_os_errors
from lzu_export.manifest.schema import ROUNDING_NOTE
from lzu_export.quantization.sensitivity import Outcome
from lzu_export.quantization.sensitivity_curve import draw
from lzu_export.quantization.sensitivity_page import sensitivity_page, signed
from lzu_export.support.escaping import visible
from lzu_export.support.files import replacing
from lzu_export.support.tables import Cell, Column, coloured, grid


def write_report(outcome: Outcome) -> None:
    """Write the JSON file, and the picture and the page beside it, each by one rename.

    Raises:
        LzuError: they cannot be written.
    """
    with (
        readable_os_errors(str(outcome.file)),
        replacing(outcome.file) as file,
        replacing(outcome.picture) as picture,
        replacing(outcome.page) as page,
    ):
        draw(outcome, picture)
        text = json.dumps(outcome.to_json(), indent=2, allow_nan=False) + "\n"
        file.write_text(text, encoding="utf-8")
        made = sensitivity_page(outcome, recipe_lines(outcome), notes(outcome))
        page.write_text(made, encoding="utf-8")


def sensitivity_tables(outcome: Outcome) -> list[Text]:
    """Make tables of the ranking and of the list lengths that were tried; the result is bold."""
    found, metric = outcome.found, outcome.metric
    layers = ["layers"] if outcome.by == "group" else []
    rows: list[list[Cell]] = []
    for i, each in enumerate(found.ranking, start=1):
        counts = [str(len(each.layers))] if layers else []
        name = Text(f"{i:3} {visible(each.name)}", "bold" if i <= found.kept else "")
        rows.append([name, *counts, f"{each.metric:.2f}", signed(each.cost)])
    ranking = grid([*map(Column, (f"    {outcome.by}", *layers, metric, "cost"))], rows)
    steps: list[list[Cell]] = []
    for step in found.steps:
        style = "bold" if step.kept == found.kept else ""
        cells = f"{step.metric:.2f}", signed(found.baseline - step.metric)
        steps.append(
            [
                Text(f"{step.kept:4}", style),
                *(Text(each, style) for each in (str(step.int8_layers), *cells)),
                coloured("yes" if step.meets else "no"),
            ]
        )
    columns = [*map(Column, ("kept", "in INT8", metric, "cost"))]
    columns.append(Column(f"at most {found.limit:g} lost", left=True))
    title = Text(f"Each {outcome.by} alone in INT8", "italic")
    return [title, ranking, Text("The costliest kept high", "italic"), grid(columns, steps)]


def notes(outcome: Outcome) -> list[str]:
    """Return notes that explain the tables' figures."""
    found, ranges = outcome.found, outcome.ranges
    return [
        f"{outcome.metric}: points on {outcome.frames} frames of {outcome.dataset}, float32 "
        f"{found.baseline:.2f}; cost: points below float32",
        f"ranges by {ranges.method} of {ranges.frames.count} frames of {ranges.frames.name}",
        f"{ROUNDING_NOTE}; {outcome.evaluations} evaluations",
        "few frames make a noisy metric: an export holds its limit on the whole set, in both ways",
    ]


def recipe_lines(outcome: Outcome) -> str:
    """Return lines for the recipe, or a sentence if no layer may be INT8."""
    found = outcome.found
    if found.kept == 0:
        return "higher_precision: {int8: []}  # all layers may be INT8"
    if found.kept == len(found.ranking):
        return "no layer may be INT8 within the limit: leave int8 out of the recipe's precision"
    data = {"higher_precision": {"int8": outcome.higher_precision}}
    return yaml.safe_dump(data, default_flow_style=None, width=96).rstrip()
