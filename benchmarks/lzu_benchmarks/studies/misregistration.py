"""Draw the misregistration of features after zoom and unzoom.

Draws it for the geometries `published` and `consistent`: for each cell of each level, the distance
in source pixels between the row that the cell has seen and the row that it stands for. Prints mean
and maximum. With --saliency, the nuScenes recipe is used with that map; otherwise the demonstration
detector.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import load_recipe
from lzu_export.support.plots import plotting
from lzu_export.tasks.warps import read_saliency
from lzu_export.warp.geometry import Geometry, Level
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.registration import Frame, misregistration, source_places
from lzu_export.warp.saliency import Array

NEEDS = "extras bench, demo"

SCALES = (0.25, 0.5, 0.75, 1.0)
SETTINGS: dict[Geometry, dict[str, Any]] = {
    "published": {"source_multiple": 32, "warp.unfilled": []},
    "consistent": {"source_multiple": 1, "warp.unfilled": None},
}
"""Further recipe settings of each geometry: the released models pad the frame before the zoom."""

FRAMES: tuple[Frame, Frame] = ("edges", "centres")
"""Alignments of the label frame: the first is drawn, the second only reported."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Colours of Okabe and Ito, which colour-blind readers can distinguish; the markers differ too."""
MARKERS = ("o", "s", "^", "D", "X")
MARKS = 16
"""Approximate number of markers of a curve; one for every cell would hide the lines."""


@dataclass(frozen=True)
class Curve:
    """Misregistration of one level, geometry and scale, in source pixels."""

    scale: float
    geometry: Geometry
    level: Level
    source_rows: Array
    """(H_l,) source rows that the cells stand for."""
    y: Array
    """(H_l,) misregistration in y, positive downwards; NaN if there is nothing to compare."""
    x: Array
    """(W_l,) misregistration in x, positive to the right; NaN if there is nothing to compare."""
    aligned: tuple[Array, Array]
    """Values of `y` and `x` for a label frame with its corners aligned with the source's."""


@dataclass(frozen=True)
class Figures:
    """Mean and maximum of a level's absolute misregistration, in source pixels."""

    scale: float
    geometry: Geometry
    stride: int
    y_mean: float
    y_max: float
    x_mean: float
    x_max: float
    aligned_max: float
    """Maximum over both axes for a label frame with its corners aligned with the source's.
    Consistent recipes scale their labels so; published ones do not."""


def recipe_for(saliency: Path | None, scale: float, geometry: Geometry) -> Recipe:
    """Load the recipe whose warp is drawn, with the settings of this geometry."""
    overrides = {"scale": scale, "warp.geometry": geometry, **SETTINGS[geometry]}
    if saliency is None:
        return load_recipe("det-demo", overrides)
    return load_recipe("nuscenes", {**overrides, "warp.saliency": str(saliency)})


def curves(saliency: Path | None) -> list[Curve]:
    """Compute the curves by scale, geometry and level, in this order."""
    result = []
    for scale in SCALES:
        for geometry in SETTINGS:
            recipe = recipe_for(saliency, scale, geometry)
            knots = separable_knots(read_saliency(recipe), recipe.warp.fwhm)
            for level in recipe.levels:
                where = (*knots, level, recipe.canvas, recipe.source)
                (y, x), aligned = (
                    misregistration(*where, geometry=geometry, span=recipe.span, frame=frame)
                    for frame in FRAMES
                )
                places, _ = source_places(level, recipe.canvas, recipe.source)
                result.append(Curve(scale, geometry, level, places, y, x, aligned))
    return result


def figures(curve: Curve) -> Figures:
    """Compute mean and maximum of a curve over the cells that can be compared."""
    y, x = np.abs(curve.y), np.abs(curve.x)
    return Figures(
        scale=curve.scale,
        geometry=curve.geometry,
        stride=curve.level.stride,
        y_mean=float(np.nanmean(y)),
        y_max=float(np.nanmax(y)),
        x_mean=float(np.nanmean(x)),
        x_max=float(np.nanmax(x)),
        aligned_max=max(float(np.nanmax(np.abs(axis))) for axis in curve.aligned),
    )


def level_name(stride: int) -> str:
    """Return the pyramid's name of a level: P3 has 2^3 pixels per cell."""
    return f"P{stride.bit_length() - 1}"


