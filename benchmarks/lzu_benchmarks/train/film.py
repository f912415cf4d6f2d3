"""Whole training frames and those half a second before, on disk: for warps that are drawn later."""

from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks import datasets
from lzu_benchmarks.datasets import SPLITS
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
"""Frames of a sequence that are trained on, those of the other variants."""
KEPT = range(0, TRAINED[-1] + 1, datasets.EVERY)
"""Frames that are on disk: half a second apart, as a detector meets them in the evaluation."""


class Film:
    """Training frames, the frame before each, and all their boxes; made on first use.

    Args:
        folder: where to keep it; about 5 MB a sequence.
        setup: the detectors.
        sequences: how many training sequences, of 4 trained frames each.
        processes: how many render at once.
    """

    def __init__(
        self, folder: str | Path, setup: Setup, *, sequences: int, processes: int = 2
    ) -> None:
        shown = (setup.config, setup.source, setup.canvas, sequences, KEPT)
        self.folder = keyed_folder(folder, repr(shown).encode())
        self.sequences = sequences
        self.count = sequences * len(TRAINED)
        if not (self.folder / "targets.npz").exists():
            self._make(setup, processes)
        self.frames: NDArray[np.uint8] = np.load(self.folder / "frames.npy", mmap_mode="r")
        self._boxes = dict(np.load(self.folder / "boxes.npz"))
        self.targets = TargetFile(self.folder / "targets.npz")

    def place(self, index: int) -> int:
        """Where a trained frame is in `frames`."""
        sequence, number = divmod(index, len(TRAINED))
        return sequence * len(KEPT) + KEPT.index(TRAINED[number])

    def before(self, index: int) -> int:
        """Where the frame half a second before a trained one is in `frames`.

        Nothing is before the first: the one half a second after it stands in, as if time ran
        backwards.
        """
        at = self.place(index)
        return at - 1 if at % len(KEPT) else at + 1

    def boxes(self, place: int) -> NDArray[np.float64]:
        """(n, 4) boxes in source pixels of the objects to be found in one of `frames`."""
        start, stop = self._boxes["starts"][place : place + 2]
        found: NDArray[np.float64] = self._boxes["boxes"][start:stop]
        return found

    def _make(self, setup: Setup, processes: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.folder / "frames.npy")
        shape = (self.sequences * len(KEPT), *setup.source, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        assert self.sequences <= SPLITS["train"][1]
        jobs = [
            (setup, path, start, min(start + CHUNK, self.sequences))
            for start in range(0, self.sequences, CHUNK)
        ]
        with get_context("spawn").Pool(processes) as pool:
            parts = pool.starmap(_fill, jobs, chunksize=1)
        boxes = [each for found, _ in parts for each in found]
        np.savez(
            self.folder / "boxes.npz",
            boxes=np.concatenate(boxes),
            starts=np.cumsum([0, *(len(each) for each in boxes)]),
        )
        made = [each for _, targets in parts for each in targets]
        TargetFile.write(self.folder / "targets.npz", made)


def _fill(
    setup: Setup, path: str, start: int, stop: int
) -> tuple[list[NDArray[np.float64]], list[Targets]]:
    """Render sequences start..stop into the file; return boxes of all frames, and targets."""
    cv2.setNumThreads(1)
    file = np.load(path, mmap_mode="r+")
    anchors = setup.anchors()
    boxes: list[NDArray[np.float64]] = []
    targets: list[Targets] = []
    for number in range(start, stop):
        sequence = Sequence(SPLITS["train"][0] + number)
        for place, index in enumerate(KEPT):
            frame = render(sequence, index)
            file[number * len(KEPT) + place] = frame.image
            boxes.append(frame.boxes[~frame.ignore])
            if index in TRAINED:
                targets += frame_targets(setup, anchors, frame)
    return boxes, targets
