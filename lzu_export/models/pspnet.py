"""PSPNet (Zhao et al. 2017) with mmseg's parameter names, and its exportable class map."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.models.fpn import FPN
from lzu_export.models.matrices import average_pool, resize, restride
from lzu_export.models.resnet import ResNet
from lzu_export.models.shapes import static_shape
from lzu_export.models.zoom import Resample
from lzu_export.recipes.networks import PSPNetConfig
from lzu_export.warp.tables import Table

AUXILIARY = ("auxiliary_head.", "ema_auxiliary_head_")
"""Prefixes of the weights that only the auxiliary training loss uses."""

DILATED: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    32: ((1, 2, 2, 2), (1, 1, 1, 1)),
}
"""Strides and dilations of the backbone's stages, by output stride."""


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and ReLU, named as in mmcv's ConvModule."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, 1, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return functional.relu(self.bn(self.conv(x)))


class AveragePool(nn.Module):
    """AdaptiveAvgPool2d as two constant matrices, since its bins need not divide the map."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, bins, bins)."""
        return average_pool(x, self.bins)


class PSPHead(nn.Module):
    """Pyramid pooling head: joins the map with its means over 1, 2, 3 and 6 bins per axis."""

    class_layer = "conv_seg"
    """Name of the layer whose output channels are num_classes."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        """Build with Kaiming weights, and class weights of deviation 0.01 without bias."""
        super().__init__()
        self.num_classes = num_classes
        self.psp_modules = nn.ModuleList(
            nn.Sequential(AveragePool(bins), ConvNorm(in_channels, channels, 1))
            for bins in pool_scales
        )
        self.bottleneck = ConvNorm(in_channels + len(pool_scales) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        assert self.conv_seg.bias is not None
        nn.init.zeros_(self.conv_seg.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to logits (B, num_classes, H, W)."""
        height, width = static_shape(x)[-2:]
        branches = [resize(module(x), (height, width)) for module in self.psp_modules]
        return self.conv_seg(self.dropout(self.bottleneck(torch.cat([x, *branches], dim=1))))


class FusedFPN(FPN):
    """Feature pyramid over all backbone levels, whose outputs are summed at one stride.

    Levels are converted to it in phase (cell i on pixel stride * i), as the unzoom assumes.
    """

    def __init__(
        self, in_channels: Sequence[int], strides: Sequence[int], out_channels: int, stride: int
    ) -> None:
        """Build with Xavier weights.

        Args:
            in_channels: channels of the backbone's levels, finest first.
            strides: pixels per cell of these levels.
            out_channels: channels of the fused map.
            stride: pixels per cell of the fused map, one of `strides`.

        Raises:
            LzuError: no level has the stride.
        """
        super().__init__(in_channels, out_channels, len(in_channels), start_level=0)
        if stride not in strides:
            raise LzuError(f"no level has the FPN's stride {stride}; choose one of {list(strides)}")
        self.strides, self.stride = tuple(strides), stride

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map backbone levels (B, C_i, H_i, W_i) to a list of one map (B, out_channels, H, W)."""
        levels = super().forward(inputs)
        height, width = static_shape(levels[self.strides.index(self.stride)])[-2:]
        first, *rest = (
            restride(level, stride, self.stride, (height, width))
            for level, stride in zip(levels, self.strides, strict=True)
        )
        for each in rest:
            first = first + each
        return [first]


class PSPNet(nn.Module):
    """PSPNet of backbone, optional neck and head, with room for an unzoom after `extract`."""

    def __init__(self, backbone: ResNet, neck: FusedFPN | None, decode_head: PSPHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head

    def extract(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to a list of one level (B, C, H / stride, W / stride).

        The level is the spatial map before the pooling head, of the backbone or fused by the neck.
        """
        levels: list[Tensor] = self.backbone(images)
        return levels[-1:] if self.neck is None else self.neck(levels)

    def head(self, levels: Sequence[Tensor]) -> tuple[list[Tensor]]:
        """Map one level to one group of one tensor, logits (B, num_classes, H_l, W_l)."""
        (level,) = levels
        return ([self.decode_head(level)],)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_classes, H / stride, W / stride)."""
        ((logits,),) = self.head(self.extract(images))
        return logits


def build_pspnet(config: PSPNetConfig) -> PSPNet:
    """Build a PSPNet with random weights, in training mode."""
    strides, dilations = DILATED[config.output_stride]
    backbone = ResNet(
        config.depth,
        base_channels=config.base_channels,
        out_indices=(3,) if config.cut == "backbone" else (0, 1, 2, 3),
        deep_stem=True,
        strides=strides,
        dilations=dilations,
        contract_dilation=True,
    )
    neck = None
    in_channels = backbone.out_channels[-1]
    if config.cut == "fpn":
        in_channels = config.fpn_channels
        neck = FusedFPN(
            backbone.out_channels, backbone.out_strides, config.fpn_channels, config.fpn_stride
        )
    head = PSPHead(
        config.num_classes,
        in_channels,
        channels=config.channels,
        pool_scales=config.pool_scales,
        dropout=config.dropout,
    )
    return PSPNet(backbone, neck, head)


def inference_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the auxiliary head from an mmseg checkpoint's weights, see `checkpoint.load_state`.

    mmseg stores that head because training supervises the third stage through it; inference does
    not use it.
    """
    return {name: value for name, value in state.items() if not name.startswith(AUXILIARY)}


class ClassMap(nn.Module):
    """Module from logits to the most likely class of every pixel; ties may go either way."""

    def __init__(self, rows: Table, cols: Table) -> None:
        """Store the resample tables of the two axes, see `warp.tables.label_tables`."""
        super().__init__()
        self.upsample = Resample(rows, cols)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, classes, H, W) to resized float32 logits and class indices (B, rows, cols) int32.

        The logits are resized before they are compared, as in mmseg's whole-image test mode.
        """
        resized = self.upsample(logits.float())
        return resized, resized.argmax(dim=1).to(torch.int32)
