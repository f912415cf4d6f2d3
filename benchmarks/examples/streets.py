"""Demonstration scenes for the examples: images as networks take them, and boxes on the canvas."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

import lzu_export as lzu
from lzu_benchmarks.demo.frame_cache import frames
from lzu_benchmarks.scenes import CLASSES, Frame
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.train.cache import mirror
from lzu_benchmarks.train.schedule import Picks
from lzu_benchmarks.train.series import training_keys

EXPORTED = {
    "classes": CLASSES,
    "normalisation": {"order": "bgr", "mean": [128] * 3, "std": [64] * 3},
    "frames": "demo",
}
"""Arguments of `lzu_export.export` that all networks of the examples share."""


@lru_cache(maxsize=1)  # a program that trains several networks reads them once
def read_scenes(sequences: int) -> list[Frame]:
    """Draw four frames of each of the first training sequences, or read them from the cache."""
    return list(frames(training_keys(sequences)))


def make_warp(scenes: Sequence[Frame], variant: str = "fixed") -> lzu.FixedWarp:
    """Make the identity (`uniform`), or the warp of the scenes' boxes, to half the frames' size."""
    if variant == "uniform":
        return lzu.FixedWarp.uniform(SOURCE_SIZE, scale=0.5)
    boxes = np.concatenate([each.boxes[~each.ignore] for each in scenes])
    return lzu.FixedWarp.from_boxes(boxes, SOURCE_SIZE, scale=0.5, bandwidth=32, symmetric=True)


def images_of(scenes: Sequence[Frame], picks: Picks) -> torch.Tensor:
    """Return normalised images (B, 3, H, W) of the picked scenes, mirrored where asked."""
    images = [scenes[i].image[:, ::-1] if flip else scenes[i].image for i, flip in picks.pairs]
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 128) / 64


def objects_of(
    scenes: Sequence[Frame], picks: Picks, warp: lzu.FixedWarp
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield classes (n,), and boxes (n, 4) as centre x, centre y, width, height, of each image.

    Boxes are in pixels of the uniform canvas.
    """
    for index, flip in picks.pairs:
        found = scenes[index]
        wanted = ~found.ignore
        boxes = found.boxes[wanted]
        corners = warp.boxes_to_canvas(mirror(boxes, SOURCE_SIZE[1]) if flip else boxes)
        middle, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        yield found.classes[wanted], np.concatenate([middle, size], axis=1)
