"""2-D detection: frames in, boxes out."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.recipes.det import DetRecipe
from lzu_export.runtime.choice import Choice, missing_candidates
from lzu_export.runtime.feedback import BOX_INPUTS, PreviousBoxes, adaptive_tables
from lzu_export.runtime.fitting import Fitting
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.predictor import NO_CHOICE, CameraFrame, FramePredictor
from lzu_export.support.session import Session, StatefulSession
from lzu_export.warp.grids import Sampling

log = logging.getLogger(__name__)


CANDIDATES = ("boxes", "scores", "labels")


class Kept(NamedTuple):
    """Detections of one frame after suppression, best first."""

    boxes: NDArray[np.float32]
    """(n, 4) x1, y1, x2, y2 in pixels of the source."""
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    fed: "Kept | None" = None
    """Detections under the recipe's own settings, to be fed back if the user chose others."""


@dataclass(frozen=True)
class Detections:
    """Detections of one frame, best first."""

    boxes: NDArray[np.float32]
    """(n, 4) x1, y1, x2, y2 in pixels of the frame."""
    scores: NDArray[np.float32]
    """(n,) in 0..1."""
    labels: NDArray[np.int32]
    """(n,) indices into `classes`."""
    classes: tuple[str, ...]
    """Names of the classes."""

    def __len__(self) -> int:
        """Number of detections."""
        return len(self.scores)

    def draw(self, frame: Frame, *, lowest: float = 0.0) -> Frame:
        """Draw boxes, class names and scores on a copy of the frame, best detections first.

        Args:
            frame: (H, W, 3) uint8, BGR; the frame that the detections were found in.
            lowest: lowest score that is drawn.

        Raises:
            LzuError: the frame is no picture of that shape and type.
        """
        from lzu_export.runtime.draw_boxes import draw_detections

        return draw_detections(frame, self, lowest=lowest)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return the detections as COCO results; category ids count the classes from 1.

        Args:
            image_id: number of the frame in the data set.

        Returns:
            A mapping for each detection, `bbox` as x, y, width, height in pixels of the frame.
        """
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


class Detector(FramePredictor[Detections]):
    """Finds boxes in frames."""

    recipe: DetRecipe

    def _begin(self) -> None:
        recipe, session = self.recipe, self.session
        self._told_missing = False  # the warning about missing candidates is logged once
        self._previous: PreviousBoxes | None = None
        if recipe.follows_boxes:
            self._previous = PreviousBoxes(recipe.warp, recipe.batch)
        self._device: StatefulSession | None = None  # set if the boxes stay on the device
        if self._previous is not None and _feeds_itself(session):
            self._device = cast(StatefulSession, session)
        self._shown: list[NDArray[np.float32]] = []  # boxes that the last frames were zoomed by
        self._tell_device()  # its boxes may be those of another predictor of the session

    @property
    def is_stateful(self) -> bool:
        """Whether detections are fed back to the next frame's warp."""
        return self._previous is not None

    def reset(self) -> None:
        """Forget the previous frame's boxes, and knots that were set."""
        super().reset()
        if self._previous is not None:
            self._previous.reset()
            self._tell_device()

    def set_boxes(self, boxes: ArrayLike, stream: int = 0) -> None:
        """Zoom the next frame by given boxes instead of those found in the previous frame.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the source.
            stream: index of the image in the batch.

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
            self._previous.set_boxes(boxes, stream)
        finally:
            self._tell_device()

    def look_at(self, boxes: ArrayLike, stream: int = 0) -> None:
        """Deprecated name of `set_boxes`."""
        warnings.warn("look_at is set_boxes now; call that", DeprecationWarning, stacklevel=2)
        self.set_boxes(boxes, stream)

    def other_inputs(self, camera_frames: Sequence[CameraFrame]) -> dict[str, NDArray[Any]]:
        """Return the previous frame's boxes as inputs, if the warp depends on them."""
        inputs = super().other_inputs(camera_frames)
        if self._previous is not None:
            self._shown = [self._previous[i] for i in range(self.recipe.batch)]
            if self._device is None:
                inputs |= self._previous.inputs()
        return inputs

    def _tell_device(self) -> None:
        if self._device is not None and self._previous is not None:
            self._device.set_state(self._previous.inputs())

    def to_predictions(
        self, kept: Sequence[Any], camera_frames: Sequence[CameraFrame]
    ) -> list[Any]:
        """Return the detections of these camera frames, and feed them back.

        If the device feeds itself, the host's copy of the boxes only records them for `tables_of`.
        """
        if self._previous is not None:
            for i, each in enumerate(kept):
                fed = each.fed or each
                self._previous.feed(fed.boxes, fed.scores, i)
        return super().to_predictions(kept, camera_frames)

    def tables_of(self, frame: int) -> Sampling:
        """Return the zoom's tables for the frame of this index in the last batch."""
        if self._previous is None or not self._shown:
            return super().tables_of(frame)
        recipe, saliency = self.recipe, self.warp["saliency"]
        place = (recipe.corner, recipe.view, recipe.canvas)
        return adaptive_tables(self._shown[frame], saliency, recipe.warp, *place)

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Kept:
        """Suppress one frame's candidates, unless the device has done it.

        Boxes are clipped to the view: the canvas's far edge, to which candidates are clipped, lies
        up to a canvas pixel beyond it.
        """
        if "kept_count" in outputs:
            count = int(outputs["kept_count"])
            return self._clipped(*(outputs[f"kept_{name}"][:count] for name in CANDIDATES))
        kept = self._suppressed(outputs, self.choice)
        if self.choice and self._previous is not None:
            kept = kept._replace(fed=self._suppressed(outputs, NO_CHOICE))
        return kept

    def _suppressed(self, outputs: Mapping[str, NDArray[Any]], choice: Choice) -> Kept:
        settings = choice.settings(self.recipe)
        if choice.score_threshold is not None and not self._told_missing:
            sentence = missing_candidates(
                self.recipe, outputs["scores"], settings["score_threshold"]
            )
            if sentence is not None:
                self._told_missing = True
                log.warning(sentence)
        return self._clipped(
            *suppress(
                *(outputs[name] for name in CANDIDATES),
                class_agnostic=choice.class_agnostic,
                wanted=choice.labels(self.recipe),
                **settings,
            )
        )

    def _clipped(self, boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any]) -> Kept:
        (top, left), (height, width) = self.recipe.corner, self.recipe.view
        clipped = np.clip(boxes, [left, top] * 2, [left + width, top + height] * 2)
        return Kept(clipped.astype(np.float32), scores, labels)

    def to_prediction(self, kept: Kept, size: tuple[int, ...]) -> Detections:
        """Return one frame's detections in pixels of the frame, whose (height, width) is `size`.

        With fit `pad`, boxes are clipped to the frame, and boxes within the bars are dropped.
        """
        place = self.place_of(size)
        return placed_detections(kept, place, size, self.recipe.classes, clip=self.fit == "pad")


def placed_detections(
    kept: Kept, place: Fitting, size: tuple[int, ...], classes: tuple[str, ...], *, clip: bool
) -> Detections:
    """Return detections in pixels of the frame, from boxes in pixels of the source.

    Args:
        kept: boxes of one frame after suppression.
        place: place of the frame in the source.
        size: (height, width) of the frame.
        classes: names of the classes.
        clip: clip boxes to the frame, and drop those outside of it, within bars.
    """
    boxes, scores, labels = kept.boxes, kept.scores, kept.labels
    boxes = place.boxes_back(boxes).astype(np.float32)
    if clip:
        boxes = boxes.clip(0, np.array([size[1], size[0]] * 2, np.float32))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores, labels = boxes[inside], scores[inside], labels[inside]
    return Detections(boxes, scores.astype(np.float32), labels.astype(np.int32), classes)


def _feeds_itself(session: Session) -> bool:
    """Whether a session of an adaptive engine keeps the boxes itself, and so takes none."""
    names = {each.name for each in session.inputs}
    return bool(names) and not names & set(BOX_INPUTS)
