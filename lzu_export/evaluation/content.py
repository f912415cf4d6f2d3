"""Hash the content of an evaluation set, to distinguish sets of the same name and size."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer
from lzu_export.support.section import Section

DIGITS = 4
"""Decimals to which floating-point truth is compared."""
ROUNDING = 0.01
"""Grey levels by which mean and deviation of equal frames may differ, since decoders round."""


class Content(Section):
    """Hashes and statistics of a set's frames and truth, in the order of the set."""

    truth: str
    """SHA-256 of the truth, cameras and sequences."""
    frames: str
    """SHA-256 of the pixels."""
    mean: float
    """Mean of all pixels."""
    deviation: float
    """Standard deviation of all pixels."""

    def difference(self, other: "Content") -> str:
        """Return the part that differs, `truth` or `frames`; empty where nothing does."""
        if self.truth != other.truth:
            return "truth"
        pairs = (self.mean, other.mean), (self.deviation, other.deviation)
        alike = all(abs(a - b) <= ROUNDING for a, b in pairs)
        return "" if self.frames == other.frames or alike else "frames"


class Watched:
    """An evaluation set that hashes what is read of it."""

    def __init__(self, dataset: EvaluationSet) -> None:
        """Begin with nothing read."""
        self._dataset = dataset
        self.name, self.note, self.metric = dataset.name, dataset.note, dataset.metric
        self.classes = dataset.classes
        self._truth, self._frames = hashlib.sha256(), hashlib.sha256()
        self._count, self._sum, self._squares = 0, 0, 0

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._dataset)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield all samples from position `start` on, and hash each as it is read."""
        for sample in self._dataset.samples(start) if start else self._dataset.samples():
            frame = sample.camera_frame.frame
            self._frames.update(np.ascontiguousarray(frame).data)
            self._count += frame.size
            self._sum += int(frame.sum(dtype=np.int64))
            self._squares += int(np.square(frame, dtype=np.int64).sum())
            _update(self._truth, [sample.camera_frame.cam2img, sample.sequence, sample.truth])
            yield sample

    def scorer(self) -> Scorer:
        """Return the set's scorer."""
        return self._dataset.scorer()

    def content(self) -> Content:
        """Return the content that was read so far."""
        mean = self._sum / max(1, self._count)
        variance = self._squares / max(1, self._count) - mean**2
        return Content(
            truth=self._truth.hexdigest(),
            frames=self._frames.hexdigest(),
            mean=round(mean, 6),
            deviation=round(math.sqrt(max(0.0, variance)), 6),
        )


def _update(digest: Any, value: Any) -> None:
    """Add a value of any structure to a hash."""
    if isinstance(value, np.ndarray):
        rounded = np.round(value, DIGITS) + 0.0 if value.dtype.kind == "f" else value
        digest.update(f"{value.dtype.kind}{value.shape}".encode())
        if rounded.dtype.kind in "fiub":
            kind = np.float64 if rounded.dtype.kind == "f" else np.int64
            digest.update(np.ascontiguousarray(rounded, kind).data)
        else:
            digest.update(repr(rounded.tolist()).encode())
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            _update(digest, [str(name), value[name]])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _update(
            digest, {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        )
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for each in value:
            _update(digest, each)
    elif isinstance(value, float | np.floating):
        digest.update(repr(round(float(value), DIGITS) + 0.0).encode())
    elif value is None or isinstance(value, str | int | bool | np.integer):
        digest.update(f"{type(value).__name__}{value}".encode())
    else:
        _update(digest, vars(value))
