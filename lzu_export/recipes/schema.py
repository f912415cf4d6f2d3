"""The schema of all recipes: what tasks share, then a class for each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    Tag,
    model_validator,
)

from lzu_export.inputs.classes import plain
from lzu_export.recipes.networks import (
    Fcos3dConfig,
    PSPNetConfig,
    RetinaNetConfig,
    SaliencyNetworkConfig,
)
from lzu_export.support.escaping import visible
from lzu_export.support.limits import MAX_TOPK
from lzu_export.warp.geometry import (
    Edge,
    Geometry,
    Level,
    canvas_to_source,
    level_sizes,
    padded_size,
)

Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
"""(height, width)."""

Variant = Literal["uniform", "fixed", "adaptive", "fovea"]
"""`adaptive` zooms and unzooms by the boxes of the frame before, or by what a saliency network sees
in the frame itself; `fovea` only zooms so, and maps the boxes that it finds back."""
Target = Literal["onnxruntime", "tensorrt-rtx"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Untrained = Literal[
    "variant",
    "scale",
    "source",
    "crop",
    "reduce",
    "sampler",
    "normalisation",
    "classes",
    "warp",
    "metric",
]
Method = Literal["max", "entropy", "percentile", "mse"]
Lowering = Literal["auto", "matmul", "banded", "gridsample", "gather"]

LONGEST_NAME = 150
"""Bytes of a recipe's name: a folder's has 255 on most disks, those of variant and scale too."""
PAD_MULTIPLE = 32
"""The canvas is padded at the bottom and right to this multiple, as the published models are."""


def _folder_name(name: str) -> str:
    """What names the folders of bundles and reports must not lead out of theirs."""
    if visible(name) != name:
        raise ValueError(f"name {visible(name)} has a character that cannot be seen; remove it")
    if not 0 < len(name.encode()) <= LONGEST_NAME or name.startswith(".") or "/" in name:
        raise ValueError(
            f"name {name[:LONGEST_NAME]!r} is no name of a folder; give one of 1 to {LONGEST_NAME} "
            "bytes without slashes that does not begin with a dot"
        )
    return name


def _label(name: str) -> str:
    """labels.txt has one a line, in UTF-8."""
    if odd := next((c for c in name if c in "\u2028\u2029" or category(c) in ("Cc", "Cs")), None):
        raise ValueError(
            f"classes has the name {visible(name)} with the character {visible(odd)}, but "
            "labels.txt has one name a line; remove it"
        )
    return name


def check_distinct(key: str, names: Sequence[str]) -> None:
    """Refuse names that are empty, or equal but for what makes no difference between data sets.

    Raises:
        ValueError: naming them.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise ValueError(f"{key} has an empty name; give each one")
        if plain(name) in seen:
            raise ValueError(f"{key} names {seen[plain(name)]} and {name}, which are one; keep one")
        seen[plain(name)] = name


FolderName = Annotated[str, AfterValidator(_folder_name)]
Label = Annotated[str, AfterValidator(_label)]


class Section(BaseModel):
    """A part of a recipe: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, data: Any) -> Any:
        """YAML's `yes` and `on` are no numbers, though Python counts them as 1."""
        for key, value in data.items() if isinstance(data, Mapping) else ():
            kinds = _kinds(cls.model_fields[key].annotation) if key in cls.model_fields else ()
            if isinstance(value, bool) and bool not in kinds and {int, float} & set(kinds):
                raise ValueError(f"{key} is {value} but must be a number; change it")
        return data


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types that a field may have."""
    return (annotation, *get_args(annotation))


class Window(Section):
    """A part of the frame, in pixels."""

    x: int = Field(ge=0)
    """Column of its first pixel."""
    y: int = Field(ge=0)
    """Row of its first pixel."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)


def _kind_of_crop(value: Any) -> str:
    return "[window]" if isinstance(value, Mapping | Window) else "[size]"


Crop: TypeAlias = Annotated[
    Annotated[Size, Tag("[size]")] | Annotated[Window, Tag("[window]")],
    Discriminator(_kind_of_crop),
]
"""(height, width) in the frame's middle, or a window anywhere."""


