"""Deformable convolution layer with the parameter names of mmcv's ModulatedDeformConv2dPack."""

import torch
from torch import Tensor, nn

import lzu_export.ops.torch_ops  # noqa: F401  registers torch.ops.lzu


class ModulatedDeformConv(nn.Module):
    """Square convolution that predicts its samples' positions and factors from its input (DCNv2).

    `conv_offset`, an ordinary convolution of the same geometry, has 3 * K channels for K taps:
    2 * K offsets, (y, x) per tap in input pixels, and K masks before their sigmoid.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        """Build with Kaiming weights and undisplaced taps of half strength, as mmcv does."""
        super().__init__()
        self.taps = kernel * kernel
        self.geometry = ([stride] * 2, [padding] * 2, [dilation] * 2)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.conv_offset = nn.Conv2d(in_channels, 3 * self.taps, kernel, stride, padding, dilation)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.centre()

    def centre(self) -> None:
        """Reset the taps to the positions of an ordinary convolution, at half strength."""
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W'), sized as by a convolution."""
        moves = self.conv_offset(x)
        offset, mask = moves[:, : 2 * self.taps], moves[:, 2 * self.taps :].sigmoid()
        y: Tensor = torch.ops.lzu.deform_conv(
            x, offset, mask, self.weight, self.bias, *self.geometry, 1, 1
        )
        return y
