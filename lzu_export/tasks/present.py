"""Write each task's predictions: annotated images and result files."""

from typing import Any, ClassVar, Protocol

from lzu_export.inputs.frame import Frame
from lzu_export.runtime.cameras import Camera


class Presenter(Protocol):
    """Takes the predictions of one run, frame by frame."""

    what: ClassVar[str]
    """Noun for the counted predictions, in the plural."""

    @property
    def count(self) -> int:
        """Number of predictions that were added."""

    def add(self, number: int, name: str, prediction: Any, camera: Camera | None) -> None:
        """Keep one frame's predictions; `number` counts frames from 1."""

    def picture(self, frame: Frame, prediction: Any, camera: Camera | None) -> Frame:
        """Draw the predictions on a copy of the frame."""

    def results(self) -> Any:
        """Return the content of results.json."""
