"""Write each task's predictions: annotated images and result files."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

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


@runtime_checkable
class Tabular(Protocol):
    """A presenter whose results are a table, too."""

    columns: ClassVar[tuple[str, ...]]
    """Names of the columns behind the frame's."""

    def rows(self) -> Iterable[tuple[int, Sequence[Any]]]:
        """Yield the number of the frame and the values of each row."""


@runtime_checkable
class InCoco(Protocol):
    """A presenter whose results are boxes of COCO, too."""

    def coco(self) -> list[dict[str, Any]]:
        """Return COCO results: image_id, category_id, bbox (x, y, width, height), score."""
