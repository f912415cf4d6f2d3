"""Write boxes in space, for `run`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.postprocess3d import Detections3d, to_ego


class SpacePresenter:
    """Draws boxes on the frame and from above; collects boxes in the camera's and the ego frame."""

    what: ClassVar[str] = "detections"
    columns: ClassVar[tuple[str, ...]] = (
        *("class", "score", "attribute", "x", "y", "z"),
        *("length", "height", "width", "yaw", "velocity_x", "velocity_z"),
    )

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """Take `lowest`, the lowest score that is drawn; results hold all detections."""
        self._classes, self._lowest = recipe.classes, lowest
        self._attributes: tuple[str, ...] = getattr(recipe, "attributes", ())
        self._found: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """Number of detections so far."""
        return len(self._found)

    def add(self, number: int, name: str, prediction: Detections3d, camera: Camera | None) -> None:
        """Keep one frame's boxes."""
        pose = camera.cam2ego if camera is not None else None
        ego = None if pose is None else to_ego(prediction.boxes, pose)
        for i, box in enumerate(prediction.boxes):
            attribute = int(prediction.attributes[i])
            entry = {
                "image_id": number,
                "category_id": int(prediction.labels[i]) + 1,
                "score": float(prediction.scores[i]),
                "attribute": self._attributes[attribute] if self._attributes else attribute,
                "box": _named(box, ("length", "height", "width")),
            }
            if ego is not None:
                entry["ego"] = _named(ego[i], ("length", "width", "height"))
            self._found.append(entry)

    def picture(self, frame: Frame, prediction: Detections3d, camera: Camera | None) -> Frame:
        """Draw boxes on the frame beside a view from above."""
        assert camera is not None, "asked for before the first frame"
        return prediction.draw(frame, camera.cam2img, lowest=self._lowest)

    def results(self) -> list[dict[str, Any]]:
        """Return the boxes with named values, in metres, radians and metres per second."""
        return self._found

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield each box in the camera's frame, in metres, radians and metres per second."""
        for each in self._found:
            box, name = each["box"], self._classes[each["category_id"] - 1]
            sizes = [box["size"][side] for side in ("length", "height", "width")]
            place = [*box["centre"], *sizes, box["yaw"], *box["velocity"]]
            yield each["image_id"], [name, each["score"], each["attribute"], *place]


def _named(box: Any, sizes: tuple[str, str, str]) -> dict[str, Any]:
    values = [float(value) for value in box]
    return {
        "centre": values[:3],
        "size": dict(zip(sizes, values[3:6], strict=True)),
        "yaw": values[6],
        "velocity": values[7:9],
    }
