"""Measure a warp: its magnification, what it squeezes, and the sizes of boxes on its canvas."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lzu_export.preview.subject import Subject
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.magnification import (
    Extremes,
    TileMagnification,
    axis_extremes,
    axis_magnification,
    canvas_sizes,
    tile_magnification,
    uniform_sizes,
)
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots

ALL_BUT_IDENTITY = 1.25
"""Largest magnification along an axis up to which a warp is all but the identity."""
WHOLE = 0.99
"""Share of the frame below which a warp crops it."""
HALF = 0.5
"""Magnification along an axis below which a region is squeezed."""
SIZE_EDGES = (0.0, 8.0, 16.0, 32.0, 64.0, 128.0, np.inf)
"""Bounds, in pixels of the uniform canvas, of the classes by which boxes are summed up."""
AXES = ("x", "y")
MOST_PLANE_BOXES = 20_000
"""Number of boxes, evenly taken, whose outlines are followed through a non-separable warp."""


class SizeClass(NamedTuple):
    """Boxes of similar size on the uniform canvas."""

    least: float
    """Least size on the uniform canvas, in pixels."""
    below: float
    """Size below which all of them are, in pixels; infinite for the largest."""
    boxes: int
    uniform: float
    """Median size on the uniform canvas, in pixels."""
    zoomed: float
    """Median size on the zoomed canvas, in pixels."""


@dataclass(frozen=True)
class BoxSizes:
    """Sizes (n,) of boxes, the square roots of their areas in canvas pixels."""

    uniform: Array
    """Sizes on the uniform canvas."""
    zoomed: Array
    """Sizes on the zoomed canvas, in the same order."""
    small: float
    """Size in canvas pixels below which a box is small."""
    cropped: int = 0
    """Number of boxes that a cropping warp does not show whole; they are not among the others."""

    @property
    def small_shares(self) -> tuple[float, float]:
        """Share of small boxes, 0 to 1, on the uniform and on the zoomed canvas."""
        before, after = (
            float((sizes < self.small).mean()) for sizes in (self.uniform, self.zoomed)
        )
        return before, after

    def classes(self) -> list[SizeClass]:
        """Sum up the boxes by size on the uniform canvas; classes without boxes are left out."""
        found = []
        for least, below in pairwise(SIZE_EDGES):
            inside = (self.uniform >= least) & (self.uniform < below)
            if inside.any():
                medians = (float(np.median(each[inside])) for each in (self.uniform, self.zoomed))
                found.append(SizeClass(least, below, int(inside.sum()), *medians))
        return found


@dataclass(frozen=True)
class Measured:
    """What a warp does to the frame and to boxes in it."""

    extremes: tuple[Extremes, Extremes]
    """Largest and smallest magnification along x and along y."""
    tiles: TileMagnification
    shown: float
    """Share of the frame's area, 0 to 1, that the canvas shows."""
    squeezed: float
    """Share of the frame's area, 0 to 1, whose magnification along an axis is below `HALF`."""
    ranges: Mapping[str, list[tuple[float, float]]]
    """Squeezed ranges of a separable warp along `x` and `y`, in pixels of the frame's view."""
    boxes: BoxSizes | None

    @property
    def largest(self) -> float:
        """Largest magnification along either axis."""
        return max(each.largest for each in self.extremes)

    @property
    def smallest(self) -> float:
        """Smallest magnification along either axis."""
        return min(each.smallest for each in self.extremes)


def measure(subject: Subject, small: float) -> Measured:
    """Measure a warp and, where it has boxes, their sizes on the uniform and the zoomed canvas.

    Args:
        subject: the warp.
        small: size in canvas pixels below which a box counts as small.

    Raises:
        LzuError: tiles of a non-separable warp fold.
    """
    sizes, knots = subject.sizes, subject.knots
    extremes = axis_extremes(knots, sizes.span)
    tiles = tile_magnification(knots, sizes.span)
    squeezed = float(tiles.share[(tiles.x < HALF) | (tiles.y < HALF)].sum())
    ranges: dict[str, list[tuple[float, float]]] = {}
    for axis, name in zip(AXES, AXIS_KNOTS, strict=True):
        if name in knots:
            places = sizes.to_view(knots[name], 1 if axis == "x" else 0)
            ranges[axis] = _runs(places, axis_magnification(knots[name]) < HALF)
    boxes = box_sizes(subject, knots, small)
    return Measured(extremes, tiles, float(tiles.share.sum()), squeezed, ranges, boxes)


