"""Write each task's predictions: annotated images and result files."""

from typing import Any, ClassVar, Protocol

from lzu_export.inputs.frame import Frame
from lzu_export.runtime.cameras import Camera


class Presenter(Protocol):
    """Takes the predictions of one run, frame by frame."""

    what: ClassVar[str]
    """What is counted, in the plural."""

    @property
    def count(self) -> int:
        """How many of them were added."""

    def add(self, number: int, name: str, prediction: Any, camera: Camera | None) -> None:
        """Keep one frame's results; `number` counts frames from 1."""

    def picture(self, frame: Frame, prediction: Any, camera: Camera | None) -> Frame:
        """The frame with what was found in it."""

    def results(self) -> Any:
        """What goes into results.json."""