class Normalisation(Section):
    """What happens to the camera's bytes: (value - mean) / std per channel, 0..255 scale."""

    order: Literal["bgr", "rgb"] = "rgb"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)

    @model_validator(mode="after")
    def _of_bytes(self) -> "Normalisation":
        """Frameworks that divide by 255 first have means and deviations of 0..1."""
        if any(mean < 0 or mean > 255 for mean in self.mean):
            raise ValueError(
                f"normalisation.mean is {_numbers(self.mean)}, which is not within 0..255, the "
                "range of the camera's bytes; change it"
            )
        fractions = all(0 < mean < 1 for mean in self.mean) or any(std < 1 for std in self.std)
        if fractions:
            mean, std = (
                [round(255 * each, 3) for each in values] if max(values) <= 1 else list(values)
                for values in (self.mean, self.std)
            )
            raise ValueError(
                f"normalisation has mean {_numbers(self.mean)} and std {_numbers(self.std)}, which "
                "are of the scale 0..1, but the camera's bytes are 0..255: multiply by 255, as "
                f"mean {_numbers(mean)} and std {_numbers(std)}"
            )
        return self


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{each:g}' for each in values)}]"


class SaliencyNetworkSettings(SaliencyNetworkConfig):
    """A network in front of the warp, whose weights are the checkpoint's `warp.network.*`."""

    normalisation: Normalisation | None = None
    """Of its input; the recipe's by default."""


class WarpSettings(Section):
    """Where the warp comes from and how its geometry is read."""

    saliency: Path | None = None
    """A saliency map (.npy, or the released .pkl read as data), or what it is made from: for
    detection COCO annotations (.json) of the training boxes or the folder of Argoverse-HD or
    nuScenes, for segmentation a folder of the training label maps. A relative path is relative
    to the recipe."""
    logits: str | None = Field(None, min_length=1)
    """Name of a tensor in the checkpoint, such as `warp.logits`, whose softmax over all cells is
    the saliency, in place of a file."""
    network: SaliencyNetworkSettings | None = None
    """Of adaptive warps: each frame is zoomed by what this network sees in it, instead of by the
    boxes of the frame before."""
    mix: float = Field(1.0, ge=0, le=1)
    """Of adaptive warps: share of the boxes' or the network's saliency; the fixed saliency has the
    rest."""
    lattice: Size = (31, 51)
    fwhm: float = Field(10.0, gt=0)
    anti_crop: bool = True
    separable: bool = True
    """Whether rows and columns are warped each by themselves; else every place of the plane moves
    by the saliency around it. The uniform variant is separable anyway."""
    geometry: Geometry = "consistent"
    unfilled: tuple[Edge, ...] | None = None
    """Edges of every level that the code which trained a `published` model left unfilled; that
    geometry asks for it to be said, if only as an empty list."""


class Feedback(Section):
    """Which detections of a frame say where to look in the next one."""

    score_threshold: float = Field(0.0, ge=0, lt=1)
    """Lowest score that is fed back; detections are above postprocess.score_threshold anyway."""
    most: int | None = Field(None, gt=0)
    """At most so many, the best; all that fit by default."""


class BoxWarpSettings(WarpSettings):
    """A warp whose saliency is the density of boxes."""

    amplitude: float = Field(1.0, gt=0)
    bandwidth: float = Field(64.0, gt=0)
    boxes: int = Field(100, gt=0)
    """Of adaptive warps: most boxes of the previous frame that an engine takes."""
    min_side: float = Field(1.0, gt=0)
    """Of adaptive warps: sides of smaller boxes count as this many pixels."""
    feedback: Feedback = Feedback()

    @property
    def most_fed(self) -> int:
        """Most boxes of a frame that are fed back."""
        return min(self.boxes, self.feedback.most or self.boxes)


class LabelWarpSettings(WarpSettings):
    """A warp whose saliency stands on the boundaries between labels."""

    boundary: float = Field(1.0, gt=0)
    """Saliency of pixels at a boundary, when it is made from label maps."""
    background: float = Field(0.1, gt=0)
    """Saliency of all others."""
    unzoom_scale: int = Field(1, ge=1, le=8)
    """Cells of the unzoomed map per cell of the level, on each axis. The zoom brings in detail
    that a grid of the level's own size cannot hold where the warp magnifies. The uniform variant is
    then upsampled alike, so that both heads work at one resolution."""


