"""Hooks that zoom a network's image and unzoom the feature maps of named submodules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from lzu_export.errors import LzuError
from lzu_export.models.zoom import Unzoom, resample
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.geometry import Level
from lzu_export.wrapping.calls import Call, find_image
from lzu_export.wrapping.learned import (
    SUBMODULE,
    Knots,
    LearnedWarp,
    checked_knots,
    unzoom_at_knots,
    zoom_at_knots,
)
from lzu_export.wrapping.nested import map_tensors

ATTRIBUTE = "_lzu_wrapping"
"""Attribute under which a wrapped network keeps its `Wrapping`."""
KNOTS = "_lzu_knots"
"""Attribute by which the zoom of a learned warp hands its knots to the submodules that unzoom. They
are kept there, and not in a hook, since replicas of a network share its hooks."""

View = FixedWarp | LearnedWarp
"""Warp of one view."""

Observer = Callable[[int, Tensor, Tensor], None]
"""Function that is called with a level's number, its map, and its unzoomed map."""


class PerDevice:
    """Module of constant tables with one copy per device, made on first use.

    The copies belong to no module of the network, so state_dict keeps its keys and replicas of
    DataParallel share no tensor across devices.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take the module on the CPU."""
        self._module = module
        self._copies: dict[Any, nn.Module] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Run the copy on the tensor's device."""
        if x.device.type in ("cpu", "meta"):
            found = self._module
        else:
            if x.device not in self._copies:
                self._copies[x.device] = deepcopy(self._module).to(x.device)
            found = self._copies[x.device]
        y: Tensor = found(x)
        return y

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the module on the CPU, without copies on devices."""
        return {"_module": self._module, "_copies": {}}


class ZoomHook:
    """Pre-hook of the network: replaces its image (B, C, source) by the padded canvas.

    Of several views, the canvases follow each other in the batch: the first view of all images,
    then the second view of all, and so on.
    """

    def __init__(
        self, views: Sequence[View], image: str | int, multiple: int, submodules: Sequence[str]
    ) -> None:
        """Take the views, the image's argument, and the multiple to which the canvas is padded.

        A learned warp hands its knots to the submodules of these names.
        """
        self.warp, self.image, self.multiple = views[0], image, multiple
        self.submodules = tuple(submodules)
        self.active = True
        self.zooms = [
            PerDevice(resample(each.tables().zoom)) for each in views if isinstance(each, FixedWarp)
        ]

    def __call__(
        self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the zoomed image.

        Raises:
            LzuError: the image is missing, or has another size than the warp's source.
        """
        if not self.active:
            return args, kwargs
        place = find_image(network, self.image, args, kwargs)
        if isinstance(place, str):
            return args, {**kwargs, place: self.canvas(network, kwargs[place])}
        return (*args[:place], self.canvas(network, args[place]), *args[place + 1 :]), kwargs

    def canvas(self, network: nn.Module, image: Tensor) -> Tensor:
        """Zoom an image (B, C, source) in all views and pad with zeros at bottom and right."""
        size = tuple(image.shape[2:])
        if size != self.warp.source:
            raise LzuError(
                f"the image is {size[0]}x{size[1]}, but the warp was made for frames of "
                f"{self.warp.source[0]}x{self.warp.source[1]}; resize it, or make a warp of its "
                "size"
            )
        bottom, right = (-count % self.multiple for count in self.warp.canvas)
        canvases = [zoom(image) for zoom in self.zooms]
        if isinstance(self.warp, LearnedWarp):
            knots = checked_knots(network.get_submodule(SUBMODULE)(image), len(image))
            hand_over(network, self.submodules, knots)
            canvases.insert(0, zoom_at_knots(image, knots, self.warp.canvas))
        together = canvases[0] if len(canvases) == 1 else torch.cat(canvases)
        return functional.pad(together, (0, right, 0, bottom))


class UnzoomHook:
    """Hook of a submodule: unzooms the 2-D feature maps among its outputs."""

    def __init__(
        self,
        name: str,
        levels: Mapping[int, Level],
        unzooms: Sequence[Unzoom],
        canvas: tuple[int, int],
        views: int = 1,
    ) -> None:
        """Take the submodule's name, its levels by number, and an unzoom for each of them.

        Without unzooms the levels are unzoomed at the knots that the zoom hands over. Only the
        first of the views in a batch is unzoomed.
        """
        self.name, self.levels, self.views = name, dict(levels), views
        self.canvas = canvas
        self.unzooms = [PerDevice(each) for each in unzooms]
        self.observer: Observer | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Return the output with its feature maps unzoomed, in the order in which they come.

        Raises:
            LzuError: a map has another size than at the time of wrapping, or there are more or
                fewer maps.
        """
        numbers, place = list(self.levels), 0

        def unzoom(x: Tensor) -> Tensor:
            nonlocal place
            if not is_map(x):
                return x
            if place == len(numbers):
                raise self._changed(f"more than {len(numbers)} feature maps")
            number = numbers[place]
            expected = self.levels[number].size
            if tuple(x.shape[2:]) != expected:
                raise self._changed(
                    f"a map of {x.shape[2]}x{x.shape[3]} cells where it was "
                    f"{expected[0]}x{expected[1]}"
                )
            first, *others = x.chunk(self.views)
            y = self._unzoomed(module, place, first)
            y = torch.cat([y, *others]) if others else y
            if self.observer is not None:
                self.observer(number, x, y)
            place += 1
            return y

        mapped = map_tensors(unzoom, output)
        if not self.unzooms:
            object.__setattr__(module, KNOTS, None)  # they hold the graph of their gradients
        if place < len(numbers):
            raise self._changed(f"{place} feature maps in place of {len(numbers)}")
        return mapped

    def _unzoomed(self, module: nn.Module, place: int, x: Tensor) -> Tensor:
        """Unzoom the map of a place among the output's maps."""
        if self.unzooms:
            return self.unzooms[place](x)
        knots: Knots = getattr(module, KNOTS)
        level = list(self.levels.values())[place]
        return unzoom_at_knots([x], [level], knots, self.canvas)[0]

    def _changed(self, what: str) -> LzuError:
        return LzuError(
            f"submodule {self.name} returns {what}; its output must keep the sizes that it had "
            "when the network was wrapped: wrap the network again for another input size"
        )


