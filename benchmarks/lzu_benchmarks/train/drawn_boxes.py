"""Draw boxes for training adaptive warps: ground truth disturbed like a detector's output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Strength of the disturbance of ground-truth boxes.

    The score threshold of a detection is low, so a real frame has many false boxes, most of them
    beside or on an object.

    Attributes:
        empty: share of frames without a box, as at the start of a sequence.
        shift: standard deviation of a box's centre, in sides of the box.
        stretch: standard deviation of the logarithm of a side.
        dropped: largest share of the objects that is missed; each frame draws its own share.
        repeated: largest mean number of false boxes beside an object, per object.
        strange: largest mean number of false boxes, per object, at objects of another frame.
    """

    empty: float = 1 / 8
    shift: float = 0.1
    stretch: float = 0.1
    dropped: float = 0.5
    repeated: float = 4.0
    strange: float = 1.0


def jitter(boxes: Boxes, shift: float, stretch: float, random: np.random.Generator) -> Boxes:
    """Move boxes (n, 4) randomly by `shift` of their sides and stretch them by `stretch`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2 + shift * sides * random.normal(size=sides.shape)
    half = sides * np.exp(stretch * random.normal(size=sides.shape)) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def like_detections(
    boxes: Boxes, others: Boxes, noise: Noise, random: np.random.Generator
) -> Boxes:
    """Disturb ground truth (n, 4) so that it looks like detections.

    Args:
        boxes: boxes of the frame.
        others: boxes of another frame, from which false boxes are drawn.
        noise: strength of the disturbance.
        random: random generator.
    """
    if random.random() < noise.empty:
        return np.zeros((0, 4))
    shares = random.random(3)
    found = boxes[random.random(len(boxes)) >= shares[0] * noise.dropped]
    beside = _some(boxes, shares[1] * noise.repeated * len(boxes), random)
    strange = _some(others, shares[2] * noise.strange * len(boxes), random)
    near = jitter(beside, 5 * noise.shift, 3 * noise.stretch, random)
    rest = jitter(np.concatenate([found, strange]), noise.shift, noise.stretch, random)
    return np.concatenate([rest, near])


def _some(boxes: Boxes, mean: float, random: np.random.Generator) -> Boxes:
    """Draw `mean` boxes on average, with repetition."""
    count = random.poisson(mean) if len(boxes) else 0
    return boxes[random.integers(len(boxes), size=count)] if count else boxes[:0]


def padded(
    found: Sequence[NDArray[np.floating]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the boxes of a batch as (B, N, 4) and their flags (B, N), with N at least 1."""
    most = max(1, *(len(each) for each in found))
    boxes = np.zeros((len(found), most, 4), np.float32)
    valid = np.zeros((len(found), most), np.float32)
    for i, each in enumerate(found):
        boxes[i, : len(each)] = each
        valid[i, : len(each)] = 1
    return boxes, valid
