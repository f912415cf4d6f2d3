"""The one schema of all recipes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from lzu_export.limits import MAX_TOPK
from lzu_export.models.config import RetinaNetConfig
from lzu_export.warp.geometry import Edge, Geometry, Level, level_sizes, padded_size

Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
"""(height, width)."""

Variant = Literal["uniform", "fixed"]
Target = Literal["onnxruntime", "tensorrt-rtx"]
Precision = Literal["fp32"]
Lowering = Literal["auto", "matmul", "banded", "gridsample"]

PAD_MULTIPLE = 32
"""The canvas is padded at the bottom and right to this multiple, as the published models are."""


class Section(BaseModel):
    """A part of a recipe: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Normalisation(Section):
    """What happens to the camera's bytes: (value - mean) / std per channel, 0..255 scale."""

    order: Literal["bgr", "rgb"] = "rgb"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)


class WarpSettings(Section):
    """Where the fixed warp comes from and how its geometry is read."""

    saliency: Path | None = None
    """A saliency map (.npy, or the released .pkl read as data) or COCO annotations (.json) of the
    training boxes. A relative path is relative to the recipe."""
    lattice: Size = (31, 51)
    fwhm: float = Field(10.0, gt=0)
    anti_crop: bool = True
    amplitude: float = Field(1.0, gt=0)
    bandwidth: float = Field(64.0, gt=0)
    geometry: Geometry = "consistent"
    unfilled: tuple[Edge, ...] | None = None
    """Edges of every level that the code which trained a `published` model left unfilled; that
    geometry asks for it to be said, if only as an empty list."""


class Postprocess(Section):
    """From raw head outputs to detections."""

    candidates_per_level: int = Field(1000, gt=0, le=MAX_TOPK)
    score_threshold: float = Field(0.05, ge=0, lt=1)
    iou_threshold: float = Field(0.5, gt=0, le=1)
    max_detections: int = Field(100, gt=0)


class LoweringSettings(Section):
    """How the warps become standard operators; `auto` chooses per place and says why."""

    zoom: Lowering = "auto"
    unzoom: Lowering = "auto"


class Evaluation(Section):
    """Frames the accuracy is measured on, and those that make the reference."""

    dataset: str | None = None
    """`demo`, or the path of COCO annotations beside an `images` folder; none: no accuracy."""
    frames: int | None = Field(None, gt=0)
    """At most this many frames, evenly spread; all by default."""


class Tolerances(Section):
    """Drift limits against PyTorch."""

    arrow: float = Field(1e-4, gt=0)
    """max|a - b| / max|b| at each arrow and output."""
    metric: float = Field(0.1, gt=0)
    """Points of the task's metric (AP x 100)."""


class Recipe(Section):
    """Everything about one export."""

    name: str
    task: Literal["det"]
    source: Size
    scale: float = Field(0.5, gt=0, le=4)
    variant: Variant = "fixed"
    input: Literal["source", "zoomed"] = "source"
    sampler: Literal["bilinear", "antialiased", "opencv"] = "bilinear"
    batch: int = Field(1, gt=0)
    warp: WarpSettings = WarpSettings()
    normalisation: Normalisation = Normalisation()
    model: RetinaNetConfig
    classes: tuple[str, ...] = Field(min_length=1)
    checkpoint: dict[Variant, Path] = {}
    random_weights: int | None = Field(None, ge=0)
    """Seed of untrained weights, for timing only: used where no checkpoint is given."""
    postprocess: Postprocess = Postprocess()
    precision: tuple[Precision, ...] = ("fp32",)
    targets: tuple[Target, ...] = Field(("onnxruntime", "tensorrt-rtx"), min_length=1)
    compute_capabilities: tuple[str, ...] = ()
    """For TensorRT-RTX, like `8.9`; empty: NVIDIA's portable default."""
    lowering: LoweringSettings = LoweringSettings()
    evaluation: Evaluation = Evaluation()
    tolerances: Tolerances = Tolerances()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if len(self.classes) != self.model.num_classes:
            raise ValueError(
                f"classes lists {len(self.classes)} names but model.num_classes is "
                f"{self.model.num_classes}; make them equal"
            )
        if self.sampler == "opencv" and (self.variant, self.input) != ("uniform", "zoomed"):
            raise ValueError(
                "sampler opencv is OpenCV's resize in the runtime: it needs variant uniform and "
                "input zoomed"
            )
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets lists {', '.join(self.targets)}; give each once")
        if self.warp.geometry == "published" and self.warp.unfilled is None:
            raise ValueError(
                "warp.geometry published needs warp.unfilled: [bottom] for the released nuScenes "
                "warp, [] where the training code filled every cell"
            )
        if self.warp.unfilled is not None and self.warp.geometry != "published":
            raise ValueError(
                "warp.unfilled belongs to the geometry published; set warp.geometry to published "
                "or remove warp.unfilled"
            )
        height, width = self.canvas
        if height < 1 or width < 1:
            raise ValueError(
                f"scale {self.scale} makes the canvas {height}x{width}; raise the scale"
            )
        smallest = max(self.model.strides)
        if min(height, width) < smallest / 2:
            raise ValueError(
                f"scale {self.scale} makes a {height}x{width} canvas, less than half a cell of "
                f"the stride-{smallest} level; raise the scale or drop levels"
            )
        return self

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the zoomed image before padding."""
        # The slack undoes binary fractions: 0.7 of 720 pixels are 504, not int(503.99999).
        return int(self.source[0] * self.scale + 1e-6), int(self.source[1] * self.scale + 1e-6)

    @property
    def network_input(self) -> tuple[int, int]:
        """(height, width) of the padded canvas, what the backbone sees."""
        return padded_size(self.canvas, PAD_MULTIPLE)

    @property
    def levels(self) -> list[Level]:
        """Stride and size of every feature level."""
        return level_sizes(self.canvas, self.model.strides, PAD_MULTIPLE)

    @property
    def candidates(self) -> list[int]:
        """Number of candidates that the decode keeps of every level."""
        most = self.postprocess.candidates_per_level
        return [min(most, entries) for entries in self.entries]

    @property
    def entries(self) -> list[int]:
        """Number of (cell, anchor, class) entries of every level, of which candidates are taken."""
        per_cell = self.model.per_cell * self.model.num_classes
        return [level.size[0] * level.size[1] * per_cell for level in self.levels]

    @property
    def label(self) -> str:
        """Name of the bundle's folder, such as `fixed-0.5x`."""
        return f"{self.variant}-{self.scale:g}x"
