"""Segmentation of the demonstration scenes, for the examples: network, labels, training, score."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from streets import EXPORTED, images_of
from systems import Cuts, Scenes, System, Values, Warp
from torch import Tensor, nn
from torch.nn import functional

import lzu_export as lzu
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.scenes import LABELS
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_benchmarks.train.seg import class_weights
from lzu_benchmarks.train.seg_figures import values as segmentation_values
from lzu_export.evaluation.metrics.segmentation import SegmentationEvaluation
from lzu_export.models.matrices import restride
from lzu_export.models.pspnet import build_pspnet
from lzu_export.models.shapes import static_shape
from lzu_export.recipes import load_recipe

CANVAS = (96, 160)
"""Size (height, width) in pixels of the network's input, for frames of 360 x 640."""
PHASE = {"body": [0.0], "head": [0.0]}
"""Canvas pixel of cell (0, 0): ResNets and the resizing here centre cell i on pixel stride * i."""
FIXED = {"background": 0.003, "fwhm": 10.0, "symmetric": True}
"""Settings of the fixed warp of the label maps, those of the recipe `seg-demo`."""


class Body(nn.Module):
    """Backbone and neck: images (B, 3, H, W) to features of stride 2."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        """Take both, whose one output has stride 4."""
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, C, H / 2, W / 2)."""
        (level,) = self.neck(self.backbone(images))
        return twice_as_fine(level)


class Head(nn.Module):
    """Head of a PSPNet, with logits for every pixel of the network's input."""

    def __init__(self, decode_head: nn.Module) -> None:
        """Take the head, whose output has the size of its input."""
        super().__init__()
        self.decode_head = decode_head

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, H / 2, W / 2) to logits (B, classes, H, W)."""
        return twice_as_fine(self.decode_head(features))


class Segmenter(nn.Module):
    """PSPNet of the demonstration, with random weights."""

    def __init__(self) -> None:
        """Build the network of the recipe `seg-demo`."""
        super().__init__()
        network = build_pspnet(load_recipe("seg-demo").model)
        assert network.neck is not None, "the recipe has one"
        self.body = Body(network.backbone, network.neck)
        self.head = Head(network.decode_head)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, classes, H, W)."""
        logits: Tensor = self.head(self.body(images))
        return logits


def twice_as_fine(x: Tensor) -> Tensor:
    """Resize (B, C, H, W) to (B, C, 2H, 2W), where output cell 2i lies on cell i."""
    height, width = static_shape(x)[-2:]
    return restride(x, 2, 1, (2 * height, 2 * width))


def labels_of(scenes: Scenes, picks: Picks) -> Tensor:
    """Return label maps (B, 360, 640) uint8 of the picked scenes, mirrored where asked."""
    maps = [scenes[i].labels[:, ::-1] if flip else scenes[i].labels for i, flip in picks.pairs]
    return torch.from_numpy(np.stack(maps))


def make_warp(scenes: Scenes, variant: str) -> lzu.FixedWarp:
    """Make the identity (`uniform`), or the warp of the scenes' label boundaries (`fixed`)."""
    if variant == "uniform":
        return lzu.FixedWarp.uniform(SOURCE_SIZE, canvas=CANVAS)
    maps = (each.labels for each in scenes[::4])
    return lzu.FixedWarp.from_labels(maps, SOURCE_SIZE, canvas=CANVAS, **FIXED)


def learn_labels(
    model: nn.Module,
    targets_of: Callable[[Tensor, Picks], tuple[Tensor, Tensor | float]],
    scenes: Scenes,
    schedule: Schedule,
) -> None:
    """Train a wrapped segmenter by cross-entropy.

    Args:
        model: wrapped network.
        targets_of: function from images and picks to labels (B, canvas) and a further loss.
        scenes: training scenes.
        schedule: length, order and rate of the training.
    """
    seen = np.stack([each.labels[::4, ::4] for each in scenes[::4]])
    weights = torch.from_numpy(class_weights(seen, len(LABELS)))

    def losses(_step: int, picks: Picks) -> Tensor:
        images = images_of(scenes, picks)
        targets, further = targets_of(images, picks)
        loss = functional.cross_entropy(model(images), targets, weight=weights)
        return torch.stack([loss, loss.new_zeros(()) + further])

    learn(model, losses, len(scenes), schedule)


def learn_on_canvas(model: nn.Module, scenes: Scenes, schedule: Schedule) -> None:
    """Train a wrapped segmenter whose logits are on the uniform canvas."""
    uniform = make_warp(scenes, "uniform")

    def targets(_images: Tensor, picks: Picks) -> tuple[Tensor, float]:
        maps = [uniform.labels_to_canvas(each) for each in labels_of(scenes, picks).numpy()]
        return torch.from_numpy(np.stack(maps)).long(), 0.0

    learn_labels(model, targets, scenes, schedule)


def score(bundle: Path, frames: int | None, precision: str) -> dict[str, Any]:
    """Return `counts` (sequences, regions, classes, classes + 1) of pixels of a bundle's engine.

    Args:
        bundle: folder of the bundle.
        frames: largest number of held-out frames.
        precision: precision of ONNX Runtime's engine.
    """
    segmenter = lzu.load(bundle, precision=precision, threads=1)
    found: dict[int, SegmentationEvaluation] = {}
    for number, sequence, frame in open_demo("val", frames).rendered():
        each = found.setdefault(sequence, SegmentationEvaluation(LABELS))
        each.add(frame.labels, segmenter(frame.image).labels, name=f"frame {number}")
    return {"counts": [each.counts.tolist() for each in found.values()]}


def values(data: Mapping[str, Any]) -> Values:
    """Return the function of mean IoU, also by region, and class IoU in points."""
    counts = np.array(data["counts"])

    def found(times: NDArray[np.int64]) -> dict[str, float]:
        at = segmentation_values(np.tensordot(times, counts, axes=1))
        return {name: float(value) for name, value in at.items()}

    return found


def features(_warp: Warp) -> Cuts:
    """Return the cut behind the neck, whose features are unzoomed as in LZU."""
    return {"body": PHASE["body"]}


def segmentation(
    name: str,
    warps: Mapping[str, Callable[[Scenes], Warp]],
    gains: Mapping[str, tuple[str, ...]],
    *,
    train: Callable[[nn.Module, Scenes, Schedule], object] = learn_on_canvas,
    cuts: Callable[[Warp], Cuts] = features,
    constant: bool = False,
) -> System:
    """Return a system of warps beside the identity (`uniform`) and the labels' warp (`fixed`).

    Args:
        name: name of the system.
        warps: functions from training scenes to a warp, by variant.
        gains: variants that each variant is compared with.
        train: function that trains a wrapped segmenter.
        cuts: function from a warp to what is unzoomed behind it.
        constant: whether learned warps are the same for all images.
    """
    return System(
        name=name,
        network=Segmenter,
        cuts=cuts,
        warps={
            "uniform": lambda scenes: make_warp(scenes, "uniform"),
            "fixed": lambda scenes: make_warp(scenes, "fixed"),
            **warps,
        },
        train=train,
        rate=5e-3,
        exported={
            **EXPORTED,
            "classes": LABELS,
            "postprocess": {"kind": "labels", "upsampling": "in-phase"},
        },
        score=score,
        values=values,
        gains={"fixed": ("uniform",), **gains},
        shown=2,
        constant=constant,
    )
