"""Run one engine of a bundle, whatever its task: frames in, the task's predictions out."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.fitting import Fit, Fitting, fitted, fitting
from lzu_export.runtime.preprocess import Sampler, ZoomedInput, sampler
from lzu_export.support.session import Session
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS, Sampling, stored_zoom, zoom_at

NO_CHOICE = Choice()
INPUT_NAMES = {"source": "frame", "zoomed": "image"}
"""Name of the engine's image input by the recipe's `input`."""

KNOTS = (*AXIS_KNOTS, *PLANE_KNOTS)
"""Outputs, of these, of engines that zoom by what they see in the frame: float32, B of each."""


class Shot(NamedTuple):
    """A frame and, where the task needs it, the camera that took it."""

    frame: Frame
    cam2img: ArrayLike | None = None
    """(3, 3), (3, 4) or (4, 4): points of the camera's frame to homogeneous pixels, whose index is
    that of their centre."""


class Predictor(ABC):
    """Runs one engine on frames; a subclass for each task makes predictions of its outputs."""

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
    ) -> None:
        """Use `bundle.load` to make one from a bundle."""
        self.recipe, self.session = recipe, session
        self.warp, self.fit, self.choice = warp, fit, choice
        self._tables = stored_zoom(warp)
        self._knots: dict[str, NDArray[Any]] = {}  # of the last frames, where engines tell them
        self.engine_seconds = 0.0
        """How long the engine ran, all runs together."""
        self._zoom: ZoomedInput | None = None  # where neither engine nor session zooms
        if recipe.input == "zoomed" and not _takes_frames(session):
            self._zoom = ZoomedInput(recipe, self._tables)

    def close(self) -> None:
        """Give back what the engine holds; a second call does nothing."""
        self.session.close()

    def __enter__(self) -> "Predictor":
        """The predictor, closed behind the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels count."""
        return self.recipe.classes

    def run(self, shots: Sequence[Shot]) -> list[Any]:
        """The predictions for as many shots as the bundle's batch.

        Raises:
            LzuError: a frame is of another size, type or channel count, there are more or fewer
                than the batch, or cameras are missing or given in vain.
        """
        if len(shots) != self.recipe.batch:
            raise LzuError(
                f"{len(shots)} frames were given but this bundle takes {self.recipe.batch} at "
                "once; give that many or export with another batch"
            )
        return self.conclude(self.infer(shots), shots)

    def infer(self, shots: Sequence[Shot]) -> Mapping[str, NDArray[Any]]:
        """The engine's outputs for as many shots as the batch."""
        inputs = self.prepare(shots)
        start = time.perf_counter()
        outputs = self.session.run(inputs)
        self.engine_seconds += time.perf_counter() - start
        return outputs

    def conclude(self, outputs: Mapping[str, NDArray[Any]], shots: Sequence[Shot]) -> list[Any]:
        """The predictions of the engine's outputs for these shots."""
        return self.present(self.keep(outputs, len(shots)), shots)

    def keep(self, outputs: Mapping[str, NDArray[Any]], frames: int) -> list[Any]:
        """Suppress candidates: the remaining outputs of each of this many frames."""
        self._knots = {name: outputs[name] for name in KNOTS if name in outputs}
        return [
            self.suppress({name: value[i] for name, value in outputs.items()})
            for i in range(frames)
        ]

    def present(self, kept: Sequence[Any], shots: Sequence[Shot]) -> list[Any]:
        """The predictions of what was kept for these shots."""
        return [
            self.finish(each, shot.frame.shape[:2]) for each, shot in zip(kept, shots, strict=True)
        ]

    @property
    def remembers(self) -> bool:
        """Whether a frame's prediction depends on those before it."""
        return False

    def reset(self) -> None:  # noqa: B027  most predictors have nothing to forget
        """Forget the frames before, as at the start of a sequence."""

    def prepare(self, shots: Sequence[Shot]) -> dict[str, NDArray[Any]]:
        """The engine's inputs for these shots."""
        source = self.recipe.source
        frames: list[Frame] = []
        for i, shot in enumerate(shots):
            name = f"frame {i} of the batch" if len(shots) > 1 else "frame"
            frame = check_frame(shot.frame, source if self.fit == "exact" else None, name)
            frames.append(fitted(frame, self.recipe, self.fit))
        return {**self.prepare_image(frames), **self.other_inputs(shots)}

    def prepare_image(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """The engine's image input for frames of the source size."""
        if self._zoom is not None:
            return {INPUT_NAMES["zoomed"]: self._zoom(frames)}
        if len(frames) == 1:  # sessions only read: no copy is needed
            return {INPUT_NAMES["source"]: np.ascontiguousarray(frames[0])[None]}
        return {INPUT_NAMES["source"]: np.stack(frames)}

    def other_inputs(self, shots: Sequence[Shot]) -> dict[str, NDArray[Any]]:
        """The engine's inputs besides the image."""
        if any(shot.cam2img is not None for shot in shots):
            raise LzuError(
                f"a model of task {self.recipe.task} takes no camera matrix; leave it out"
            )
        return {}

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Any:
        """Suppress one frame's candidates; the outputs as they are where a task has none."""
        return outputs

    @abstractmethod
    def finish(self, kept: Any, size: tuple[int, ...]) -> Any:
        """Make one frame's prediction of what `suppress` left.

        `size` is the frame's, for those that were resized.
        """

    def place_of(self, size: tuple[int, ...]) -> Fitting:
        """Placement of a frame of (height, width) in the source."""
        return fitting(size, self.recipe.source, self.fit)

    def tables_of(self, frame: int) -> Sampling:
        """The zoom's tables of a frame of the last batch, by its index there."""
        if not self._knots:
            return self._tables
        knots = {name: values[frame] for name, values in self._knots.items()}
        return zoom_at(knots, self.recipe.view, self.recipe.canvas)

    @property
    def tables(self) -> Sampling:
        """The zoom's tables of the last batch's first frame."""
        return self.tables_of(0)

    @property
    def sampler(self) -> Sampler:
        """The zoom of the last batch's first frame, see `sampler_of`."""
        return self.sampler_of(0)

    def sampler_of(self, frame: int) -> Sampler:
        """The zoom of a frame of the last batch, by its index there, for pictures of it."""
        tables = self.tables_of(frame)
        if tables is self._tables:
            return self._fixed_sampler
        return sampler(tables, self.recipe.picture)

    @cached_property
    def _fixed_sampler(self) -> Sampler:
        return sampler(self._tables, self.recipe.picture)  # a video asks in every frame


def _takes_frames(session: Session) -> bool:
    """Whether an engine zooms by itself, or its session does on the device."""
    return any(each.name == INPUT_NAMES["source"] for each in session.inputs)
