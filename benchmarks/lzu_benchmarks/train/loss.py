"""Focal loss for classes and generalised IoU loss for boxes."""

import torch
from torch import Tensor

from lzu_export.models.retinanet import delta_to_box

ALPHA, GAMMA = 0.25, 2.0
BOX_WEIGHT = 2.0


def flatten(levels: list[Tensor], width: int) -> Tensor:
    """Reshape level outputs (B, A * width, H, W) to (B, all anchors, width)."""
    batch = levels[0].shape[0]
    return torch.cat([x.permute(0, 2, 3, 1).reshape(batch, -1, width) for x in levels], dim=1)


def focal_loss(logits: Tensor, target: Tensor, keep: Tensor) -> Tensor:
    """Sum the sigmoid focal loss (Lin et al. 2017, eq. 5) over kept anchors.

    Args:
        logits: (B, N, C) class logits.
        target: (B, N, C) targets, 0 or 1.
        keep: (B, N, 1) whether an anchor counts, 0 or 1.
    """
    # With t = (1 - 2 target) * logit, sigmoid(t) is 1 minus the probability of the right answer.
    wrong = logits * (1 - 2 * target)
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * target
    loss = torch.sigmoid(wrong).pow(GAMMA) * torch.nn.functional.softplus(wrong)
    return (loss * weight * keep).sum()


def giou_loss(boxes: Tensor, target: Tensor) -> Tensor:
    """Sum 1 - generalised IoU (Rezatofighi et al. 2019) over paired boxes (n, 4)."""
    low = torch.maximum(boxes[:, :2], target[:, :2])
    high = torch.minimum(boxes[:, 2:], target[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    union = (
        (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        + (target[:, 2:] - target[:, :2]).prod(dim=1)
        - shared
    ).clamp(min=1e-6)
    hull = torch.maximum(boxes[:, 2:], target[:, 2:]) - torch.minimum(boxes[:, :2], target[:, :2])
    around = hull.prod(dim=1).clamp(min=1e-6)
    return (1 - shared / union + (around - union) / around).sum()


def detection_loss(
    outputs: tuple[list[Tensor], list[Tensor]],
    anchors: Tensor,
    *,
    positive: tuple[Tensor, Tensor],
    labels: Tensor,
    boxes: Tensor,
    ignored: tuple[Tensor, Tensor],
    num_classes: int,
) -> tuple[Tensor, Tensor]:
    """Return the class loss and the weighted box loss, both per positive anchor.

    Args:
        outputs: logits and deltas per level.
        anchors: (N, 4) anchors of all levels.
        positive: (image, anchor) indices of the p positives.
        labels: (p,) classes of the positives.
        boxes: (p, 4) boxes of the positives' objects in canvas pixels.
        ignored: (image, anchor) indices of ignored anchors.
        num_classes: number C of classes.
    """
    logits = flatten(outputs[0], num_classes)
    deltas = flatten(outputs[1], 4)
    target = torch.zeros_like(logits)
    target[positive[0], positive[1], labels] = 1
    keep = torch.ones_like(logits[..., :1])
    keep[ignored[0], ignored[1]] = 0
    count = max(1, len(labels))
    predicted = delta_to_box(anchors[positive[1]], deltas[positive[0], positive[1]])
    return (
        focal_loss(logits, target, keep) / count,
        BOX_WEIGHT * giou_loss(predicted, boxes) / count,
    )
