"""Assemble a wrapped network for an export; imports torch."""

from typing import Any

import torch
from torch import nn

from lzu_export.errors import LzuError
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.tasks.assemble import load_weights, to_canvas
from lzu_export.tasks.custom import find_builder
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.warp import Warp
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.exported import HookedModel
from lzu_export.wrapping.hooks import Wrapping, wrapping_of


def build_network(recipe: GenericRecipe) -> nn.Module:
    """Build the recipe's network by its registered function, with initial weights by its seed.

    Raises:
        LzuError: the recipe names no network or an unknown one, or the function builds no module.
    """
    if recipe.custom_model is None:
        raise LzuError(
            f"recipe {recipe.name} of task generic names no network; export it by "
            "lzu-export export MODULE:FUNCTION --recipe FILE, or lzu_export.export(model, ...)"
        )
    if recipe.random_weights is not None:
        torch.manual_seed(recipe.random_weights)
    network: Any = find_builder(recipe.custom_model)(recipe)
    if not isinstance(network, nn.Module):
        raise LzuError(
            f"the function of {recipe.custom_model} returns {type(network).__name__}, which is no "
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
    if wrapping is not None:  # a function may wrap its network for training
        wrapping.remove(network)
    load_weights(recipe, network, warp)
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    levels = {name: [each.level for each in found] for name, found in recipe.model.unzoom.items()}
    of_frames = FixedWarp(warp.knots, recipe.span, recipe.canvas)
    canvas = recipe.canvas
    windows = [
        FixedWarp.from_window(recipe.span, (w.x, w.y, w.width, w.height), canvas=canvas)
        for w in recipe.views
    ]
    wrapping = Wrapping(
        network,
        [of_frames, *windows],
        levels,
        call=Call(recipe.model.image),
        multiple=recipe.model.multiple,
        channels=recipe.model.channels,
    )
    zoom = [to_canvas(recipe, warp)] if from_source else []
    for each in windows if from_source else ():
        zoom.append(to_canvas(recipe, each.tables()))
    outputs = recipe.model.outputs
    return HookedModel(network, wrapping, to_canvas=zoom, outputs=outputs).eval()
