"""Accuracy of rivals: what each one finds, as it is stored, and the intervals of its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo.dataset import DemoDataset
from lzu_benchmarks.scenes import LABELS, Frame
from lzu_benchmarks.train.seg_figures import COLUMNS, values
from lzu_export.evaluation.metrics.bootstrap import Interval, draw_sequences, interval
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences
from lzu_export.evaluation.metrics.segmentation import SegmentationEvaluation
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.section import Section

RESAMPLES = 1000
"""Number of drawn sets of sequences."""

Key = tuple[str, int]
"""Title of a rival, and seed of its networks."""
Pairs = Mapping[tuple[str, str], Sequence[tuple[Key | None, Key]]]
"""Pairs of keys by name of a difference: the second one's metrics minus the first one's, averaged
over the pairs. None is a model that finds nothing, so that the difference is the metric itself."""
Differences = dict[tuple[str, str], dict[str, Interval]]
"""Interval of every metric, by name of a difference."""


class FrameBoxes(Section):
    """Detections in one frame."""

    frame: int
    """COCO's id of the image."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """x1, y1, x2, y2 in pixels of the frame."""
    scores: tuple[float, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, found: Detections, frame: int) -> "FrameBoxes":
        """Return the detections in the frame with this id."""
        return cls(
            frame=frame,
            boxes=tuple(map(tuple, found.boxes.tolist())),
            scores=tuple(found.scores.tolist()),
            labels=tuple(found.labels.tolist()),
        )


class FoundBoxes(Section):
    """Detections of one rival and seed in every frame."""

    key: str
    boxes: tuple[FrameBoxes, ...]

    def to_coco(self) -> list[dict[str, Any]]:
        """Return the detections as COCO results."""
        return [
            {
                "image_id": each.frame,
                "category_id": label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for each in self.boxes
            for (x1, y1, x2, y2), score, label in zip(
                each.boxes, each.scores, each.labels, strict=True
            )
        ]


class FoundLabels(Section):
    """Pixels that one rival and seed labelled in every sequence."""

    key: str
    counts: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]
    """(sequences, regions, classes, classes + 1), see `SegmentationEvaluation`."""


class Scores(Protocol):
    """What a task's rivals find, frame by frame, and how it is scored."""

    stored: ClassVar[type[Section]]
    """Section that stores what one rival and seed found."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics; the first is the task's own."""

    def add(self, number: int, sequence: int, frame: Frame, found: Any) -> None:
        """Take what is found in a frame with this identifier and of this sequence."""

    def result(self, key: str) -> Any:
        """Return what was found, to be stored under a key."""

    @staticmethod
    def differences(found: Mapping[Key, Any], pairs: Pairs, dataset: DemoDataset) -> Differences:
        """Return the metrics' differences with intervals over sequences, drawn alike for all.

        Raises:
            LzuError: there are fewer than two sequences.
        """


class BoxScores:
    """Detections and AP, see `Scores`."""

    stored: ClassVar[type[Section]] = FoundBoxes
    metrics: ClassVar[tuple[str, ...]] = ("AP", "AP_small", "AP_medium", "AP_large")

    def __init__(self) -> None:
        """Start with nothing found."""
        self._boxes: list[FrameBoxes] = []

    def add(self, number: int, sequence: int, frame: Frame, found: Detections) -> None:
        """Take the detections in a frame."""
        self._boxes.append(FrameBoxes.of(found, number))

    def result(self, key: str) -> FoundBoxes:
        """Return the detections in all frames."""
        return FoundBoxes(key=key, boxes=tuple(self._boxes))

    @staticmethod
    def differences(
        found: Mapping[Key, FoundBoxes], pairs: Pairs, dataset: DemoDataset
    ) -> Differences:
        """Return differences of AP and of AP by size."""
        truth = dataset.coco_ground_truth()
        models: dict[Any, Evaluation] = {
            key: Evaluation(truth, each.to_coco()) for key, each in found.items()
        }
        models[None] = Evaluation(truth, [])  # whose AP is 0
        return bootstrap_ap_differences(truth, models, pairs, resamples=RESAMPLES)


class LabelScores:
    """Label maps and mean IoU, see `Scores`."""

    stored: ClassVar[type[Section]] = FoundLabels
    metrics: ClassVar[tuple[str, ...]] = COLUMNS

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._sequences: dict[int, SegmentationEvaluation] = {}

    def add(self, number: int, sequence: int, frame: Frame, found: Segmentation) -> None:
        """Count the pixels of a frame."""
        counted = self._sequences.setdefault(sequence, SegmentationEvaluation(LABELS))
        counted.add(frame.labels, found.labels, name=f"frame {number}")

    def result(self, key: str) -> FoundLabels:
        """Return the counts of all sequences, in the order of their frames."""
        counts = [each.counts.tolist() for each in self._sequences.values()]
        return FoundLabels.model_validate({"key": key, "counts": counts})

    @staticmethod
    def differences(
        found: Mapping[Key, FoundLabels], pairs: Pairs, dataset: DemoDataset
    ) -> Differences:
        """Return differences of the mean IoU of whole frames and by region."""
        sequences = len(next(iter(found.values())).counts)
        times = draw_sequences(sequences, RESAMPLES)
        scores: dict[Any, dict[str, NDArray[np.float64]]] = {
            key: values(np.tensordot(times, np.array(each.counts), axes=1))
            for key, each in found.items()
        }
        scores[None] = {name: np.zeros(len(times)) for name in COLUMNS}
        made: Differences = {}
        for name, group in pairs.items():
            made[name] = {}
            for column in COLUMNS:
                gains = np.mean([scores[b][column] - scores[a][column] for a, b in group], axis=0)
                whole, *drawn = gains.tolist()
                made[name][column] = interval(whole, drawn, sequences, level=0.95)
        return made


SCORES: Mapping[str, type[Scores]] = {"det": BoxScores, "seg": LabelScores}
"""How each task's rivals are scored."""
