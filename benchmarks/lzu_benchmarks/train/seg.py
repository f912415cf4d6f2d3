"""Train, evaluate and compare the demonstration models of segmentation.

One command makes all shipped files: `python -m lzu_benchmarks.train.seg --out
lzu_export/demo/seg`. The recipe `seg-demo` describes the models. Both variants share frames,
architecture, schedule, augmentation and seeds, and their heads work at the same resolution; only
the warp of zoom and unzoom differs.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.scenes import LABELS
from lzu_benchmarks.train.cache import Key
from lzu_benchmarks.train.label_cache import LabelCache, mean_saliency
from lzu_benchmarks.train.schedule import learn, sampling_order
from lzu_benchmarks.train.seg_figures import compare, readme, whole
from lzu_benchmarks.train.series import Series, command
from lzu_export.evaluation.metrics.segmentation import Counts, SegmentationEvaluation
from lzu_export.models.pspnet import PSPNet, build_pspnet
from lzu_export.recipes.schema import SegRecipe
from lzu_export.tasks.seg.parts import Decode, class_map_tables
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.tables import TablePair, table_matrix

GRID = 4
"""Step of the pixels of the source that the loss samples on each axis. The grid's offset is drawn
anew at every step, so that the training uses all detail of the labels at a lower cost."""


class Segmenter(torch.nn.Module):
    """The network from zoomed uint8 canvases to logits in the frame of the labels."""

    def __init__(self, recipe: SegRecipe) -> None:
        """Build the recipe's network with random weights, and its unzoom."""
        super().__init__()
        self.network: PSPNet = build_pspnet(recipe.model)
        norm = recipe.normalisation
        self.reverse = norm.order == "rgb"
        self.pad = [n - m for n, m in zip(recipe.network_input, recipe.canvas, strict=True)]
        self.mean = torch.tensor(norm.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(norm.std).view(1, 3, 1, 1)
        (level,) = recipe.levels
        unzoom = make_warp(recipe).unzoom
        assert unzoom is not None, "the head's resolution is above the level's"
        ((pair,),) = unzoom  # only the `published` geometry has several pairs
        assert isinstance(pair, TablePair), "the demonstration's warp is separable"
        self.unzoom = matrices(pair, level.size)

    def forward(self, canvases: Tensor) -> Tensor:
        """Map canvases (B, H_c, W_c, 3) uint8 BGR to logits (B, classes, H, W)."""
        image = canvases.permute(0, 3, 1, 2).float()
        image = ((image.flip(1) if self.reverse else image) - self.mean) / self.std
        image = torch.nn.functional.pad(image, (0, self.pad[1], 0, self.pad[0]))
        (level,) = self.network.extract(image.contiguous(memory_format=torch.channels_last))
        rows, columns = self.unzoom
        level = torch.matmul(torch.matmul(rows, level.contiguous()), columns.T)
        ((logits,),) = self.network.head([level.contiguous(memory_format=torch.channels_last)])
        return logits.contiguous()


def matrices(pair: TablePair, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return rows (N, H) and columns (M, W), float32, that resample a map of `size` (H, W)."""
    rows, columns = (
        torch.from_numpy(table_matrix(table, n).astype(np.float32))
        for table, n in zip(pair, size, strict=True)
    )
    return rows, columns


def upsampling(recipe: SegRecipe) -> tuple[Tensor, Tensor]:
    """Return rows and columns that resample logits to the source, as in the deployed class map."""
    return matrices(*class_map_tables(recipe))


def class_weights(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Return weights (classes,): inverse square roots of class frequencies, pixel mean 1."""
    share = np.bincount(labels.ravel(), minlength=classes) / labels.size
    root = np.sqrt(np.maximum(share, 1e-4))
    return np.asarray(1 / root / root.sum(), dtype=np.float32)


def make_batch(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    picks: NDArray[np.int64],
    flips: NDArray[np.bool_],
    grid: tuple[slice, slice],
) -> tuple[Tensor, Tensor]:
    """Return canvases (B, H_c, W_c, 3) uint8 and labels (B, h, w) int64 on a grid of the source."""
    turn = [np.s_[:, ::-1] if flip else np.s_[:, :] for flip in flips.tolist()]
    canvases = [images[i][each] for i, each in zip(picks, turn, strict=True)]
    targets = [labels[i][each][grid] for i, each in zip(picks, turn, strict=True)]
    return torch.from_numpy(np.stack(canvases)), torch.from_numpy(np.stack(targets).astype("int64"))


def train(
    recipe: SegRecipe,
    cache: LabelCache,
    *,
    epochs: float,
    seed: int = 0,
    batch: int = 8,
    rate: float = 5e-3,
    log: Path | None = None,
) -> tuple[Segmenter, list[float]]:
    """Train one variant on one thread.

    Returns:
        The segmenter and the loss of every step.
    """
    torch.manual_seed(seed)
    segmenter = Segmenter(recipe)
    images, labels = cache.images(recipe.variant), cache.labels()
    weights = torch.from_numpy(class_weights(labels[::8], len(recipe.classes)))
    rows, columns = upsampling(recipe)
    steps = max(2, round(epochs * len(cache) / batch))
    order, flips = sampling_order(len(cache), epochs, seed)
    starts = np.random.Generator(np.random.PCG64([seed, 1])).integers(0, GRID, (steps, 2)).tolist()

    def losses_of(step: int) -> Tensor:
        top, left = starts[step]
        window = slice(step * batch, (step + 1) * batch)
        down, across = slice(top, None, GRID), slice(left, None, GRID)
        canvases, targets = make_batch(images, labels, order[window], flips[window], (down, across))
        logits = rows[down] @ (segmenter(canvases) @ columns[across].T)
        return torch.nn.functional.cross_entropy(logits, targets, weight=weights)[None]

    return segmenter, learn(segmenter, losses_of, steps=steps, rate=rate, log=log)


def evaluate(segmenter: Segmenter, recipe: SegRecipe, cache: LabelCache) -> Counts:
    """Count the pixels (sequences, regions, classes, classes + 1) of each sequence of the cache.

    Predicted classes are those of the deployed class map at the source's resolution. Sequences are
    in the order of their seeds.
    """
    cv2.setNumThreads(1)
    images, labels, decode = cache.images(recipe.variant), cache.labels(), Decode(recipe)
    found = {seed: SegmentationEvaluation(LABELS) for seed, _ in sorted(cache.keys)}
    for start in range(0, len(cache), 8):
        with torch.inference_mode():
            logits = segmenter(torch.from_numpy(np.array(images[start : start + 8])))
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
    epochs=4.0,
    saliency=saliency,
    frames=LabelCache,
    train=train,
    evaluate=evaluate,
    summary=whole,
    compare=compare,
    readme=readme,
)

if __name__ == "__main__":
    command(SERIES)
