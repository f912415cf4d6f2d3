"""Write raw outputs, for `run`."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera

FOLDER = "outputs"
"""Folder of the outputs' files, below that of the run."""


class OutputPresenter:
    """Writes each frame's raw outputs into a file, `outputs/NUMBER.npz`."""

    what: ClassVar[str] = "outputs"

    def __init__(self, recipe: Recipe, folder: Path, lowest: float) -> None:
        """Take the folder of the run; `lowest` is for detections and does not matter here."""
        self._folder = folder / FOLDER
        self._found: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """Number of outputs so far."""
        return sum(len(each["outputs"]) for each in self._found)

    def add(self, number: int, name: str, prediction: Any, camera: Camera | None) -> None:
        """Write one frame's outputs; results of a user's own post-processing are only listed."""
        entry: dict[str, Any] = {"image_id": number, "file_name": name, "outputs": {}}
        if isinstance(prediction, dict):
            self._folder.mkdir(exist_ok=True)
            file = self._folder / f"{number:06d}.npz"
            np.savez_compressed(file, **prediction)
            entry["file"] = f"{FOLDER}/{file.name}"
            entry["outputs"] = {key: list(np.shape(each)) for key, each in prediction.items()}
        else:
            entry["outputs"] = {"result": type(prediction).__name__}
        self._found.append(entry)

    def picture(self, frame: Frame, prediction: Any, camera: Camera | None) -> Frame:
        """Return the frame: raw outputs have no picture."""
        return frame

    def results(self) -> list[dict[str, Any]]:
        """Return each frame's file, and the names and shapes of its outputs."""
        return self._found
