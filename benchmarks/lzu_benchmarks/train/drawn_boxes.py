"""Draw boxes to train adaptive warps with: ground truth disturbed like a detector's output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How unlike the ground truth the boxes of a frame are.

    The lowest score that counts as a detection is low, so a real frame has many false boxes, most
    of them beside or upon an object.

    Attributes:
        empty: share of frames without a box, as at the start of a sequence.
        shift: deviation of a box's centre, in sides.
        stretch: deviation of the logarithm of a side.
        dropped: at most this share of the objects is not found; each frame draws its own.
        repeated: at most so many false boxes beside an object, per object.
        strange: at most so many false boxes, per object, where another frame has an object.
    """

    empty: float = 1 / 8
    shift: float = 0.1
    stretch: float = 0.1
    dropped: float = 0.5
    repeated: float = 4.0
    strange: float = 1.0


def jitter(boxes: Boxes, shift: float, stretch: float, random: np.random.Generator) -> Boxes:
    """Boxes (n, 4) moved by `shift` of their sides and stretched."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2 + shift * sides * random.normal(size=sides.shape)
    half = sides * np.exp(stretch * random.normal(size=sides.shape)) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def like_detections(
    boxes: Boxes, others: Boxes, noise: Noise, random: np.random.Generator
) -> Boxes:
    """Ground truth (n, 4) as a detector might have found it.

    Args:
        boxes: of the frame.
        others: of another frame, from which false boxes are taken.
        noise: see there.
        random: to draw from.
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
    """So many boxes on average, perhaps one of them several times."""
    count = random.poisson(mean) if len(boxes) else 0
    return boxes[random.integers(len(boxes), size=count)] if count else boxes[:0]


def padded(
    found: Sequence[NDArray[np.floating]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes of a batch as (B, N, 4) and their flags (B, N), N at least 1."""
    most = max(1, *(len(each) for each in found))
    boxes = np.zeros((len(found), most, 4), np.float32)
    valid = np.zeros((len(found), most), np.float32)
    for i, each in enumerate(found):
        boxes[i, : len(each)] = each
        valid[i, : len(each)] = 1
    return boxes, valid
