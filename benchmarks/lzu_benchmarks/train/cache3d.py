"""Cache of rendered, zoomed frames with 3-D ground truth on disk, made once before training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.cache import Key, ZoomedFrames, rendered
from lzu_benchmarks.train.targets3d import LEARNT_DEPTH, Truth
from lzu_export.recipes import Recipe
from lzu_export.runtime.preprocess import sampler

CHUNK = 32
"""Number of frames rendered by one job."""

ARRAYS = ("boxes", "boxes3d", "classes", "ignore")


def learnt_boxes(keys: list[Key], processes: int) -> NDArray[np.float64]:
    """Return boxes (n, 4) in source pixels of the objects to learn in these frames."""
    jobs = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
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

    def __init__(
        self,
        folder: str | Path,
        recipes: Mapping[str, Recipe],
        keys: list[Key],
        *,
        processes: int = 2,
    ) -> None:
        super().__init__(folder, recipes, keys)
        recipe = next(iter(recipes.values()))
        self.canvas, self._step = recipe.canvas, recipe.canvas_step
        if not (self.folder / "truth.npz").exists():
            self._make(recipe, self._zooms, processes)
        self._truth = dict(np.load(self.folder / "truth.npz"))

    def truth(self, index: int) -> Truth:
        """Return the ground truth of a frame on the canvas."""
        start, stop = self._truth["starts"][index : index + 2]
        boxes, boxes3d, classes, ignore = (self._truth[name][start:stop] for name in ARRAYS)
        y, x = self._step
        # The renderer measures from pixel edges; pixel indices are centres.
        boxes = (boxes - 0.5) / [x, y, x, y]
        return Truth(boxes, boxes3d, classes, ignore, self.cam2img(index))

    def cam2img(self, index: int) -> NDArray[np.float64]:
        """Return the camera matrix (3, 3) of a frame in canvas pixel indices."""
        matrix = np.array(self._truth["intrinsics"][index])
        matrix[:2, 2] -= 0.5
        y, x = self._step
        return np.asarray(matrix / [[x], [y], [1.0]])

    def _make(self, recipe: Recipe, zooms: dict[str, Any], processes: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = {variant: str(self.folder / f"{variant}.npy") for variant in zooms}
        for path in paths.values():
            np.lib.format.open_memmap(
                path, mode="w+", dtype=np.uint8, shape=(len(self), *recipe.canvas, 3)
            )
        zooms = {variant: sampler(zoom, recipe.picture) for variant, zoom in zooms.items()}
        jobs = [
            (zooms, paths, start, self.keys[start : start + CHUNK])
            for start in range(0, len(self), CHUNK)
        ]
        with workers(processes) as pool:
            frames = [each for part in pool.starmap(_fill, jobs, chunksize=1) for each in part]
        part = self.folder / "part.npz"
        joined: dict[str, Any] = {
            name: np.concatenate([each[name] for each in frames]) for name in ARRAYS
        }
        starts = np.cumsum([0, *(len(each["classes"]) for each in frames)])
        intrinsics = np.stack([each["intrinsics"] for each in frames])
        np.savez(part, starts=starts, intrinsics=intrinsics, **joined)
        os.replace(part, self.folder / "truth.npz")


def _fill(
    zooms: dict[str, Any], paths: dict[str, str], start: int, keys: list[Key]
) -> list[dict[str, NDArray[Any]]]:
    """Render frames into the files from index `start` on; return their ground truth."""
    files = {variant: np.load(path, mmap_mode="r+") for variant, path in paths.items()}
    found = []
    for place, frame in enumerate(rendered(keys), start):
        for variant, file in files.items():
            canvas = zooms[variant](frame.image)
            file[place] = np.rint(canvas).clip(0, 255).astype(np.uint8)
        found.append({name: getattr(frame, name) for name in (*ARRAYS, "intrinsics")})
    return found
