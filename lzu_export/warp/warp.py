"""Warp of one picture: from knots and a geometry to forward and inverse sampling tables.

The knots may come from a saliency, boxes or a network; this module does not depend on that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.forward import check_knot_plane, check_knots
from lzu_export.warp.geometry import Edge, Geometry, Level
from lzu_export.warp.grids import (
    AXIS_KNOTS,
    PLANE_KNOTS,
    Sampling,
    stored_zoom,
    unzoom_grid,
    zoom_arrays,
    zoom_at,
)
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import unzoom_tables

SLACK = 1e-6
"""Rounding of knots that were computed in float32."""

Knots = Mapping[str, Array]
"""Knots by name, in [-1, 1] with align_corners: `knots_x` (w,) and `knots_y` (h,) of a separable
warp, or `knots` (h, w, 2), order x, y, of a non-separable one."""


@dataclass(frozen=True)
class WarpGeometry:
    """The picture, the canvas and the feature maps that a warp samples."""

    picture: tuple[int, int]
    """Size (height, width) in pixels of the part of the frame that the knots span."""
    canvas: tuple[int, int]
    """Size (height, width) in pixels of the zoomed image, without padding."""
    levels: Sequence[Level] = ()
    """Feature maps to unzoom; empty if there is no unzoom."""
    scale: int = 1
    """Output cells of the unzoom per cell of a level, on each axis."""
    geometry: Geometry = "consistent"
    """Geometry of a separable warp's inverse; see `lzu_export.warp.geometry`."""
    unfilled: Sequence[Edge] = ()
    """Edges that the inverse of a separable warp leaves unfilled."""
    antialias: bool = False
    """Whether the zoom of a separable warp is antialiased."""

    def zoom(self, knots: Knots) -> Sampling:
        """Return the positions at which canvas pixels sample the picture."""
        return zoom_at(knots, self.picture, self.canvas, antialias=self.antialias)

    def unzoom(self, knots: Knots) -> list[list[Sampling]]:
        """Return, for each level, the tables whose samples add up to its unzoom."""
        if PLANE_KNOTS[0] in knots:
            plane = knots[PLANE_KNOTS[0]]
            return [
                [unzoom_grid(plane, level, self.canvas, scale=self.scale)] for level in self.levels
            ]
        knots_x, knots_y = (knots[name] for name in AXIS_KNOTS)
        return [
            list(
                unzoom_tables(
                    knots_x,
                    knots_y,
                    level,
                    self.canvas,
                    geometry=self.geometry,
                    unfilled=self.unfilled,
                    scale=self.scale,
                )
            )
            for level in self.levels
        ]


@dataclass(frozen=True)
class Warp:
    """Knots and the sampling tables that follow from them, ready to be written into a graph."""

    saliency: Array
    """Saliency (h, w) on the lattice. Checkpoints store its hash, and adaptive warps mix it in;
    the tables depend on the knots alone."""
    knots: Knots
    zoom: Sampling
    """Positions at which canvas pixels sample the picture: the forward warp."""
    unzoom: Sequence[Sequence[Sampling]] | None
    """Tables for each level whose samples add up to its unzoom: the inverse warp. None if the
    levels are not unzoomed, or are unzoomed at each image's own knots."""

    @classmethod
    def of(cls, knots: Knots, geometry: WarpGeometry, saliency: Array) -> Warp:
        """Compute the sampling tables of knots.

        Raises:
            LzuError: the knots do not increase, or do not fit the geometry.
        """
        unzoom = geometry.unzoom(knots) if geometry.levels else None
        return cls(saliency, knots, geometry.zoom(knots), unzoom)

    @property
    def knots_x(self) -> Array:
        """Knots (w,) of the columns of a separable warp."""
        return self.knots["knots_x"]

    @property
    def knots_y(self) -> Array:
        """Knots (h,) of the rows of a separable warp."""
        return self.knots["knots_y"]

    def arrays(self) -> dict[str, Any]:
        """Return all arrays by name, as `warp.npz` holds them."""
        arrays: dict[str, Any] = {"saliency": self.saliency, **self.knots, **zoom_arrays(self.zoom)}
        for level, parts in enumerate(self.unzoom or []):
            for i, part in enumerate(parts):
                for name, value in part._asdict().items():
                    arrays[f"unzoom_{level}_{i}_{name}"] = value
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Warp:
        """Return the warp that `arrays` stored."""
        levels: dict[int, dict[int, dict[str, Any]]] = {}
        for key, value in arrays.items():
            if key.startswith("unzoom_"):
                _, level, part, field = key.split("_")
                levels.setdefault(int(level), {}).setdefault(int(part), {})[field] = value
        zoom = stored_zoom(arrays)
        unzoom: list[list[Sampling]] = [
            [type(zoom)(**tables) for _, tables in sorted(parts.items())]
            for _, parts in sorted(levels.items())
        ]
        knots = {name: value for name, value in arrays.items() if name.startswith("knots")}
        return cls(arrays["saliency"], knots, zoom, unzoom or None)


def saliency_knots(
    saliency: Array, fwhm: float, *, separable: bool = True, anti_crop: bool = True
) -> dict[str, Array]:
    """Return the knots of a saliency, by name.

    Args:
        saliency: (h, w) on the lattice, positive.
        fwhm: full width of the attraction at half maximum, in lattice cells.
        separable: warp rows and columns independently.
        anti_crop: reflect the saliency at the borders, which keeps the picture's edges in place.

    Raises:
        LzuError: the saliency is not positive, or `fwhm` is not above 0.
    """
    if separable:
        found = separable_knots(saliency, fwhm, anti_crop=anti_crop)
        return dict(zip(AXIS_KNOTS, found, strict=True))
    return {PLANE_KNOTS[0]: nonseparable_knots(saliency, fwhm, anti_crop=anti_crop)}


def knot_lattice(knots: Knots) -> tuple[int, int]:
    """Return the number of knots along (y, x)."""
    if PLANE_KNOTS[0] in knots:
        rows, columns = knots[PLANE_KNOTS[0]].shape[:2]
        return rows, columns
    across, down = (knots[name] for name in AXIS_KNOTS)
    return len(down), len(across)


def check_named_knots(knots: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Return knots by name, as float64, after checking them.

    Args:
        knots: `knots_x` (w,) and `knots_y` (h,) of a separable warp, or `knots` (h, w, 2) of one on
            the plane, in [-1, 1] with align_corners.

    Raises:
        LzuError: names or shapes are others, values are not finite or outside [-1, 1], or an axis
            decreases.
    """
    found: dict[str, Array]
    if set(knots) == set(AXIS_KNOTS):
        found = {name: check_knots(knots[name], name) for name in AXIS_KNOTS}
    elif set(knots) == set(PLANE_KNOTS):
        found = {name: check_knot_plane(knots[name], name) for name in PLANE_KNOTS}
        plane = found[PLANE_KNOTS[0]]
        steps = np.diff(plane[..., 0], axis=1), np.diff(plane[..., 1], axis=0)
        if min(each.min() for each in steps) < -SLACK:
            raise LzuError(
                "knots decrease somewhere: x must not decrease along a row, nor y along a column"
            )
    else:
        raise LzuError(
            f"knots are named {', '.join(knots) or 'nothing'}; give knots_x and knots_y of a "
            "separable warp, or knots of one on the plane"
        )
    for name, each in found.items():
        if np.abs(each).max() > 1 + SLACK:
            raise LzuError(
                f"{name} reach from {each.min():g} to {each.max():g}; give positions in [-1, 1], "
                "that is pixels divided by half of the frame's size minus 1"
            )
    return found
