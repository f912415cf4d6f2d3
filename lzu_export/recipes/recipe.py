"""Base class of all recipes."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from lzu_export.recipes import rules, sections
from lzu_export.recipes.limits import Tolerances
from lzu_export.warp.geometry import Level, canvas_to_source, level_sizes, padded_size

INPUT_NAMES = {"source": "frame", "zoomed": "image"}
"""Name of the engine's image input for each value of `Recipe.input`."""
PAD_MULTIPLE = 32
"""Multiple to which the canvas is padded at the bottom and right, as in the published models."""


class Recipe(sections.Section):
    """Everything about one export that does not depend on the task; see its subclasses."""

    zooms_by_boxes: ClassVar[bool] = False
    """Whether predictions are boxes in the frame's pixels, which can set the next frame's zoom."""

    name: sections.FolderName
    """Name of the recipe; the bundle's folder carries it unless it is the task's own recipe."""
    task: str
    """Task: `det` (2-D detection), `seg` (segmentation) or `det3d` (3-D detection)."""
    source: sections.Size
    """Size (height, width) of the camera's frame in pixels."""
    crop: sections.Crop | None = None
    """Part of the frame that is used: (height, width) of its middle, or a window. The whole frame
    by default."""
    source_multiple: int = Field(1, gt=0)
    """Zeros are added at the bottom and right of the normalised frame, before the zoom, up to a
    multiple of this. The warp spans them too. The released nuScenes models have 32."""
    reduce: int = Field(1, gt=0)
    """Only every n-th row and column of the frame is used, as if the camera had so few. With it the
    canvas may be larger than what it is sampled from (regime of upsampling)."""
    scale: float = Field(0.5, gt=0, le=8)
    """Canvas size over source size, or over the crop's size."""
    variant: sections.Variant = "fixed"
    """Kind of warp: `adaptive` zooms and unzooms by the previous frame's boxes or by a saliency
    network, `fovea` zooms only and maps the boxes back, `external` takes knots from the host."""
    input: Literal["source", "zoomed"] = "source"
    """Where the engine begins: at the camera's bytes (`source`), or at the zoomed image (`zoomed`),
    which the runtime then computes."""
    sampler: Literal["bilinear", "antialiased", "opencv"] = "bilinear"
    """How the zoom samples: `bilinear`, `antialiased`, or `opencv` for uniform models trained on
    OpenCV's resize."""
    batch: int = Field(1, gt=0)
    """Number of frames that an engine takes at once; static."""
    warp: sections.WarpSettings = Field(default_factory=sections.WarpSettings)
    normalisation: sections.Normalisation = Field(default_factory=sections.Normalisation)
    model: Any
    """The task's network, which has `num_classes` and `strides` (pixels per cell, finest first)."""
    custom_model: str | None = Field(None, min_length=1)
    """Name of a network of your own that replaces the task's, see `tasks.custom`. Of `model` only
    the number of classes, the strides and, for detection, the anchors then count."""
    classes: tuple[sections.Label, ...] = Field(min_length=1)
    """Names of the classes in the order of the model's outputs."""
    checkpoint: dict[sections.Variant, Path] = Field({})
    """By variant, the checkpoint file (`.pth`, `.pt` or `.safetensors`)."""
    untrained: tuple[sections.Untrained, ...] = ()
    """Settings in which the export may contradict what the checkpoint records of its training.
    Other contradictions are refused. The bundle is marked wherever it is shown. `metric` allows
    PyTorch to score less than `evaluation.reference`."""
    random_weights: int | None = Field(None, ge=0)
    """Seed of untrained weights, for timing only. Used if no checkpoint is given."""
    postprocess: SerializeAsAny[sections.Section]
    """Settings of the task's post-processing."""
    precision: tuple[sections.Precision, ...] = Field(("fp32", "fp16", "int8"), min_length=1)
    """Precisions to export."""
    calibration: sections.Calibration = Field(default_factory=sections.Calibration)
    higher_precision: sections.HigherPrecision = Field(default_factory=sections.HigherPrecision)
    targets: tuple[sections.Target, ...] = Field(("onnxruntime", "tensorrt-rtx"), min_length=1)
    """Targets to build engines for. ONNX files for TensorRT are written by `derive`."""
    compute_capabilities: tuple[str, ...] = ()
    """Compute capabilities of a TensorRT-RTX engine, such as `8.9`. Empty: NVIDIA's portable
    default."""
    lowering: sections.LoweringSettings = Field(default_factory=sections.LoweringSettings)
    evaluation: sections.Evaluation = Field(default_factory=sections.Evaluation)
    tolerances: Tolerances = Field(default_factory=Tolerances)

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        rules.check(self)
        return self

    @property
    def separable(self) -> bool:
        """Whether the variant's warp moves rows and columns each by themselves."""
        return self.warp.separable or self.variant == "uniform"

    @property
    def adapts(self) -> bool:
        """Whether the warp changes with each frame."""
        return self.variant in ("adaptive", "fovea", "external")

    @property
    def takes_knots(self) -> bool:
        """Whether the host gives the warp's knots."""
        return self.variant == "external"

    @property
    def follows_boxes(self) -> bool:
        """Whether the previous frame's boxes determine the warp."""
        return self.adapts and not self.takes_knots and self.warp.network is None

    @property
    def scored_frames(self) -> int | None:
        """Largest number of frames that an export scores; None for all of the data set."""
        frames, fewer = self.evaluation.frames, self.evaluation.export_frames
        limits = [frames] if self.follows_boxes else [frames, fewer]
        return min((each for each in limits if each is not None), default=None)

    def metric_limit(self, precision: str) -> float:
        """Return by how many points of the task's metric an engine may differ from PyTorch."""
        limits = self.tolerances.metric
        of_feedback = limits.feedback if self.follows_boxes and precision != "fp32" else 0.0
        return float(getattr(limits, precision)) + of_feedback

    def score_limit(self, precision: str) -> float:
        """Return how far an engine's mean ratio of matched scores may be from 1."""
        return float(getattr(self.tolerances.scores, precision))

    def matched_limit(self, precision: str, *, sequences: bool = False) -> float:
        """Return the lowest share of PyTorch's detections that an engine must find.

        Where whole sequences are scored (`sequences`), a detector that is zoomed by its own boxes
        may find less than in single frames with given boxes.

        The share is 0 for FP32, and for an untrained network: its scores are nearly equal, so
        rounding decides which of two detections suppresses the other.
        """
        if self.checkpoint.get(self.variant) is None:
            return 0.0
        if precision == "fp32":
            return 0.0
        limits = self.tolerances.matched
        of_feedback = limits.feedback if sequences and self.follows_boxes else 0.0
        return max(0.0, float(getattr(limits, precision)) - of_feedback)

    @property
    def view(self) -> sections.Size:
        """(height, width) of the part of the frame that is used, in pixels of the frame."""
        if isinstance(self.crop, sections.Window):
            return self.crop.height, self.crop.width
        return self.crop or self.source

    @property
    def corner(self) -> tuple[int, int]:
        """(row, column) of the view's first pixel in the frame."""
        if isinstance(self.crop, sections.Window):
            return self.crop.y, self.crop.x
        height, width = self.view
        return (self.source[0] - height) // 2, (self.source[1] - width) // 2

    @property
    def picture(self) -> sections.Size:
        """(height, width) of the picture that the zoom samples: the view, reduced."""
        height, width = self.view
        return -(-height // self.reduce), -(-width // self.reduce)

    @property
    def span(self) -> sections.Size:
        """(height, width) of the picture with its padding, in its pixels, that the warp spans."""
        height, width = padded_size(self.view, self.source_multiple)
        return -(-height // self.reduce), -(-width // self.reduce)

    @property
    def canvas(self) -> sections.Size:
        """(height, width) of the zoomed image before padding."""
        # The slack corrects binary fractions: 0.7 of 720 pixels are 504, not int(503.99999).
        height, width = self.view
        return int(height * self.scale + 1e-6), int(width * self.scale + 1e-6)

    @property
    def canvas_step(self) -> tuple[float, float]:
        """(y, x) pixels of the frame per pixel of the canvas, by the model's own convention.

        The sampler maps the first and last pixel centres onto each other. OpenCV's resize, and the
        released code of the `published` geometry, scale by the ratio of sizes. Pixel 0 of the
        canvas
        is the view's first pixel.
        """
        if self.sampler == "opencv" or self.warp.geometry == "published":
            return self.view[0] / self.canvas[0], self.view[1] / self.canvas[1]
        step_y, step_x = canvas_to_source(self.canvas, self.span)
        return step_y * self.reduce, step_x * self.reduce

    @property
    def network_input(self) -> sections.Size:
        """(height, width) of the padded canvas, the backbone's input."""
        return padded_size(self.canvas, PAD_MULTIPLE)

    @property
    def places(self) -> dict[str, str]:
        """Texts, by name, of the sizes and places that follow from the recipe's keys.

        Each is numbers separated by blanks, (height, width) or (y, x), for programs that read a
        bundle without this package.
        """
        pairs = {
            "source": self.source,
            "corner": self.corner,
            "view": self.view,
            "picture": self.picture,
            "canvas": self.canvas,
            "network_input": self.network_input,
            "canvas_step": self.canvas_step,
        }
        return {name: " ".join(map(repr, pair)) for name, pair in pairs.items()}

    @property
    def image_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the engine's image input by its name, one of `INPUT_NAMES`."""
        return {
            INPUT_NAMES["source"]: (self.batch, *self.source, 3),
            INPUT_NAMES["zoomed"]: (self.batch, 3, *self.network_input),
        }

    @property
    def levels(self) -> list[Level]:
        """Stride and size of every feature level."""
        return level_sizes(self.canvas, self.model.strides, PAD_MULTIPLE)

    @property
    def unzoom_scale(self) -> int:
        """Number of cells of an unzoomed map per cell of its level, on each axis."""
        return 1

    @property
    def most_detections(self) -> int | None:
        """Largest number of detections that the graph returns per frame; None if it returns
        none.
        """
        return None

    @property
    def path_of_sizes(self) -> str:
        """Text with the sizes from the source to the canvas, through crop and reduction."""
        sizes = dict.fromkeys((self.source, self.view, self.picture, self.canvas))
        return " -> ".join("x".join(map(str, size)) for size in sizes)

    @property
    def images(self) -> int:
        """Number of images that the network takes at once."""
        return self.batch

    @property
    def scored_as(self) -> str:
        """Name of the task whose predictions, metric and data sets are this recipe's."""
        return self.task

    @property
    def label(self) -> str:
        """Name of the bundle's folder, such as `fixed-0.5x`."""
        reduced = f"-reduced{self.reduce}" if self.reduce > 1 else ""
        plane = "" if self.separable else "-nonseparable"
        return f"{self.variant}-{self.scale:g}x{reduced}{plane}"
