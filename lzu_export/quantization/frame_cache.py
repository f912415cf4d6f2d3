"""Cache of an evaluation set's frames, on which many graphs are measured."""

import hashlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer
from lzu_export.inputs.frame import check_frame
from lzu_export.quantization.recalibrate import Float32Bundle
from lzu_export.support.progress import Reporter


class FrameCache:
    """Frames of an evaluation set, read or rendered once and kept in memory as PNG."""

    def __init__(self, dataset: EvaluationSet, samples: list[tuple[Sample, NDArray[Any]]]) -> None:
        """Store pairs of a sample without its frame and the frame as PNG."""
        self._dataset, self._samples = dataset, samples
        self.name, self.note = dataset.name, dataset.note
        self.classes, self.metric = tuple(dataset.classes), dataset.metric
        self.boxes: list[NDArray[np.float32]] = []
        """Boxes (n, 4) in source pixels that zoom each sample, for an adaptive model."""

    @classmethod
    def of(cls, dataset: EvaluationSet, opened: Float32Bundle, report: Reporter) -> "FrameCache":
        """Read all frames of an evaluation set.

        Raises:
            LzuError: a frame has another size, in which case the message names its file; there are
                fewer than two frames; or all are black.
        """
        samples, black = [], True
        with report.steps(f"reading {dataset.name}", len(dataset)) as advance:
            for each in dataset.samples():
                name = each.name or f"frame {each.number} of {dataset.name}"
                frame = check_frame(each.camera_frame.frame, opened.recipe.source, name)
                black &= not frame.any()
                done, packed = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                assert done, "frames of any size can be PNG"
                camera_frame = each.camera_frame._replace(frame=np.empty((0, 0, 3), np.uint8))
                samples.append((each._replace(camera_frame=camera_frame), packed))
                advance()
        if len(samples) < 2:
            number = "one frame only" if samples else "no frames"
            raise LzuError(
                f"the evaluation set {dataset.name} holds {number}, on which a metric says "
                "nothing; give one of dozens of frames (--dataset)"
            )
        if black:
            raise LzuError(
                f"all {len(samples)} frames of the evaluation set {dataset.name} are black; give "
                "one that shows something (--dataset)"
            )
        return cls(dataset, samples)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._samples)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield the samples from index `start` on, in order."""
        for each, packed in self._samples[start:]:
            frame = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
            yield each._replace(camera_frame=each.camera_frame._replace(frame=frame))

    def scorer(self) -> Scorer:
        """Make a scorer of the task's metrics that has counted nothing yet."""
        return self._dataset.scorer()

    @property
    def digest(self) -> str:
        """SHA-256 of the frames' numbers and pixels."""
        digest = hashlib.sha256()
        for each in self.samples():
            digest.update(f"{each.number} {each.camera_frame.frame.shape} ".encode())
            digest.update(each.camera_frame.frame.tobytes())
        return digest.hexdigest()
