"""Feature pyramid network with the parameter names of OpenMMLab's (mmdet) FPN."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.models.shapes import static_shape

ExtraConvs = Literal["on_input", "on_output"]


class ConvModule(nn.Module):
    """Convolution with bias under the name `conv`, as mmcv's ConvModule without normalisation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2)
        self.activate = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        return self.activate(self.conv(x))


class FPN(nn.Module):
    """Feature pyramid (Lin et al. 2017); stride-2 convolutions add levels beyond the backbone's.

    The top-down path repeats cells (nearest) to the exact size of the finer level.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        *,
        start_level: int = 1,
        add_extra_convs: ExtraConvs = "on_input",
        relu_before_extra_convs: bool = False,
    ) -> None:
        """Build with Xavier weights.

        Args:
            in_channels: channels of all backbone levels, finest first.
            out_channels: channels of every output.
            num_outs: number of outputs, at least the number of backbone levels used.
            start_level: first backbone level used.
            add_extra_convs: source of the first extra level, the last backbone level ("on_input")
                or the last output ("on_output").
            relu_before_extra_convs: put a ReLU before every extra convolution but the first.

        Raises:
            LzuError: there are fewer outputs than backbone levels used.
        """
        super().__init__()
        used = list(in_channels)[start_level:]
        if not used or num_outs < len(used):
            raise LzuError(
                f"FPN num_outs is {num_outs} but {len(used)} backbone levels enter at start_level "
                f"{start_level}; set num_outs to at least {max(len(used), 1)} and start_level "
                f"below {len(in_channels)}"
            )
        self.start_level = start_level
        self.add_extra_convs = add_extra_convs
        self.relu_before_extra_convs = relu_before_extra_convs
        self.lateral_convs = nn.ModuleList(
            ConvModule(channels, out_channels, 1) for channels in used
        )
        self.fpn_convs = nn.ModuleList(ConvModule(out_channels, out_channels, 3) for _ in used)
        for extra in range(num_outs - len(used)):
            from_input = extra == 0 and add_extra_convs == "on_input"
            self.fpn_convs.append(
                ConvModule(used[-1] if from_input else out_channels, out_channels, 3, stride=2)
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map backbone levels (B, C_i, H_i, W_i) to num_outs levels (B, out_channels, H_i, W_i).

        Both are finest first. All backbone levels are passed; those before start_level are ignored.
        """
        used = list(inputs)[self.start_level :]
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, used, strict=True)]
        for index in range(len(laterals) - 1, 0, -1):
            size = static_shape(laterals[index - 1])[-2:]
            laterals[index - 1] = laterals[index - 1] + functional.interpolate(
                laterals[index], size=size, mode="nearest"
            )
        convs = list(self.fpn_convs)
        outputs = [conv(x) for conv, x in zip(convs, laterals, strict=False)]
        for index in range(len(laterals), len(convs)):
            first = index == len(laterals)
            source = used[-1] if first and self.add_extra_convs == "on_input" else outputs[-1]
            if self.relu_before_extra_convs and not first:
                source = functional.relu(source)
            outputs.append(convs[index](source))
        return outputs
