"""Draw a warp: grid, zoomed image, magnification over the frame, and the sizes of boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.preview.magnification_map import STOPS
from lzu_export.preview.measure import BoxSizes, Measured
from lzu_export.preview.subject import Sizes, Subject
from lzu_export.runtime.draw import GRID_LINES
from lzu_export.support.escaping import visible
from lzu_export.support.look.colours import LIGHT
from lzu_export.support.plots import plotting
from lzu_export.warp.forward import forward_at, forward_points, pixel_centres
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.magnification import axis_magnification
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots

WIDTH = 15.1
"""Width of the picture in inches."""
IMAGE = 6.1
"""Width of every image in inches."""
STRIP, EDGE, RIGHT, TOP, BETWEEN, CHART = 0.95, 0.65, 0.3, 0.8, 0.55, 2.6
"""Inches of a strip with a curve, of the left and the right margin, above the first images, between
rows of images, and of the height of a chart."""
DPI = 110
LINE_POINTS = 200
"""Number of points along a line of the grid."""
LEAST_RANGE = 2.0
"""Magnification at the ends of the colour scale, at least: below 1 its reciprocal."""
WASH = 0.3
"""Opacity of the grey frame over the colours of magnification."""
BEFORE, AFTER, SHRUNK = LIGHT["uniform"], LIGHT["enlarged"], LIGHT["shrunk"]
"""Colours of the uniform and of the zoomed canvas; the latter's is that of magnification, beside
that of a magnification below 1."""


class _Page:
    """A figure whose panels are placed in inches from its upper left corner."""

    def __init__(self, plt: Any, height: float) -> None:
        """Make a figure `WIDTH` wide and this many inches high."""
        self.figure, self.height = plt.figure(figsize=(WIDTH, height)), height

    def panel(self, left: float, top: float, width: float, height: float) -> Any:
        """Add a panel."""
        bottom = self.height - top - height
        box = (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(box)


def draw(
    subject: Subject, measured: Measured, frame: Frame, path: Path | BinaryIO, kind: str
) -> None:
    """Write the picture of a warp.

    Args:
        subject: the warp.
        measured: its figures.
        frame: frame (H, W, 3) of the source size, BGR.
        path: file or stream to write.
        kind: format of the file, such as `png`.

    Raises:
        OSError: the file cannot be written.
    """
    boxes = measured.boxes
    height = IMAGE * subject.sizes.view[0] / subject.sizes.view[1]
    left, right = EDGE + STRIP, WIDTH - RIGHT - IMAGE
    first = TOP
    second = first + height + BETWEEN
    strips = AXIS_KNOTS[0] in subject.knots
    third = second + height + BETWEEN + (STRIP + 0.4 if strips else 0)
    whole = third if boxes is None else third + CHART + 0.6
    canvas = "x".join(map(str, subject.sizes.canvas))
    view = subject.view_of(frame)
    with plotting({"axes.titlesize": 11, "axes.titlelocation": "left"}) as plt:
        page = _Page(plt, whole)
        panel = page.panel(left, first, IMAGE, height)
        _image(panel, view, "frame, with the grid that the zoom samples")
        _grid(panel, subject.sizes, subject.knots)
        _image(page.panel(right, first, IMAGE, height), subject.zoomed(frame), f"zoomed, {canvas}")
        uniform = page.panel(right, second, IMAGE, height)
        _image(uniform, subject.unwarped(frame), f"uniform, {canvas}, for comparison")
        most = max(LEAST_RANGE, measured.largest, 1 / max(measured.smallest, 1e-3))
        panel = page.panel(left, second, IMAGE, height)
        scale = page.panel(left + IMAGE + 0.12, second, 0.18, height)
        _magnification(page, panel, scale, subject, measured, view, most)
        if strips:
            below = page.panel(left, second + height + 0.1, IMAGE, STRIP - 0.1)
            beside = page.panel(EDGE, second, STRIP - 0.1, height)
            for axis, strip in enumerate((below, beside)):
                _curve(strip, subject.sizes, subject.knots[AXIS_KNOTS[axis]], axis, most)
        if boxes is not None:
            _histogram(page.panel(left, third, IMAGE, CHART), boxes)
            _classes(page.panel(right, third, IMAGE, CHART), boxes)
        title = {"fontsize": 13, "ha": "left", "va": "top"}
        page.figure.text(EDGE / WIDTH, 1 - 0.15 / whole, _title(subject, measured), title)
        page.figure.savefig(path, dpi=DPI, format=kind)


def _title(subject: Subject, measured: Measured) -> str:
    source, canvas = (
        "x".join(map(str, each)) for each in (subject.sizes.view, subject.sizes.canvas)
    )
    x, y = measured.extremes
    return visible(
        f"{subject.name}: {source} to {canvas}, magnification {x.smallest:.2f} to {x.largest:.2f} "
        f"across, {y.smallest:.2f} to {y.largest:.2f} down"
    )


def _image(panel: Any, image: Frame, title: str) -> None:
    panel.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), interpolation="antialiased")
    panel.set_title(title)
    panel.set_axis_off()


def _grid(panel: Any, sizes: Sizes, knots: Knots) -> None:
    """Draw lines that are straight and evenly spaced on the canvas at their places in the view."""
    steps = pixel_centres(LINE_POINTS)
    for axis, count in enumerate(GRID_LINES):  # rows first
        for at in pixel_centres(count):
            fixed = np.full(LINE_POINTS, at)
            points = np.stack([steps, fixed] if axis == 0 else [fixed, steps], axis=-1)
            x, y = (sizes.to_view(each, 1 - i) for i, each in enumerate(_forward(knots, points)))
            panel.plot(x, y, color="black", linewidth=1.6, alpha=0.25)
            panel.plot(x, y, color="white", linewidth=0.8, alpha=0.8)
    _bounds(panel, sizes)


def _forward(knots: Knots, points: Array) -> tuple[Array, Array]:
    """Return x and y (n,) in [-1, 1] of the source that canvas points (n, 2) show."""
    if PLANE_KNOTS[0] in knots:
        found = forward_points(knots[PLANE_KNOTS[0]], points)
        return found[:, 0], found[:, 1]
    x, y = (forward_at(knots[name], points[:, i]) for i, name in enumerate(AXIS_KNOTS))
    return x, y


def _corners(sizes: Sizes, knots: Knots) -> tuple[Array, Array]:
    """Return x and y (h, w) of the knots in pixels of the view."""
    if PLANE_KNOTS[0] in knots:
        plane = np.asarray(knots[PLANE_KNOTS[0]])
        return sizes.to_view(plane[..., 0], 1), sizes.to_view(plane[..., 1], 0)
    x, y = np.meshgrid(*(sizes.to_view(knots[name], 1 - i) for i, name in enumerate(AXIS_KNOTS)))
    return x, y


def _magnification(
    page: _Page,
    panel: Any,
    scale: Any,
    subject: Subject,
    measured: Measured,
    view: Frame,
    most: float,
) -> None:
    """Colour the frame's tiles by their magnification, and draw the scale of colours beside."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    colours = LinearSegmentedColormap.from_list("magnification", STOPS)
    values = np.sqrt(np.maximum(measured.tiles.area, 1e-9))
    x, y = _corners(subject.sizes, subject.knots)
    mesh = panel.pcolormesh(x, y, values, cmap=colours, norm=LogNorm(1 / most, most))
    # The frame lies above the colours, since translucent tiles would show their seams.
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY)
    panel.imshow(grey, cmap="gray", vmin=-120, vmax=255, alpha=WASH, zorder=2)
    panel.set_title("magnification (1: as on the uniform canvas)")
    _bounds(panel, subject.sizes)
    panel.set(xticks=[], yticks=[])
    ticks = _ticks(most, (0.25, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 4, 6))
    bar = page.figure.colorbar(mesh, cax=scale, ticks=ticks)
    bar.ax.set_yticklabels([f"{each:g}" for each in ticks])
    bar.ax.minorticks_off()
    bar.solids.set_alpha(1 - WASH)
    bar.ax.set_facecolor("0.5")


