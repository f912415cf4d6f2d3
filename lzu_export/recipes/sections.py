"""Sections in the recipes of every task, and the types of their values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args
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
from pydantic_core import PydanticCustomError

from lzu_export.inputs.classes import plain
from lzu_export.recipes.networks import SaliencyNetworkConfig
from lzu_export.recipes.targets import TARGETS, exported_targets
from lzu_export.support.escaping import visible
from lzu_export.warp.geometry import Edge, Geometry

Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
"""Size (height, width) in pixels or cells."""

Variant = Literal["uniform", "fixed", "adaptive", "fovea", "external"]
"""Kind of warp. `adaptive` zooms and unzooms by the previous frame's boxes, or by a saliency
network's output for the frame itself; `fovea` zooms in the same way but maps the boxes back;
`external` zooms and unzooms at knots that are inputs of the engine."""


def _exported(name: str) -> str:
    """Check that a name is a target whose engines an export builds."""
    if name in TARGETS and TARGETS.find(name).exported:  # other targets are not imported
        return name
    listed = [repr(each) for each in exported_targets()]
    raise PydanticCustomError(
        "literal_error",
        "Input should be {expected}",
        {"expected": f"{', '.join(listed[:-1])} or {listed[-1]}"},
    )


Target = Annotated[str, AfterValidator(_exported)]
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
"""Largest length of a recipe's name in bytes: on most disks a folder's name has 255, which include
variant and scale."""


def _folder_name(name: str) -> str:
    """Check a name of a folder for bundles and reports, which must not lead to another folder."""
    if visible(name) != name:
        raise ValueError(f"name {visible(name)} has a character that cannot be seen; remove it")
    if not 0 < len(name.encode()) <= LONGEST_NAME or name.startswith(".") or "/" in name:
        raise ValueError(
            f"name {name[:LONGEST_NAME]!r} is not a folder name; give one of 1 to {LONGEST_NAME} "
            "bytes without slashes that does not begin with a dot"
        )
    return name


def _label(name: str) -> str:
    """Check the name of a class, since labels.txt has one name per line, in UTF-8."""
    if odd := next((c for c in name if c in "\u2028\u2029" or category(c) in ("Cc", "Cs")), None):
        raise ValueError(
            f"classes has the name {visible(name)} with the character {visible(odd)}, but "
            "labels.txt has one name a line; remove it"
        )
    return name


def check_distinct(key: str, names: Sequence[str]) -> None:
    """Refuse empty names, and names that differ only in ways that vary between data sets.

    Raises:
        ValueError: a name is empty or given twice; the message gives the names.
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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, data: Any) -> Any:
        """Refuse YAML's `yes` and `on` as numbers, though Python counts them as 1."""
        for key, value in data.items() if isinstance(data, Mapping) else ():
            kinds = _kinds(cls.model_fields[key].annotation) if key in cls.model_fields else ()
            if isinstance(value, bool) and bool not in kinds and {int, float} & set(kinds):
                raise ValueError(f"{key} is {value} but must be a number; change it")
        return data


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a field may have."""
    return (annotation, *get_args(annotation))


class Window(Section):
    """A part of the frame, in pixels."""

    x: int = Field(ge=0)
    """Column of the window's first pixel."""
    y: int = Field(ge=0)
    """Row of the window's first pixel."""
    width: int = Field(gt=0)
    """Width of the window in pixels."""
    height: int = Field(gt=0)
    """Height of the window in pixels."""


def _kind_of_crop(value: Any) -> str:
    return "[window]" if isinstance(value, Mapping | Window) else "[size]"


Crop: TypeAlias = Annotated[
    Annotated[Size, Tag("[size]")] | Annotated[Window, Tag("[window]")],
    Discriminator(_kind_of_crop),
]
"""Part of the frame: (height, width) in its middle, or a window anywhere."""


