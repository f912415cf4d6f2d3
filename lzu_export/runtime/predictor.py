"""Run one engine of a bundle, whatever its task: frames in, the task's predictions out."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.pixel_formats import PixelFormat, check_pixels, shape_in, size_of, to_bgr
from lzu_export.recipes import Recipe
from lzu_export.recipes.recipe import INPUT_NAMES
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.fitting import Fit, Fitting, fitted, fitting
from lzu_export.runtime.host_knots import HostKnots
from lzu_export.runtime.preprocess import Sampler, ZoomedInput, sampler
from lzu_export.support.session import Session, same_memory
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS, Sampling, stored_zoom, zoom_at

if TYPE_CHECKING:
    from typing_extensions import Self

    from lzu_export.warp.fixed_warp import FixedWarp

NO_CHOICE = Choice()

Prediction = TypeVar("Prediction")
"""A task's prediction for one frame."""

KNOTS = (*AXIS_KNOTS, *PLANE_KNOTS)
"""Names of the knots that engines output if they derive the warp from the frame's content, or take
from the host: float32, first axis B."""


class CameraFrame(NamedTuple):
    """A frame and, where the task needs it, the camera that took it."""

    frame: Frame
    """(H, W, 3) uint8, BGR, or another pixel format of `load`."""
    cam2img: ArrayLike | None = None
    """Matrix (3, 3), (3, 4) or (4, 4) from points of the camera's frame to homogeneous pixels;
    integers are pixel centres."""


