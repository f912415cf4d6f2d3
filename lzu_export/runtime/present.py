"""What `run` leaves of each task's predictions: a picture a frame, and files of results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.draw import draw_detections
from lzu_export.runtime.draw3d import draw_detections_3d
from lzu_export.runtime.draw_labels import draw_labels
from lzu_export.runtime.postprocess3d import Detections3d, to_ego
from lzu_export.runtime.segmenter import Segmentation

LABELS_FOLDER = "labels"


class Presenter(Protocol):
    """Takes the predictions of one run, frame by frame."""

    what: ClassVar[str]
    """What is counted, in the plural."""
    count: int

    def add(self, number: int, name: str, prediction: Any, camera: Camera | None) -> None:
        """Keep one frame's results; `number` counts frames from 1."""

    def picture(self, frame: Frame, prediction: Any, camera: Camera | None) -> Frame:
        """The frame with what was found in it."""

    def results(self) -> Any:
        """What goes into results.json."""


class BoxPresenter:
    """Boxes on the frame; a COCO results list."""

    what: ClassVar[str] = "detections"

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """`lowest` is the lowest score that is drawn; results hold all."""
        self._lowest = lowest
        self._found: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """Number of detections so far."""
        return len(self._found)

    def add(self, number: int, name: str, prediction: Detections, camera: Camera | None) -> None:
        """Keep one frame's boxes."""
        self._found += prediction.to_coco(number)

    def picture(self, frame: Frame, prediction: Detections, camera: Camera | None) -> Frame:
        """Boxes with names and scores."""
        return draw_detections(frame, prediction, lowest=self._lowest)

    def results(self) -> list[dict[str, Any]]:
        """COCO results."""
        return self._found


class LabelPresenter:
    """Classes as colours over the frame; label maps as PNG, and the share of each class."""

    what: ClassVar[str] = "label maps"

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """Label maps go into `folder`/labels."""
        self._classes, self._folder = recipe.classes, folder / LABELS_FOLDER
        self._shares: list[dict[str, Any]] = []
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        """Number of label maps so far."""
        return len(self._shares)

    def _free_name(self, name: str) -> str:
        """STEM.png, or NAME.png where another frame has that stem, such as a.png beside a.jpg."""
        free = f"{Path(name).stem}.png"
        while free.lower() in self._names:
            free = f"{name}.png"
            name = free
        self._names.add(free.lower())
        return free

    def add(self, number: int, name: str, prediction: Segmentation, camera: Camera | None) -> None:
        """Write one frame's label map, named after the frame."""
        file = self._folder / self._free_name(name)
        self._folder.mkdir(exist_ok=True)
        file.write_bytes(encode_image(prediction.labels, file))
        counts = np.bincount(prediction.labels.ravel(), minlength=256)[: len(self._classes)]
        shares = counts / max(int(counts.sum()), 1)
        self._shares.append(
            {
                "image_id": number,
                "file_name": f"{LABELS_FOLDER}/{file.name}",
                "shares": {
                    each: round(float(share), 6)
                    for each, share in zip(self._classes, shares, strict=True)
                    if share > 0
                },
            }
        )

    def picture(self, frame: Frame, prediction: Segmentation, camera: Camera | None) -> Frame:
        """The frame under the classes' colours, with a legend."""
        return draw_labels(frame, prediction.labels, prediction.classes)

    def results(self) -> list[dict[str, Any]]:
        """Where the label maps are, and the share of each class."""
        return self._shares


class SpacePresenter:
    """Boxes projected on the frame, and from above; boxes in the camera's and the ego frame."""

    what: ClassVar[str] = "detections"

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """`lowest` is the lowest score that is drawn; results hold all."""
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
        """Boxes on the frame beside a view from above."""
        assert camera is not None, "asked for before the first frame"
        kept = prediction.scores >= self._lowest
        return draw_detections_3d(
            frame,
            prediction.boxes[kept],
            prediction.labels[kept],
            self._classes,
            camera.cam2img,
            scores=prediction.scores[kept],
        )

    def results(self) -> list[dict[str, Any]]:
        """Boxes by name of value, in metres, radians and metres per second."""
        return self._found


PRESENTERS: Mapping[str, type[Any]] = {
    "det": BoxPresenter,
    "seg": LabelPresenter,
    "det3d": SpacePresenter,
}
"""By task."""


def _named(box: Any, sizes: tuple[str, str, str]) -> dict[str, Any]:
    values = [float(value) for value in box]
    return {
        "centre": values[:3],
        "size": dict(zip(sizes, values[3:6], strict=True)),
        "yaw": values[6],
        "velocity": values[7:9],
    }
