"""Figures of matplotlib as SVG text in a page's own colours, light or dark."""

import io
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from lzu_export.support.escaping import visible
from lzu_export.support.look.colours import LIGHT

PLACES = {name: f"#0a{index:04x}" for index, name in enumerate(LIGHT, start=1)}
"""Colour that stands for each CSS variable while a figure is drawn."""
INK, FAINT, RULE, PAPER, LIMIT = (PLACES[n] for n in ("ink", "faint", "rule", "paper", "limit"))
VARIANTS = ("uniform", "fixed", "adaptive", "fovea", "external")
SERIES = {name: PLACES[name] for name in VARIANTS}
"""Colours of the variants."""
MARKERS = {"uniform": "s", "fixed": "o", "adaptive": "^", "fovea": "D", "external": "v"}
STYLE: Any = {
    "font.size": 10.5,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.fontsize": 9.5,
}


def plain(name: str) -> str:
    """Return a name for readers: blanks instead of underscores, invisible characters spelt out."""
    return visible(name.replace("_", " "))


def touch(panel: Any, x: float, y: float, mark: str, size: float = 24) -> None:
    """Add an unseen mark around a point, wide enough for a finger, which `svg` gives its text."""
    panel.plot(
        [x], [y], marker="o", markersize=size, linestyle="none", alpha=0.0, color=INK, zorder=6,
        gid=mark,
    )  # fmt: skip


def svg(
    figure: Any,
    name: str,
    description: str,
    marks: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return a figure as an SVG element with unique identifiers and the page's colours.

    Args:
        figure: figure of matplotlib.
        name: name of the figure, unique on the page.
        description: text for screen readers.
        marks: attributes of the elements that were drawn with these identifiers (`gid`), such as
            `data-tip`, the text at the pointer.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": name}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for mark, attributes in (marks or {}).items():
        added = "".join(f' {key}="{escape(visible(value, lines=True), quote=True)}"'
                        for key, value in attributes.items())  # fmt: skip
        text = text.replace(f'<g id="{mark}"', f'<g id="{mark}"{added}', 1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for variable, placeholder in PLACES.items():
        text = text.replace(placeholder, f"var(--{variable})")
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"<style type=.*?</style>", "", text, flags=re.DOTALL)
    size = re.search(r'viewBox="0 0 ([\d.]+) ', text)
    assert size is not None, "matplotlib writes a box"
    head = (
        f'<svg role="img" aria-label="{escape(description, quote=True)}" '
        f'style="max-width: {float(size[1]) * 4 / 3:.0f}px"'
    )
    text = re.sub(r'^<svg\b([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg\b([^>]*?) height="[^"]*"', r"<svg\1", text)
    return f"{head} {text.removeprefix('<svg').strip()}"
