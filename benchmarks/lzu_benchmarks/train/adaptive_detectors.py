"""Demonstration detectors with a separate warp for each image: zoom, training and inference.

The adaptive detector unzooms its features. FOVEA's only zooms, so its boxes go through the warp
instead: ground truth is mapped to the canvas for training, and detections back to the source.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.train.cache import Targets, make_targets, mirror
from lzu_benchmarks.train.det import Detector, Found, found_in
from lzu_benchmarks.train.drawn_boxes import padded
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.setup import Setup
from lzu_export.models.adaptive import AdaptiveUnzoom, BoxWarp, Unwarp
from lzu_export.models.adaptive_warp import BoxPull
from lzu_export.models.checkpoint import load_into, load_state
from lzu_export.runtime.preprocess import Taps, resample
from lzu_export.warp.geometry import zoom_positions
from lzu_export.warp.inverse import invert_axis
from lzu_export.warp.saliency import uniform_saliency

Boxes = NDArray[np.floating]


class AdaptiveDetector(Detector):
    """The network from canvases, each zoomed with its own knots, to raw outputs."""

    def __init__(
        self, setup: Setup, saliency: NDArray[np.float64] | None = None, mix: float = 1.0
    ) -> None:
        """Build with random weights, which equal those of other variants for equal seeds.

        `saliency` and `mix` are those of `Zoomer`.
        """
        super().__init__(setup, None)
        self.setup = setup
        self.zoomer = Zoomer(setup, saliency, mix)
        self.adaptive_unzoom = AdaptiveUnzoom(setup.levels, setup.canvas)

    def forward(  # type: ignore[override]
        self, canvases: Tensor, knots_x: Tensor, knots_y: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Map canvases (B, H_c, W_c, 3) BGR to class logits and box deltas per level.

        `knots_x` (B, w) and `knots_y` (B, h) unzoom the features.
        """
        levels = [level.contiguous() for level in self.extract(canvases)]
        return self.network.head(
            [
                level.contiguous(memory_format=torch.channels_last)
                for level in self.adaptive_unzoom(levels, knots_x, knots_y)
            ]
        )

    def to_source(self, knots_x: Tensor, knots_y: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Return the function that maps boxes (B, K, 4) from canvas to source; None: scaling.

        Scaling is enough here, because unzoomed features are in the frame of the source.
        """
        return None

    def targets(
        self, film: Film, index: int, flipped: bool, knots_x: Tensor, knots_y: Tensor
    ) -> Targets:
        """Return the targets of a training frame or its mirror image, zoomed with these knots."""
        return film.targets(index, flipped)

    def detect(self, zoomed: "Zoomed") -> list[Found]:
        """Return the detections of each image of a batch, in source pixels."""
        canvases, *knots = zoomed
        with torch.inference_mode():
            return found_in(self(canvases, *knots), self.setup, self.to_source(*knots))


class FoveaDetector(AdaptiveDetector):
    """The network from zoomed canvases to raw outputs in the frame of the canvas."""

    def __init__(self, setup: Setup) -> None:
        """Build with random weights, which equal those of other variants for equal seeds."""
        super().__init__(setup)
        self._anchors = setup.anchors()
        self._unwarp = Unwarp(*_spans(setup))

    def forward(  # type: ignore[override]
        self, canvases: Tensor, knots_x: Tensor, knots_y: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Map canvases (B, H_c, W_c, 3) BGR to raw outputs on the canvas; knots are not used."""
        return self.network.head(self.extract(canvases))

    def to_source(self, knots_x: Tensor, knots_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that maps boxes from canvas to source by the forward warp."""
        return partial(self._unwarp, knots_x=knots_x, knots_y=knots_y)

    def targets(
        self, film: Film, index: int, flipped: bool, knots_x: Tensor, knots_y: Tensor
    ) -> Targets:
        """Return the targets of the boxes as they appear on the zoomed canvas."""
        found = film.objects(film.place(index))
        boxes = mirror(found.boxes, self.setup.source[1]) if flipped else found.boxes
        shown = warp_boxes(boxes, self.setup, knots_x.numpy(), knots_y.numpy())
        return make_targets(self.setup, self._anchors, shown, found.classes, found.ignore)


def warp_boxes(
    boxes: NDArray[np.float64],
    setup: Setup,
    knots_x: NDArray[np.float32],
    knots_y: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Map boxes (n, 4) from source to canvas pixels by their corners: the inverse of `Unwarp`."""
    canvas, source = _spans(setup)
    shown = np.empty_like(boxes)
    for axis, knots in ((0, knots_x), (1, knots_y)):
        positions = boxes[:, axis::2] * (2 / source[1 - axis]) - 1
        shown[:, axis::2] = (invert_axis(knots, positions) + 1) * (canvas[1 - axis] / 2)
    return shown


def _spans(setup: Setup) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (height, width) between first and last pixel centres, of canvas and of source."""
    (h, w), (height, width) = setup.canvas, setup.source
    return (h - 1, w - 1), (height - 1, width - 1)


class Zoomed(NamedTuple):
    """Inputs of the detector: canvases (B, H_c, W_c, 3), and knots (B, w) and (B, h)."""

    canvases: Tensor
    knots_x: Tensor
    knots_y: Tensor


class Zoomer:
    """Converts frames and boxes to the inputs of the detector."""

    def __init__(
        self, setup: Setup, saliency: NDArray[np.float64] | None = None, mix: float = 1.0
    ) -> None:
        """Keep the warp's settings.

        Args:
            setup: settings of the detectors.
            saliency: fixed saliency (h, w) that is mixed in; uniform by default.
            mix: share of the boxes' saliency, 0 to 1; at 0 the warp is the fixed one.
        """
        self.mix = mix
        self._canvas, self._source = setup.canvas, setup.source
        self._warp = BoxWarp(
            uniform_saliency(setup.lattice) if saliency is None else saliency,
            setup.source,
            BoxPull(setup.amplitude, setup.bandwidth, mix=mix),
            fwhm=setup.fwhm,
        )

    def __call__(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Boxes]) -> Zoomed:
        """Zoom each image (H, W, 3) by its boxes (n, 4) in source pixels."""
        knots_x, knots_y = self.knots(boxes)
        canvases = [
            self._zoom(image, x, y)
            for image, x, y in zip(images, knots_x.numpy(), knots_y.numpy(), strict=True)
        ]
        return Zoomed(torch.from_numpy(np.stack(canvases)), knots_x, knots_y)

    def knots(self, boxes: Sequence[Boxes]) -> tuple[Tensor, Tensor]:
        """Compute the knots (B, w) and (B, h) from the boxes of each image."""
        with torch.no_grad():
            knots: tuple[Tensor, Tensor] = self._warp(
                *(torch.from_numpy(each) for each in padded(boxes))
            )
        return knots

    def _zoom(
        self, image: NDArray[np.uint8], knots_x: NDArray[np.float32], knots_y: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        # Sparse taps give the same numbers as lzu::SeparableZoom, whose dense products would take
        # longer than a good part of the network.
        rows, columns = (
            _taps((positions + 1) / 2 * (n - 1), n)
            for positions, n in zip(
                zoom_positions(knots_x, knots_y, self._canvas), self._source, strict=True
            )
        )
        return resample(image, rows, columns)


def _taps(positions: NDArray[np.float64], n: int) -> Taps:
    """Return the two pixels next to each position on an axis of `n` pixels, and their weights."""
    first = np.clip(np.floor(positions), 0, n - 2).astype(np.intp)
    fraction = positions - first
    return Taps(np.stack([first, first + 1]), np.stack([1 - fraction, fraction]).astype(np.float32))


def load(path: Path, detector: Detector) -> None:
    """Load the weights of a checkpoint into a detector and set it to evaluation mode."""
    load_into(detector.network, load_state(path), name=str(path))
    detector.eval()