def box_sizes(subject: Subject, knots: Knots, small: float) -> BoxSizes | None:
    """Measure a warp's boxes at knots, which may be others than its own; None without boxes."""
    if subject.boxes is None or not len(subject.boxes):
        return None
    sizes, boxes = subject.sizes, subject.boxes
    if AXIS_KNOTS[0] not in knots:
        boxes = boxes[:: -(-len(boxes) // MOST_PLANE_BOXES)]
    boxes = sizes.to_span(boxes)
    zoomed = canvas_sizes(knots, boxes, sizes.span, sizes.canvas)
    shown = ~np.isnan(zoomed)
    if not shown.any():
        return None
    uniform = uniform_sizes(boxes[shown], sizes.span, sizes.canvas)
    return BoxSizes(uniform, zoomed[shown], small, int((~shown).sum()))


def warnings(subject: Subject, measured: Measured) -> list[str]:
    """Return sentences about a warp that hardly zooms, or that squeezes a region."""
    found = []
    if measured.largest < ALL_BUT_IDENTITY:
        keys = " or ".join(subject.tunable)
        remedy = f"; --magnification 2 proposes another {keys}" if keys else ""
        found.append(
            f"the warp is all but the identity: it magnifies by {measured.largest:.2f} at most"
            + remedy
        )
    if measured.shown < WHOLE:
        found.append(f"the warp crops: it shows {100 * measured.shown:.0f} % of the frame")
    if measured.squeezed > 0:
        crop = "" if subject.sizes.view == subject.sizes.source else " of the crop"
        where = " and ".join(
            f"{'columns' if axis == 'x' else 'rows'} "
            + ", ".join(f"{start:.0f} to {end:.0f}" for start, end in runs)
            for axis, runs in measured.ranges.items()
            if runs
        )
        found.append(
            f"the warp squeezes {100 * measured.squeezed:.0f} % of the frame below half of its "
            f"size on the uniform canvas, to {measured.smallest:.2f} at most"
            + (f": {where}{crop}" if where else "")
        )
    return found


def as_json(subject: Subject, measured: Measured) -> dict[str, Any]:
    """Return a warp's sizes and figures as plain values."""
    sizes, boxes = subject.sizes, measured.boxes
    found: dict[str, Any] = {
        "warp": subject.name,
        "source": list(sizes.source),
        "view": list(sizes.view),
        "canvas": list(sizes.canvas),
        "magnification": {
            axis: each._asdict() for axis, each in zip(AXES, measured.extremes, strict=True)
        },
        "shown": measured.shown,
        "squeezed": {
            "below": HALF,
            "share": measured.squeezed,
            "ranges": {axis: [list(run) for run in runs] for axis, runs in measured.ranges.items()},
        },
        "settings": dict(subject.tunable),
        "boxes": None,
        "warnings": warnings(subject, measured),
    }
    if boxes is not None:
        before, after = boxes.small_shares
        found["boxes"] = {
            "measured": len(boxes.uniform),
            "cropped": boxes.cropped,
            "small": {"below": boxes.small, "uniform": before, "zoomed": after},
            "classes": [
                {**each._asdict(), "below": each.below if np.isfinite(each.below) else None}
                for each in boxes.classes()
            ],
        }
    return found


def _runs(places: Array, below: Any) -> list[tuple[float, float]]:
    """Join neighbouring pieces between knots (m,) that are marked (m - 1,) into ranges."""
    edges = np.diff(np.concatenate([[0], below.astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(float(places[i]), float(places[j])) for i, j in zip(starts, ends, strict=True)]
