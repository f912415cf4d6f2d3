"""Rendered, zoomed frames with their label maps on disk, made once before training."""

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
"""Frames rendered by one job."""

DONE = "done"
"""File that says that a folder is whole."""


def mean_saliency(
    settings: LabelWarpSettings, keys: list[Key], *, processes: int = 2
) -> NDArray[np.float64]:
    """(h, w) mean boundary saliency of frames, the same left and right.

    Mirrored frames fit such a map.
    """
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
        folder: where to keep them; about 230 kB a frame and 43 kB more for each variant.
        recipes: by variant; they may differ in their warp only.
        keys: which frames.
        processes: how many render at once.
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
        """(N, H, W) label maps of the source, memory-mapped."""
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
    """Render frames into the files from place `start` on."""
    files = {n: np.load(folder / f"{n}.npy", mmap_mode="r+") for n in (*zooms, "labels")}
    for place, frame in enumerate(rendered(keys), start):
        files["labels"][place] = frame.labels
        for variant, zoom in zooms.items():
            canvas = zoom(frame.image)
            files[variant][place] = np.rint(canvas).clip(0, 255).astype(np.uint8)