def table(measured: Sequence[Figures], title: str) -> Table:
    """Return a table with one row per scale and level, the geometries side by side."""
    result = Table(title=title)
    result.add_column("scale")
    result.add_column("level")
    for geometry in SETTINGS:
        result.add_column(f"{geometry}\ny mean / max", justify="right")
        result.add_column("\nx max", justify="right")
    by_key = {(each.scale, each.stride, each.geometry): each for each in measured}
    strides = list(dict.fromkeys(each.stride for each in measured))
    for scale in SCALES:
        for stride in strides:
            cells = []
            for geometry in SETTINGS:
                each = by_key[scale, stride, geometry]
                digits = 1 if geometry == "published" else 2
                cells.append(f"{each.y_mean:.{digits}f} / {each.y_max:.{digits}f}")
                cells.append(f"{each.x_max:.{digits}f}")
            result.add_row(f"{scale:g}x", level_name(stride), *cells)
        result.add_section()
    least = max(each.aligned_max for each in measured if each.geometry == "consistent")
    result.caption = (
        "source pixels; label frame edge on edge with the source. With its corners aligned, as "
        f"consistent recipes have them, consistent is at most {least:.2f} off"
    )
    return result


def draw(drawn: Sequence[Curve], title: str, path: Path) -> None:
    """Draw a panel for each scale and geometry with common axes, and write a PNG file."""
    measured = [figures(curve) for curve in drawn]
    strides = list(dict.fromkeys(curve.level.stride for curve in drawn))
    with plotting() as plt:
        figure, axes = plt.subplots(
            len(SCALES), len(SETTINGS), figsize=(10.5, 11), sharex=True, sharey=True
        )
        for curve in drawn:
            panel = axes[SCALES.index(curve.scale), list(SETTINGS).index(curve.geometry)]
            i = strides.index(curve.level.stride)
            panel.plot(
                curve.source_rows,
                curve.y,
                label=f"{level_name(curve.level.stride)} (stride {curve.level.stride})",
                linewidth=1.3,
                markersize=5,
                markevery=max(1, len(curve.y) // MARKS),
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
            )
        for (i, j), panel in np.ndenumerate(axes):
            scale, geometry = SCALES[i], list(SETTINGS)[j]
            here = [m for m in measured if (m.scale, m.geometry) == (scale, geometry)]
            panel.set_title(_summary(here), loc="left", fontsize=10.5)
            panel.grid(axis="y", color="0.9", linewidth=0.8)
            panel.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        figure.supxlabel("source row that a cell stands for (pixels from the top)", fontsize=11)
        figure.supylabel(
            "misregistration in y (source pixels; above 0: the cell has seen a lower row)",
            fontsize=11,
        )
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.suptitle(title, fontsize=13, y=0.99)
        figure.legend(
            handles,
            labels,
            ncols=len(labels),
            loc="upper center",
            bbox_to_anchor=(0.5, 0.972),
        )
        figure.tight_layout(rect=(0.01, 0, 1, 0.965))
        figure.savefig(path, dpi=130)


def _summary(here: Sequence[Figures]) -> str:
    """Return the title of one panel: the finest level's mean, and the largest maximum."""
    finest, worst = here[0], max(here, key=lambda each: each.y_max)
    digits = 0 if worst.y_max > 2 else 2
    return (
        f"{finest.geometry}, {finest.scale:g}x: mean {finest.y_mean:.{digits}f} px at "
        f"{level_name(finest.stride)}, at most {worst.y_max:.{digits}f} at "
        f"{level_name(worst.stride)}"
    )


def measure(saliency: Path | None, out: Path) -> Mapping[str, Any]:
    """Write `misregistration.png` and `.json` into `out`, and return the content of the latter."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = recipe_for(saliency, 1.0, "published")
    size = f"{recipe.source[0]}x{recipe.source[1]}"
    title = (
        f"Misregistration of zoom and unzoom: {recipe.name}, source {size} "
        f"(published: the zoom spans {recipe.span[0]} rows)"
    )
    drawn = curves(saliency)
    draw(drawn, title, out / "misregistration.png")
    result = {"title": title, "levels": [asdict(figures(curve)) for curve in drawn]}
    (out / "misregistration.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--saliency", type=Path, help="for nuScenes: .npy, or the released .pkl")
    add_json(parser)
    given = parser.parse_args(arguments)
    result = measure(given.saliency, given.out)
    measured = [Figures(**each) for each in result["levels"]]
    drawn = f"drawn in {given.out / 'misregistration.png'}"
    print_result(given.json, result, table(measured, result["title"]), drawn)


if __name__ == "__main__":
    main()
