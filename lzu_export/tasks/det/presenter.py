"""Write detections, for `run`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.draw_boxes import draw_detections


class BoxPresenter:
    """Draws boxes on the frame, and collects a COCO results list."""

    what: ClassVar[str] = "detections"
    columns: ClassVar[tuple[str, ...]] = ("class", "score", "x1", "y1", "x2", "y2")

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """Take `lowest`, the lowest score that is drawn; results hold all detections."""
        self._lowest, self._classes = lowest, recipe.classes
        self._found: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """Number of detections so far."""
        return len(self._found)

    def add(self, number: int, name: str, prediction: Detections, camera: Camera | None) -> None:
        """Keep one frame's boxes."""
        self._found += prediction.to_coco(number)

    def picture(self, frame: Frame, prediction: Detections, camera: Camera | None) -> Frame:
        """Draw boxes with names and scores on a copy of the frame."""
        return draw_detections(frame, prediction, lowest=self._lowest)

    def results(self) -> list[dict[str, Any]]:
        """Return the COCO results."""
        return self._found

    def coco(self) -> list[dict[str, Any]]:
        """Return the COCO results."""
        return self._found

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield each box: class, score, and corners in pixels of the frame."""
        for each in self._found:
            x, y, width, height = each["bbox"]
            name = self._classes[each["category_id"] - 1]
            yield each["image_id"], [name, each["score"], x, y, x + width, y + height]
