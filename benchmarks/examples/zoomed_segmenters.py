"""Segmenters that learn on the zoomed canvas, behind a warp that a module computes from the image.

`lds_segmenter.py` and `es_segmenter.py` share it. Labels are zoomed as the image is. After the
training the logits are mapped back by the exact inverse of the warp, an unzoom at the last
submodule. The baselines `uniform` and `fixed` unzoom features and learn on the uniform canvas.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from segmenters import (
    CANVAS,
    PHASE,
    features,
    labels_of,
    learn_labels,
    learn_on_canvas,
    segmentation,
)
from systems import Cuts, Scenes, System, Warp
from torch import Tensor, nn
from torch.nn import functional

import lzu_export as lzu
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.train.schedule import Picks, Schedule
from lzu_export.wrapping.hooks import wrapping_of

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""Function from a warp's module, images (B, 3, H, W) and labels (B, H, W) to a loss of the module
beside the segmentation's."""
Prepare = Callable[[Any, Scenes, Schedule], None]
"""Function that trains a warp's module before the segmentation."""


def low_resolution(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Average images (B, C, H, W) over 4 x 4 pixels, and resize them to (B, C, size)."""
    coarse = functional.avg_pool2d(images, 4)
    return functional.interpolate(coarse, size, mode="bilinear", align_corners=False)


def zoomed_labels(labels: Tensor, knots: Tensor, canvas: tuple[int, int] = CANVAS) -> Tensor:
    """Sample label maps (B, H, W) as the zoom at knots (B, h, w, 2) samples images.

    Returns:
        The nearest pixels' labels (B, canvas), int64.
    """
    places = functional.interpolate(
        knots.permute(0, 3, 1, 2), canvas, mode="bilinear", align_corners=True
    )
    found = functional.grid_sample(
        labels[:, None].float(), places.permute(0, 2, 3, 1), mode="nearest", align_corners=True
    )
    return found[:, 0].long()


def cuts(warp: Warp) -> Cuts:
    """Return what is unzoomed: features behind a fixed warp, logits behind a learned one."""
    return features(warp) if isinstance(warp, lzu.FixedWarp) else {"head": PHASE["head"]}


def train(
    model: nn.Module,
    scenes: Scenes,
    schedule: Schedule,
    *,
    loss: Loss | None = None,
    prepare: Prepare | None = None,
) -> None:
    """Train a wrapped segmenter, and a learned warp with it."""
    wrapping = wrapping_of(model)
    assert wrapping is not None, "the model is wrapped"
    warp = wrapping.warp
    if isinstance(warp, lzu.FixedWarp):
        return learn_on_canvas(model, scenes, schedule)
    module = warp.module
    if prepare is not None:
        prepare(module, scenes, schedule)

    def targets(images: Tensor, picks: Picks) -> tuple[Tensor, Tensor | float]:
        labels = labels_of(scenes, picks)
        with torch.no_grad():
            zoomed = zoomed_labels(labels, module(images))
        return zoomed, 0.0 if loss is None else loss(module, images, labels)

    lzu.wrap(lzu.unwrap(model), warp)  # without an unzoom: the logits are on the zoomed canvas
    learn_labels(model, targets, scenes, schedule)
    lzu.wrap(lzu.unwrap(model), warp, list(cuts(warp)), phase=cuts(warp))


def zoomed_system(
    name: str,
    module: Callable[[], nn.Module],
    *,
    loss: Loss | None = None,
    prepare: Prepare | None = None,
) -> System:
    """Return the system of a learned warp beside the identity and the labels' fixed warp.

    Args:
        name: name of the system and of its variant.
        module: function that makes the module from images (B, 3, 360, 640) to knots (B, h, w, 2).
        loss: loss of the module beside the segmentation's.
        prepare: training of the module before the segmentation.
    """
    return segmentation(
        name,
        {name: lambda _: lzu.LearnedWarp.of(module(), SOURCE_SIZE, canvas=CANVAS)},
        {name: ("uniform", "fixed")},
        train=partial(train, loss=loss, prepare=prepare),
        cuts=cuts,
    )
