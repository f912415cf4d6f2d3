"""Recipe keys of the networks' architectures. No torch, so that recipes can be read anywhere."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

FIRST_STRIDE = 4
"""Pixels per cell of the backbone's first level; each further level doubles it."""


class AnchorSpec(BaseModel):
    """Anchors per level, as in mmdet's AnchorGenerator with octave scales and centre offset 0.

    A level of stride s has, for each of `ratios` (height / width), anchors of area (s * scale)^2
    for the scales octave_base_scale * 2^(i / scales_per_octave), i = 0 .. scales_per_octave - 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    strides: tuple[PositiveInt, ...] = Field(default=(8, 16, 32, 64, 128), min_length=1)
    """Strides of the levels in pixels per cell, finest first."""
    octave_base_scale: PositiveFloat = 4.0
    """Side of the smallest anchor over the stride."""
    scales_per_octave: PositiveInt = 3
    """Number of anchor sizes between one level and the next."""
    ratios: tuple[PositiveFloat, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Aspect ratios (height / width) of the anchors."""

    @property
    def per_cell(self) -> int:
        """Number of anchors in one cell."""
        return self.scales_per_octave * len(self.ratios)


class RetinaNetConfig(AnchorSpec):
    """Architecture of a RetinaNet; the defaults are mmdet's RetinaNet-R50-FPN.

    `start_level` is the first backbone level the neck uses: 1 makes the finest output P3 (stride
    8), 0 makes it P2 (stride 4). `strides` may be left out: start_level and num_outs
    determine them.
    """

    num_classes: PositiveInt
    """Number of classes."""
    depth: Literal[18, 34, 50, 101] = 50
    """Depth of the ResNet."""
    base_channels: PositiveInt = 64
    """Channels of the ResNet's first stage."""
    style: Literal["pytorch", "caffe"] = "pytorch"
    """Whether the 3x3 convolution (`pytorch`) or the first 1x1 (`caffe`) of a bottleneck has the
    stride."""
    fpn_channels: PositiveInt = 256
    """Channels of the neck's levels."""
    start_level: Literal[0, 1] = 1
    """First backbone level that the neck uses: 1 makes the finest output P3 (stride 8), 0 makes it
    P2 (stride 4)."""
    num_outs: PositiveInt = 5
    """Number of the neck's levels."""
    extra_convs: Literal["on_input", "on_output"] = "on_input"
    """Input of the extra levels' convolutions (mmdet's `add_extra_convs`)."""
    relu_before_extra_convs: bool = False
    """Whether a ReLU precedes the extra levels' convolutions."""
    feat_channels: PositiveInt = 256
    """Channels of the head's towers."""
    stacked_convs: int = Field(default=4, ge=0)
    """Convolutions of each tower of the head."""

    @model_validator(mode="before")
    @classmethod
    def _derive_strides(cls, values: Any) -> Any:
        if isinstance(values, dict) and "strides" not in values:
            start, count = values.get("start_level", 1), values.get("num_outs", 5)
            if isinstance(start, int) and isinstance(count, int) and start >= 0 and count > 0:
                return {**values, "strides": pyramid_strides(start, count)}
        return values

    @model_validator(mode="after")
    def _check_levels(self) -> "RetinaNetConfig":
        backbone_levels = 4 - self.start_level
        if self.num_outs < backbone_levels:
            raise ValueError(
                f"num_outs is {self.num_outs} but start_level {self.start_level} takes "
                f"{backbone_levels} backbone levels; set num_outs to at least {backbone_levels}"
            )
        expected = pyramid_strides(self.start_level, self.num_outs)
        if self.strides != expected:
            raise ValueError(
                f"strides {self.strides} do not fit start_level {self.start_level} and num_outs "
                f"{self.num_outs}, which give {expected}; leave strides out or set them so"
            )
        return self


class PSPNetConfig(BaseModel):
    """Architecture of a PSPNet; the defaults are mmseg's PSPNet-R50-D8 (ResNet v1c).

    The unzoom stands on the spatial features in front of the pyramid pooling head, at the `cut`.
    LZU's text has a "PSPNet with FPN" and unzooms "after the FPN", but PSPNet, in mmseg as in its
    paper, has no FPN, and the code was not published. Hence two readings:

    - `backbone`: mmseg's PSPNet as it is, so its checkpoints load; the unzoom stands on the last
      stage of the dilated backbone, of stride `output_stride`. The default.
    - `fpn`: an FPN of `fpn_channels` over all four stages, fused to one map of stride `fpn_stride`,
      on which the unzoom stands and the same head follows. Closer to the letter of the text, finer
      at stride 4, and to be trained: no published checkpoint has such a neck.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    num_classes: int = Field(ge=2)
    """Number of classes."""
    depth: Literal[18, 34, 50, 101] = 50
    """Depth of the ResNet (v1c)."""
    base_channels: int = Field(default=64, ge=2, multiple_of=2)
    """Channels of the ResNet's first stage."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels per cell of the backbone's last stage. Below 32, late stages dilate instead of
    striding."""
    channels: PositiveInt = 512
    """Channels of each pooling branch and of the bottleneck after them."""
    pool_scales: tuple[PositiveInt, ...] = Field(default=(1, 2, 3, 6), min_length=1)
    """Bins per axis of each pooling branch."""
    cut: Literal["backbone", "fpn"] = "backbone"
    """Where the unzoom is: on the backbone's last stage, or on an FPN over all four stages."""
    fpn_channels: PositiveInt = 256
    """Channels of the fused map; only for `cut: fpn`."""
    fpn_stride: Literal[2, 4, 8] = 4
    """Pixels per cell of the fused map; only for `cut: fpn`. The PSPNet has no map of stride 2, but
    a network of your own may."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the head's channels that are dropped in training."""

    @property
    def strides(self) -> tuple[int]:
        """Stride (pixels per cell) of the one level on which the unzoom stands."""
        return (self.output_stride if self.cut == "backbone" else self.fpn_stride,)


