"""Segmentation of CamVid: one small network, uniform, with a fixed warp, and with a learned one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.train.camvid.frames import CLASSES, SOURCE, Split
from lzu_benchmarks.train.camvid.learned import LearnedSegmenter
from lzu_benchmarks.train.camvid.network import NAME, STRIDE, StreetNet
from lzu_benchmarks.train.network import outputs_of
from lzu_benchmarks.train.schedule import Schedule, learn
from lzu_benchmarks.train.seg import Segmenter, losses
from lzu_export.evaluation.metrics.segmentation import SegmentationEvaluation
from lzu_export.models.checkpoint import WARP, load_into, load_state, save_checkpoint
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.schema import SegRecipe
from lzu_export.runtime.preprocess import sampler
from lzu_export.tasks.seg.parts import Decode
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.boundary_saliency import mean_boundary_saliency
from lzu_export.warp.saliency import mirrored

VARIANTS = ("uniform", "fixed", "learned")
LATTICE = (31, 41)
"""Size (rows, columns) of the saliency, in the frames' proportions."""
LOGITS = f"{WARP}logits"
"""Name of the learned logits in a checkpoint."""
WARP_KEYS = ("lattice", "fwhm", "boundary", "background", "unzoom_scale")
"""Settings of the warp that decide the results."""
SETTINGS: dict[str, Any] = {
    "source": list(SOURCE),
    "classes": list(CLASSES),
    "custom_model": NAME,
    "model": {"num_classes": len(CLASSES), "cut": "fpn", "fpn_stride": STRIDE},
    "warp.lattice": list(LATTICE),
    "checkpoint": {},
}
"""Keys in which the recipe differs from `seg-demo`."""


class Zoomed(NamedTuple):
    """Frames as a network takes them, in the form that the losses read."""

    frames: NDArray[np.uint8]
    maps: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def images(self, _variant: str) -> NDArray[np.uint8]:
        """(N, H, W, 3) frames, or their canvases."""
        return self.frames

    def labels(self) -> NDArray[np.uint8]:
        """(N, 360, 480) label maps."""
        return self.maps


def make_saliency(split: Split) -> NDArray[np.float32]:
    """Return the density (31, 41) of label boundaries, symmetric for mirrored frames."""
    settings = _of_seg(load_recipe("seg-demo")).warp
    found = mean_boundary_saliency(
        split.labels,
        LATTICE,
        boundary=settings.boundary,
        background=settings.background,
        ignore=255,
    )
    return mirrored(found).astype(np.float32)


def recipe_of(
    variant: str,
    scale: float,
    saliency: Path,
    weights: Path | None = None,
    *,
    exported: Mapping[str, Any] | None = None,
) -> SegRecipe:
    """Return the recipe of a variant.

    Args:
        variant: one of `VARIANTS`; `learned` reads its warp from the weights.
        scale: size of the network's input over that of the frame.
        saliency: file of the fixed warp's saliency.
        weights: checkpoint.
        exported: further keys.
    """
    learned = variant == "learned"
    warp = {
        "warp.logits": LOGITS if learned else None,
        "warp.saliency": None if learned else str(saliency),
    }
    kind = "uniform" if variant == "uniform" else "fixed"
    checkpoint = {} if weights is None else {"checkpoint": {kind: str(weights)}}
    changes = {**SETTINGS, **warp, **checkpoint, "scale": scale, "variant": kind}
    changes |= exported or {}
    return _of_seg(load_recipe("seg-demo", changes))


def _of_seg(recipe: Recipe) -> SegRecipe:
    assert isinstance(recipe, SegRecipe), "its task is seg"
    return recipe


def canvases_of(split: Split, recipe: SegRecipe) -> NDArray[np.uint8]:
    """Zoom all frames of a split by a recipe: (N, canvas, 3), rounded to uint8."""
    sample = sampler(make_warp(recipe).zoom, recipe.picture)
    return np.stack([np.rint(sample(each)).clip(0, 255).astype(np.uint8) for each in split.images])


def train(
    variant: str, scale: float, saliency: Path, split: Split, schedule: Schedule, weights: Path
) -> list[float]:
    """Train a network on one thread, and save its weights, and its warp if that is learned.

    Returns:
        The loss of every step.
    """
    torch.manual_seed(schedule.seed)
    kind = "uniform" if variant == "learned" else variant
    recipe = recipe_of(kind, scale, saliency)
    learned = variant == "learned"
    kind_of = LearnedSegmenter if learned else Segmenter
    network = kind_of(recipe, StreetNet(len(CLASSES)))
    frames = split.images if learned else canvases_of(split, recipe)
    data = Zoomed(frames, split.labels)
    found = learn(network, losses(network, recipe, data, schedule), len(data), schedule)
    state = dict(network.network.state_dict())
    if isinstance(network, LearnedSegmenter):
        state[LOGITS] = network.stored_logits()
    save_checkpoint(weights, state)
    return found


def count(recipe: SegRecipe, weights: Path, split: Split) -> list[Any]:
    """Count the pixels of a split that a stored network classifies, see `Pixels.counts`."""
    network = Segmenter(recipe, StreetNet(len(CLASSES)))
    state = {n: v for n, v in load_state(weights).items() if not n.startswith(WARP)}
    load_into(network.network, state, name=str(weights))
    network.eval()
    decode, pixels = Decode(recipe), Pixels(split)
    for start, logits in outputs_of(network, canvases_of(split, recipe)):
        _, classes = decode([[logits]])
        for place, prediction in enumerate(classes.numpy(), start):
            pixels.add(place, prediction)
    return pixels.counts()


class Pixels:
    """Pixels of a split by stretch, region and class."""

    def __init__(self, split: Split) -> None:
        """Start with nothing counted."""
        self._split = split
        self._found = [SegmentationEvaluation(CLASSES) for _ in range(split.stretches.max() + 1)]

    def add(self, place: int, prediction: NDArray[np.integer]) -> None:
        """Count the predicted classes (360, 480) of a frame, given its place in the split."""
        stretch = self._found[self._split.stretches[place]]
        name = self._split.pairs[place].image.name
        stretch.add(self._split.labels[place], prediction, name=name)

    def counts(self) -> list[Any]:
        """Return numbers of pixels (stretches, regions, 3, classes) as plain data.

        The three are pixels that are found, that are of the class, and that are predicted as it.
        """
        counts = np.stack([each.counts for each in self._found])
        found = np.diagonal(counts, axis1=-2, axis2=-1)
        there, predicted = counts.sum(axis=-1), counts[..., :-1].sum(axis=-2)
        plain: list[Any] = np.stack([found, there, predicted], axis=-2).tolist()
        return plain