class Wrapping:
    """The hooks around one network, and what they were made from."""

    def __init__(
        self,
        network: nn.Module,
        views: Sequence[View],
        levels: Mapping[str, Sequence[Level]],
        *,
        call: Call,
        multiple: int,
        channels: int,
        identity_too: bool = False,
    ) -> None:
        """Register the hooks.

        Args:
            network: network to which they are added.
            views: warps of its images, which the network sees as one batch.
            levels: by name of a submodule, the levels of its feature maps, in order.
            call: how the network is called.
            multiple: multiple to which the canvas is padded.
            channels: number of channels of the image.
            identity_too: unzoom even if the warp is the identity, which changes nothing.
        """
        self.views, self.call, self.multiple, self.channels = tuple(views), call, multiple, channels
        self.levels = {name: tuple(each) for name, each in levels.items()}
        self.zoom = ZoomHook(views, call.image, multiple, list(self.levels))
        self.unzooms: list[UnzoomHook] = []
        self._handles: list[RemovableHandle] = [
            network.register_forward_pre_hook(self.zoom, with_kwargs=True)
        ]
        object.__setattr__(network, ATTRIBUTE, self)
        if isinstance(self.warp, LearnedWarp):
            network.add_module(SUBMODULE, self.warp.module.train(network.training))
            self._register_unzooms(network, [])
        elif identity_too or not (self.warp.is_identity or self.warp.window):
            tables = self.warp.tables(self.all_levels).unzoom or ()
            self._register_unzooms(network, [Unzoom(each) for each in tables])

    def _register_unzooms(self, network: nn.Module, modules: Sequence[Unzoom]) -> None:
        first = 0
        for name, each in self.levels.items():
            numbers = range(first, first + len(each))
            hook = UnzoomHook(
                name,
                dict(zip(numbers, each, strict=True)),
                modules[first : first + len(each)],
                self.warp.canvas,
                len(self.views),
            )
            self._handles.append(network.get_submodule(name).register_forward_hook(hook))
            self.unzooms.append(hook)
            first += len(each)

    @property
    def warp(self) -> View:
        """Warp of the first view, whose features are unzoomed."""
        return self.views[0]

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Within the block, leave out the zoom and show each level to an observer.

        The network is then called on its padded input.
        """
        self.zoom.active = False
        for hook in self.unzooms:
            hook.observer = observer
        try:
            yield
        finally:
            self.zoom.active = True
            for hook in self.unzooms:
                hook.observer = None

    @property
    def all_levels(self) -> tuple[Level, ...]:
        """Levels of all submodules, in the order of their numbers."""
        return tuple(level for each in self.levels.values() for level in each)

    @property
    def network_input(self) -> tuple[int, int]:
        """(height, width) of the padded canvas that the network receives."""
        height, width = (count + -count % self.multiple for count in self.warp.canvas)
        return height, width

    def remove(self, network: nn.Module) -> None:
        """Remove the hooks from the network that they were registered on."""
        for handle in self._handles:
            handle.remove()
        if isinstance(self.warp, LearnedWarp):
            network._modules.pop(SUBMODULE, None)
        if getattr(network, ATTRIBUTE, None) is self:
            object.__delattr__(network, ATTRIBUTE)


def hand_over(network: nn.Module, submodules: Sequence[str], knots: Knots) -> None:
    """Give knots to the submodules whose maps are unzoomed at them."""
    for name in submodules:
        object.__setattr__(network.get_submodule(name), KNOTS, knots)


def is_map(x: Tensor) -> bool:
    """Return whether a tensor is a 2-D feature map (B, C, H, W) of floats, of more than a cell."""
    return x.ndim == 4 and x.is_floating_point() and x.shape[2] * x.shape[3] > 1


def wrapping_of(network: nn.Module) -> Wrapping | None:
    """Return the wrapping of a network; None if it is not wrapped."""
    found: Wrapping | None = getattr(network, ATTRIBUTE, None)
    return found
