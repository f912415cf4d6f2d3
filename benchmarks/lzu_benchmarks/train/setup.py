"""The settings of the demonstration detectors, shared by all variants."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes import CLASSES
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_export.recipes import load_recipe
from lzu_export.recipes.networks import RetinaNetConfig
from lzu_export.recipes.sections import Normalisation, Window
from lzu_export.tasks.training import training_record
from lzu_export.warp.anchors import grid_anchors
from lzu_export.warp.geometry import (
    Level,
    canvas_to_source,
    level_sizes,
    padded_size,
    unzoom_positions,
    zoom_positions,
)
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import uniform_saliency
from lzu_export.warp.sampling import antialias_support, axis_weights

Matrices = tuple[NDArray[np.float32], NDArray[np.float32]]


def demo_config() -> RetinaNetConfig:
    """Return the architecture of the demonstration detectors."""
    return RetinaNetConfig(
        num_classes=len(CLASSES),
        depth=18,
        base_channels=16,
        start_level=0,
        num_outs=4,
        extra_convs="on_output",
        fpn_channels=48,
        feat_channels=48,
        stacked_convs=1,
        octave_base_scale=2.0,
        scales_per_octave=1,
        ratios=(0.5, 1.0, 2.0),
    )


@dataclass(frozen=True)
class Setup:
    """All settings of a detector besides weights and saliency. Sizes are (height, width).

    `window` is the part of the frame that the detector sees; None is the whole frame. `scale` is
    the canvas size over that of the window. Mean and standard deviation are per channel in the
    order of the image (BGR), on the scale 0..255.
    """

    config: RetinaNetConfig = field(default_factory=demo_config)
    source: tuple[int, int] = SOURCE_SIZE
    scale: float = 0.5
    window: Window | None = None
    lattice: tuple[int, int] = (31, 51)
    fwhm: float = 10.0
    amplitude: float = 1.0
    bandwidth: float = 32.0
    antialias: bool = False
    mean: tuple[float, float, float] = (128.0, 128.0, 128.0)
    std: tuple[float, float, float] = (64.0, 64.0, 64.0)

    @property
    def view(self) -> tuple[int, int]:
        """Size of the part of the frame that the detector sees."""
        return self.source if self.window is None else (self.window.height, self.window.width)

    @property
    def canvas(self) -> tuple[int, int]:
        """Size of the zoomed image before padding."""
        # The slack is that of a recipe's canvas.
        return int(self.view[0] * self.scale + 1e-6), int(self.view[1] * self.scale + 1e-6)

    @property
    def network_input(self) -> tuple[int, int]:
        """Size of the padded canvas."""
        return padded_size(self.canvas)

    @property
    def normalisation(self) -> Normalisation:
        """Order, mean and standard deviation of the channels."""
        return Normalisation(order="bgr", mean=self.mean, std=self.std)

    @property
    def levels(self) -> list[Level]:
        """Strides and sizes of the feature levels."""
        return level_sizes(self.canvas, self.config.strides)

    @property
    def label_scale(self) -> NDArray[np.float64]:
        """(4,) pixels of the view per canvas pixel for boxes x1, y1, x2, y2."""
        y, x = canvas_to_source(self.canvas, self.view)
        return np.array([x, y, x, y])

    def record(self, variant: str, saliency: NDArray[np.float64] | None = None) -> dict[str, str]:
        """Return a checkpoint's record of its training, which the compiler checks.

        Args:
            variant: variant that is trained.
            saliency: (h, w) saliency of the fixed variant's warp.
        """
        recipe = load_recipe(
            "det",
            {
                "variant": variant,
                "source": list(self.source),
                "crop": self.window and self.window.model_dump(),
                "scale": self.scale,
                "sampler": "antialiased" if self.antialias else "bilinear",
                "warp.lattice": list(self.lattice),
                "warp.fwhm": self.fwhm,
                "warp.amplitude": self.amplitude,
                "warp.bandwidth": self.bandwidth,
                "normalisation": self.normalisation.model_dump(),
                "classes": list(CLASSES),
            },
        )
        return training_record(
            recipe, uniform_saliency(self.lattice) if saliency is None else saliency
        )

    def anchors(self) -> list[NDArray[np.float32]]:
        """Return the anchors of every level in canvas pixels."""
        sizes = [level.size for level in self.levels]
        return grid_anchors(sizes, self.config.strides, self.config)

    def knots(
        self, saliency: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the knots along x and y; without saliency they are the identity's."""
        chosen = uniform_saliency(self.lattice) if saliency is None else saliency
        return separable_knots(chosen, self.fwhm)

    def zoom_matrices(self, saliency: NDArray[np.float64] | None) -> Matrices:
        """Return rows (H_c, H) and columns (W_c, W) that zoom the view to the canvas.

        Per channel, canvas = rows @ view @ columns.T.
        """
        knots_x, knots_y = self.knots(saliency)
        axes = zip(zoom_positions(knots_x, knots_y, self.canvas), self.view, strict=True)
        rows, columns = (
            axis_weights(
                positions, n, support=antialias_support(positions, n) if self.antialias else 1.0
            ).astype(np.float32)
            for positions, n in axes
        )
        return rows, columns

    def unzoom_matrices(self, saliency: NDArray[np.float64] | None) -> list[Matrices] | None:
        """Return rows (H_l, H_l) and columns (W_l, W_l) of each level's unzoom; None if uniform."""
        if saliency is None:
            return None
        knots_x, knots_y = self.knots(saliency)
        matrices = []
        for level in self.levels:
            rows, columns = unzoom_positions(
                knots_x, knots_y, level, self.canvas, geometry="consistent"
            )
            matrices.append(
                (
                    axis_weights(rows, level.size[0]).astype(np.float32),
                    axis_weights(columns, level.size[1]).astype(np.float32),
                )
            )
        return matrices


def zoom(
    image: NDArray[np.uint8], matrices: Matrices, window: Window | None = None
) -> NDArray[np.uint8]:
    """Sample a frame (H, W, 3) uint8, or its window, onto the canvas (H_c, W_c, 3) uint8."""
    rows, columns = matrices
    if window is not None:
        image = image[window.y :, window.x :][: window.height, : window.width]
    height, width, channels = image.shape
    tall = rows @ image.reshape(height, width * channels).astype(np.float32)
    wide = columns @ tall.reshape(len(rows), width, channels)
    return np.rint(wide).clip(0, 255).astype(np.uint8)
