"""Unzoomed training frames and those half a second before, on disk, for warps drawn later."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo import dataset as datasets
from lzu_benchmarks.demo.dataset import SPLITS
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.scenes import LENGTH, Sequence, render
from lzu_benchmarks.train.cache import (
    CHUNK,
    EVERY,
    TargetFile,
    Targets,
    frame_targets,
    keyed_folder,
)
from lzu_benchmarks.train.setup import Setup

TRAINED = range(0, LENGTH, EVERY)
"""Indices of the training frames of a sequence, the same as for the other variants."""
KEPT = range(0, TRAINED[-1] + 1, datasets.EVERY)
"""Indices of the frames on disk, which are half a second apart, as in the evaluation."""


class Objects(NamedTuple):
    """Objects of a frame.

    Attributes:
        boxes: (n, 4) boxes in source pixels.
        classes: (n,) class indices.
        ignore: (n,) objects that count neither as objects nor as background.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    ignore: NDArray[np.bool_]


class Film:
    """Training frames, the frame before each, and all their boxes; made on first use.

    Args:
        folder: folder of all caches; a sequence takes about 5 MB.
        setup: settings of the detectors.
        sequences: number of training sequences, of 4 training frames each.
        split: key of `SPLITS` that the sequences are the first of.
        processes: number of rendering processes.
    """

    def __init__(
        self,
        folder: str | Path,
        setup: Setup,
        *,
        sequences: int,
        split: str = "train",
        processes: int = 2,
    ) -> None:
        self._first, available = SPLITS[split]
        assert sequences <= available
        shown = (setup.config, setup.source, setup.canvas, self._first, sequences, KEPT)
        self.folder = keyed_folder(folder, repr(shown).encode())
        self.sequences = sequences
        self.count = sequences * len(TRAINED)
        if not (self.folder / "targets.npz").exists():
            self._make(setup, processes)
        self.frames: NDArray[np.uint8] = np.load(self.folder / "frames.npy", mmap_mode="r")
        self._objects = dict(np.load(self.folder / "objects.npz"))
        self.targets = TargetFile(self.folder / "targets.npz")

    def place(self, index: int) -> int:
        """Return the index in `frames` of a training frame."""
        sequence, number = divmod(index, len(TRAINED))
        return sequence * len(KEPT) + KEPT.index(TRAINED[number])

    def before(self, index: int) -> int:
        """Return the index in `frames` of the frame half a second before a training frame.

        No frame is before the first; the one half a second after it is taken instead, as if time
        ran backwards.
        """
        at = self.place(index)
        return at - 1 if at % len(KEPT) else at + 1

    def boxes(self, place: int) -> NDArray[np.float64]:
        """Return boxes (n, 4) in source pixels of the objects to find in one of `frames`."""
        found = self.objects(place)
        return found.boxes[~found.ignore]

    def objects(self, place: int) -> Objects:
        """Return all objects in one of `frames`."""
        start, stop = self._objects["starts"][place : place + 2]
        return Objects(*(self._objects[name][start:stop] for name in Objects._fields))

    def _make(self, setup: Setup, processes: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.folder / "frames.npy")
        shape = (self.sequences * len(KEPT), *setup.source, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        jobs = [
            (setup, path, self._first, start, min(start + CHUNK, self.sequences))
            for start in range(0, self.sequences, CHUNK)
        ]
        parts = run_jobs(_fill, jobs, processes)
        objects = [each for found, _ in parts for each in found]
        np.savez(
            self.folder / "objects.npz",
            starts=np.cumsum([0, *(len(each.boxes) for each in objects)]),
            boxes=np.concatenate([each.boxes for each in objects]),
            classes=np.concatenate([each.classes for each in objects]),
            ignore=np.concatenate([each.ignore for each in objects]),
        )
        made = [each for _, targets in parts for each in targets]
        TargetFile.write(self.folder / "targets.npz", made)


def _fill(
    setup: Setup, path: str, first: int, start: int, stop: int
) -> tuple[list[Objects], list[Targets]]:
    """Render sequences start..stop, counted from the seed `first`, into the file.

    Returns:
        The objects of all frames, and the targets of the training frames.
    """
    cv2.setNumThreads(1)
    file = np.load(path, mmap_mode="r+")
    anchors = setup.anchors()
    objects: list[Objects] = []
    targets: list[Targets] = []
    for number in range(start, stop):
        sequence = Sequence(first + number)
        for place, index in enumerate(KEPT):
            frame = render(sequence, index)
            file[number * len(KEPT) + place] = frame.image
            objects.append(Objects(frame.boxes, frame.classes, frame.ignore))
            if index in TRAINED:
                targets += frame_targets(setup, anchors, frame)
    return objects, targets
