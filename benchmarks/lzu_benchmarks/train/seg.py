"""Train, evaluate and compare the demonstration models of segmentation.

One command makes all shipped files: `python -m lzu_benchmarks.train.seg --out
benchmarks/demo/lzu_export_demo/seg`. The recipe `seg-demo` describes the models. Both variants
share frames, architecture, schedule, augmentation and seeds, and their heads work at the same
resolution; only the warp of zoom and unzoom differs.
"""

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.scenes import LABELS
from lzu_benchmarks.train.cache import Key
from lzu_benchmarks.train.label_cache import LabelCache, mean_saliency
from lzu_benchmarks.train.network import ZoomedNetwork, fixed_unzoom, matrices, outputs_of
from lzu_benchmarks.train.schedule import Picks, Schedule
from lzu_benchmarks.train.seg_figures import compare, readme, whole
from lzu_benchmarks.train.series import Figures, Series, command
from lzu_export.evaluation.metrics.segmentation import Counts, SegmentationEvaluation
from lzu_export.models.pspnet import build_pspnet
from lzu_export.models.zoom import LevelModel
from lzu_export.recipes.schema import SegRecipe
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.seg.parts import Decode, class_map_tables

GRID = 4
"""Step of the pixels of the source that the loss samples on each axis. The grid's offset is drawn
anew at every step, so that the training uses all detail of the labels at a lower cost."""


class LabelledFrames(Protocol):
    """Frames to learn from, such as a `LabelCache`."""

    def __len__(self) -> int:
        """Number of frames."""

    def images(self, variant: str) -> NDArray[np.uint8]:
        """(N, ...) frames as the segmenter of a variant takes them."""

    def labels(self) -> NDArray[np.uint8]:
        """(N, H, W) label maps of the source."""


class Segmenter(ZoomedNetwork):
    """Network from zoomed uint8 canvases to logits in the frame of the labels."""

    def __init__(self, recipe: SegRecipe, network: LevelModel | None = None) -> None:
        """Put the recipe's unzoom into a network, by default a PSPNet with random weights."""
        unzoom = fixed_unzoom(recipe)
        assert unzoom is not None, "the head's resolution is above the level's"
        super().__init__(network or build_pspnet(recipe.model), recipe, unzoom)

    def forward(self, canvases: Tensor) -> Tensor:
        """Map canvases (B, H_c, W_c, 3) uint8 BGR to logits (B, classes, H, W)."""
        logits: Tensor
        ((logits,),) = super().forward(canvases)
        return logits.contiguous()


def upsampling(recipe: SegRecipe) -> tuple[Tensor, Tensor]:
    """Return rows and columns that resample logits to the source, as in the deployed class map."""
    return matrices(*class_map_tables(recipe))


def class_weights(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Return weights (classes,): inverse square roots of class frequencies, pixel mean 1.

    Ignored pixels do not count.
    """
    seen = labels[labels != IGNORED]
    share = np.bincount(seen, minlength=classes) / seen.size
    root = np.sqrt(np.maximum(share, 1e-4))
    return np.asarray(1 / root / root.sum(), dtype=np.float32)


def make_batch(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], picks: Picks, grid: tuple[slice, slice]
) -> tuple[Tensor, Tensor]:
    """Return canvases (B, H_c, W_c, 3) uint8 and labels (B, h, w) int64 on a grid of the source."""
    targets = np.stack([each[grid] for each in picks.of(labels)]).astype("int64")
    return torch.from_numpy(np.stack(picks.of(images))), torch.from_numpy(targets)


def losses(
    segmenter: Segmenter, recipe: SegRecipe, cache: LabelledFrames, schedule: Schedule
) -> Callable[[int, Picks], Tensor]:
    """Return the function that computes the losses of a step from its number and its frames.

    The schedule's seed is also that of the grids of pixels.
    """
    images, labels = cache.images(recipe.variant), cache.labels()
    weights = torch.from_numpy(class_weights(labels[::8], len(recipe.classes)))
    rows, columns = upsampling(recipe)
    random = np.random.Generator(np.random.PCG64([schedule.seed, 1]))
    starts = random.integers(0, GRID, (schedule.steps(len(cache)), 2)).tolist()

    def losses_of(step: int, picks: Picks) -> Tensor:
        down, across = (slice(start, None, GRID) for start in starts[step])
        canvases, targets = make_batch(images, labels, picks, (down, across))
        logits = rows[down] @ (segmenter(canvases) @ columns[across].T)
        return torch.nn.functional.cross_entropy(
            logits, targets, weight=weights, ignore_index=IGNORED
        )[None]

    return losses_of


def evaluate(segmenter: Segmenter, recipe: SegRecipe, cache: LabelCache) -> Counts:
    """Count the pixels (sequences, regions, classes, classes + 1) of each sequence of the cache.

    Predicted classes are those of the deployed class map at the source's resolution. Sequences are
    in the order of their seeds.
    """
    cv2.setNumThreads(1)
    images, labels, decode = cache.images(recipe.variant), cache.labels(), Decode(recipe)
    found = {seed: SegmentationEvaluation(LABELS) for seed, _ in sorted(cache.keys)}
    for start, logits in outputs_of(segmenter, images):
        _, classes = decode([[logits]])
        for place, prediction in enumerate(classes.numpy(), start):
            seed, index = cache.keys[place]
            found[seed].add(labels[place], prediction, name=f"frame {index} of sequence {seed}")
    return np.stack([each.counts for each in found.values()])


def saliency(recipe: SegRecipe, keys: list[Key]) -> NDArray[np.float64]:
    """Return the mean boundary saliency (h, w) of the frames, made symmetric."""
    return mean_saliency(recipe.warp, keys)


SERIES = Series(
    module="lzu_benchmarks.train.seg",
    description=__doc__ or "",
    recipe="seg-demo",
    schedule=Schedule(epochs=4.0, rate=5e-3),
    saliency=saliency,
    frames=LabelCache,
    network=Segmenter,
    losses=losses,
    evaluate=evaluate,
    figures=Figures(whole, compare, readme),
)

if __name__ == "__main__":
    command(SERIES)
