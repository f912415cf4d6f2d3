"""2-D detection: frames in, boxes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.engines.base import Session, StatefulSession
from lzu_export.errors import LzuError
from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime.feedback import BOX_INPUTS, PreviousBoxes, adaptive_tables
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.preprocess import Frame
from lzu_export.warp.grids import Sampling

Kept = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]
"""Boxes in pixels of the source, scores and labels of one frame."""


@dataclass(frozen=True)
class Detections:
    """What was found in one frame, best first."""

    boxes: NDArray[np.float32]
    """(n, 4) x1, y1, x2, y2 in pixels of the frame."""
    scores: NDArray[np.float32]
    """(n,) in 0..1."""
    labels: NDArray[np.int32]
    """(n,) indices into `classes`."""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of detections."""
        return len(self.scores)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results; category ids count the classes from 1."""
        return [
            {
                "image_id": image_id,
                "category_id": int(label) + 1,
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, label in zip(
                self.boxes, self.scores, self.labels, strict=True
            )
        ]


class Detector(Predictor):
    """Finds boxes in frames."""

    recipe: DetRecipe

    def __init__(
        self,
        recipe: DetRecipe,
        session: Session,
        warp: Mapping[str, NDArray[Any]],
        *,
        resize: bool = False,
    ) -> None:
        """Use `bundle.load` to make one from a bundle."""
        super().__init__(recipe, session, warp, resize=resize)
        self._previous: PreviousBoxes | None = None
        if recipe.follows_boxes:
            self._previous = PreviousBoxes(recipe.warp, recipe.batch)
        self._device: StatefulSession | None = None  # where the boxes stay on the device
        if self._previous is not None and _feeds_itself(session):
            self._device = cast(StatefulSession, session)
        self._shown: list[NDArray[np.float32]] = []  # boxes that the last frames were zoomed by
        self._tell_device()  # whose boxes may be another predictor's of the same session

    def __call__(self, frame: Frame) -> Detections:
        """Detect in one BGR frame (H x W x 3 uint8); for bundles of batch 1.

        Raises:
            LzuError: the frame is of another size, type or channel count.
        """
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect in as many frames as the bundle's batch."""
        return self.run([Shot(frame) for frame in frames])

    @property
    def remembers(self) -> bool:
        """Whether boxes are fed back."""
        return self._previous is not None

    def reset(self) -> None:
        """Forget the boxes of the frame before."""
        if self._previous is not None:
            self._previous.reset()
            self._tell_device()

    def look_at(self, boxes: ArrayLike, stream: int = 0) -> None:
        """Zoom the next frame by these boxes (n, 4), in pixels of the source, instead.

        Raises:
            LzuError: the bundle is not adaptive, or the boxes are unfit; the next frame is then
                zoomed as at the start of a sequence.
        """
        if self._previous is None:
            raise LzuError(
                f"a bundle of variant {self.recipe.variant} does not look at boxes; export it as "
                "adaptive"
            )
        try:
            self._previous.look_at(boxes, stream)
        finally:
            self._tell_device()

    def other_inputs(self, shots: Sequence[Shot]) -> dict[str, NDArray[Any]]:
        """The boxes of the frame before, where the warp depends on them."""
        inputs = super().other_inputs(shots)
        if self._previous is not None:
            self._shown = [self._previous[i] for i in range(self.recipe.batch)]
            if self._device is None:
                inputs |= self._previous.inputs()
        return inputs

    def _tell_device(self) -> None:
        if self._device is not None and self._previous is not None:
            self._device.set_state(self._previous.inputs())

    def present(self, kept: Sequence[Any], shots: Sequence[Shot]) -> list[Any]:
        """The detections, which are fed back.

        Where the device has fed itself, this copy of its boxes only tells what it was looked at by.
        """
        if self._previous is not None:
            for i, (boxes, scores, _) in enumerate(kept):
                self._previous.feed(boxes, scores, i)
        return super().present(kept, shots)

    @property
    def tables(self) -> Sampling:
        """The zoom's tables of the last frame."""
        if self._previous is None or not self._shown:
            return super().tables
        recipe, saliency = self.recipe, self.warp["saliency"]
        place = (recipe.corner, recipe.view, recipe.canvas)
        return adaptive_tables(self._shown[self.shown], saliency, recipe.warp, *place)

    def _factor(self, size: tuple[int, ...]) -> list[float]:
        """(x, y, x, y) pixels of a frame of this size per pixel of the source."""
        return [size[1] / self.recipe.source[1], size[0] / self.recipe.source[0]] * 2

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Kept:
        """Suppress one frame's candidates, unless the device has done it.

        Boxes are clipped to the view: the canvas's far edge, to which candidates are clipped, lies
        up to a canvas pixel beyond it.
        """
        if "kept_count" in outputs:
            count = int(outputs["kept_count"])
            boxes, scores, labels = (
                outputs[f"kept_{name}"][:count] for name in ("boxes", "scores", "labels")
            )
        else:
            settings = self.recipe.postprocess
            boxes, scores, labels = suppress(
                outputs["boxes"],
                outputs["scores"],
                outputs["labels"],
                score_threshold=settings.score_threshold,
                iou_threshold=settings.iou_threshold,
                max_detections=settings.max_detections,
            )
        (top, left), (height, width) = self.recipe.corner, self.recipe.view
        clipped = np.clip(boxes, [left, top] * 2, [left + width, top + height] * 2)
        return clipped.astype(np.float32), scores, labels

    def finish(self, kept: Kept, size: tuple[int, ...]) -> Detections:
        """One frame's detections; `size` is the frame's, for those that were resized."""
        boxes, scores, labels = kept
        return Detections(
            (boxes * np.array(self._factor(size))).astype(np.float32),
            scores.astype(np.float32),
            labels.astype(np.int32),
            self.recipe.classes,
        )


def _feeds_itself(session: Session) -> bool:
    """Whether a session of an adaptive engine keeps the boxes: it then takes none."""
    names = {each.name for each in session.inputs}
    return bool(names) and not names & set(BOX_INPUTS)
