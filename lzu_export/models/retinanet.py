"""RetinaNet (Lin et al. 2017) with mmdet's parameter names, and its exportable decode."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.fpn import FPN, ConvModule
from lzu_export.models.one_stage import OneStageDetector, initialise_head
from lzu_export.models.resnet import ResNet
from lzu_export.models.shapes import static_shape
from lzu_export.recipes.networks import AnchorSpec, RetinaNetConfig
from lzu_export.support.limits import MAX_TOPK
from lzu_export.warp.anchors import MAX_LOG_RATIO

RawOutputs = tuple[list[Tensor], list[Tensor]]
"""Class logits and box deltas, by level; see `RetinaHead.forward`."""


class RetinaHead(nn.Module):
    """Head of two towers of 3 x 3 convolutions shared by all levels, for classes and boxes."""

    class_layer = "retina_cls"
    """Name of the layer whose output channels are a multiple of num_classes."""

    def __init__(self, config: RetinaNetConfig) -> None:
        """Build with normal weights (deviation 0.01) and class biases for a prior of 0.01."""
        super().__init__()
        self.num_classes = config.num_classes
        self.anchors: AnchorSpec = config
        widths = [config.fpn_channels] + [config.feat_channels] * config.stacked_convs
        self.cls_convs = nn.ModuleList(ConvModule(a, b, 3, relu=True) for a, b in pairwise(widths))
        self.reg_convs = nn.ModuleList(ConvModule(a, b, 3, relu=True) for a, b in pairwise(widths))
        logits = config.per_cell * config.num_classes
        self.retina_cls = nn.Conv2d(widths[-1], logits, 3, padding=1)
        self.retina_reg = nn.Conv2d(widths[-1], config.per_cell * 4, 3, padding=1)
        initialise_head(self, self.retina_cls)

    def forward(self, levels: Sequence[Tensor]) -> RawOutputs:
        """Map levels (B, C, H, W) to logits (B, A * classes, H, W) and deltas (B, A * 4, H, W).

        Both are lists with one entry per level. Channels are ordered by anchor first, then by class
        or (dx, dy, dw, dh).
        """
        cls_scores, bbox_preds = [], []
        for level in levels:
            cls_feature = reg_feature = level
            for conv in self.cls_convs:
                cls_feature = conv(cls_feature)
            for conv in self.reg_convs:
                reg_feature = conv(reg_feature)
            cls_scores.append(self.retina_cls(cls_feature))
            bbox_preds.append(self.retina_reg(reg_feature))
        return cls_scores, bbox_preds


class RetinaNet(OneStageDetector[RawOutputs]):
    """RetinaNet: a one-stage detector with a `RetinaHead`."""

    bbox_head: RetinaHead


def build_retinanet(config: RetinaNetConfig) -> RetinaNet:
    """Build a RetinaNet with random weights, in training mode."""
    backbone = ResNet(config.depth, base_channels=config.base_channels, style=config.style)
    neck = FPN(
        backbone.out_channels,
        config.fpn_channels,
        config.num_outs,
        start_level=config.start_level,
        add_extra_convs=config.extra_convs,
        relu_before_extra_convs=config.relu_before_extra_convs,
    )
    return RetinaNet(backbone, neck, RetinaHead(config))


def decode(
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_size: tuple[int, int],
    k_per_level: int = 1000,
    *,
    max_k: int = MAX_TOPK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode the best candidates of every level, as mmdet, but a fixed number without a threshold.

    Per level the k = min(k_per_level, cells * anchors * classes) highest scoring (cell, anchor,
    class) entries are taken, in descending order; K is the sum of k over levels. The TopK operator
    decides which of exactly equal scores are taken, and their order. All arithmetic is float32,
    whatever the inputs' type.

    Args:
        cls_scores: per level logits (B, A * classes, H, W).
        bbox_preds: per level deltas (B, A * 4, H, W): centre offsets in anchor sides, then log
            ratios of sides.
        anchors: per level (H * W * A, 4) float32, see `anchors.grid_anchors`.
        image_size: (height, width) in pixels to which boxes are clipped.
        k_per_level: candidates per level.
        max_k: largest k of one TopK operator that the targets allow.

    Returns:
        Boxes (B, K, 4) float32 x1, y1, x2, y2 in pixels of the network input, clipped to [0, width]
        and [0, height]; scores (B, K) float32, sigmoid; labels (B, K) int64.

    Raises:
        LzuError: a level takes more than max_k candidates, or levels and anchors do not fit.
    """
    if not len(cls_scores) == len(bbox_preds) == len(anchors):
        raise LzuError(
            f"decode got {len(cls_scores)} levels of logits, {len(bbox_preds)} of deltas and "
            f"{len(anchors)} of anchors; give one of each per level"
        )
    counts = [static_shape(level)[0] for level in anchors]
    num_classes = _count_classes(cls_scores, bbox_preds, counts)
    batch = static_shape(cls_scores[0])[0]

    entries = [count * num_classes for count in counts]
    logits, entry = _best_entries(cls_scores, entries, k_per_level, max_k)

    # One gather for all levels: a few large operators instead of many small ones per level.
    index = entry // num_classes  # rounding_mode="trunc" would be traced as a float32 division
    deltas = torch.cat(
        [level.permute(0, 2, 3, 1).reshape(batch, -1, 4) for level in bbox_preds], dim=1
    )
    row = index if batch == 1 else index + sum(counts) * torch.arange(batch).to(index)[:, None]
    boxes = delta_to_box(
        _rows(torch.cat([level.float() for level in anchors]), index),
        _rows(deltas.reshape(-1, 4), row).float(),
    )
    height, width = image_size
    limits = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return boxes, logits.sigmoid(), entry - index * num_classes


