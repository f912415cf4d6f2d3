"""Draw the metric against the number of layers in higher precision, as a picture and for a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lzu_export.quantization.sensitivity import Outcome
from lzu_export.support.escaping import visible
from lzu_export.support.look.colours import LIGHT
from lzu_export.support.look.svg import PLACES, STYLE, svg, touch
from lzu_export.support.plots import plotting

SIZES = {"wide": (7.4, 4.2), "narrow": (3.9, 4.4)}
"""Width and height in inches of the page's figure on a screen and on a phone."""


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the metric against the number of layers in higher precision, as PNG."""
    with plotting() as plt:
        figure, panel = plt.subplots(figsize=(8, 4.6), layout="constrained")
        draw_curve(panel, outcome, LIGHT)
        panel.set_title(
            visible(f"INT8 of {outcome.bundle}: {outcome.metric} on {outcome.frames} frames of ")
            + visible(outcome.dataset),
            loc="left",
        )
        figure.legend(loc="outside lower center", ncols=2)
        figure.savefig(path, dpi=130, format="png")


def draw_curve(panel: Any, outcome: Outcome, colours: Mapping[str, str]) -> None:
    """Draw the metric against the number of layers in higher precision.

    Args:
        panel: axes of matplotlib.
        outcome: result of the search.
        colours: colours by the names of `support.look.colours`.
    """
    from matplotlib.ticker import MaxNLocator

    found, chosen = outcome.found, outcome.found.chosen
    panel.axhline(found.baseline, color=colours["faint"], linewidth=1.2, label="float32")
    panel.axhline(
        found.baseline - found.limit,
        color=colours["limit"],
        linewidth=1.2,
        linestyle="--",
        label=f"limit, {found.limit:g} points below",
    )
    panel.plot(
        [outcome.higher_layers(step) for step in found.steps],
        [step.metric for step in found.steps],
        color=colours["fixed"],
        marker="o",
        markersize=4.5,
        linewidth=1.3,
        label="the costliest layers higher, the others in INT8",
    )
    panel.plot(
        [outcome.higher_layers(chosen)],
        [chosen.metric],
        linestyle="none",
        marker="o",
        markersize=12,
        markerfacecolor="none",
        markeredgecolor=colours["good"],
        markeredgewidth=2.2,
        label=f"chosen: {outcome.higher_layers(chosen)} of {len(outcome.layers)} layers higher, "
        f"{outcome.metric} {chosen.metric:.2f}",
    )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.margins(y=0.12)
    panel.grid(axis="y")
    panel.set_xlabel("layers in higher precision, the costliest first")
    panel.set_ylabel(f"{outcome.metric} (points)")


def curve_figures(outcome: Outcome) -> dict[str, str]:
    """Draw the curve as SVG for a screen (`wide`) and for a phone (`narrow`)."""
    found, drawn = outcome.found, {}
    for size, inches in SIZES.items():
        marks = {}
        with plotting(STYLE) as plt:
            figure, panel = plt.subplots(figsize=inches, layout="constrained")
            draw_curve(panel, outcome, PLACES)
            for i, step in enumerate(found.steps):
                touch(panel, outcome.higher_layers(step), step.metric, f"step-{i}")
                tip = (
                    f"{outcome.higher_layers(step)} of {len(outcome.layers)} layers higher\n"
                    f"{outcome.metric} {step.metric:.2f}, {found.baseline - step.metric:.2f} lost"
                )
                marks[f"step-{i}"] = {"data-tip": tip}
            figure.legend(loc="outside lower center", ncols=2 if size == "wide" else 1)
            drawn[size] = svg(figure, f"curve-{size}", f"{outcome.metric} by layers", marks)
    return drawn
