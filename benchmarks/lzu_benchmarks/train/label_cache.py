"""Cache of rendered, zoomed frames with label maps on disk, made once before training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.cache import Key, ZoomedFrames, rendered
from lzu_export.recipes.schema import LabelWarpSettings, SegRecipe
from lzu_export.runtime.preprocess import sampler
from lzu_export.warp.boundary_saliency import boundary_saliency

CHUNK = 32
"""Number of frames rendered by one job."""

DONE = "done"
"""Name of the file that marks a folder as complete."""


def mean_saliency(
    settings: LabelWarpSettings, keys: list[Key], *, processes: int = 2
) -> NDArray[np.float64]:
    """Return the mean boundary saliency (h, w) of frames, made symmetric for mirrored frames."""
    jobs = [(settings, keys[start : start + CHUNK]) for start in range(0, len(keys), CHUNK)]
    with workers(processes) as pool:
        mean = np.sum(pool.starmap(_saliency_sum, jobs, chunksize=1), axis=0) / len(keys)
    return np.asarray((mean + mean[:, ::-1]) / 2)


def _saliency_sum(settings: LabelWarpSettings, keys: list[Key]) -> NDArray[np.float64]:
    return np.sum(
        [
            boundary_saliency(
                frame.labels,
                settings.lattice,
                boundary=settings.boundary,
                background=settings.background,
            )
            for frame in rendered(keys)
        ],
        axis=0,
    )


class LabelCache(ZoomedFrames):
    """Frames as every variant samples them, made on first use and then memory-mapped.

    Args:
        folder: folder of all caches; a frame takes about 230 kB, and 43 kB more per variant.
        recipes: recipe of each variant; they may differ in their warp only.
        keys: keys of the frames.
        processes: number of rendering processes.
    """

    def __init__(
        self,
        folder: str | Path,
        recipes: Mapping[str, SegRecipe],
        keys: list[Key],
        *,
        processes: int = 2,
    ) -> None:
        super().__init__(folder, recipes, keys)
        if not (self.folder / DONE).exists():
            self._make(next(iter(recipes.values())), self._zooms, processes)

    def labels(self) -> NDArray[np.uint8]:
        """Return the label maps (N, H, W) of the source, memory-mapped."""
        return self._open("labels")

    def _make(self, recipe: SegRecipe, zooms: dict[str, Any], processes: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = {variant: (*recipe.canvas, 3) for variant in zooms} | {"labels": recipe.source}
        for name, shape in shapes.items():
            np.lib.format.open_memmap(
                self.folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(len(self), *shape)
            )
        zooms = {variant: sampler(zoom, recipe.picture) for variant, zoom in zooms.items()}
        jobs = [
            (self.folder, zooms, start, self.keys[start : start + CHUNK])
            for start in range(0, len(self), CHUNK)
        ]
        with workers(processes) as pool:
            pool.starmap(_fill, jobs, chunksize=1)
        (self.folder / DONE).touch()


def _fill(folder: Path, zooms: dict[str, Any], start: int, keys: list[Key]) -> None:
    """Render frames into the files from index `start` on."""
    files = {n: np.load(folder / f"{n}.npy", mmap_mode="r+") for n in (*zooms, "labels")}
    for place, frame in enumerate(rendered(keys), start):
        files["labels"][place] = frame.labels
        for variant, zoom in zooms.items():
            canvas = zoom(frame.image)
            files[variant][place] = np.rint(canvas).clip(0, 255).astype(np.uint8)
