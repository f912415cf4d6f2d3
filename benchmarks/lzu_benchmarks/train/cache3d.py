"""Cache of rendered, zoomed frames with 3-D ground truth on disk, made once before training."""

import os
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.cache import Key, ZoomedFrames, parts, rendered
from lzu_benchmarks.train.targets3d import LEARNT_DEPTH, Truth
from lzu_export.recipes import Recipe

ARRAYS = ("boxes", "boxes3d", "classes", "ignore")


def learnt_boxes(keys: list[Key], processes: int) -> NDArray[np.float64]:
    """Return boxes (n, 4) in source pixels of the objects to learn in these frames."""
    jobs = [part for _, part in parts(keys)]
    with workers(processes) as pool:
        return np.concatenate(pool.map(_boxes, jobs, chunksize=1))


def _boxes(keys: list[Key]) -> NDArray[np.float64]:
    return np.concatenate(
        [
            frame.boxes[~frame.ignore & (frame.boxes3d[:, 2] <= LEARNT_DEPTH)]
            for frame in rendered(keys)
        ]
    )


class FrameCache(ZoomedFrames):
    """Frames as every variant samples them, made on first use and then memory-mapped.

    Args:
        folder: folder of all caches; a frame takes about 170 kB per variant.
        recipes: recipe of each variant; they may differ in their warp only.
        keys: keys of the frames.
        processes: number of rendering processes.
    """

    DONE = "truth.npz"
    COLLECTED = (*ARRAYS, "intrinsics")

    @property
    def recipe(self) -> Recipe:
        """Recipe of a variant; the others have the same canvas."""
        return next(iter(self.recipes.values()))

    @property
    def canvas(self) -> tuple[int, int]:
        """Size (height, width) of the zoomed frames."""
        return self.recipe.canvas

    @cached_property
    def _truth(self) -> dict[str, NDArray[Any]]:
        return dict(np.load(self.folder / self.DONE))

    def truth(self, index: int) -> Truth:
        """Return the ground truth of a frame on the canvas."""
        start, stop = self._truth["starts"][index : index + 2]
        boxes, boxes3d, classes, ignore = (self._truth[name][start:stop] for name in ARRAYS)
        y, x = self.recipe.canvas_step
        # The renderer measures from pixel edges; pixel indices are centres.
        boxes = (boxes - 0.5) / [x, y, x, y]
        return Truth(boxes, boxes3d, classes, ignore, self.cam2img(index))

    def cam2img(self, index: int) -> NDArray[np.float64]:
        """Return the camera matrix (3, 3) of a frame in canvas pixel indices."""
        matrix = np.array(self._truth["intrinsics"][index])
        matrix[:2, 2] -= 0.5
        y, x = self.recipe.canvas_step
        return np.asarray(matrix / [[x], [y], [1.0]])

    def _finish(self, frames: list[dict[str, NDArray[Any]]]) -> None:
        part = self.folder / "part.npz"
        joined: dict[str, Any] = {
            name: np.concatenate([each[name] for each in frames]) for name in ARRAYS
        }
        starts = np.cumsum([0, *(len(each["classes"]) for each in frames)])
        intrinsics = np.stack([each["intrinsics"] for each in frames])
        np.savez(part, starts=starts, intrinsics=intrinsics, **joined)
        os.replace(part, self.folder / self.DONE)