class DetPostprocess(Section):
    """From raw head outputs to detections."""

    candidates_per_level: int = Field(1000, gt=0, le=MAX_TOPK)
    score_threshold: float = Field(0.05, ge=0, lt=1)
    iou_threshold: float = Field(0.5, gt=0, le=1)
    max_detections: int = Field(100, gt=0)


class SegPostprocess(Section):
    """From logits to a class map at the source's resolution."""

    upsampling: Literal["half-pixel", "in-phase"] = "half-pixel"
    """How the cells of the logits lie on the canvas while they are resized: edge on edge, as
    mmseg's align_corners=False, or cell i on pixel stride * i, where the `consistent` geometry and
    strided convolutions have it. Take the one the model was trained with."""
    logits: bool = False
    """Whether the engine returns the resized logits besides the class map."""


class Det3dPostprocess(Section):
    """From raw head outputs to boxes in the camera's frame, and the merge of a rig's cameras."""

    candidates_per_level: int = Field(1000, gt=0, le=MAX_TOPK)
    score_threshold: float = Field(0.05, ge=0, lt=1)
    iou_threshold: float = Field(0.8, gt=0, le=1)
    max_detections: int = Field(200, gt=0)
    rig_score_threshold: float = Field(0.01, ge=0, lt=1)
    rig_iou_threshold: float = Field(0.05, gt=0, le=1)
    rig_max_detections: int = Field(500, gt=0)


class LoweringSettings(Section):
    """How the warps become standard operators; `auto` chooses per place and says why."""

    zoom: Lowering = "auto"
    unzoom: Lowering = "auto"


class Evaluation(Section):
    """Frames the accuracy is measured on, and those that make the reference."""

    dataset: str | None = None
    """`demo`, the path of COCO annotations (.json), or the folder of a data set in its own layout;
    none: no accuracy."""
    frames: int | None = Field(None, gt=0)
    """At most this many frames, evenly spread; all by default. For warps by boxes, which go by the
    frame before, in whole sequences."""
    reference: dict[Variant, Annotated[float, Field(gt=0, le=100)]] = {}
    """By variant, the points of the task's metric that the recipe's own checkpoint scores on all of
    `dataset`. An export in which PyTorch scores over a point less is not of the model that was
    trained, and is refused. Another checkpoint or data set leaves it out of account."""


class Calibration(Section):
    """Frames on which INT8 ranges are measured, and how a range is made of what is seen."""

    frames: str | None = None
    """`demo`, a folder, a video, COCO annotations (.json), or a folder laid out like Cityscapes or
    nuScenes: frames of the training set, never those that the accuracy is measured on."""
    count: int = Field(64, gt=1)
    """At most this many, evenly taken from all sequences."""
    seed: int = Field(0, ge=0)
    method: Method = "max"
    percentile: float = Field(99.99, gt=50, le=100)
    """Share of the values that stay within the range, for the method of that name."""
    cache: Path | None = None
    """Ranges measured before (`calibration.json`); refused where they are of other frames, weights
    or settings."""


class KeepHigh(Section):
    """Names or patterns (`backbone.layer1.*`) of layers that a precision leaves higher."""

    fp16: tuple[str, ...] = ()
    """In float32, where the network is float16 or bfloat16."""
    int8: tuple[str, ...] = ()
    """In half precision, where the network is INT8."""


class MetricLimits(Section):
    """Points of the task's metric (AP x 100) that a precision may differ by."""

    fp32: float = Field(0.1, gt=0)
    fp16: float = Field(0.2, gt=0)
    bf16: float = Field(0.5, gt=0)
    int8: float = Field(1.0, gt=0)
    feedback: float = Field(0.3, ge=0)
    """More for the lower ones of a detector that looks at its own boxes: rounding moves boxes, and
    these the warp of all frames that follow. The FP16 demonstration of FOVEA loses 0.24 so, and
    nothing where it is looked at by the boxes of FP32."""


