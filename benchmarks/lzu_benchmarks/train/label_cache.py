"""Cache of rendered, zoomed frames with label maps on disk, made once before training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.train.cache import Key, ZoomedFrames, parts, rendered
from lzu_export.recipes.schema import LabelWarpSettings
from lzu_export.warp.boundary_saliency import boundary_saliency


def mean_saliency(
    settings: LabelWarpSettings, keys: list[Key], *, processes: int = 2
) -> NDArray[np.float64]:
    """Return the mean boundary saliency (h, w) of frames, made symmetric for mirrored frames."""
    jobs = [(settings, part) for _, part in parts(keys)]
    mean = np.sum(run_jobs(_saliency_sum, jobs, processes), axis=0) / len(keys)
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
        folder: folder of all caches; a frame takes about 230 kB, and 43 kB more per variant
            at 0.25x.
        recipes: recipe of each variant, all of the same source.
        keys: keys of the frames.
        processes: number of rendering processes.
    """

    DONE = "done"
    MAPS = ("labels",)

    def labels(self) -> NDArray[np.uint8]:
        """Return the label maps (N, H, W) of the source, memory-mapped."""
        return self._open("labels")

    def _finish(self, frames: list[dict[str, NDArray[Any]]]) -> None:
        (self.folder / self.DONE).touch()
