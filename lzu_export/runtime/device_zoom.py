"""Zoom on the device, for engines whose input is the zoomed image.

A launcher of the plugin library, `lzu_zoom_camera`, precedes the engine on its stream. It turns the
camera's bytes into the input that `preprocess.ZoomedInput` computes on the host, up to rounding,
since it sums in another order. The host then sends bytes instead of floats and computes nothing.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.pixel_formats import PixelFormat, shape_in
from lzu_export.recipes import Recipe
from lzu_export.recipes.recipe import INPUT_NAMES
from lzu_export.runtime.kernels import LINEAR_FORMATS, PIXEL_FORMATS, ZoomCamera, launch, require
from lzu_export.support.session import TensorSpec
from lzu_export.warp.grids import GridTable, Sampling
from lzu_export.warp.tables import TablePair, is_bilinear

LAUNCHER = "lzu_zoom_camera"
MOST_PIXELS = (1 << 16) - 1
"""Largest number of rows or columns of a picture that the launcher takes."""


@dataclass(frozen=True)
class DeviceZoom:
    """Kernel that zooms before the engine; see `targets.tensorrt.stages.Prologue`."""

    library: Any
    """The plugin library."""
    recipe: Recipe
    image: TensorSpec
    """Spec of the engine's input, B x 3 x network input."""
    constants: Mapping[str, NDArray[Any]] = field(repr=False)
    """Resample tables of columns and of rows by name, float32, 4 x cells of the canvas."""
    pixel_format: PixelFormat = "bgr"
    """Format of the host's frames."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Spec of the host's input: a batch of frames as the camera gives them."""
        shape = (self.recipe.batch, *shape_in(self.recipe.source, self.pixel_format))
        return (TensorSpec(INPUT_NAMES["source"], "uint8", shape),)

    @property
    def writes(self) -> tuple[str, ...]:
        """Name of the engine's input, which the kernel writes."""
        return (self.image.name,)

    @cached_property
    def _bilinear(self) -> int:
        """1 where every pixel samples four of the picture, for which the launcher is quicker."""
        return int(all(is_bilinear(table) for table in self.constants.values()))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Launch the kernel for every frame of the batch.

        Args:
            addresses: device addresses of the engine's tensors, `inputs` and `constants`, by name.
            stream: the engine's cudaStream_t.

        Raises:
            LzuError: the launcher fails.
        """
        recipe, norm = self.recipe, self.recipe.normalisation
        (top, left), (height, width) = recipe.corner, recipe.source
        bytes_ = 3 if self.pixel_format in ("bgr", "rgb") else 1  # of a pixel in its row
        pitch = bytes_ * width
        pad = [n - m for n, m in zip(recipe.network_input, recipe.canvas, strict=True)]
        frame, corner = int(np.prod(self.inputs[0].shape[1:])), top * pitch + bytes_ * left
        chroma = height * pitch + top // 2 * pitch + left if self.pixel_format == "nv12" else None
        image = int(np.prod(self.image.shape[1:])) * np.dtype(self.image.dtype).itemsize
        for number in range(recipe.batch):
            start = addresses[self.inputs[0].name] + number * frame
            call = ZoomCamera(
                pixels=start + corner,
                chroma=None if chroma is None else start + chroma,
                pitch=pitch,
                pixel_format=PIXEL_FORMATS[self.pixel_format],
                reduce=recipe.reduce,
                height=recipe.picture[0],
                width=recipe.picture[1],
                canvas_height=recipe.canvas[0],
                canvas_width=recipe.canvas[1],
                pad_y=pad[0],
                pad_x=pad[1],
                bilinear=self._bilinear,
                rgb_output=int(norm.order == "rgb"),
                format=LINEAR_FORMATS[self.image.dtype],
                output=addresses[self.image.name] + number * image,
                **{name: addresses[name] for name in self.constants},
            )
            call.mean[:], call.std[:] = norm.mean, norm.std
            launch(self.library, LAUNCHER, call, stream)


def make_zoom(
    library: ctypes.CDLL,
    recipe: Recipe,
    zoom: Sampling,
    inputs: Sequence[TensorSpec],
    pixel_format: PixelFormat = "bgr",
) -> DeviceZoom:
    """Make the kernel that runs before an engine that takes the zoomed image.

    Args:
        library: the plugin library.
        recipe: a recipe with `input: zoomed` for which `zoom_refusal` returns None.
        zoom: the warp's tables.
        inputs: specs of the engine's inputs.
        pixel_format: format of the host's frames.

    Raises:
        LzuError: the library is too old.
    """
    require(library, LAUNCHER)
    assert isinstance(zoom, TablePair)
    tables = {"table_x": zoom.cols, "table_y": zoom.rows}
    constants = {name: np.ascontiguousarray(each, np.float32) for name, each in tables.items()}
    return DeviceZoom(library, recipe, _image(inputs), constants, pixel_format)


def zoom_refusal(
    recipe: Recipe,
    zoom: Sampling,
    inputs: Sequence[TensorSpec],
    pixel_format: PixelFormat = "bgr",
) -> str | None:
    """Return why the launcher cannot zoom as the host does; None if it can."""
    image = _image(inputs)
    if recipe.sampler == "opencv":
        return "sampler opencv rounds as OpenCV's resize, which the kernel does not"
    if isinstance(zoom, GridTable):
        return "the warp is not separable, and the kernel takes tables of rows and columns"
    if image.dtype not in LINEAR_FORMATS:
        return f"the kernel writes {' or '.join(LINEAR_FORMATS)}, not {image.dtype}"
    if max(recipe.picture) > MOST_PIXELS:
        return f"the kernel takes {MOST_PIXELS} rows and columns at most"
    if pixel_format == "nv12" and any(n % 2 for n in recipe.corner):
        return f"the view starts at {recipe.corner}, between the pixels that share NV12's chroma"
    return None


def _image(inputs: Sequence[TensorSpec]) -> TensorSpec:
    return next(each for each in inputs if each.name == INPUT_NAMES["zoomed"])
