"""FCOS3D (Wang et al. 2021) with mmdet3d's parameter names, and its exportable decode."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lzu_export.models.dcn import ModulatedDeformConv
from lzu_export.models.fpn import FPN
from lzu_export.models.one_stage import OneStageDetector, initialise_head
from lzu_export.models.resnet import ResNet
from lzu_export.recipes.networks import Fcos3dConfig

GROUPS = (2, 1, 3, 1, 2)
"""Channels of the regressed groups: offset of the projected centre, depth, size, rotation and
velocity."""

BRANCHES = 4
"""Number of regressed groups with a convolution of their own; the velocity has none."""

Outputs = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
"""Raw outputs by group and level, see `Fcos3dHead.forward`."""


class NormedConv(nn.Module):
    """Convolution (3 x 3) with bias, group norm and ReLU, named as in mmcv's ConvModule."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, *, dcn: bool = False
    ) -> None:
        super().__init__()
        self.conv: nn.Module = (
            ModulatedDeformConv(in_channels, out_channels, bias=True)
            if dcn
            else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.gn = nn.GroupNorm(groups, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.gn(self.conv(x)).relu()


class Scale(nn.Module):
    """Learned factor, named as in mmcv."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input times the factor."""
        return x * self.scale


class Fcos3dHead(nn.Module):
    """Head of two towers shared by all levels, each followed by a branch for every quantity.

    Class and attribute branch off one tower; the box, direction and centerness off the other.
    """

    class_layer = "conv_cls"
    """Name of the layer whose output channels are num_classes."""

    def __init__(self, config: Fcos3dConfig) -> None:
        """Build with normal weights (deviation 0.01) and class biases for a prior of 0.01."""
        super().__init__()
        self.num_classes, self.strides = config.num_classes, config.strides
        feat, groups = config.feat_channels, config.norm_groups
        widths = [config.fpn_channels] + [feat] * config.stacked_convs

        def tower() -> nn.ModuleList:
            last = config.stacked_convs - 1
            return nn.ModuleList(
                NormedConv(a, b, groups, dcn=config.dcn_on_last_conv and i == last)
                for i, (a, b) in enumerate(pairwise(widths))
            )

        def branch(channels: int = feat) -> nn.Sequential:
            return nn.Sequential(NormedConv(feat, channels, groups))

        self.cls_convs, self.reg_convs = tower(), tower()
        self.conv_cls_prev, self.conv_cls = branch(), nn.Conv2d(feat, config.num_classes, 1)
        self.conv_reg_prevs = nn.ModuleList(branch() for _ in range(BRANCHES))
        self.conv_regs = nn.ModuleList(nn.Conv2d(feat, channels, 1) for channels in GROUPS)
        self.conv_dir_cls_prev, self.conv_dir_cls = branch(), nn.Conv2d(feat, 2, 1)
        self.conv_attr_prev = branch()
        self.conv_attr = nn.Conv2d(feat, config.num_attributes, 1)
        self.conv_centerness_prev = branch(config.centerness_channels)
        self.conv_centerness = nn.Conv2d(config.centerness_channels, 1, 1)
        # Factors per level for the offset, the depth and the size.
        self.scales = nn.ModuleList(
            nn.ModuleList(Scale() for _ in range(3)) for _ in config.strides
        )
        self._initialise()

    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """Map levels (B, C, H, W) to five lists with one entry per level.

        Returns:
            Class logits (B, classes, H, W). Boxes (B, 9, H, W): distance of the cell's point from
            the projected centre (x, y), depth, length, height, width (metres), rotation (radians,
            seen from the object's ray, modulo pi), velocity along x and z (metres per second).
            Direction logits (B, 2, H, W), attribute logits (B, attributes, H, W), centerness
            logits (B, 1, H, W). The distance is in pixels of the network input, but in strides
            while training.
        """
        outputs: Outputs = ([], [], [], [], [])
        for level, scales, stride in zip(levels, self.scales, self.strides, strict=True):
            values = self._one_level(level, scales, stride)
            for output, value in zip(outputs, values, strict=True):
                output.append(value)
        return outputs

    def _one_level(self, level: Tensor, scales: nn.Module, stride: int) -> tuple[Tensor, ...]:
        cls_feature = reg_feature = level
        for conv in self.cls_convs:
            cls_feature = conv(cls_feature)
        for conv in self.reg_convs:
            reg_feature = conv(reg_feature)
        features = [prev(reg_feature) for prev in self.conv_reg_prevs]
        features += [reg_feature] * (len(GROUPS) - BRANCHES)
        offset, depth, size, *rest = (
            conv(feature) for conv, feature in zip(self.conv_regs, features, strict=True)
        )
        assert isinstance(scales, nn.ModuleList)
        scale_offset, scale_depth, scale_size = scales
        offset = scale_offset(offset)
        if not self.training:
            offset = offset * stride
        boxes = [offset, scale_depth(depth).exp(), scale_size(size).exp(), *rest]
        return (
            self.conv_cls(self.conv_cls_prev(cls_feature)),
            torch.cat(boxes, dim=1),
            self.conv_dir_cls(self.conv_dir_cls_prev(reg_feature)),
            self.conv_attr(self.conv_attr_prev(cls_feature)),
            self.conv_centerness(self.conv_centerness_prev(reg_feature)),
        )

    def _initialise(self) -> None:
        initialise_head(self, self.conv_cls)
        for module in self.modules():
            if isinstance(module, ModulatedDeformConv):
                module.centre()


class Fcos3d(OneStageDetector[Outputs]):
    """FCOS3D: a one-stage detector with an `Fcos3dHead`."""

    bbox_head: Fcos3dHead


def build_fcos3d(config: Fcos3dConfig) -> Fcos3d:
    """Build an FCOS3D with random weights, in training mode."""
    backbone = ResNet(
        config.depth,
        base_channels=config.base_channels,
        style=config.style,
        stage_with_dcn=config.stage_with_dcn,
    )
    neck = FPN(
        backbone.out_channels,
        config.fpn_channels,
        config.num_outs,
        start_level=config.start_level,
        add_extra_convs="on_output",
        relu_before_extra_convs=True,
    )
    return Fcos3d(backbone, neck, Fcos3dHead(config))