class Normalisation(Section):
    """Normalisation of the camera's bytes: (value - mean) / std per channel, on the scale
    0..255.
    """

    order: Literal["bgr", "rgb"] = "rgb"
    """Order of the channels that the network expects."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of each channel, in `order`."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)
    """Standard deviation of each channel, in `order`."""

    @model_validator(mode="after")
    def _of_bytes(self) -> "Normalisation":
        """Refuse means and deviations on the scale 0..1, of frameworks that divide by 255 first."""
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
                "are on the scale 0..1, but the camera's bytes are 0..255: multiply by 255, as "
                f"mean {_numbers(mean)} and std {_numbers(std)}"
            )
        return self


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{each:g}' for each in values)}]"


class SaliencyNetworkSettings(SaliencyNetworkConfig):
    """A network that computes each frame's saliency. Its weights are the checkpoint's
    `warp.network.*`.
    """

    normalisation: Normalisation | None = None
    """Normalisation of the saliency network's input; the recipe's by default."""


class WarpSettings(Section):
    """The origin of the warp, and its geometry."""

    made_from: ClassVar[str | None] = None
    """Data that a saliency can be made from instead of a map; None if it is always a map."""

    saliency: Path | None = None
    """A saliency map (`.npy`, or the released `.pkl`, which is read as data), or what it is made
    from. Detection: COCO annotations (`.json`) of the training boxes, or the folder of Argoverse-HD
    or nuScenes. Segmentation: the folder of the training label maps."""
    logits: str | None = Field(None, min_length=1)
    """Name of a tensor in the checkpoint, such as `warp.logits`. Its softmax over all cells is the
    saliency, instead of a file."""
    knots: Path | None = None
    """A file of knots (`.npz`) instead of a saliency: `knots_x` (w,) and `knots_y` (h,) of a
    separable warp, or `knots` (h, w, 2) of one on the plane, in [-1, 1] with align_corners. The
    variant `external` zooms at them until the host gives others; without a file it begins with the
    identity."""
    network: SaliencyNetworkSettings | None = None
    """A saliency network for adaptive warps: it sets each frame's zoom, instead of the previous
    frame's boxes."""
    mix: float = Field(1.0, ge=0, le=1)
    """Share of the boxes' or the network's saliency in an adaptive warp. The fixed saliency has the
    rest."""
    lattice: Size = (31, 51)
    """Size (rows, columns) of the saliency map and of the warp's knots."""
    fwhm: float = Field(10.0, gt=0)
    """Full width at half maximum, in lattice cells, of the kernel by which saliency attracts
    samples."""
    anti_crop: bool = True
    """Whether the saliency is reflected at the borders, so that the zoomed image shows the whole
    frame."""
    separable: bool = True
    """Whether rows and columns are warped each by themselves. Otherwise each point of the plane is
    moved by the saliency around it. The uniform variant is always separable."""
    geometry: Geometry = "consistent"
    """Geometry of the unzoom: `consistent` works in true pixel coordinates, `published` is that of
    the authors' released code."""
    unfilled: tuple[Edge, ...] | None = None
    """Edges of every level that the training code of a `published` model left unfilled. That
    geometry requires the key, even as an empty list."""


class LoweringSettings(Section):
    """Standard operators that replace the warps. `auto` chooses for each warp and records the
    reason.
    """

    zoom: Lowering = "auto"
    """Lowering of the zoom."""
    unzoom: Lowering = "auto"
    """Lowering of the unzoom of every level."""


class Evaluation(Section):
    """Frames on which accuracy is measured. The reference frames are taken from them too."""

    dataset: str | None = None
    """`demo`, the path of COCO annotations (`.json`), or the folder of a data set in its own
    layout. `null`: accuracy is not measured."""
    frames: int | None = Field(None, gt=0)
    """Largest number of frames, evenly spread; all by default. For warps by boxes whole sequences
    are taken."""
    export_frames: int | None = Field(None, gt=0)
    """Number of these frames that an export scores, evenly spread; all by default. `bench` and
    `regress` score all. It is ignored for warps by boxes, which need whole sequences, and where
    another data set or `frames` is given on the command line."""
    reference: dict[Variant, Annotated[float, Field(gt=0, le=100)]] = {}
    """By variant, the points of the task's metric that the recipe's own checkpoint scores on all of
    `dataset`. The export is refused if PyTorch scores over a point less: it is then not the model
    that was trained. The key is ignored with another checkpoint or data set."""


class Calibration(Section):
    """Frames on which INT8 ranges are measured, and how a range is made from the values seen."""

    frames: str | None = None
    """`demo`, a folder, a video, COCO annotations (`.json`), or a folder laid out like Cityscapes
    or nuScenes. Take frames of the training set, never those that accuracy is measured on."""
    count: int = Field(64, gt=1)
    """Largest number of frames, evenly taken from all sequences."""
    seed: int = Field(0, ge=0)
    """Random seed for choosing frames."""
    method: Method = "max"
    """How a range is made from the values seen."""
    percentile: float = Field(99.99, gt=50, le=100)
    """Share of the values, in percent, that stay within the range; for the method `percentile`."""
    cache: Path | None = None
    """Ranges of an earlier run (`calibration.json`). Refused if they belong to other frames,
    weights or settings."""


class HigherPrecision(Section):
    """Names or patterns (`backbone.layer1.*`) of layers that a precision leaves in a higher one."""

    fp16: tuple[str, ...] = ()
    """Layers that stay in float32 while the network is float16 or bfloat16."""
    int8: tuple[str, ...] = ()
    """Layers that stay in half precision while the network is INT8."""
