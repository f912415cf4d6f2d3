"""How a network is called: which argument is the image, and with which other arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError, kind_and_reason


@dataclass(frozen=True)
class Call:
    """Arguments of a network's `forward` with the place of the image among them."""

    image: str | int = 0
    """Position of the image, or its name if it comes as a keyword."""
    args: tuple[Any, ...] = ()
    """Positional arguments besides the image, in order."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments besides the image."""

    def run(self, network: nn.Module, image: Tensor) -> Any:
        """Call the network on an image, and return its outputs.

        Args:
            network: network that is called.
            image: (B, 3, H, W), as the network receives it.
        """
        if isinstance(self.image, str):
            return network(*self.args, **{**self.kwargs, self.image: image})
        before, after = self.args[: self.image], self.args[self.image :]
        return network(*before, image, *after, **self.kwargs)


def image_argument(network: nn.Module, image: str | int | None) -> str | int:
    """Return the image's place among the arguments of `forward`: the given one or the first.

    Raises:
        LzuError: there is no such argument.
    """
    parameters = [
        each
        for each in inspect.signature(network.forward).parameters.values()
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    free = any(
        each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        for each in inspect.signature(network.forward).parameters.values()
    )
    names = [each.name for each in parameters]
    image = 0 if image is None else image
    known = image in names if isinstance(image, str) else 0 <= image < len(names)
    if not known and not free:
        raise LzuError(
            f"forward of {type(network).__name__} has no argument {image}; it has "
            f"{', '.join(names) or 'none'}: name the one that is the image"
        )
    if (
        not isinstance(image, str)
        and known
        and parameters[image].kind is inspect.Parameter.KEYWORD_ONLY
    ):
        return names[image]
    return image


def find_image(
    network: nn.Module, image: str | int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str | int:
    """Return where the image of a call is: its keyword, or its position.

    An argument that is named may come by position, and one given by position by its name.

    Raises:
        LzuError: the call has no such argument, or it is not a tensor (B, C, H, W).
    """
    names = [
        each.name
        for each in inspect.signature(network.forward).parameters.values()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    name = image if isinstance(image, str) else names[image] if image < len(names) else ""
    place: str | int = name
    if name not in kwargs:
        place = names.index(name) if name in names else -1 if isinstance(image, str) else image
        if not 0 <= int(place) < len(args):
            raise LzuError(
                f"{type(network).__name__} was called without its image, argument {name or image}; "
                "pass it, or name the image's argument in wrap(..., image=NAME)"
            )
    found = kwargs[place] if isinstance(place, str) else args[place]
    if not isinstance(found, Tensor) or found.ndim != 4:
        kind = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found)
        raise LzuError(
            f"the image of {type(network).__name__}, argument {name or image}, is {kind}; it must "
            "be a tensor (B, C, H, W): name another argument in wrap(..., image=NAME)"
        )
    return place


def first_run(network: nn.Module, call: Call, image: Tensor) -> Any:
    """Call the network for the first time, on an image (B, C, H, W).

    Raises:
        LzuError: it does not run; the message has the reason.
    """
    try:
        return call.run(network, image)
    except LzuError:
        raise
    except Exception as error:  # a network of a user may raise anything
        raise LzuError(
            f"{type(network).__name__} does not run on an image of "
            f"{image.shape[2]}x{image.shape[3]} in eval mode ({kind_and_reason(error)}); "
            "name the image's argument, and pass the others that it needs as example"
        ) from error


def image_of(network: nn.Module, image: Tensor) -> Tensor:
    """Return an image on the device and in the type of the network's first parameter."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return image.to(parameter)
    return image


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode without gradients, and restore each module's mode afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