def _best_entries(
    cls_scores: Sequence[Tensor], counts: Sequence[int], k_per_level: int, max_k: int
) -> tuple[Tensor, Tensor]:
    """Return the best logits of every level (B, K), and their places among all levels' entries."""
    batch = static_shape(cls_scores[0])[0]
    logits, entries = [], []
    start = 0
    for level, (cls_score, count) in enumerate(zip(cls_scores, counts, strict=True)):
        k = min(k_per_level, count)
        if k > max_k:
            raise LzuError(
                f"level {level} takes {k} candidates, more than the {max_k} of one TopK; "
                "lower k_per_level"
            )
        flat = cls_score.float().permute(0, 2, 3, 1).reshape(batch, count)
        # The sigmoid is monotonic: ranking logits and squashing only the k winners gives the same
        # order at less cost, and keeps it where scores saturate.
        best, entry = flat.topk(k, dim=1)
        logits.append(best)
        entries.append(entry + start)
        start += count
    return torch.cat(logits, dim=1), torch.cat(entries, dim=1)


def _count_classes(
    cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], counts: Sequence[int]
) -> int:
    """Return the number of classes of the logits, given every level's number of anchors."""
    found = set()
    for level, (cls_score, bbox_pred, count) in enumerate(
        zip(cls_scores, bbox_preds, counts, strict=True)
    ):
        batch, channels, height, width = static_shape(cls_score)
        per_cell, rest = divmod(count, height * width)
        expected = (batch, 4 * per_cell, height, width)
        if rest or not per_cell or channels % per_cell or static_shape(bbox_pred) != expected:
            raise LzuError(
                f"level {level} has logits {static_shape(cls_score)}, deltas "
                f"{static_shape(bbox_pred)} and {count} anchors, which do not fit; make the "
                "anchors with the model's own configuration and level sizes"
            )
        found.add(channels // per_cell)
    if len(found) != 1:
        raise LzuError(
            f"levels have {sorted(found)} classes; decode the outputs of one head over all levels"
        )
    return found.pop()


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows of (N, 4) at (B, k) as (B, k, 4); index_select becomes one plain ONNX Gather."""
    return table.index_select(0, index.reshape(-1)).reshape(*static_shape(index), 4)


def delta_to_box(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Compute boxes (..., 4) from anchors (..., 4) and deltas (..., 4), as in Faster R-CNN.

    Boxes are x1, y1, x2, y2 in the anchors' pixels. Deltas are not scaled (standard deviation 1);
    log ratios are bounded by |log(16 / 1000)| as in mmdet.
    """
    corner, opposite = anchors[..., :2], anchors[..., 2:]
    size = opposite - corner
    centre = (corner + opposite) * 0.5 + size * deltas[..., :2]
    half = 0.5 * size * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return torch.cat([centre - half, centre + half], dim=-1)
