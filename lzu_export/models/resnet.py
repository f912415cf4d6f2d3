"""ResNet with the parameter names of OpenMMLab's ResNet (mmdet; with a deep stem mmseg's v1c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.dcn import ModulatedDeformConv

Style = Literal["pytorch", "caffe"]


@dataclass(frozen=True)
class BlockShape:
    """Channels and geometry of a residual block's convolutions."""

    in_channels: int
    channels: int
    """Number of channels of the 3 x 3 convolutions."""
    stride: int
    style: Style
    dilation: int = 1
    """Dilation of the 3 x 3 convolution that strides in the style "pytorch"."""
    dcn: bool = False
    """Whether that convolution is deformable, which only a bottleneck's can be."""


class BasicBlock(nn.Module):
    """Block of two 3 x 3 convolutions; the first strides and dilates in either style."""

    expansion = 1

    def __init__(self, shape: BlockShape, downsample: nn.Module | None) -> None:
        super().__init__()
        if shape.dcn:
            raise LzuError(
                "only bottlenecks convolve deformably; choose depth 50 or 101, or no stage_with_dcn"
            )
        channels, dilation = shape.channels, shape.dilation
        self.conv1 = nn.Conv2d(
            shape.in_channels, channels, 3, shape.stride, dilation, dilation, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride), rounded up."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Normalisation of the second convolution, before the residual sum."""
        return self.bn2


class Bottleneck(nn.Module):
    """Block of 1 x 1, 3 x 3 and 1 x 1 convolutions.

    The second strides in the style "pytorch", the first in the style "caffe".
    """

    expansion = 4

    def __init__(self, shape: BlockShape, downsample: nn.Module | None) -> None:
        super().__init__()
        channels, dilation = shape.channels, shape.dilation
        first, second = (1, shape.stride) if shape.style == "pytorch" else (shape.stride, 1)
        self.conv1 = nn.Conv2d(shape.in_channels, channels, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2: nn.Module
        if shape.dcn:
            self.conv2 = ModulatedDeformConv(
                channels, channels, stride=second, padding=dilation, dilation=dilation
            )
        else:
            self.conv2 = nn.Conv2d(channels, channels, 3, second, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * channels, H / stride, W / stride), rounded up."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Normalisation of the third convolution, before the residual sum."""
        return self.bn3


Block = type[BasicBlock] | type[Bottleneck]

STEM_STRIDE = 4
"""Pixels per cell after the stem and its pooling."""

ARCHITECTURES: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """Deep residual network (He et al. 2016) of four stages, layer1..layer4.

    The stages' strides are 4, 8, 16 and 32 by default. A dilation in place of a stride keeps the
    convolutions' receptive field and the size of the map (Yu et al. 2017).

    `out_channels` and `out_strides` list the channels and the strides (pixels per cell) of the
    stages in `out_indices`. Frozen normalisation is eval mode.
    """

    def __init__(
        self,
        depth: int,
        *,
        base_channels: int = 64,
        style: Style = "pytorch",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        deep_stem: bool = False,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        contract_dilation: bool = False,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
    ) -> None:
        """Build with Kaiming weights; the last normalisation of every block starts at zero.

        Args:
            depth: number of layers, one of 18, 34, 50, 101.
            base_channels: channels of the stem and, before expansion, of layer1.
            style: whether the second ("pytorch") or first ("caffe") convolution of a bottleneck
                strides.
            out_indices: stages that are returned.
            deep_stem: replace the 7 x 7 convolution by three of 3 x 3 (ResNet v1c, keys `stem.*`).
            strides: strides of the four stages, on top of the stem's 4.
            dilations: dilations of the 3 x 3 convolutions of the four stages, instead of strides.
            contract_dilation: halve the dilation of a dilated stage's first block, as mmseg does:
                the stride that it replaces would act after that convolution.
            stage_with_dcn: stages whose 3 x 3 convolutions are deformable (DCNv2).

        Raises:
            LzuError: the depth is unknown or has no deformable form, or the deep stem's channels
                cannot be halved.
        """
        super().__init__()
        if depth not in ARCHITECTURES:
            raise LzuError(
                f"ResNet depth {depth} is unknown; choose one of {sorted(ARCHITECTURES)}"
            )
        block, counts = ARCHITECTURES[depth]
        self.out_indices = tuple(out_indices)
        self.deep_stem = deep_stem
        if deep_stem:
            self.stem = make_deep_stem(base_channels)
        else:
            self.conv1 = nn.Conv2d(3, base_channels, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(base_channels)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        in_channels = base_channels
        widths, reached = [], [STEM_STRIDE]
        stages = zip(counts, strides, dilations, stage_with_dcn, strict=True)
        for stage, (count, stride, dilation, dcn) in enumerate(stages):
            channels = base_channels << stage
            layer = make_stage(
                block,
                in_channels,
                channels,
                count,
                stride=stride,
                style=style,
                dilation=dilation,
                contract_dilation=contract_dilation,
                dcn=dcn,
            )
            self.add_module(f"layer{stage + 1}", layer)
            in_channels = channels * block.expansion
            widths.append(in_channels)
            reached.append(reached[-1] * stride)
        self.out_channels = tuple(widths[index] for index in self.out_indices)
        self.out_strides = tuple(reached[index + 1] for index in self.out_indices)
        self._initialise()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to the stages in `out_indices`, finest first."""
        x = self.stem(images) if self.deep_stem else self.relu(self.bn1(self.conv1(images)))
        x = self.maxpool(x)
        outputs = []
        for stage in range(max(self.out_indices) + 1):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            if stage in self.out_indices:
                outputs.append(x)
        return outputs

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)
            if isinstance(module, ModulatedDeformConv):
                module.centre()


def make_deep_stem(channels: int) -> nn.Sequential:
    """Build the stem of ResNet v1c: three 3 x 3 convolutions on (B, 3, H, W); the first strides.

    Raises:
        LzuError: the number of channels is odd, but the first two convolutions have half of it.
    """
    half, rest = divmod(channels, 2)
    if rest or not half:
        raise LzuError(f"a deep stem of {channels} channels cannot be halved; give an even number")
    layers: list[nn.Module] = []
    for before, after, stride in ((3, half, 2), (half, half, 1), (half, channels, 1)):
        layers += [
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def make_stage(
    block: Block,
    in_channels: int,
    channels: int,
    count: int,
    *,
    stride: int,
    style: Style,
    dilation: int = 1,
    contract_dilation: bool = False,
    dcn: bool = False,
) -> nn.Sequential:
    """Build a stage of `count` blocks; the first strides, with a projected shortcut if needed.

    All blocks dilate alike, except that the first dilates by half with `contract_dilation`.
    """
    out_channels = channels * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    contracted = dilation // 2 if contract_dilation and dilation > 1 else dilation
    first = BlockShape(in_channels, channels, stride, style, contracted, dcn)
    others = BlockShape(out_channels, channels, 1, style, dilation, dcn)
    return nn.Sequential(block(first, downsample), *(block(others, None) for _ in range(count - 1)))
