"""Recipes of networks of users' own, wrapped in a warp."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lzu_export.recipes.boxes import BoxWarpSettings
from lzu_export.recipes.postprocessing import Postprocess, RawPostprocess
from lzu_export.recipes.recipe import Recipe
from lzu_export.recipes.sections import Label, Section, Size, Window
from lzu_export.warp.geometry import Level, padded_size

SCORED_AS = {"boxes": "det", "labels": "seg"}
"""Task whose data sets, metric and drawings fit what a post-processing returns."""


class CellPlaces(Section):
    """Cells of one feature map that is unzoomed."""

    stride: int = Field(gt=0)
    """Canvas pixels per cell."""
    size: Size
    """Size (height, width) of the map in cells."""
    phase: tuple[float, float] = (0.0, 0.0)
    """Canvas pixel (y, x) on which the receptive field of cell (0, 0) is centred."""

    @property
    def level(self) -> Level:
        """The same as a level of the warp."""
        return Level(self.stride, self.size, self.phase)


class WrappedNetwork(Section):
    """How a network is wrapped."""

    image: str | int = 0
    """Name or position of the image among the arguments of `forward`."""
    channels: Literal[3] = 3
    """Number of channels of the image."""
    unzoom: dict[str, tuple[CellPlaces, ...]] = Field({})
    """By name of a submodule, the places of the cells of its feature maps. An export fills in the
    empty ones by measurement."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs that engines return; all by default."""
    multiple: int = Field(32, gt=0)
    """Multiple to which the canvas is padded with zeros at the bottom and right."""
    num_classes: ClassVar[None] = None

    @property
    def levels(self) -> list[Level]:
        """Levels of all submodules, in order."""
        return [each.level for found in self.unzoom.values() for each in found]

    @property
    def strides(self) -> tuple[int, ...]:
        """Canvas pixels per cell of each level; 1 if nothing is unzoomed."""
        return tuple(level.stride for level in self.levels) or (1,)


class GenericRecipe(Recipe):
    """Any network: raw outputs by name, or what a named post-processing makes of them."""

    task: Literal["generic"]
    warp: BoxWarpSettings = Field(default_factory=BoxWarpSettings)
    model: WrappedNetwork = Field(default_factory=WrappedNetwork)
    size: Size | None = None
    """Size (height, width) of the canvas in pixels, in place of `scale` times the source."""
    views: tuple[Window, ...] = ()
    """Windows of the frame that the network sees besides the warp's view, at the canvas' size. All
    views of a frame are one batch; boxes and label maps are merged."""
    classes: tuple[Label, ...] = ()
    """Names of the classes in the order of the model's outputs; empty if it has none."""
    postprocess: Postprocess = Field(default_factory=RawPostprocess)

    @property
    def canvas(self) -> Size:
        """(height, width) of the zoomed image before padding."""
        return super().canvas if self.size is None else self.size

    @property
    def network_input(self) -> Size:
        """(height, width) of the padded canvas, the network's input."""
        return padded_size(self.canvas, self.model.multiple)

    @property
    def levels(self) -> list[Level]:
        """Stride, size and phase of every feature map that is unzoomed."""
        return self.model.levels

    @property
    def follows_boxes(self) -> bool:
        """Whether the previous frame's boxes set the warp: an adaptive one is the network's own."""
        return False

    @property
    def images(self) -> int:
        """Number of images that the network takes at once: all views of a batch of frames."""
        return self.batch * (1 + len(self.views))

    @model_validator(mode="after")
    def _views_fit(self) -> "GenericRecipe":
        """Refuse windows that no engine or post-processing could take."""
        if not self.views:
            return self
        (top, left), (height, width) = self.corner, self.view
        for each in self.views:
            within = left <= each.x and each.x + each.width <= left + width
            if not (within and top <= each.y and each.y + each.height <= top + height):
                raise ValueError(
                    f"views has a window at x {each.x}, y {each.y} of {each.height}x{each.width}, "
                    f"which is not within the frame's view of {height}x{width}; move it"
                )
        if self.input != "source":
            raise ValueError("views are sampled in the engine: set input to source")
        if self.postprocess.returns == "anything":
            raise ValueError(
                "views are merged as boxes or label maps, or returned raw: choose such a "
                "postprocess.kind in place of custom"
            )
        return self

    @property
    def scored_as(self) -> str:
        """Task whose predictions the post-processing returns, or this one for raw outputs."""
        return SCORED_AS.get(self.postprocess.returns, self.task)

    @property
    def most_detections(self) -> int | None:
        """Largest number of detections per frame; None without boxes."""
        most: int | None = getattr(self.postprocess, "most_detections", None)
        return most
