"""Assemble a wrapped network for an export; imports torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lzu_export.errors import LzuError, kind_and_reason
from lzu_export.models.external_warp import ExternalWarp
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.runtime.preprocess import cut
from lzu_export.tasks.assemble import load_weights, to_canvas
from lzu_export.tasks.custom import find_builder, named_network
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.warp import Warp
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.exported import FrameNorm, GivenToCanvas, HookedModel, LearnedToCanvas
from lzu_export.wrapping.hooks import View, Wrapping, wrapping_of
from lzu_export.wrapping.learned import SUBMODULE, ConstantKnots, LearnedWarp


def build_network(recipe: GenericRecipe) -> nn.Module:
    """Build the recipe's network by its registered function, with initial weights by its seed.

    Raises:
        LzuError: the recipe names no network or an unknown one, or the function fails or builds no
            module.
    """
    name = named_network(recipe)
    if recipe.random_weights is not None:
        torch.manual_seed(recipe.random_weights)
    builder = find_builder(name)
    try:
        network: Any = builder(recipe)
    except LzuError:
        raise
    except Exception as error:  # a function of a user may raise anything
        raise LzuError(
            f"the function of {name} failed ({kind_and_reason(error)}); it must return the network"
        ) from error
    if not isinstance(network, nn.Module):
        raise LzuError(
            f"the function of {name} returns {type(network).__name__}, which is no "
            "torch.nn.Module; return the network"
        )
    return network


def assemble(recipe: GenericRecipe, warp: Warp, *, from_source: bool) -> HookedModel:
    """Assemble the recipe's network with weights and hooks, in eval mode.

    It begins at the frame if `from_source`, else at the padded network input.

    Raises:
        LzuError: the network cannot be built, or the checkpoint does not fit it.
    """
    network = build_network(recipe)
    wrapping = wrapping_of(network)
    if recipe.takes_knots:
        return _external(recipe, network, warp)
    if recipe.adapts:
        return _learned(recipe, network, warp)
    if wrapping is not None:  # a function may wrap its network for training
        wrapping.remove(network)
    _set_weights(recipe, network, warp)
    of_frames = FixedWarp(warp.knots, recipe.span, recipe.canvas)
    wrapping = _wrapped(recipe, network, [of_frames, *_windows(recipe)])
    return _model(recipe, network, wrapping, to_canvas(recipe, warp) if from_source else None)


def _model(
    recipe: GenericRecipe, network: nn.Module, wrapping: Wrapping, first: nn.Module | None
) -> HookedModel:
    """Put the zooms of all views before a network; `first` is the warp's, None without zooms."""
    windows = _windows(recipe) if first is not None else []
    others = [to_canvas(recipe, each.tables()) for each in windows]
    zooms = [] if first is None else [first, *others]
    return HookedModel(network, wrapping, to_canvas=zooms, outputs=recipe.model.outputs).eval()


def _norm(recipe: GenericRecipe) -> FrameNorm:
    """Make the module that cuts the picture out of frames and normalises it."""
    norm = recipe.normalisation
    return FrameNorm(norm.mean, norm.std, norm.order, cut(recipe))


def _wrapped(recipe: GenericRecipe, network: nn.Module, views: Sequence[View]) -> Wrapping:
    """Wrap a network in views, with the cells of its feature maps where the recipe has them."""
    levels = {name: [each.level for each in found] for name, found in recipe.model.unzoom.items()}
    return Wrapping(
        network,
        views,
        levels,
        call=Call(recipe.model.image),
        multiple=recipe.model.multiple,
        channels=recipe.model.channels,
    )


def _external(recipe: GenericRecipe, network: nn.Module, warp: Warp) -> HookedModel:
    """Assemble a network whose knots the host gives; a warp of its own is left out."""
    _set_weights(recipe, network, warp)  # those of a learned warp are dropped with it
    trained = wrapping_of(network)
    if trained is not None:
        trained.remove(network)
    given = LearnedWarp(ConstantKnots(list(warp.knots.values())), recipe.span, recipe.canvas)
    wrapping = _wrapped(recipe, network, [given, *_windows(recipe)])
    clamped = ExternalWarp(separable=recipe.separable)
    return _model(recipe, network, wrapping, GivenToCanvas(clamped, recipe.canvas, _norm(recipe)))


def _learned(recipe: GenericRecipe, network: nn.Module, warp: Warp) -> HookedModel:
    """Assemble a network with the warp that its own module computes.

    Raises:
        LzuError: the network is not wrapped in a learned warp.
    """
    wrapping = wrapping_of(network)
    if wrapping is None or not isinstance(wrapping.warp, LearnedWarp):
        raise LzuError(
            f"variant {recipe.variant} needs a network that is wrapped in a LearnedWarp by "
            f"{recipe.custom_model}; choose fixed or uniform otherwise"
        )
    _set_weights(recipe, network, warp)
    module = network.get_submodule(SUBMODULE)
    return _model(recipe, network, wrapping, LearnedToCanvas(module, recipe.canvas, _norm(recipe)))


def _windows(recipe: GenericRecipe) -> list[FixedWarp]:
    """Return the views besides the warp's."""
    return [
        FixedWarp.from_window(recipe.span, (w.x, w.y, w.width, w.height), canvas=recipe.canvas)
        for w in recipe.views
    ]


def _set_weights(recipe: GenericRecipe, network: nn.Module, warp: Warp) -> None:
    """Load the checkpoint's weights if there is one; put the network into eval mode for good."""
    load_weights(recipe, network, warp)
    network.float().cpu().eval()  # engines of other types are made from float32
    for parameter in network.parameters():
        parameter.requires_grad_(False)
