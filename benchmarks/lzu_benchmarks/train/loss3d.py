"""The loss of FCOS3D without velocity and attribute."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lzu_benchmarks.train.loss import flatten, focal_loss
from lzu_benchmarks.train.targets3d import Targets
from lzu_export.models.fcos3d import Outputs

WEIGHTS = (1.0, 1.0, 4.0, 2.0, 2.0, 2.0, 1.0)
"""Weights of offset x, y (strides), of the logarithms of depth, length, height, width, and of yaw.

mmdet3d compares metres, so that far and long objects count most. A short training gives better
results with ratios.
"""

BETA = 1 / 9
"""Error at which the smooth L1 loss changes from square to linear."""


class Batch(NamedTuple):
    """Targets of several frames: (image, cell) of positives with values, and ignored cells."""

    positive: tuple[Tensor, Tensor]
    labels: Tensor
    boxes: Tensor
    direction: Tensor
    centerness: Tensor
    ignored: tuple[Tensor, Tensor]


def collate(frames: list[Targets]) -> Batch:
    """Join the targets of frames into one batch."""

    def joined(field: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(frame, field) for frame in frames]))

    def image(field: str) -> Tensor:
        counts = [len(getattr(frame, field)) for frame in frames]
        return torch.from_numpy(np.repeat(np.arange(len(frames)), counts))

    return Batch(
        (image("positive"), joined("positive")),
        joined("labels"),
        joined("boxes"),
        joined("direction"),
        joined("centerness"),
        (image("ignored"), joined("ignored")),
    )


def loss_3d(outputs: Outputs, batch: Batch) -> Tensor:
    """Return the losses (4,) of class, box, direction and centerness, each per positive cell.

    Args:
        outputs: outputs of the head in training.
        batch: targets of the same images.
    """
    widths = [group[0].shape[1] for group in outputs]
    classes, boxes, direction, _, centerness = (
        flatten(group, width) for group, width in zip(outputs, widths, strict=True)
    )
    target = torch.zeros_like(classes)
    image, cell = batch.positive
    target[image, cell, batch.labels] = 1
    keep = torch.ones_like(classes[..., :1])
    keep[batch.ignored] = 0
    count = max(1, len(batch.labels))
    found = centerness[batch.positive].squeeze(1)
    return (
        torch.stack(
            [
                focal_loss(classes, target, keep),
                box_loss(boxes[batch.positive], batch.boxes),
                functional.cross_entropy(
                    direction[batch.positive], batch.direction, reduction="sum"
                ),
                functional.binary_cross_entropy_with_logits(
                    found, batch.centerness, reduction="sum"
                ),
            ]
        )
        / count
    )


def box_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Sum the weighted smooth L1 loss of boxes (p, 9) against (p, 7); yaw by sin(difference)."""
    error = torch.cat(
        [
            predicted[:, :2] - target[:, :2],
            (predicted[:, 2:6] / target[:, 2:6]).log(),
            torch.sin(predicted[:, 6:7] - target[:, 6:7]),
        ],
        dim=1,
    )
    weighted = error * torch.tensor(WEIGHTS)
    zero = torch.zeros_like(weighted)
    return functional.smooth_l1_loss(weighted, zero, beta=BETA, reduction="sum")
