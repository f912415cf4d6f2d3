"""Learning to Zoom: a saliency network zooms into the frame for a classifier of whole scenes.

`python benchmarks/examples/learning_to_zoom.py --out build/learning_to_zoom`. The classifier says
which kinds of object stand far off in the scene, at a quarter of the frame's resolution. Its loss
alone trains the saliency network, through the zoom; nothing is unzoomed.

Source: Recasens et al., "Learning to Zoom: a saliency-based sampling layer for neural networks",
ECCV 2018. Borders of the saliency are reflected, as in LZU, so nothing is cropped.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from streets import EXPORTED, images_of
from systems import Scenes, System, Values, command
from torch import Tensor, nn
from torch.nn import functional

import lzu_export as lzu
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.scenes import CLASSES, Frame
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_export.models.grid_warp import SaliencyKnots
from lzu_export.models.saliency_network import LEAST

SCALE = 0.25
"""Canvas size over frame size."""
KINDS = ("truck", "bus", "pedestrian", "bicycle")
"""Classes of objects that the classifier looks for."""
FAR = 24
"""Height in pixels of the frame below which an object is far off."""
LATTICE, FWHM = (18, 32), 6.0
"""Size (rows, columns) of the saliency, and full width of the attraction in its cells."""


def layer(channels: int, out: int, stride: int = 1) -> nn.Module:
    """Make a convolution whose cells are centred alike at both strides, 1 and 2."""
    convolution = nn.Conv2d(channels, out, 3 if stride == 1 else 4, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


class Saliency(nn.Module):
    """Module from normalised images (B, 3, 360, 640) to the knots (B, 18, 32, 2) of a saliency."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(5), layer(3, 16, 2), layer(16, 32, 2), layer(32, 32), nn.Conv2d(32, 1, 1)
        )
        self.attraction = SaliencyKnots(LATTICE, FWHM)

    def saliency(self, images: Tensor) -> Tensor:
        """Return the saliency (B, 18, 32), positive and summing to 1."""
        logits = self.layers(images).flatten(1)
        return torch.softmax(logits, dim=1).reshape(-1, *LATTICE).clamp(min=LEAST)

    def forward(self, images: Tensor) -> Tensor:
        """Return the knots that the saliency attracts, in [-1, 1], order x, y."""
        (knots,) = self.attraction(self.saliency(images))
        return knots


class Classifier(nn.Module):
    """Network from images (B, 3, H, W) to a logit for each of `KINDS`, (B, 4)."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.layers = nn.Sequential(
            layer(3, 16, 2), layer(16, 32, 2), layer(32, 32), layer(32, 64, 2), layer(64, 64)
        )
        self.head = nn.Conv2d(64, len(KINDS), 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -math.log(12 * 20))  # as many cells are summed

    def forward(self, images: Tensor) -> Tensor:
        """Return the soft maximum over all places: one object anywhere is enough."""
        return torch.logsumexp(self.head(self.layers(images)).flatten(2), dim=2)


def far_kinds(frame: Frame) -> list[bool]:
    """Return for each of `KINDS` whether an object of the class stands far off in the frame."""
    low = ~frame.ignore & (frame.boxes[:, 3] - frame.boxes[:, 1] < FAR)
    return [bool((low & (frame.classes == CLASSES.index(each))).any()) for each in KINDS]


def train(model: nn.Module, scenes: Scenes, schedule: Schedule) -> None:
    """Train a wrapped classifier by binary cross-entropy."""
    truth = torch.tensor([far_kinds(each) for each in scenes]).float()

    def losses(_step: int, picks: Picks) -> Tensor:
        logits = model(images_of(scenes, picks))
        return functional.binary_cross_entropy_with_logits(logits, truth[picks.places])[None]

    learn(model, losses, len(scenes), schedule)


def score(bundle: Path, frames: int | None, precision: str) -> dict[str, Any]:
    """Return each frame's sequence, logits and truth."""
    found: dict[str, list[Any]] = {"sequences": [], "logits": [], "truth": []}
    with lzu.load(bundle, precision=precision, threads=1) as classifier:
        for _, sequence, frame in open_demo("val", frames).rendered():
            found["sequences"].append(sequence)
            found["logits"].append(classifier(frame.image)["output"].tolist())
            found["truth"].append(far_kinds(frame))
    return found


def values(data: Mapping[str, Any]) -> Values:
    """Return the function of the areas under the ROC curves, in points: their mean, and by kind."""
    owners = np.unique(data["sequences"], return_inverse=True)[1]
    one = np.eye(owners.max() + 1)[owners]  # (frames, sequences)
    wins, counts = [], []
    for logits, truth in zip(np.array(data["logits"]).T, np.array(data["truth"]).T, strict=True):
        higher = np.sign(logits[truth][:, None] - logits[~truth]) / 2 + 0.5
        wins.append(one[truth].T @ higher @ one[~truth])
        counts.append((one[truth].sum(axis=0), one[~truth].sum(axis=0)))

    def areas(times: NDArray[np.int64]) -> dict[str, float]:
        found = {}
        for kind, won, (present, absent) in zip(KINDS, wins, counts, strict=True):
            pairs = (times @ present) * (times @ absent)
            found[kind] = float(100 * (times @ won @ times) / pairs) if pairs else np.nan
        return {"AUC": float(np.mean(list(found.values()))), **found}

    return areas


def fixed(scenes: Scenes) -> lzu.FixedWarp:
    """Make the warp of the density of the training boxes."""
    boxes = np.concatenate([each.boxes[~each.ignore] for each in scenes])
    return lzu.FixedWarp.from_boxes(boxes, SOURCE_SIZE, scale=SCALE, bandwidth=32, symmetric=True)


SYSTEM = System(
    name="learning_to_zoom",
    network=Classifier,
    cuts=lambda _: {},
    warps={
        "uniform": lambda _: lzu.FixedWarp.uniform(SOURCE_SIZE, scale=SCALE),
        "fixed": fixed,
        "learned": lambda _: lzu.LearnedWarp.of(Saliency(), SOURCE_SIZE, scale=SCALE),
    },
    train=train,
    rate=4e-3,
    exported=EXPORTED,
    score=score,
    values=values,
    gains={"fixed": ("uniform",), "learned": ("uniform", "fixed")},
)

if __name__ == "__main__":
    command(SYSTEM, __doc__)
