"""One-stage detectors (Lin et al. 2017): backbone, neck and a head that all levels share."""

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn

from lzu_export.models.dcn import ModulatedDeformConv
from lzu_export.models.fpn import FPN
from lzu_export.models.resnet import ResNet

PRIOR_PROBABILITY = 0.01
"""Score of every class at the beginning of the training."""

Raw = TypeVar("Raw")
"""Raw outputs of a head."""


class OneStageDetector(nn.Module, Generic[Raw]):
    """Detector of backbone, neck and head; an unzoom can stand between `extract` and `head`."""

    def __init__(self, backbone: ResNet, neck: FPN, bbox_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = bbox_head

    def extract(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to levels (B, C, H_l, W_l), finest first."""
        return self.neck(self.backbone(images))

    def head(self, levels: Sequence[Tensor]) -> Raw:
        """Map levels to raw outputs, see the `forward` of the head's class."""
        raw: Raw = self.bbox_head(levels)
        return raw

    def forward(self, images: Tensor) -> Raw:
        """Map normalised images (B, 3, H, W) to raw outputs, see `head`."""
        return self.head(self.extract(images))


def initialise_head(head: nn.Module, class_layer: nn.Module) -> None:
    """Give a head's convolutions normal weights (deviation 0.01) and zero biases.

    The biases of `class_layer` are the logit of PRIOR_PROBABILITY instead.
    """
    prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
    for module in head.modules():
        if isinstance(module, nn.Conv2d | ModulatedDeformConv):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.constant_(module.bias, prior if module is class_layer else 0.0)