class Fcos3dConfig(BaseModel):
    """Architecture of an FCOS3D; the defaults are the LZU paper's, on a ResNet-50.

    Its neck is mmdet3d's: extra levels on top of the outputs, with a ReLU in between.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    num_classes: PositiveInt
    """Number of classes."""
    depth: Literal[18, 34, 50, 101] = 50
    """Depth of the ResNet."""
    base_channels: PositiveInt = 64
    """Channels of the ResNet's first stage."""
    style: Literal["pytorch", "caffe"] = "caffe"
    """Whether the 3x3 convolution (`pytorch`) or the first 1x1 (`caffe`) of a bottleneck has the
    stride."""
    stage_with_dcn: tuple[bool, bool, bool, bool] = (False, False, True, True)
    """Which backbone stages have deformable convolutions. Depths below 50 have none."""
    fpn_channels: PositiveInt = 256
    """Channels of the neck's levels."""
    start_level: Literal[0, 1] = 1
    """First backbone level that the neck uses: 1 makes the finest output P3 (stride 8), 0 makes it
    P2 (stride 4)."""
    num_outs: PositiveInt = 5
    """Number of the neck's levels."""
    feat_channels: PositiveInt = 256
    """Channels of the head's towers, and of each branch after them except the centerness."""
    centerness_channels: PositiveInt = 64
    """Channels of the centerness branch."""
    stacked_convs: PositiveInt = 2
    """Convolutions of each tower of the head."""
    dcn_on_last_conv: bool = True
    """Whether the last convolution of each tower is deformable."""
    norm_groups: PositiveInt = 32
    """Groups of the head's group normalisation."""
    num_attributes: PositiveInt = 9
    """Number of attributes."""
    direction_offset: float = 0.7854
    """Angle in radians from which the two halves of the circle are counted for the direction class;
    mmdet3d's rounded quarter of pi."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides (pixels per cell) of the levels, finest first."""
        return pyramid_strides(self.start_level, self.num_outs)

    @model_validator(mode="after")
    def _check(self) -> "Fcos3dConfig":
        if self.depth < 50 and any(self.stage_with_dcn):
            raise ValueError(
                f"stage_with_dcn asks for deformable convolutions, which depth {self.depth} has "
                "not; choose depth 50 or 101, or set stage_with_dcn to false four times"
            )
        if self.num_outs < 4 - self.start_level:
            raise ValueError(
                f"num_outs is {self.num_outs} but start_level {self.start_level} takes "
                f"{4 - self.start_level} backbone levels; set num_outs to at least as many"
            )
        for name in ("feat_channels", "centerness_channels"):
            if getattr(self, name) % self.norm_groups:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, which norm_groups {self.norm_groups} does "
                    "not divide; change one of them"
                )
        return self


class SaliencyNetworkConfig(BaseModel):
    """Architecture of a network that computes each frame's saliency.

    The defaults are those of "Learning to Zoom" (Recasens et al. 2018): a ResNet-18 up to its third
    stage on 224 x 224 pixels. Its released code averages frames down to that size (`average`) and
    resizes without aligning corners, as PyTorch did by default at the time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    depth: Literal[18, 34, 50, 101] = 18
    """Depth of the ResNet."""
    base_channels: PositiveInt = 64
    """Channels of the ResNet's first stage."""
    style: Literal["pytorch", "caffe"] = "pytorch"
    """Whether the 3x3 convolution (`pytorch`) or the first 1x1 (`caffe`) of a bottleneck has the
    stride."""
    stages: int = Field(default=3, ge=1, le=4)
    """Stages of the ResNet before the convolution to one channel."""
    input: tuple[PositiveInt, PositiveInt] = (224, 224)
    """Size (height, width) in pixels to which the frame is downsampled."""
    downsampling: Literal["bilinear", "average"] = "bilinear"
    """How the frame is downsampled: as PyTorch's `interpolate` without antialiasing, or as
    AdaptiveAvgPool2d."""
    align_corners: bool = False
    """Whether corners are aligned in bilinear downsampling and in the bilinear resize to the
    lattice."""

    @model_validator(mode="after")
    def _check_cells(self) -> "SaliencyNetworkConfig":
        stride = FIRST_STRIDE << (self.stages - 1)
        if max(self.input) <= stride:
            raise ValueError(
                f"input {self.input[0]}x{self.input[1]} becomes a map of one cell behind "
                f"{self.stages} stages, of stride {stride}, which sees every place alike; raise it "
                "or lower stages"
            )
        return self


def pyramid_strides(start_level: int, num_outs: int) -> tuple[int, ...]:
    """Return the strides (pixels per cell) of the neck's outputs, finest first."""
    return tuple(FIRST_STRIDE << level for level in range(start_level, start_level + num_outs))
