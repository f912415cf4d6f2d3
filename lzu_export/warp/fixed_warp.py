"""Fixed warp of a user's own network: knots, with the sizes of the frame and of the canvas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.training_boxes import read_training_boxes
from lzu_export.warp.boundary_saliency import mean_boundary_saliency
from lzu_export.warp.box_saliency import box_saliency, boxes_in_view
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.geometry import Level, canvas_to_source
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.saliency import Array, check_saliency, mirrored, uniform_saliency
from lzu_export.warp.saliency_file import load_saliency
from lzu_export.warp.warp import Knots, Warp, WarpGeometry, check_named_knots, saliency_knots

LATTICE = (31, 51)
"""Default size (rows, columns) of a saliency and of its knots."""
FWHM = 10.0
"""Default full width at half maximum of the attraction, in lattice cells."""
IDENTITY = 1e-9
"""Largest distance of knots from even spacing, in [-1, 1], at which a warp is the identity."""


@dataclass(frozen=True, eq=False)
class FixedWarp:
    """Warp that is the same for all frames of one size.

    `lzu_export.wrap` puts it around a network, and an export stores it in the bundle. Images are
    (height, width). Boxes are x1, y1, x2, y2 in pixels whose edges are whole numbers, as in COCO:
    0 is the left edge of the first pixel.
    """

    knots: Knots
    """Knots by name in [-1, 1] (align_corners): `knots_x` (w,) and `knots_y` (h,) of a separable
    warp, or `knots` (h, w, 2), order x, y."""
    source: tuple[int, int]
    """Size (height, width) in pixels of the frames."""
    canvas: tuple[int, int]
    """Size (height, width) in pixels of the zoomed image, before it is padded."""
    origin: str = "knots"
    """Description of what the knots were made from, for the bundle's manifest."""
    saliency: Array | None = None
    """Saliency (h, w) that the knots were made from; None if there is none."""
    window: tuple[int, int, int, int] | None = None
    """Window x, y, width, height in pixels of the frame that the canvas shows evenly; None if it
    shows the whole frame."""

    def __post_init__(self) -> None:
        """Check sizes and knots.

        Raises:
            LzuError: a size is not two whole numbers above zero; knots are not finite, do not
                increase, or have the wrong shape or names.
        """
        for name in ("source", "canvas"):
            object.__setattr__(self, name, checked_size(getattr(self, name), name))
        # Copies, since a caller may go on to work in its arrays.
        knots = {name: each.copy() for name, each in check_named_knots(self.knots).items()}
        object.__setattr__(self, "knots", knots)

    @classmethod
    def uniform(
        cls,
        source: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
    ) -> FixedWarp:
        """Make the identity warp, the baseline at equal cost.

        Args:
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.
        """
        return cls.from_saliency(
            uniform_saliency(LATTICE), source, scale=scale, canvas=canvas, origin="nothing"
        )

    @classmethod
    def from_saliency(
        cls,
        saliency: ArrayLike | str | Path,
        source: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
        fwhm: float = FWHM,
        separable: bool = True,
        symmetric: bool = False,
        origin: str | None = None,
    ) -> FixedWarp:
        """Make the warp of a saliency map.

        Args:
            saliency: (h, w) on the lattice, above zero; or the path of a `.npy` file with it.
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.
            fwhm: full width of the attraction at half maximum, in lattice cells.
            separable: warp rows and columns independently.
            symmetric: average the saliency with its mirror image, so that mirrored frames fit it.
            origin: description for the manifest.

        Raises:
            LzuError: the map cannot be read or is not above zero, or a size is wrong.

        Source: LZU eqs. (1) to (4), with reflected borders.
        """
        if isinstance(saliency, str | Path):
            origin = origin or f"saliency {Path(saliency).name}"
            found = load_saliency(saliency)
        else:
            found = check_saliency(saliency)
        found = mirrored(found) if symmetric else found
        knots = saliency_knots(found, fwhm, separable=separable)
        size = canvas_size(source, scale, canvas)
        return cls(knots, checked_size(source, "source"), size, origin or "a saliency", found)

    @classmethod
    def from_boxes(
        cls,
        boxes: ArrayLike | str | Path,
        source: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        lattice: tuple[int, int] = LATTICE,
        fwhm: float = FWHM,
        amplitude: float = 1.0,
        bandwidth: float = 64.0,
        symmetric: bool = False,
    ) -> FixedWarp:
        """Make the warp of the training boxes' kernel density.

        Args:
            boxes: (n, 4) in pixels of the source; or the path of COCO annotations (.json), or of
                the folder of Argoverse-HD or nuScenes. Boxes outside of the source are left out,
                since they would draw the zoom to the nearest edge.
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.
            classes: names of the classes that count, for a path; all by default.
            lattice: (rows, columns) of the saliency and the knots.
            fwhm: full width of the attraction at half maximum, in lattice cells.
            amplitude: mass of a box beside the floor.
            bandwidth: bandwidth in pixels; the variance of a box is bandwidth times its side.
            symmetric: average the saliency with its mirror image, so that mirrored frames fit it.

        Raises:
            LzuError: the annotations cannot be used, no box reaches into the source, or a size is
                wrong.

        Source: FOVEA's kernel density, as LZU uses it.
        """
        size = checked_size(source, "source")
        origin = "boxes"
        if isinstance(boxes, str | Path):
            origin = f"boxes {Path(boxes).name}"
            found = read_training_boxes(Path(boxes), size, classes, called="boxes", others=True)
        else:
            found = _boxes(boxes)
        if not len(found):
            raise LzuError("there are no boxes to make a warp from; give at least one")
        if (found[:, 2:] < found[:, :2]).any():
            raise LzuError(
                "boxes have x2 below x1 or y2 below y1; give x1, y1, x2, y2 in pixels of the "
                "source, not widths and heights"
            )
        found = boxes_in_view(found, (0, 0), size)
        if not len(found):
            raise LzuError(
                f"no box reaches into the source of {size[0]}x{size[1]}; give boxes in its pixels, "
                "and the source as (height, width)"
            )
        map_ = box_saliency(found, size, lattice, amplitude=amplitude, bandwidth=bandwidth)
        return cls.from_saliency(
            map_,
            size,
            scale=scale,
            canvas=canvas,
            fwhm=fwhm,
            symmetric=symmetric,
            origin=f"{origin} (bandwidth {bandwidth:g}, fwhm {fwhm:g})",
        )

    @classmethod
    def from_labels(
        cls,
        maps: Iterable[ArrayLike],
        source: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
        lattice: tuple[int, int] = LATTICE,
        fwhm: float = FWHM,
        boundary: float = 1.0,
        background: float = 0.1,
        ignore: int | None = 255,
        symmetric: bool = False,
    ) -> FixedWarp:
        """Make the warp of the boundaries in the training label maps.

        Args:
            maps: label maps, integers (H, W) each, of the frames' size or in proportion to it.
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.
            lattice: (rows, columns) of the saliency and the knots.
            fwhm: full width of the attraction at half maximum, in lattice cells.
            boundary: intensity of pixels at a boundary.
            background: intensity of all other pixels, above 0.
            ignore: label whose pixels make no boundary.
            symmetric: average the saliency with its mirror image, so that mirrored frames fit it.

        Raises:
            LzuError: there are no maps, one is unfit, or a size is wrong.

        Source: LZU's saliency for semantic segmentation.
        """
        map_ = mean_boundary_saliency(
            maps, lattice, boundary=boundary, background=background, ignore=ignore
        )
        origin = f"label maps (background {background:g}, fwhm {fwhm:g})"
        return cls.from_saliency(
            map_, source, scale=scale, canvas=canvas, fwhm=fwhm, symmetric=symmetric, origin=origin
        )

    @classmethod
    def from_knots(
        cls,
        knots_x: ArrayLike | None = None,
        knots_y: ArrayLike | None = None,
        *,
        knots: ArrayLike | Mapping[str, ArrayLike] | None = None,
        source: Sequence[int],
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
        origin: str = "knots",
    ) -> FixedWarp:
        """Make the warp of knots that were computed elsewhere.

        Args:
            knots_x: (w,) source positions of evenly spaced canvas columns, in [-1, 1].
            knots_y: (h,) the same for rows.
            knots: (h, w, 2) positions, order x, y, of a non-separable warp, in place of the two; or
                all knots by name, as the functions of `lzu_export.warp.families` return them.
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.
            origin: description for the manifest.

        Raises:
            LzuError: knots are missing, not finite, or do not increase; or a size is wrong.
        """
        if isinstance(knots_x, Mapping):
            raise LzuError("knots_x are knots by name; give them as knots=")
        given = {"knots_x": knots_x, "knots_y": knots_y}
        given |= knots if isinstance(knots, Mapping) else {PLANE_KNOTS[0]: knots}
        named = {name: _floats(each, name) for name, each in given.items() if each is not None}
        return cls(
            named, checked_size(source, "source"), canvas_size(source, scale, canvas), origin
        )

    @classmethod
    def from_window(
        cls,
        source: Sequence[int],
        window: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
    ) -> FixedWarp:
        """Make the warp that shows a window of the frame evenly: a crop.

        Its features are not unzoomed: boxes and labels are on the window's own canvas, see
        `boxes_to_canvas`.

        Args:
            source: (height, width) of the frames.
            window: x, y, width, height in pixels of the frame.
            scale: canvas size over the window's size; give this or `canvas`.
            canvas: (height, width) of the canvas.

        Raises:
            LzuError: the window is not within the frame, or smaller than 2 x 2 pixels.
        """
        height, width = checked_size(source, "source")
        values = list(window) if isinstance(window, Sequence) else []
        whole = len(values) == 4 and all(_is_whole(each) for each in values)
        x, y, across, down = (int(each) for each in values) if whole else (0, 0, 0, 0)
        inside = x >= 0 and y >= 0 and x + across <= width and y + down <= height
        if not inside or min(across, down) < 2:
            raise LzuError(
                f"window is {window}; give x, y, width, height of at least 2 pixels within "
                f"the frame of {height}x{width}"
            )
        knots = {
            name: -1 + 2 * np.array([first, first + many - 1]) / (whole - 1)
            for name, first, many, whole in zip(
                AXIS_KNOTS, (x, y), (across, down), (width, height), strict=True
            )
        }
        size = canvas_size((down, across), scale, canvas)
        return cls(knots, (height, width), size, "a window", window=(x, y, across, down))

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """Window x, y, width, height in pixels of the frame that the canvas shows."""
        return self.window or (0, 0, self.source[1], self.source[0])

    @property
    def is_separable(self) -> bool:
        """Whether rows and columns are warped independently."""
        return PLANE_KNOTS[0] not in self.knots

    @property
    def is_identity(self) -> bool:
        """Whether the warp samples every place alike."""
        if self.is_separable:
            even = {name: pixel_centres(len(self.knots[name])) for name in AXIS_KNOTS}
            gaps = [np.abs(self.knots[name] - each).max() for name, each in even.items()]
            return bool(max(gaps) <= IDENTITY)
        plane = self.knots[PLANE_KNOTS[0]]
        y, x = (pixel_centres(count) for count in plane.shape[:2])
        return bool(np.abs(plane - np.stack(np.meshgrid(x, y), axis=-1)).max() <= IDENTITY)

    @property
    def canvas_step(self) -> tuple[float, float]:
        """Frame pixels (y, x) per pixel of the uniform canvas, (shown - 1) / (canvas - 1)."""
        _, _, width, height = self.shown
        return canvas_to_source(self.canvas, (height, width))

    def tables(self, levels: Sequence[Level] = ()) -> Warp:
        """Compute the sampling tables of the zoom, and of the unzoom of feature levels.

        Args:
            levels: stride, size and phase of each map of features that is unzoomed.
        """
        geometry = WarpGeometry(self.source, self.canvas, levels)
        saliency = uniform_saliency(LATTICE) if self.saliency is None else self.saliency
        return Warp.of(self.knots, geometry, saliency)

    def as_uniform(self) -> FixedWarp:
        """Return the identity warp of the same sizes."""
        return self.uniform(self.source, canvas=self.canvas)

    def boxes_to_canvas(self, boxes: ArrayLike) -> Array:
        """Map boxes (n, 4) of the frame to the uniform canvas, in whose pixels a head is trained.

        The features of a wrapped network are unzoomed, so targets and predictions are on the
        uniform canvas, whatever the warp.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the frame.

        Returns:
            (n, 4) float64 in pixels of the canvas.
        """
        step, corner = self._steps
        offsets = _boxes(boxes) - corner - 0.5
        return np.divide(offsets, step, out=np.zeros_like(offsets), where=step > 0) + 0.5

    def boxes_to_source(self, boxes: ArrayLike) -> Array:
        """Map boxes of the uniform canvas to the frame; the inverse of `boxes_to_canvas`.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the canvas.

        Returns:
            (n, 4) float64 in pixels of the frame.
        """
        step, corner = self._steps
        return np.asarray((_boxes(boxes) - 0.5) * step + 0.5 + corner)

    @property
    def _steps(self) -> tuple[Array, Array]:
        """Frame pixels per canvas pixel, and the window's corner, each (4,) in a box's order."""
        step_y, step_x = self.canvas_step
        return np.array([step_x, step_y] * 2), np.array([*self.shown[:2]] * 2, np.float64)

    def labels_to_canvas(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Sample a label map of the frame at the uniform canvas, by the nearest pixel.

        Args:
            labels: (H, W) integers, of the source's size.

        Returns:
            (canvas height, canvas width) of the same type.

        Raises:
            LzuError: the map is not of the source's size.
        """
        if np.shape(labels)[:2] != self.source:
            raise LzuError(
                f"labels have shape {np.shape(labels)}; give a map of the warp's source, "
                f"{self.source[0]}x{self.source[1]}"
            )
        x, y, _, _ = self.shown
        rows, columns = (
            np.rint(np.arange(count) * step + first).astype(int).clip(0, whole - 1)
            for count, step, first, whole in zip(
                self.canvas, self.canvas_step, (y, x), self.source, strict=True
            )
        )
        return np.asarray(np.asarray(labels)[np.ix_(rows, columns)])


def checked_size(size: Sequence[int], name: str) -> tuple[int, int]:
    """Return (height, width) in pixels as integers; messages call the size `name`.

    Raises:
        LzuError: it is not two whole numbers above zero.
    """
    values = list(size) if isinstance(size, Sequence) else [size]
    if len(values) != 2 or not all(map(_is_whole, values)) or min(values) < 1:
        raise LzuError(f"{name} is {size}; give (height, width) in pixels")
    return int(values[0]), int(values[1])


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float | np.integer) and value % 1 == 0


def _floats(values: ArrayLike, name: str) -> Array:
    """Return values as float64.

    Raises:
        LzuError: they are no numbers, or their rows differ in length.
    """
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise LzuError(f"{name} are no array of real numbers; give them as floats") from error


def _boxes(boxes: ArrayLike) -> Array:
    """Return boxes as (n, 4) float64.

    Raises:
        LzuError: they are no numbers, or of another shape.
    """
    found = _floats(boxes, "boxes")
    found = found.reshape(0, 4) if found.shape == (0,) else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise LzuError(
            f"boxes have shape {found.shape}; give (n, 4) x1, y1, x2, y2 in pixels of the source"
        )
    return found


def canvas_size(
    source: Sequence[int], scale: float | None, canvas: Sequence[int] | None
) -> tuple[int, int]:
    """Return the canvas (height, width): the given one, or source times scale, rounded down.

    Raises:
        LzuError: both are given or none, or a size is wrong.
    """
    if (scale is None) == (canvas is None):
        raise LzuError("the warp needs the size of its canvas; give scale or canvas, one of them")
    if canvas is not None:
        return checked_size(canvas, "canvas")
    assert scale is not None
    if not isinstance(scale, int | float | np.number) or not 0 < scale <= 8:
        raise LzuError(f"scale is {scale}; give a number above 0 and at most 8, such as 0.5")
    # The slack corrects binary fractions: 0.7 of 720 pixels are 504, not int(503.99999).
    height, width = (int(each * scale + 1e-6) for each in checked_size(source, "source"))
    return checked_size((height, width), f"the canvas of scale {scale:g}")
