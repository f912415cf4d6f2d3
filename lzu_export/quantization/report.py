"""Report a search for sensitive layers: a file, tables, lines for a recipe, a picture."""

import json
from pathlib import Path

import yaml
from rich.table import Table

from lzu_export.errors import readable_os_errors
from lzu_export.manifest.schema import ROUNDING_NOTE
from lzu_export.quantization.sensitivity import Outcome
from lzu_export.support.escaping import visible
from lzu_export.support.files import replacing


def write_report(outcome: Outcome) -> None:
    """Write the JSON file and the picture beside it, each in one rename.

    Raises:
        LzuError: they cannot be written.
    """
    with (
        readable_os_errors(str(outcome.file)),
        replacing(outcome.file) as file,
        replacing(outcome.picture) as picture,
    ):
        draw(outcome, picture)
        text = json.dumps(outcome.to_json(), indent=2, allow_nan=False) + "\n"
        file.write_text(text, encoding="utf-8")


def sensitivity_tables(outcome: Outcome) -> list[Table]:
    """The ranking, and the lengths of the list that were tried; what they keep is bold."""
    found, metric = outcome.found, outcome.metric
    ranking = Table(
        title=f"Each {outcome.by} alone in INT8", title_justify="left", box=None, padding=(0, 1)
    )
    ranking.add_column("", justify="right")
    ranking.add_column(outcome.by, overflow="fold")
    if outcome.by == "group":
        ranking.add_column("layers", justify="right")
    ranking.add_column(metric, justify="right")
    ranking.add_column("cost", justify="right")
    for i, each in enumerate(found.ranking, start=1):
        counts = [str(len(each.layers))] if outcome.by == "group" else []
        scores = f"{each.metric:.2f}", _signed(each.cost)
        style = "bold" if i <= found.kept else None
        ranking.add_row(str(i), visible(each.name), *counts, *scores, style=style)
    steps = Table(title="The costliest kept high", title_justify="left", box=None, padding=(0, 1))
    for heading in ("kept", "in INT8", metric, "cost"):
        steps.add_column(heading, justify="right")
    steps.add_column(f"at most {found.limit:g} lost")
    for step in found.steps:
        cells = f"{step.metric:.2f}", _signed(found.baseline - step.metric)
        word = "yes" if step.meets else "no"
        style = "bold" if step.kept == found.kept else None
        steps.add_row(str(step.kept), str(step.int8_layers), *cells, word, style=style)
    return [ranking, steps]


def notes(outcome: Outcome) -> list[str]:
    """Notes on the meaning of the tables' figures."""
    found, ranges = outcome.found, outcome.ranges
    return [
        f"{outcome.metric}: points on {outcome.frames} frames of {outcome.dataset}, float32 "
        f"{found.baseline:.2f}; cost: points below float32",
        f"ranges by {ranges.method} of {ranges.frames.count} frames of {ranges.frames.name}",
        f"{ROUNDING_NOTE}; {outcome.evaluations} evaluations",
        "few frames make a noisy metric: an export holds its limit on the whole set, in both ways",
    ]


def recipe_lines(outcome: Outcome) -> str:
    """Lines for the recipe, or a sentence that none is needed."""
    found = outcome.found
    if found.kept == 0:
        return "keep_high: {int8: []}  # all layers may be INT8"
    if found.kept == len(found.ranking):
        return "no layer may be INT8 within the limit: leave int8 out of the recipe's precision"
    data = {"keep_high": {"int8": outcome.keep_high}}
    return yaml.safe_dump(data, default_flow_style=None, width=96).rstrip()


def draw(outcome: Outcome, path: Path) -> None:
    """The metric against the number of layers in INT8, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    found, metric = outcome.found, outcome.metric
    steps = sorted(found.steps, key=lambda step: step.int8_layers)
    chosen = found.chosen
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.parse_math": False,
        }
    ):
        figure, panel = plt.subplots(figsize=(8, 4.6), layout="constrained")
        panel.axhline(found.baseline, color="0.35", linewidth=1.2, label="float32")
        panel.axhline(
            found.baseline - found.limit,
            color="tab:red",
            linewidth=1.2,
            linestyle="--",
            label=f"limit, {found.limit:g} points below",
        )
        panel.plot(
            [step.int8_layers for step in steps],
            [step.metric for step in steps],
            color="tab:blue",
            marker="o",
            markersize=4.5,
            linewidth=1.3,
            label="the cheapest layers in INT8, the others higher",
        )
        panel.plot(
            [chosen.int8_layers],
            [chosen.metric],
            linestyle="none",
            marker="o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor="tab:green",
            markeredgewidth=2.2,
            label=f"chosen: {chosen.int8_layers} of {len(outcome.layers)} layers in INT8, "
            f"{metric} {chosen.metric:.2f}",
        )
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.margins(y=0.12)
        panel.grid(axis="y", color="0.9", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.set_xlabel("layers in INT8, the cheapest first")
        panel.set_ylabel(f"{metric} (points)")
        panel.set_title(
            visible(f"INT8 of {outcome.bundle}: {metric} on {outcome.frames} frames of ")
            + visible(outcome.dataset),
            loc="left",
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, dpi=130, format="png")
        plt.close(figure)


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0:+.2f}"  # + 0: no -0.00
