"""Score a network by a function of a user's own over the frames of a folder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError, kind_and_reason
from lzu_export.evaluation.datasets import Sample, State
from lzu_export.evaluation.layouts.choose import evenly
from lzu_export.inputs.frame_sources import list_frames
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame

Metric = Callable[[Mapping[str, Any]], float | Mapping[str, float]]
"""Function from the predictions by frame, a file's name each, to one metric or several by name,
in points (0 to 100) where they are shares; more is better. Engines are compared by the first."""


class OwnMetricSet:
    """Frames of a folder, scored by a function of the user's own."""

    note = "a function of the user's own"

    def __init__(
        self, folder: str | Path, metric: Metric, frames: int | None, recipe: Recipe
    ) -> None:
        """Take at most `frames` frames of a source of frames, evenly spread.

        Raises:
            LzuError: the source does not exist, or holds no frames.
        """
        self.name, self.classes = Path(folder).name, recipe.classes
        self.metric = getattr(metric, "__name__", "metric")
        self._function = metric
        self._chosen = evenly(list_frames(str(folder)), frames)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._chosen)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield the frames from position `start` on; their truth is their own name."""
        for number, each in enumerate(self._chosen[start:], start + 1):
            yield Sample(number, CameraFrame(each.read()), each.key, each.key)

    def scorer(self) -> "OwnScorer":
        """Return a scorer with nothing counted."""
        return OwnScorer(self._function, self.metric)


class OwnScorer:
    """Collects predictions and calls the user's function at the end."""

    def __init__(self, function: Metric, name: str) -> None:
        """Take the function, and the name of its result if that is one number."""
        self._function, self._name = function, name
        self._predictions: dict[str, Any] = {}

    def add(self, sample: Sample, prediction: Any) -> None:
        """Keep one frame's prediction."""
        self._predictions[sample.name] = prediction

    def summary(self) -> dict[str, float]:
        """Call the function.

        Raises:
            LzuError: it fails, or returns anything but numbers.
        """
        try:
            found = self._function(dict(self._predictions))
            values = dict(found) if isinstance(found, Mapping) else {self._name: found}
            numbers = {str(name): float(value) for name, value in values.items()}
            return {self._name: next(iter(numbers.values()))} | numbers
        except Exception as error:  # a function of a user may raise anything
            raise LzuError(
                f"the metric {self._name} failed ({kind_and_reason(error)}); it must "
                "return a number, or numbers by name, for the predictions by frame"
            ) from error

    def state(self) -> State | None:
        """Return None: predictions of any kind cannot be stored."""
        return None

    def restore(self, state: State) -> None:
        """Refuse: nothing was stored."""
        raise LzuError("a metric of your own cannot be resumed; export again with --force")
