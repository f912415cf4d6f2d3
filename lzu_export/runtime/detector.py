"""2-D detection: frames in, boxes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.preprocess import Frame


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

    def __call__(self, frame: Frame) -> Detections:
        """Detect in one BGR frame (H x W x 3 uint8); for bundles of batch 1.

        Raises:
            LzuError: the frame is of another size, type or channel count.
        """
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect in as many frames as the bundle's batch."""
        return self.run([Shot(frame) for frame in frames])

    def finish(self, outputs: dict[str, NDArray[Any]], size: tuple[int, ...]) -> Detections:
        """Suppress one frame's candidates; `size` is the frame's, for those that were resized.

        Boxes are clipped to the view: the canvas's far edge, to which candidates are clipped, lies
        up to a canvas pixel beyond it.
        """
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
        boxes = np.clip(boxes, [left, top] * 2, [left + width, top + height] * 2)
        factor = [size[1] / self.recipe.source[1], size[0] / self.recipe.source[0]] * 2
        return Detections(
            (boxes * np.array(factor)).astype(np.float32),
            scores.astype(np.float32),
            labels.astype(np.int32),
            self.recipe.classes,
        )
