"""Hash the content of an evaluation set, to distinguish sets of the same name and size."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer, State
from lzu_export.support.section import Section

DIGEST = hashlib.sha256().digest_size
DIGITS = 4
"""Decimals to which floating-point truth is compared."""
DEFINITION = 2
"""Newest definition of the hashes. By definition 1, all frames went into one hash, in order, which
parts of a set cannot share; by definition 2, each frame has a hash, and these are hashed."""
ROUNDING = 0.01
"""Grey levels by which mean and deviation of equal frames may differ, since decoders round."""


class Content(Section):
    """Hashes and statistics of a set's frames and truth, in the order of the set."""

    definition: int = 1
    """Number of the hashes' definition, see `DEFINITION`; older records lack it, and have 1."""
    truth: str
    """SHA-256 of the truth, cameras and sequences."""
    frames: str
    """SHA-256 of the pixels."""
    mean: float
    """Mean of all pixels."""
    deviation: float
    """Standard deviation of all pixels."""

    def difference(self, other: "Content") -> str:
        """Return the part that differs, `truth` or `frames`; empty where nothing does.

        Contents of different definitions are compared by their statistics alone.
        """
        if self.definition == other.definition and self.truth != other.truth:
            return "truth"
        pairs = (self.mean, other.mean), (self.deviation, other.deviation)
        alike = all(abs(a - b) <= ROUNDING for a, b in pairs)
        return "" if self.frames == other.frames or alike else "frames"


class Watched:
    """An evaluation set that hashes what is read of it."""

    def __init__(self, dataset: EvaluationSet, definition: int = DEFINITION) -> None:
        """Begin with nothing read; `definition` is that of the content to compare with."""
        self._dataset = dataset
        self.name, self.note, self.metric = dataset.name, dataset.note, dataset.metric
        self.classes = dataset.classes
        self._definition = definition
        self._whole = hashlib.sha256(), hashlib.sha256()
        self._digests: list[tuple[bytes, bytes]] = []  # of each sample's truth and pixels
        self._sums = np.zeros(3, np.int64)  # numbers, their sum and the sum of their squares

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._dataset)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield all samples from position `start` on, and hash each as it is read."""
        for sample in self._dataset.samples(start) if start else self._dataset.samples():
            frame = sample.camera_frame.frame
            squares = int(np.square(frame, dtype=np.int64).sum())
            self._sums += (frame.size, int(frame.sum(dtype=np.int64)), squares)
            parts = self._whole
            if self._definition > 1:
                parts = hashlib.sha256(), hashlib.sha256()
            _update(parts[0], [sample.camera_frame.cam2img, sample.sequence, sample.truth])
            parts[1].update(np.ascontiguousarray(frame).data)
            if self._definition > 1:
                self._digests.append((parts[0].digest(), parts[1].digest()))
            yield sample

    def scorer(self) -> Scorer:
        """Return the set's scorer."""
        return self._dataset.scorer()

    def state(self) -> State:
        """Return what was read so far, for `merge`; by definition 1 there is no such thing."""
        assert self._definition > 1, "one hash of all frames has no parts"
        digests = np.frombuffer(b"".join(map(b"".join, self._digests)), np.uint8)
        return {"digests": digests.reshape(-1, 2, DIGEST), "sums": self._sums}

    def merge(self, state: State) -> None:
        """Add what another one read of the samples that come next."""
        self._digests += [(first.tobytes(), last.tobytes()) for first, last in state["digests"]]
        self._sums = self._sums + state["sums"]

    def content(self) -> Content:
        """Return the content that was read so far."""
        truth, frames = self._whole
        if self._definition > 1:
            truth, frames = hashlib.sha256(), hashlib.sha256()
            for first, last in self._digests:
                truth.update(first)
                frames.update(last)
        count, total, squares = self._sums.tolist()
        mean = total / max(1, count)
        variance = squares / max(1, count) - mean**2
        return Content(
            definition=self._definition,
            truth=truth.hexdigest(),
            frames=frames.hexdigest(),
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
