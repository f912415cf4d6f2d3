"""Learning to Zoom: a saliency network zooms into a window of the scene for a classifier of it.

`python benchmarks/examples/learning_to_zoom.py --out build/learning_to_zoom`. The classifier says
which kinds of object are in a window of 160 x 160 pixels, of which it sees 40 x 40. Its loss alone
trains the saliency network, through the zoom; nothing is unzoomed.

Source: Recasens et al., "Learning to Zoom: a saliency-based sampling layer for neural networks",
ECCV 2018. Borders of the saliency are reflected, as in LZU, so nothing is cropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from streets import EXPORTED
from systems import Scenes, System, Values, command
from torch import Tensor, nn
from torch.nn import functional

import lzu_export as lzu
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.scenes import CLASSES, Frame
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_export.models.grid_warp import SaliencyKnots
from lzu_export.models.saliency_network import LEAST

SIDE, CANVAS = 160, (40, 40)
"""Side of a window in pixels, and size of the canvas."""
KINDS = ("truck", "bus", "pedestrian", "bicycle")
"""Classes of objects that the classifier looks for."""
WINDOWS, BATCH = 6, 32
"""Windows per frame, and per step of the training."""
MARGIN = 0.15
"""Least distance of the object that a window is drawn around from its edges, as share of it."""
LATTICE, FWHM = (20, 20), 6.0
"""Size (rows, columns) of the saliency, and full width of the attraction in its cells."""


class Window(NamedTuple):
    """Part of a frame."""

    image: NDArray[np.uint8]
    """(160, 160, 3) BGR."""
    boxes: NDArray[np.float64]
    """(n, 4) boxes of the objects whose centres are inside, in pixels of the window."""
    present: list[bool]
    """For each of `KINDS` whether such an object is inside."""


def windows_of(frame: Frame, seed: int) -> Iterator[Window]:
    """Yield windows around random objects of a frame; each kind that it has is as likely."""
    random = np.random.default_rng(seed)
    classes, boxes = frame.classes[~frame.ignore], frame.boxes[~frame.ignore]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    kinds = [CLASSES.index(each) for each in KINDS if CLASSES.index(each) in classes]
    room = np.array(frame.image.shape[1::-1]) - SIDE
    for kind in random.choice(kinds, WINDOWS) if kinds else ():
        centre = centres[random.choice(np.flatnonzero(classes == kind))]
        corner = (centre - random.uniform(MARGIN, 1 - MARGIN, 2) * SIDE).clip(0, room).astype(int)
        inside = ((centres > corner) & (centres < corner + SIDE)).all(axis=1)
        left, top = corner
        yield Window(
            frame.image[top : top + SIDE, left : left + SIDE],
            boxes[inside] - np.tile(corner, 2),
            [CLASSES.index(each) in classes[inside] for each in KINDS],
        )


def training_windows(scenes: Scenes) -> list[Window]:
    """Return the windows of the training scenes, the same ones each time."""
    return [each for i, scene in enumerate(scenes) for each in windows_of(scene, i)]


def layer(channels: int, out: int, stride: int = 1) -> nn.Module:
    """Make a convolution whose cells are centred alike at both strides, 1 and 2."""
    convolution = nn.Conv2d(channels, out, 3 if stride == 1 else 4, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


class Saliency(nn.Module):
    """Module from normalised images (B, 3, 160, 160) to the knots (B, 20, 20, 2) of a saliency."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(4), layer(3, 16, 2), layer(16, 32), layer(32, 32), nn.Conv2d(32, 1, 1)
        )
        self.attraction = SaliencyKnots(LATTICE, FWHM)

    def saliency(self, images: Tensor) -> Tensor:
        """Return the saliency (B, 20, 20), positive and summing to 1."""
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

    def forward(self, images: Tensor) -> Tensor:
        """Return the largest logit of all places: one object anywhere is enough."""
        return self.head(self.layers(images)).amax(dim=(2, 3))


def train(model: nn.Module, scenes: Scenes, schedule: Schedule) -> None:
    """Train a wrapped classifier by binary cross-entropy, on batches of windows."""
    windows = training_windows(scenes)
    images = np.stack([each.image for each in windows])
    truth = torch.tensor([each.present for each in windows]).float()

    def losses(_step: int, picks: Picks) -> Tensor:
        pixels = torch.from_numpy(np.stack(picks.of(images))).permute(0, 3, 1, 2)
        logits = model((pixels.float() - 128) / 64)
        return functional.binary_cross_entropy_with_logits(logits, truth[picks.places])[None]

    epochs = schedule.steps(len(scenes)) * BATCH / len(windows)
    learn(model, losses, len(windows), replace(schedule, epochs=epochs, batch=BATCH))


def calibration_windows(scenes: Scenes, out: Path) -> Path:
    """Write windows for the ranges of INT8 into a folder."""
    folder = out / "windows"
    folder.mkdir(exist_ok=True)
    for i, each in enumerate(training_windows(scenes[:: max(len(scenes) // 16, 1)])):
        cv2.imwrite(str(folder / f"{i:03}.png"), each.image)
    return folder


def score(bundle: Path, frames: int | None, precision: str) -> dict[str, Any]:
    """Return the sequence, logits and truth of each window of the held-out frames."""
    found: dict[str, list[Any]] = {"sequences": [], "logits": [], "truth": []}
    with lzu.load(bundle, precision=precision, threads=1) as classifier:
        for number, sequence, frame in open_demo("val", frames).rendered():
            for window in windows_of(frame, number):
                logits = classifier(np.ascontiguousarray(window.image))["output"]
                found["sequences"].append(sequence)
                found["logits"].append(logits.tolist())
                found["truth"].append(window.present)
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
    """Make the warp of the density of the training windows' boxes."""
    boxes = np.concatenate([each.boxes for each in training_windows(scenes)]).clip(0, SIDE)
    return lzu.FixedWarp.from_boxes(
        boxes, (SIDE, SIDE), canvas=CANVAS, lattice=LATTICE, fwhm=FWHM, bandwidth=16, symmetric=True
    )


SYSTEM = System(
    name="learning_to_zoom",
    network=Classifier,
    cuts=lambda _: {},
    warps={
        "uniform": lambda _: lzu.FixedWarp.uniform((SIDE, SIDE), canvas=CANVAS),
        "fixed": fixed,
        "learned": lambda _: lzu.LearnedWarp.of(Saliency(), (SIDE, SIDE), canvas=CANVAS),
    },
    train=train,
    rate=4e-3,
    exported={"normalisation": EXPORTED["normalisation"]},
    score=score,
    values=values,
    gains={"fixed": ("uniform",), "learned": ("uniform", "fixed")},
    multiple=8,
    frames=calibration_windows,
)

if __name__ == "__main__":
    command(SYSTEM, __doc__)
