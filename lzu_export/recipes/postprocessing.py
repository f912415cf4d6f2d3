"""Recipe keys of named post-processings: what the runtime makes of a network's raw outputs.

`runtime.postprocessing` has a module for each kind.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    Discriminator,
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from lzu_export.recipes.sections import Section

Returns = Literal["outputs", "boxes", "labels", "anything"]
"""What a post-processing returns for a frame: its raw outputs, boxes with scores and labels, a
label map, or the result of the user's own function."""

Four = tuple[float, float, float, float]
FourPositive = tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]


class RawPostprocess(Section):
    """The raw outputs by name, unchanged."""

    returns: ClassVar[Returns] = "outputs"

    kind: Literal["raw"] = "raw"
    """Kind of post-processing."""


class BoxPostprocess(Section):
    """Thresholds of every kind that returns boxes."""

    returns: ClassVar[Returns] = "boxes"

    max_detections: int = Field(100, gt=0)
    """Largest number of detections per frame."""
    score_threshold: float = Field(0.05, ge=0, lt=1)
    """Score that every detection exceeds."""
    iou_threshold: float | None = Field(0.5, gt=0, le=1)
    """Overlap (IoU) that no two detections of one class exceed. `null`: nothing is suppressed."""

    @property
    def most_detections(self) -> int:
        """Largest number of detections that a user may ask for on opening a bundle."""
        return sys.maxsize


class YoloPostprocess(BoxPostprocess):
    """Boxes from one output with a row per candidate: box, objectness, class scores.

    Boxes are in pixels of the network input, as YOLOX returns them in evaluation (`layout: rows`,
    with objectness) and as ultralytics exports them (`layout: columns`, `objectness: false`).
    A candidate has the class of its highest score, times the objectness.
    """

    kind: Literal["yolo"]
    """Kind of post-processing."""
    output: str | None = Field(None, min_length=1)
    """Name of the output; may be left out if the network has only one."""
    layout: Literal["rows", "columns"] = "rows"
    """Whether the output's candidates are rows, (B, N, 4 + ...), or columns, (B, 4 + ..., N)."""
    boxes: Literal["center", "corners"] = "center"
    """Whether a box is its centre, width and height, or its corners x1, y1, x2, y2."""
    objectness: bool = True
    """Whether the box is followed by an objectness."""
    activation: Literal["none", "sigmoid"] = "none"
    """Function that makes scores of objectness and class outputs; `none` if they are scores
    already."""
    iou_threshold: float | None = Field(0.65, gt=0, le=1)
    """Overlap (IoU) that no two detections of one class exceed. `null`: nothing is suppressed."""


class DetrPostprocess(BoxPostprocess):
    """Boxes from class logits (B, Q, classes) and boxes (B, Q, 4) of queries, as DETRs return them.

    Boxes are centre x, centre y, width and height in 0..1. With `sigmoid` the best (query, class)
    pairs are taken; with `softmax`, whose last class is no object, each query has its best class.
    """

    kind: Literal["detr"]
    """Kind of post-processing."""
    logits: str = Field("logits", min_length=1)
    """Name of the output of class logits."""
    boxes: str = Field("boxes", min_length=1)
    """Name of the output of boxes."""
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    """Function that makes scores of the logits."""
    relative_to: Literal["input", "canvas"] = "input"
    """Image whose height and width are 1 to the boxes: the network input, or the canvas, which is
    the network input without its padding."""
    candidates: int = Field(300, gt=0)
    """Largest number of candidates per frame, the best ones, before any suppression."""
    iou_threshold: float | None = Field(None, gt=0, le=1)
    """Overlap (IoU) that no two detections of one class exceed. `null`: nothing is suppressed."""

    @property
    def most_detections(self) -> int:
        """Largest number of detections that a user may ask for: all candidates."""
        return self.candidates


