"""Feeds this frame's detections to the next frame's warp.

Unfit boxes are refused or left out here, so that every engine gets finite boxes, and no more than
it takes. An engine does not output its knots, and they need no check: saliencies are positive, so
the LZ sum increases; `BoxKnots` clamps it to [-1, 1], and its inversion keeps gaps of at least
`MIN_GAP`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.boxes import BoxWarpSettings
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.grids import Sampling, zoom_grid
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.saliency import BOX_INPUTS, mix
from lzu_export.warp.tables import zoom_tables


class PreviousBoxes:
    """Boxes of the previous frame for every stream of a batch; none at a sequence's start."""

    def __init__(self, settings: BoxWarpSettings, batch: int) -> None:
        """Start with no boxes: the identity warp, unless a fixed saliency is mixed in."""
        self.settings = settings
        self._boxes = [np.zeros((0, 4), np.float32)] * batch

    def __getitem__(self, stream: int) -> NDArray[np.float32]:
        """Return the boxes of a stream, (n, 4) x1, y1, x2, y2 in pixels of the source."""
        return self._boxes[stream]

    def reset(self) -> None:
        """Forget all boxes, as at the start of a sequence."""
        self._boxes = [np.zeros((0, 4), np.float32)] * len(self._boxes)

    def set_boxes(self, boxes: ArrayLike, stream: int = 0) -> None:
        """Zoom the next frame of a stream by these boxes.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the source, the best first.
            stream: index of the stream in the batch.

        Raises:
            LzuError: the boxes are not (n, 4) finite numbers with x1 <= x2 and y1 <= y2, or more
                than the engine takes; the stream then has no boxes, as at its start.
        """
        self._boxes[stream] = np.zeros((0, 4), np.float32)
        try:
            given = np.asarray(boxes, np.float32)
        except (ValueError, TypeError) as error:
            raise LzuError("boxes must have shape (n, 4): x1, y1, x2, y2") from error
        if given.size == 0:
            given = np.zeros((0, 4), np.float32)
        elif given.ndim != 2 or given.shape[1] != 4:
            raise LzuError(
                f"boxes have shape {given.shape}, not (n, 4); give rows of x1, y1, x2, y2 without "
                "scores or labels"
            )
        if not np.isfinite(given).all():
            raise LzuError(
                "boxes hold NaN or infinite numbers; leave those out (the next frame is zoomed "
                "without boxes)"
            )
        reversed_ = np.flatnonzero((given[:, 2:] < given[:, :2]).any(axis=1))
        if reversed_.size:
            row = ", ".join(f"{value:g}" for value in given[reversed_[0]])
            raise LzuError(
                f"box {reversed_[0]} is {row}, which ends before it begins; give x1, y1, x2, y2, "
                "not x, y, width, height (the next frame is zoomed without boxes)"
            )
        if len(given) > self.settings.boxes:
            raise LzuError(
                f"{len(given)} boxes are given but the engine takes {self.settings.boxes}; give "
                "the best, or export with more warp.boxes (the next frame is zoomed without boxes)"
            )
        self._boxes[stream] = given

    def feed(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], stream: int) -> None:
        """Keep the detections, best first, that pass the recipe's feedback threshold and limit."""
        feedback = self.settings.feedback
        kept = (scores >= feedback.score_threshold) & np.isfinite(boxes).all(axis=1)
        self._boxes[stream] = boxes[kept][: self.settings.most_fed].astype(np.float32)

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return the engine's inputs named in `BOX_INPUTS`: (B, boxes, 4) and (B, boxes)."""
        batch, most = len(self._boxes), self.settings.boxes
        boxes = np.zeros((batch, most, 4), np.float32)
        valid = np.zeros((batch, most), np.float32)
        for i, each in enumerate(self._boxes):
            boxes[i, : len(each)], valid[i, : len(each)] = each, 1
        return dict(zip(BOX_INPUTS, (boxes, valid), strict=True))


def adaptive_tables(
    boxes: NDArray[np.float32],
    saliency: NDArray[np.float64],
    settings: BoxWarpSettings,
    corner: tuple[int, int],
    view: tuple[int, int],
    canvas: tuple[int, int],
) -> Sampling:
    """Compute the zoom's tables as an adaptive engine does from boxes, to draw them.

    Args:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the frame.
        saliency: (h, w) fixed part of the saliency.
        settings: settings of the warp.
        corner: (top, left) of the view in the frame.
        view: (height, width) in pixels of the frame.
        canvas: (height, width) of the zoomed image.
    """
    top, left = corner
    moved = boxes.astype(np.float64) - [left, top, left, top]
    shape = {"amplitude": settings.amplitude, "bandwidth": settings.bandwidth}
    density = box_saliency(moved, view, settings.lattice, **shape)
    mixed = mix(saliency / saliency.sum(), density, settings.mix)
    if not settings.separable:
        return zoom_grid(nonseparable_knots(mixed, settings.fwhm), view, canvas)
    return zoom_tables(*separable_knots(mixed, settings.fwhm), view, canvas)


def check_single_stream(batch: int, what: str) -> None:
    """Refuse to feed one sequence to a bundle of several streams.

    Raises:
        LzuError: the batch is not 1.
    """
    if batch > 1:
        raise LzuError(
            f"an adaptive bundle of batch {batch} runs {batch} streams side by side, but {what} is "
            "one; export it with batch 1"
        )