class SignalLimits(Section):
    """Lowest signal-to-noise ratio of an arrow in dB: what is below is broken, not rounded."""

    fp16: float = 40.0
    bf16: float = 25.0
    int8: float = 8.0


class ScoreLimits(Section):
    """How far the mean ratio of matched scores, engine over PyTorch, may be from 1.

    Of segmentation: the share of pixels that may get another class. See `tasks.agreement`.
    """

    fp32: float = Field(0.005, gt=0)
    fp16: float = Field(0.01, gt=0)
    bf16: float = Field(0.02, gt=0)
    int8: float = Field(0.03, gt=0)


class MatchLimits(Section):
    """Lowest share of PyTorch's detections, weighted by score, that a lower precision must find.

    The metric and the ratio of scores do not see what is lost of detections that have no truth, or
    where no evaluation set is given. It is not asked of fewer than `tasks.agreement.FEW`.
    """

    fp16: float = Field(0.98, ge=0, le=1)
    bf16: float = Field(0.95, ge=0, le=1)
    int8: float = Field(0.9, ge=0, le=1)


class RegressionLimits(Section):
    """What a bundle may lose against an earlier state of itself (`verify --reference`).

    For the task's metric it is `tolerances.metric`.
    """

    drift: float = Field(10.0, ge=1)
    """Factor by which an arrow's drift may grow, in FP32; what is below a hundredth of
    `tolerances.arrow` is rounding and may be anything."""
    snr: float = Field(3.0, ge=0)
    """Decibels by which an arrow's signal-to-noise ratio may fall, in lower precisions."""
    latency: float = Field(1.05, ge=1)
    """Factor by which a latency, or a ratio of two, may grow on the machine of the reference."""
    latency_elsewhere: float = Field(1.2, ge=1)
    """Factor by which a ratio of latencies may grow on another one."""


class Tolerances(Section):
    """Drift limits against PyTorch, and what may be lost from one release to the next."""

    arrow: float = Field(1e-4, gt=0)
    """max|a - b| / max|b| at each arrow and output, in FP32."""
    snr: SignalLimits = SignalLimits()
    metric: MetricLimits = MetricLimits()
    scores: ScoreLimits = ScoreLimits()
    matched: MatchLimits = MatchLimits()
    regression: RegressionLimits = RegressionLimits()