def _ticks(most: float, values: Sequence[float]) -> list[float]:
    return [each for each in values if 1 / most <= each <= most]


def _bounds(panel: Any, sizes: Sizes) -> None:
    panel.set_xlim(-0.5, sizes.view[1] - 0.5)
    panel.set_ylim(sizes.view[0] - 0.5, -0.5)


def _curve(panel: Any, sizes: Sizes, knots: Array, axis: int, most: float) -> None:
    """Draw the magnification along x (axis 0, below the map) or y (axis 1, left of it)."""
    edges = sizes.to_view(knots, 1 - axis)
    steps = axis_magnification(knots)
    upright = "horizontal" if axis else "vertical"
    for part, colour in ((np.maximum(steps, 1), AFTER), (np.minimum(steps, 1), SHRUNK)):
        panel.stairs(
            part, edges, baseline=1.0, fill=True, color=colour, alpha=0.45, orientation=upright
        )
    panel.stairs(steps, edges, baseline=None, color="0.25", linewidth=0.9, orientation=upright)
    ticks = _ticks(most, (0.25, 0.5, 1.0, 2.0, 4.0))
    names = [f"{each:g}" for each in ticks]
    if axis == 0:
        panel.set_yscale("log")
        panel.set(xlim=(-0.5, sizes.view[1] - 0.5), ylim=(1 / most, most))
        panel.set_yticks(ticks, names)
        panel.set_xlabel("magnification along x, by column")
        panel.grid(axis="y")
    else:
        panel.set_xscale("log")
        panel.set(ylim=(sizes.view[0] - 0.5, -0.5), xlim=(most, 1 / most))
        panel.set_xticks(ticks, names)
        panel.xaxis.tick_top()
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.set_ylabel("magnification along y, by row")
        panel.grid(axis="x")
    panel.minorticks_off()