class AnchorPostprocess(BoxPostprocess):
    """Boxes from maps of class logits and of box deltas, one each per level, as RetinaNet's heads.

    A level's maps are (B, anchors x classes, H, W) and (B, anchors x 4, H, W), ordered by anchor
    first. Deltas are centre offsets in anchor sides, then log ratios of sides, as in Faster R-CNN.
    Anchors are centred on pixel stride x cell of the network input, as mmdet's.
    """

    kind: Literal["anchors"]
    """Kind of post-processing."""
    scores: tuple[str, ...] = Field(min_length=1)
    """Names of the outputs of class logits, one per level, finest first."""
    boxes: tuple[str, ...] = Field(min_length=1)
    """Names of the outputs of box deltas, one per level, finest first."""
    strides: tuple[PositiveInt, ...] | None = Field(None, min_length=1)
    """Pixels of the network input per cell of each level; the unzoomed levels' by default."""
    octave_base_scale: PositiveFloat = 4.0
    """Side of the smallest anchor over the stride."""
    scales_per_octave: PositiveInt = 3
    """Number of anchor sizes between one level and the next."""
    ratios: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 2.0), min_length=1)
    """Aspect ratios (height / width) of the anchors."""
    means: Four = (0.0, 0.0, 0.0, 0.0)
    """Mean of each delta in training: dx, dy, dw, dh."""
    stds: FourPositive = (1.0, 1.0, 1.0, 1.0)
    """Standard deviation of each delta in training."""
    activation: Literal["sigmoid", "none"] = "sigmoid"
    """Function that makes scores of the class outputs; `none` if they are scores already."""
    candidates_per_level: int = Field(1000, gt=0)
    """Largest number of candidates of each level, the best ones, before suppression."""

    @property
    def most_detections(self) -> int:
        """Largest number of detections that a user may ask for: all candidates."""
        return self.candidates_per_level * len(self.scores)

    @model_validator(mode="after")
    def _levels(self) -> "AnchorPostprocess":
        counts = {"scores": len(self.scores), "boxes": len(self.boxes)}
        if self.strides is not None:
            counts["strides"] = len(self.strides)
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise ValueError(f"postprocess lists {listed}; give one of each per level")
        return self


class LabelPostprocess(Section):
    """The most likely class of every pixel, from one output of logits or of labels.

    Logits (B, classes, H, W) are resized to the view before they are compared; labels (B, H, W), of
    an integer type, are taken from the nearest cell. The map has an unzoomed level's size or any
    multiple of it, or divides the network input evenly.
    """

    returns: ClassVar[Returns] = "labels"

    kind: Literal["labels"]
    """Kind of post-processing."""
    output: str | None = Field(None, min_length=1)
    """Name of the output; may be left out if the network has only one."""
    upsampling: Literal["half-pixel", "in-phase"] = "half-pixel"
    """How the map's cells lie on the canvas: edge on edge, as align_corners=False (`half-pixel`),
    or cell i on pixel stride * i (`in-phase`). Take the one of training."""


class CustomPostprocess(Section):
    """A function of your own, registered by the program or announced by an installed package."""

    returns: ClassVar[Returns] = "anything"

    kind: Literal["custom"]
    """Kind of post-processing."""
    name: str = Field(min_length=1)
    """Name of the function, see `runtime.postprocessing.custom`."""
    options: dict[str, JsonValue] = Field({})
    """Settings that the function reads: text, numbers, lists and keys with values."""


KINDS: dict[str, type[Section]] = {
    "raw": RawPostprocess,
    "yolo": YoloPostprocess,
    "detr": DetrPostprocess,
    "anchors": AnchorPostprocess,
    "labels": LabelPostprocess,
    "custom": CustomPostprocess,
}
"""Section of each kind of post-processing."""


def _tag(value: Any) -> str | None:
    """Return the tag of a value's kind; None if it names no known one."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return f"[{kind}]" if kind in KINDS else None


Postprocess: TypeAlias = Annotated[
    Annotated[RawPostprocess, Tag("[raw]")]
    | Annotated[YoloPostprocess, Tag("[yolo]")]
    | Annotated[DetrPostprocess, Tag("[detr]")]
    | Annotated[AnchorPostprocess, Tag("[anchors]")]
    | Annotated[LabelPostprocess, Tag("[labels]")]
    | Annotated[CustomPostprocess, Tag("[custom]")],
    Discriminator(
        _tag,
        custom_error_type="kind",
        custom_error_message=f"keys with a kind, one of {', '.join(KINDS)}",
    ),
]
"""Settings of a named post-processing of any kind."""