class Recipe(Section):
    """Everything about one export that does not depend on the task; see its subclasses."""

    name: FolderName
    task: str
    source: Size
    """Of the camera's frame."""
    crop: Crop | None = None
    """The part of the frame that is looked at: (height, width) of its middle, or a `Window`; all of
    it by default."""
    source_multiple: int = Field(1, gt=0)
    """Before the zoom, zeros are put at the bottom and right of the normalised frame up to a
    multiple of this, and the warp spans them too: 32 in the released nuScenes models."""
    reduce: int = Field(1, gt=0)
    """Only every so many rows and columns of the frame are used, as if the camera had so few: the
    regime of upsampling, where the canvas is larger than what it is sampled from."""
    scale: float = Field(0.5, gt=0, le=8)
    """Canvas over source, or over the crop."""
    variant: Variant = "fixed"
    input: Literal["source", "zoomed"] = "source"
    sampler: Literal["bilinear", "antialiased", "opencv"] = "bilinear"
    batch: int = Field(1, gt=0)
    warp: WarpSettings = WarpSettings()
    normalisation: Normalisation = Normalisation()
    model: RetinaNetConfig | PSPNetConfig | Fcos3dConfig
    custom_model: str | None = Field(None, min_length=1)
    """Name of a network of your own in place of the task's, see `tasks.custom`; of `model` only the
    number of classes, the strides and, for detection, the anchors then count."""
    classes: tuple[Label, ...] = Field(min_length=1)
    checkpoint: dict[Variant, Path] = {}
    untrained: tuple[Untrained, ...] = ()
    """In what the export may contradict what the checkpoint remembers of its training: refused
    otherwise, and marked wherever the bundle is shown. `metric` allows PyTorch to score less than
    `evaluation.reference`."""
    random_weights: int | None = Field(None, ge=0)
    """Seed of untrained weights, for timing only: used where no checkpoint is given."""
    postprocess: DetPostprocess | SegPostprocess | Det3dPostprocess
    precision: tuple[Precision, ...] = Field(("fp32", "fp16", "int8"), min_length=1)
    calibration: Calibration = Calibration()
    keep_high: KeepHigh = KeepHigh()
    targets: tuple[Target, ...] = Field(("onnxruntime", "tensorrt-rtx"), min_length=1)
    compute_capabilities: tuple[str, ...] = ()
    """For TensorRT-RTX, like `8.9`; empty: NVIDIA's portable default."""
    lowering: LoweringSettings = LoweringSettings()
    evaluation: Evaluation = Evaluation()
    tolerances: Tolerances = Tolerances()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        self._check_adaptive()
        if len(self.classes) != self.model.num_classes:
            raise ValueError(
                f"classes lists {len(self.classes)} names but model.num_classes is "
                f"{self.model.num_classes}; make them equal"
            )
        check_distinct("classes", self.classes)
        if self.sampler == "opencv" and (self.variant, self.input) != ("uniform", "zoomed"):
            raise ValueError(
                "sampler opencv is OpenCV's resize in the runtime: it needs variant uniform and "
                "input zoomed"
            )
        if self.sampler == "opencv" and self.source_multiple > 1:
            raise ValueError(
                "sampler opencv is OpenCV's resize, which pads nothing: set source_multiple to 1"
            )
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets lists {', '.join(self.targets)}; give each once")
        if len(set(self.precision)) < len(self.precision):
            raise ValueError(f"precision lists {', '.join(self.precision)}; give each once")
        if self.targets == ("onnxruntime",) and set(self.precision) == {"bf16"}:
            raise ValueError(
                "precision bf16 is for tensorrt-rtx: ONNX Runtime's CPU has no kernels for it; add "
                "that target, or choose fp16"
            )
        if self.warp.saliency is not None and self.warp.logits is not None:
            raise ValueError(
                f"warp.saliency {self.warp.saliency.name} and warp.logits {self.warp.logits} are "
                "both given; keep the one that the model was trained with and set the other to null"
            )
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
        self._check_plane()
        self._check_sizes()
        return self

    def _check_plane(self) -> None:
        """What a non-separable warp cannot have, and what only it can."""
        lowerings = {"lowering.zoom": self.lowering.zoom, "lowering.unzoom": self.lowering.unzoom}
        if self.separable:
            for key, kind in lowerings.items():
                if kind == "gather":
                    raise ValueError(
                        f"{key} gather is of warps with warp.separable false; choose auto, matmul, "
                        "banded or gridsample"
                    )
            return
        if self.variant == "fovea":
            raise ValueError(
                "variant fovea maps boxes back by two corners, which makes a box of them only "
                "where the warp is separable; set warp.separable to true, or variant to adaptive"
            )
        if self.warp.geometry == "published":
            raise ValueError(
                "warp.geometry published has no non-separable warps, whose released inverter has a "
                "sign error; set warp.geometry to consistent, or warp.separable to true"
            )
        if self.sampler == "antialiased":
            raise ValueError(
                "sampler antialiased widens the samples of rows and of columns, which needs a "
                "separable warp; set sampler to bilinear, or warp.separable to true"
            )
        for key, kind in lowerings.items():
            if kind in ("matmul", "banded"):
                raise ValueError(
                    f"{key} {kind} is a product of matrices, one an axis, which a non-separable "
                    "warp is not; choose auto, gridsample or gather"
                )

    def _check_adaptive(self) -> None:
        if self.warp.network is not None and self.variant == "fixed":
            raise ValueError(
                "warp.network looks at every frame, which variant fixed does not; choose adaptive, "
                "or remove warp.network"
            )
        if not self.adapts:
            return
        if self.variant == "fovea" and self.task != "det":
            raise ValueError(
                f"variant fovea maps boxes back, so it is of task det, not {self.task}; choose "
                "adaptive with warp.network, fixed or uniform"
            )
        if self.follows_boxes and self.task != "det":
            raise ValueError(
                f"variant {self.variant} by boxes is of task det, not {self.task}; set "
                "warp.network, or choose fixed or uniform"
            )
        for key, value, wanted in (
            ("input", self.input, "source"),
            ("sampler", self.sampler, "bilinear"),
            ("warp.geometry", self.warp.geometry, "consistent"),
            ("warp.anti_crop", self.warp.anti_crop, True),
            ("source_multiple", self.source_multiple, 1),
            ("reduce", self.reduce, 1),
        ):
            if value != wanted:
                raise ValueError(
                    f"variant {self.variant} computes its warp in the graph, which needs "
                    f"{key} {wanted}, not {value}; change it"
                )
        if self.warp.mix < 1 and self.warp.saliency is None and self.warp.logits is None:
            mixed = "boxes" if self.follows_boxes else "what the network sees"
            raise ValueError(
                f"warp.mix {self.warp.mix:g} mixes {mixed} with a fixed saliency; set "
                "warp.saliency or warp.logits, or warp.mix to 1"
            )

    def _check_sizes(self) -> None:
        ends = [first + many for first, many in zip(self.corner, self.view, strict=True)]
        if isinstance(self.crop, Window) and (ends[0] > self.source[0] or ends[1] > self.source[1]):
            raise ValueError(
                f"crop ends at x {ends[1]}, y {ends[0]}, beyond the source of "
                f"{self.source[0]}x{self.source[1]}; move it or make it smaller"
            )
        if self.view[0] > self.source[0] or self.view[1] > self.source[1]:
            raise ValueError(
                f"crop {self.view[0]}x{self.view[1]} is larger than the source "
                f"{self.source[0]}x{self.source[1]}; lower it"
            )
        if self.reduce > min(self.view):
            raise ValueError(
                f"reduce {self.reduce} leaves one row or column of {self.view[0]}x{self.view[1]}; "
                "lower it"
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

    @property
    def separable(self) -> bool:
        """Whether the variant's warp moves rows and columns each by themselves."""
        return self.warp.separable or self.variant == "uniform"

    @property
    def adapts(self) -> bool:
        """Whether the warp changes with each frame."""
        return self.variant in ("adaptive", "fovea")

    @property
    def follows_boxes(self) -> bool:
        """Whether the boxes of the frame before make the warp."""
        return self.adapts and self.warp.network is None

    def metric_limit(self, precision: str) -> float:
        """Points of the task's metric that an engine may differ by from PyTorch."""
        limits = self.tolerances.metric
        of_feedback = limits.feedback if self.follows_boxes and precision != "fp32" else 0.0
        return float(getattr(limits, precision)) + of_feedback

    def score_limit(self, precision: str) -> float:
        """How far an engine's mean ratio of matched scores may be from 1."""
        return float(getattr(self.tolerances.scores, precision))

    def matched_limit(self, precision: str) -> float:
        """Lowest share of PyTorch's detections that an engine must find; none of FP32's."""
        return float(getattr(self.tolerances.matched, precision, 0.0))

    @property
    def view(self) -> Size:
        """(height, width) of what is looked at, in pixels of the frame."""
        if isinstance(self.crop, Window):
            return self.crop.height, self.crop.width
        return self.crop or self.source

    @property
    def corner(self) -> tuple[int, int]:
        """(row, column) of the view's first pixel in the frame."""
        if isinstance(self.crop, Window):
            return self.crop.y, self.crop.x
        height, width = self.view
        return (self.source[0] - height) // 2, (self.source[1] - width) // 2

    @property
    def picture(self) -> Size:
        """(height, width) of what the zoom samples: the view, reduced."""
        height, width = self.view
        return -(-height // self.reduce), -(-width // self.reduce)

    @property
    def span(self) -> Size:
        """(height, width) in pixels of the picture, its padding included, that the warp spans."""
        height, width = padded_size(self.view, self.source_multiple)
        return -(-height // self.reduce), -(-width // self.reduce)

    @property
    def canvas(self) -> Size:
        """(height, width) of the zoomed image before padding."""
        # The slack undoes binary fractions: 0.7 of 720 pixels are 504, not int(503.99999).
        height, width = self.view
        return int(height * self.scale + 1e-6), int(width * self.scale + 1e-6)

    @property
    def canvas_step(self) -> tuple[float, float]:
        """(y, x) pixels of the frame per pixel of the canvas, by the model's own convention.

        The sampler maps the first and last pixel centres onto each other. OpenCV's resize, and the
        code that published the `published` geometry, scale by the ratio of sizes. Pixel 0 of the
        canvas is the view's first one.
        """
        if self.sampler == "opencv" or self.warp.geometry == "published":
            return self.view[0] / self.canvas[0], self.view[1] / self.canvas[1]
        step_y, step_x = canvas_to_source(self.canvas, self.span)
        return step_y * self.reduce, step_x * self.reduce

    @property
    def network_input(self) -> Size:
        """(height, width) of the padded canvas, what the backbone sees."""
        return padded_size(self.canvas, PAD_MULTIPLE)

    @property
    def levels(self) -> list[Level]:
        """Stride and size of every feature level."""
        return level_sizes(self.canvas, self.model.strides, PAD_MULTIPLE)

    @property
    def unzoom_scale(self) -> int:
        """Cells of an unzoomed map per cell of its level."""
        return 1

    @property
    def path_of_sizes(self) -> str:
        """From the source to the canvas in words, by way of crop and reduction."""
        sizes = dict.fromkeys((self.source, self.view, self.picture, self.canvas))
        return " -> ".join("x".join(map(str, size)) for size in sizes)

    @property
    def label(self) -> str:
        """Name of the bundle's folder, such as `fixed-0.5x`."""
        reduced = f"-reduced{self.reduce}" if self.reduce > 1 else ""
        plane = "" if self.separable else "-nonseparable"
        return f"{self.variant}-{self.scale:g}x{reduced}{plane}"


class DetRecipe(Recipe):
    """2-D detection: RetinaNet."""

    task: Literal["det"]
    warp: BoxWarpSettings = BoxWarpSettings()
    model: RetinaNetConfig
    postprocess: DetPostprocess = DetPostprocess()

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


class SegRecipe(Recipe):
    """Semantic segmentation: PSPNet."""

    task: Literal["seg"]
    warp: LabelWarpSettings = LabelWarpSettings()
    model: PSPNetConfig
    postprocess: SegPostprocess = SegPostprocess()

    @property
    def unzoom_scale(self) -> int:
        """See `LabelWarpSettings`."""
        return self.warp.unzoom_scale


class Det3dRecipe(Recipe):
    """Monocular 3-D detection: FCOS3D."""

    task: Literal["det3d"]
    warp: BoxWarpSettings = BoxWarpSettings()
    model: Fcos3dConfig
    postprocess: Det3dPostprocess = Det3dPostprocess()
    attributes: tuple[str, ...] = ()
    """Names of the model's attributes; numbers stand for those without one."""

    @model_validator(mode="after")
    def _named(self) -> "Det3dRecipe":
        check_distinct("attributes", self.attributes)
        if self.attributes and len(self.attributes) != self.model.num_attributes:
            raise ValueError(
                f"attributes lists {len(self.attributes)} names but model.num_attributes is "
                f"{self.model.num_attributes}; make them equal, or leave the names out"
            )
        return self

    @property
    def candidates(self) -> list[int]:
        """Number of candidates that the decode keeps of every level."""
        most = self.postprocess.candidates_per_level
        return [min(most, entries) for entries in self.entries]

    @property
    def entries(self) -> list[int]:
        """Number of cells of every level, of which candidates are taken."""
        return [level.size[0] * level.size[1] for level in self.levels]


TASKS: dict[str, type[Recipe]] = {"det": DetRecipe, "seg": SegRecipe, "det3d": Det3dRecipe}
"""The class of a task's recipes."""

AnyRecipe: TypeAlias = Annotated[DetRecipe | SegRecipe | Det3dRecipe, Field(discriminator="task")]
"""For what contains a recipe of any task."""


def recipe_class(data: Mapping[str, Any]) -> type[Recipe]:
    """The class that plain data names by its task.

    Raises:
        ValueError: it names none.
    """
    if "task" not in data:
        raise ValueError("the key task is missing; add it")
    task = data["task"]
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task is {task!r} but must be one of {', '.join(TASKS)}; change it")
    return TASKS[task]