def _histogram(panel: Any, boxes: BoxSizes) -> None:
    """Draw how many boxes have which size on both canvases."""
    every = np.concatenate([boxes.uniform, boxes.zoomed]).clip(0.5)
    low, high = np.floor(np.log2(every.min())), np.ceil(np.log2(every.max()))
    bins = 2.0 ** np.arange(low, max(high, low + 1) + 0.25, 0.25)
    shares = boxes.small_shares
    pairs = (("uniform", boxes.uniform, BEFORE, 0), ("zoomed", boxes.zoomed, AFTER, 1))
    for name, sizes, colour, i in pairs:
        counts = np.histogram(sizes.clip(0.5), bins)[0] / len(sizes) * 100
        label = f"{name}: {100 * shares[i]:.0f} % below {boxes.small:g}"
        panel.stairs(counts, bins, fill=True, color=colour, alpha=0.25)
        panel.stairs(counts, bins, color=colour, label=label, linewidth=1.4)
    panel.axvline(boxes.small, color="0.3", linestyle="--", linewidth=1)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_title("boxes by size")
    panel.set_xlabel("root of the area, in pixels of the canvas")
    panel.set_ylabel(f"% of {len(boxes.uniform)} boxes")
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.01), ncols=2, borderaxespad=0)


def _classes(panel: Any, boxes: BoxSizes) -> None:
    """Draw the median size of the boxes of each size class, before and after the zoom."""
    classes = boxes.classes()
    places = np.arange(len(classes))
    for i, each in enumerate(classes):
        panel.plot([each.uniform, each.zoomed], [i, i], color=LIGHT["rule"], linewidth=3, zorder=1)
        panel.annotate(
            f"x{each.zoomed / each.uniform:.2f}" if each.uniform else "",
            (max(each.uniform, each.zoomed), i),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
        )
    for name, colour in (("uniform", BEFORE), ("zoomed", AFTER)):
        values = [max(getattr(each, name), 0.5) for each in classes]
        panel.scatter(values, places, color=colour, label=name, zorder=2)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.margins(x=0.15, y=0.15)
    names = [
        f"{each.least:g} to {each.below:g}" if np.isfinite(each.below) else f"from {each.least:g}"
        for each in classes
    ]
    panel.set_yticks(places, [f"{n}\n{c.boxes} boxes" for n, c in zip(names, classes, strict=True)])
    panel.set_title("median size by size on the uniform canvas")
    panel.set_xlabel("root of the area, in pixels of the canvas")
    panel.grid(axis="x")
    panel.legend(loc="lower right")