class Predictor(ABC):
    """Runs one engine on frames; each task's subclass turns its outputs into predictions."""

    needs_camera: ClassVar[bool] = False
    """Whether every frame comes with a camera matrix."""

    def __init__(
        self,
        recipe: Recipe,
        session: Session,
        warp: Mapping[str, NDArray[Any]],
        *,
        fit: Fit = "exact",
        choice: Choice = NO_CHOICE,
        pixel_format: PixelFormat = "bgr",
    ) -> None:
        """Use `bundle.load` to make one from a bundle."""
        self.pixel_format = pixel_format
        """Format of the frames that the predictor takes."""
        self.recipe, self.session = recipe, session
        self.warp, self.fit, self.choice = warp, fit, choice
        self._tables = stored_zoom(warp)
        self._frames: NDArray[np.uint8] | None = None  # see `host_frames`
        self._knots: dict[str, NDArray[Any]] = {}  # of the last frames, if they are known
        self._host = HostKnots(recipe, warp) if recipe.takes_knots else None
        self.engine_seconds = 0.0
        """Total time in seconds that the engine ran, over all runs."""
        self._zoom: ZoomedInput | None = None  # set if neither engine nor session zooms
        if recipe.input == "zoomed" and not _takes_frames(session):
            self._zoom = ZoomedInput(recipe, self._tables)
        self._begin()

    def _begin(self) -> None:  # noqa: B027  most predictors have nothing to set up
        """Set up what a subclass needs besides; called once, at the end of the constructor."""

    def close(self) -> None:
        """Release the engine's resources; a second call does nothing."""
        self.session.close()

    def __enter__(self) -> "Self":
        """Return the predictor, which is closed after the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the predictor."""
        self.close()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; labels are indices into them."""
        return self.recipe.classes

    def run(self, camera_frames: Sequence[CameraFrame]) -> list[Any]:
        """Return the predictions for as many camera frames as the bundle's batch.

        Args:
            camera_frames: frames, with their cameras' matrices if the task needs them.

        Raises:
            LzuError: a frame has another size, type or channel count, there are more or fewer
                frames than the batch, or camera matrices are missing or not needed.
        """
        if len(camera_frames) != self.recipe.batch:
            raise LzuError(
                f"{len(camera_frames)} frames were given but this bundle takes {self.recipe.batch} "
                "at once; give that many or export with another batch"
            )
        return self.postprocess(self.infer(camera_frames), camera_frames)

    def infer(self, camera_frames: Sequence[CameraFrame]) -> Mapping[str, NDArray[Any]]:
        """Return the engine's outputs for as many camera frames as the batch."""
        inputs = self.preprocess(camera_frames)
        start = time.perf_counter()
        outputs = self.session.run(inputs)
        self.engine_seconds += time.perf_counter() - start
        return outputs

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], camera_frames: Sequence[CameraFrame]
    ) -> list[Any]:
        """Turn the engine's outputs for these camera frames into predictions.

        Args:
            outputs: arrays by the output's name, first axis B, as the session returns them.
            camera_frames: frames that the outputs belong to.
        """
        return self.to_predictions(self.suppress_all(outputs, len(camera_frames)), camera_frames)

    def suppress_all(self, outputs: Mapping[str, NDArray[Any]], frames: int) -> list[Any]:
        """Suppress candidates; return the remaining outputs of each of this many frames."""
        self._keep_knots(outputs)
        return [
            self.suppress({name: value[i] for name, value in outputs.items()})
            for i in range(frames)
        ]

    def _keep_knots(self, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Keep the knots among an engine's outputs; those that the host gave are kept already."""
        if self._host is None:
            self._knots = {name: outputs[name] for name in KNOTS if name in outputs}

    def to_predictions(
        self, kept: Sequence[Any], camera_frames: Sequence[CameraFrame]
    ) -> list[Any]:
        """Turn the kept outputs of these camera frames into predictions."""
        return [
            self.to_prediction(each, self.frame_size(camera_frame))
            for each, camera_frame in zip(kept, camera_frames, strict=True)
        ]

    def frame_size(self, camera_frame: CameraFrame) -> tuple[int, int]:
        """Return (height, width) of a frame's picture."""
        return size_of(camera_frame.frame, self.pixel_format)

    @property
    def is_stateful(self) -> bool:
        """Whether a frame's prediction depends on the frames before it."""
        return False

    def reset(self) -> None:
        """Forget the frames before, as at the start of a sequence, and knots that were set."""
        if self._host is not None:
            self._host.reset()

    def set_knots(
        self, knots: "FixedWarp | Mapping[str, ArrayLike]", stream: int | None = None
    ) -> None:
        """Zoom all following frames at these knots; for bundles of the variant `external`.

        Args:
            knots: `knots_x` (w,) and `knots_y` (h,), or `knots` (h, w, 2), by name, in [-1, 1] over
                the view; the functions of `lzu_export.warp.families` return them. Or a warp.
            stream: index of the image in the batch; by default all images.

        Raises:
            LzuError: the bundle takes no knots, or these do not fit it; the former are then kept.
        """
        if self._host is None:
            raise LzuError(
                f"a bundle of variant {self.recipe.variant} takes no knots; export it as external"
            )
        self._host.set_knots(knots if isinstance(knots, Mapping) else knots.knots, stream)

    def preprocess(self, camera_frames: Sequence[CameraFrame]) -> dict[str, NDArray[Any]]:
        """Return the engine's inputs for these camera frames.

        Args:
            camera_frames: as many as the bundle's batch.

        Returns:
            Arrays by the input's name, first axis B; see `docs/outputs.md` for each.

        Raises:
            LzuError: a frame has another size, type or shape, or a camera matrix is missing, not
                needed or unfit.
        """
        source = self.recipe.source if self.fit == "exact" else None
        frames: list[Frame] = []
        for i, camera_frame in enumerate(camera_frames):
            name = f"frame {i} of the batch" if len(camera_frames) > 1 else "frame"
            frame = check_pixels(camera_frame.frame, self.pixel_format, source, name)
            if self.pixel_format == "bgr" or self.session.pixel_format != self.pixel_format:
                bgr = to_bgr(frame, self.pixel_format)
                frame = fitted(bgr, self.recipe, self.fit)
            frames.append(frame)
        others = {**self.knot_inputs(), **self.other_inputs(camera_frames)}
        return {**self.preprocess_image(frames), **others}

    @property
    def host_frames(self) -> NDArray[np.uint8]:
        """Memory for the frames of a batch, uint8 of the source size, filled in place.

        It is B x H x W x 3 for BGR, else B frames in the predictor's pixel format.

        Given `host_frames[i]` as frame i, a session on a device reads it where it lies, without a
        copy. It must not change while the predictor runs. Where the host zooms or converts, or
        frames have another size, the frames are read from it as from any other array.
        """
        if self._frames is None:
            taken = self.pixel_format == self.session.pixel_format
            if taken and _takes_frames(self.session):
                self._frames = self.session.host(INPUT_NAMES["source"])
            else:
                shape = shape_in(self.recipe.source, self.pixel_format)
                self._frames = np.zeros((self.recipe.batch, *shape), np.uint8)
        return self._frames

    def preprocess_image(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """Return the engine's image input for frames of the source size."""
        if self._zoom is not None:
            return {INPUT_NAMES["zoomed"]: self._zoom(frames)}
        if self._frames is not None and all(map(same_memory, frames, self._frames)):
            return {INPUT_NAMES["source"]: self._frames}
        if len(frames) == 1:  # sessions only read: no copy is needed
            return {INPUT_NAMES["source"]: np.ascontiguousarray(frames[0])[None]}
        return {INPUT_NAMES["source"]: np.stack(frames)}

    def knot_inputs(self) -> dict[str, NDArray[Any]]:
        """Return the host's knots as the engine's inputs; none for other variants."""
        if self._host is None:
            return {}
        self._knots = dict(self._host.inputs())
        return dict(self._knots)

    def other_inputs(self, camera_frames: Sequence[CameraFrame]) -> dict[str, NDArray[Any]]:
        """Return the engine's inputs other than the image and the host's knots."""
        if any(camera_frame.cam2img is not None for camera_frame in camera_frames):
            raise LzuError(
                f"a model of task {self.recipe.task} takes no camera matrix; leave it out"
            )
        return {}

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Any:
        """Suppress one frame's candidates; return the outputs unchanged if the task has none."""
        return outputs

    @abstractmethod
    def to_prediction(self, kept: Any, size: tuple[int, ...]) -> Any:
        """Make one frame's prediction from the result of `suppress`.

        `size` is the frame's (height, width), since the frame may have been resized.
        """

    def place_of(self, size: tuple[int, ...]) -> Fitting:
        """Return the place of a frame of (height, width) in the source."""
        return fitting(size, self.recipe.source, self.fit)

    def tables_of(self, frame: int) -> Sampling:
        """Return the zoom's tables for the frame of this index in the last batch."""
        if not self._knots:
            return self._tables
        knots = {name: values[frame] for name, values in self._knots.items()}
        return zoom_at(knots, self.recipe.view, self.recipe.canvas)

    @property
    def tables(self) -> Sampling:
        """Tables of the zoom for the last batch's first frame."""
        return self.tables_of(0)

    @property
    def sampler(self) -> Sampler:
        """Sampler of the zoom for the last batch's first frame, see `sampler_of`."""
        return self.sampler_of(0)

    def sampler_of(self, frame: int) -> Sampler:
        """Return the sampler of the zoom for the frame of this index in the last batch."""
        tables = self.tables_of(frame)
        if tables is self._tables:
            return self._fixed_sampler
        return sampler(tables, self.recipe.picture)

    @cached_property
    def _fixed_sampler(self) -> Sampler:
        return sampler(self._tables, self.recipe.picture)  # drawing a video needs it in every frame


class FramePredictor(Predictor, Generic[Prediction]):
    """Predictor of a task that needs frames alone."""

    def __call__(self, frame: Frame) -> Prediction:
        """Predict in one frame; for bundles of batch 1.

        Args:
            frame: uint8 in the predictor's pixel format; BGR, the default, is H x W x 3.

        Raises:
            LzuError: the frame has another size, type or shape.
        """
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Predict in as many frames as the bundle's batch.

        Args:
            frames: one array each, as for a call.

        Returns:
            One prediction for each frame.

        Raises:
            LzuError: a frame has another size, type or shape, or there are more or fewer frames
                than the batch.
        """
        return self.run([CameraFrame(frame) for frame in frames])


def _takes_frames(session: Session) -> bool:
    """Whether the engine zooms by itself, or its session zooms on the device."""
    return any(each.name == INPUT_NAMES["source"] for each in session.inputs)
