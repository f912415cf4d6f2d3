"""The loss of FCOS3D, without velocity and attribute."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lzu_benchmarks.train.loss import flatten, focal_loss
from lzu_benchmarks.train.targets3d import Targets
from lzu_export.models.fcos3d import Outputs

WEIGHTS = (1.0, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0)
"""Of offset x, y, depth, length, height, width and yaw; mmdet3d's."""

BETA = 1 / 9
"""Where the smooth L1 loss turns from square to linear."""


class Batch(NamedTuple):
    """Targets of several frames: (image, cell) of positives with their values, and left-outs."""

    positive: tuple[Tensor, Tensor]
    labels: Tensor
    boxes: Tensor
    direction: Tensor
    centerness: Tensor
    ignored: tuple[Tensor, Tensor]


def collate(frames: list[Targets]) -> Batch:
    """The frames' targets as one batch."""

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
    """Losses of class, box, direction and centerness (4,), each per positive cell.

    Args:
        outputs: of the head while training.
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
    """Weighted smooth L1 of boxes (p, 9) against (p, 7), summed; of the yaw by sin(difference)."""
    values, yaw = predicted[:, :6], predicted[:, 6]
    error = torch.cat([values - target[:, :6], torch.sin(yaw - target[:, 6])[:, None]], dim=1)
    loss = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=BETA, reduction="none")
    return (loss * torch.tensor(WEIGHTS)).sum()
