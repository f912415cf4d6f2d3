"""Write label maps, for `run`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.draw_labels import draw_labels
from lzu_export.runtime.segmenter import Segmentation

LABELS_FOLDER = "labels"


class LabelPresenter:
    """Draws classes as colours; writes label maps as PNG and collects the share of each class."""

    what: ClassVar[str] = "label maps"
    columns: ClassVar[tuple[str, ...]] = ("label_map", "class", "share")

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """Take the folder; label maps are written to `folder`/labels."""
        self._classes, self._folder = recipe.classes, folder / LABELS_FOLDER
        self._shares: list[dict[str, Any]] = []
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        """Number of label maps so far."""
        return len(self._shares)

    def _free_name(self, name: str) -> str:
        """Return STEM.png, or NAME.png if another frame has that stem, such as a.png and a.jpg."""
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
        """Draw the classes' colours over the frame, with a legend."""
        return draw_labels(frame, prediction.labels, prediction.classes)

    def results(self) -> list[dict[str, Any]]:
        """Return the paths of the label maps, and the share of each class."""
        return self._shares

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the share of each class in each frame, with the path of the label map."""
        for each in self._shares:
            for name, share in each["shares"].items():
                yield each["image_id"], [each["file_name"], name, share]
