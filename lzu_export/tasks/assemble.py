"""Assemble a recipe's model: weights, zoom, unzoom, decode. Each task adds its own parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.adaptive import (
    AdaptiveToCanvas,
    AdaptiveUnzoom,
    AdaptiveZoomedModel,
    BoxWarp,
    Unwarp,
)
from lzu_export.models.checkpoint import NETWORK, check_finite, load_checkpoint, load_into
from lzu_export.models.grid_warp import (
    BoxGridWarp,
    BoxSaliency,
    GridUnzoom,
    GridZoom,
    SaliencyKnots,
)
from lzu_export.models.saliency_network import FrameWarp, SaliencyNetwork, SeparableKnots
from lzu_export.models.zoom import SourceToCanvas, Unzoom, ZoomedModel, resample
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.runtime.preprocess import cut
from lzu_export.tasks.registry import all_tasks
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import Warp
from lzu_export.warp.grids import coverage

State = Mapping[str, Tensor]

LOGITS = "warp.logits"
"""What learned logits of a saliency are called unless a recipe says otherwise."""


@dataclass(frozen=True)
class Parts:
    """What the models of a task differ in."""

    model: nn.Module
    """A `zoom.LevelModel` with random weights."""
    decode: Callable[..., Sequence[Tensor]]
    groups: tuple[str, ...]
    """Names of the head's groups of raw outputs."""
    outputs: tuple[str, ...]
    """Names of the final outputs."""
    decoded: tuple[str, ...] = ()
    """Names of the arrows within the decode."""
    margins: Callable[..., Tensor] | None = None
    prepare_state: Callable[[State], State] = lambda state: state
    """Leaves out weights of a checkpoint that no inference needs."""


def assemble(recipe: Recipe, parts: Parts, warp: Warp, *, from_source: bool) -> ZoomedModel:
    """The recipe's model with its weights, in eval mode, ending in the task's outputs.

    It begins at the frame, or where not `from_source` at the network's input.

    Raises:
        LzuError: the checkpoint is missing, unreadable, or of another task, warp or architecture.
    """
    path = recipe.checkpoint.get(recipe.variant)
    learned: dict[str, float] = {}
    looking = _frame_warp(recipe, warp) if recipe.adapts and not recipe.follows_boxes else None
    if path is not None:
        loaded = load_checkpoint(path)
        state: State = loaded.state
        check_task(recipe, state, str(path))
        check_training(recipe, warp.saliency, loaded.meta, str(path))
        state = without_logits(recipe, state, str(path))
        state, seen = split_network(recipe, state, str(path))
        if recipe.follows_boxes:
            state, learned = learned_warp(state, str(path))
        load_into(parts.model, parts.prepare_state(state), name=str(path))
        if looking is not None:
            whole = nn.ModuleDict({"warp": looking})  # so that errors have the names of the file
            load_into(whole, seen, name=str(path), fields="warp.network")
    else:
        assert recipe.random_weights is not None, "checked by the pipeline"
        randomise(parts.model, recipe.random_weights)
        if looking is not None:
            # Another seed: the tracer stores equal weights once, under one layer's name.
            randomise(looking, recipe.random_weights + 1)
    height, width = recipe.network_input
    common: dict[str, Any] = {
        "padding": (height - recipe.canvas[0], width - recipe.canvas[1]),
        "groups": parts.groups,
        "outputs": parts.outputs,
        "levels": len(recipe.levels),
        "decoded": parts.decoded,
        "margins": parts.margins,
    }
    if recipe.adapts:
        looks = looking or _box_warp(recipe, warp, learned)
        return _adaptive(recipe, parts, looks, common).eval()
    zoomed = ZoomedModel(
        parts.model,
        parts.decode,
        to_canvas=to_canvas(recipe, warp) if from_source else None,
        unzoom=None if warp.unzoom is None else [Unzoom(pairs) for pairs in warp.unzoom],
        **common,
    )
    return zoomed.eval()


def _adaptive(
    recipe: Recipe, parts: Parts, warp: BoxWarp | BoxGridWarp | FrameWarp, common: dict[str, Any]
) -> ZoomedModel:
    """The model whose warp changes with each frame."""
    norm, zooms_only = recipe.normalisation, recipe.variant == "fovea"
    grid = None
    kind: type[AdaptiveUnzoom | GridUnzoom] = AdaptiveUnzoom
    if not recipe.separable:
        grid, kind = GridZoom(recipe.warp.lattice, recipe.view, recipe.canvas), GridUnzoom
    unzoom = None
    if not zooms_only:
        unzoom = kind(recipe.levels, recipe.canvas, upscale=recipe.unzoom_scale)
    return AdaptiveZoomedModel(
        parts.model,
        parts.decode,
        warp=warp,
        to_canvas=AdaptiveToCanvas(
            recipe.canvas, norm.mean, norm.std, norm.order, cut=cut(recipe), grid=grid
        ),
        unzoom=unzoom,
        unwarp=_unwarp(recipe) if zooms_only else None,
        **common,
    )


def _box_warp(recipe: Recipe, warp: Warp, learned: Mapping[str, float]) -> BoxWarp | BoxGridWarp:
    """The warp that the previous frame's boxes make."""
    settings = recipe.warp
    assert isinstance(settings, BoxWarpSettings), "warps by boxes are of detection"
    shape: dict[str, Any] = {
        "amplitude": learned.get("amplitude", settings.amplitude),
        "bandwidth": learned.get("bandwidth", settings.bandwidth),
        "mix": settings.mix,
        "corner": recipe.corner,
        "min_side": settings.min_side,
    }
    if recipe.separable:
        return BoxWarp(warp.saliency, recipe.view, fwhm=settings.fwhm, **shape)
    saliency = BoxSaliency(warp.saliency, recipe.view, **shape)
    return BoxGridWarp(saliency, SaliencyKnots(settings.lattice, settings.fwhm))


def _frame_warp(recipe: Recipe, warp: Warp) -> FrameWarp:
    """The warp that a network makes of each frame, with random weights."""
    settings = recipe.warp
    assert settings.network is not None, "asked by the caller"
    norm = settings.network.normalisation or recipe.normalisation
    network = SaliencyNetwork(
        settings.network,
        settings.lattice,
        recipe.view,
        norm.mean,
        norm.std,
        norm.order,
        cut=cut(recipe),
    )
    kind = SeparableKnots if recipe.separable else SaliencyKnots
    knots = kind(settings.lattice, settings.fwhm)
    return FrameWarp(network, knots, warp.saliency, settings.mix)


def _unwarp(recipe: Recipe) -> Unwarp:
    """From canvas pixels to the frame's, between the centres of first and last pixels."""
    spans = [(height - 1, width - 1) for height, width in (recipe.canvas, recipe.view)]
    return Unwarp(spans[0], spans[1], corner=recipe.corner)


def learned_warp(
    state: State, name: str = "of these weights"
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A checkpoint's weights without the scalars of its warp, and those as amplitude and bandwidth.

    Ours are `warp.amplitude` and `warp.bandwidth`. FOVEA's learned ones, alpha and beta, stand for
    a = |1 + alpha| + 0.1 and b = 64 |1 + beta| + 0.1 (its LKDE grid generator).

    Raises:
        LzuError: one is no positive, finite number.
    """
    rest, learned = dict(state), {}
    for kind, initial in (("amplitude", 1.0), ("bandwidth", 64.0)):
        if (own := rest.pop(f"warp.{kind}", None)) is not None:
            learned[kind] = _number(own, f"warp.{kind}", name)
        elif (fovea := rest.pop(f"grid_net.{kind}", None)) is not None:
            learned[kind] = abs(1 + _number(fovea, f"grid_net.{kind}", name)) * initial + 0.1
        if learned.get(kind, 1.0) <= 0:
            raise LzuError(
                f"checkpoint {name} holds {learned[kind]:g} as warp.{kind}, which is to be "
                "positive; take an earlier one"
            )
    return rest, learned


def _number(value: Tensor, key: str, name: str) -> float:
    if value.numel() != 1:
        shape = tuple(value.shape)
        raise LzuError(f"checkpoint {name} holds {key} of shape {shape}, not one number")
    check_finite(value, key, name)
    return float(value)


def without_logits(recipe: Recipe, state: State, name: str) -> dict[str, Tensor]:
    """A checkpoint's weights without the logits that the recipe names: they are the warp's.

    Raises:
        LzuError: there are logits under our name that the recipe does not know.
    """
    named = None if recipe.variant == "uniform" else recipe.warp.logits
    if LOGITS in state and named is None:
        raise LzuError(
            f"checkpoint {name} carries the logits of its warp, {LOGITS}; set warp.logits to "
            f"{LOGITS} (and warp.saliency to null), with a variant that is not uniform"
        )
    return {key: value for key, value in state.items() if key != named}


def split_network(
    recipe: Recipe, state: State, name: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A checkpoint's weights without those of its saliency network, and those.

    Raises:
        LzuError: the recipe has such a network and the checkpoint none, or the other way round.
    """
    asked = recipe.adapts and recipe.warp.network is not None
    seen = {key: value for key, value in state.items() if key.startswith(NETWORK)}
    if asked and not seen:
        raise LzuError(
            f"checkpoint {name} has no tensor {NETWORK}*, the saliency network that warp.network "
            "asks for; give one that was trained with it, or remove warp.network"
        )
    if seen and not asked:
        raise LzuError(
            f"checkpoint {name} carries a saliency network, {NETWORK}*, which variant "
            f"{recipe.variant} of this recipe does not use; choose adaptive and set warp.network "
            "to its architecture"
        )
    return {key: value for key, value in state.items() if not key.startswith(NETWORK)}, seen


def check_task(recipe: Recipe, state: State, name: str) -> None:
    """Refuse weights of another task in those words: its warp or tensors would mislead.

    Raises:
        LzuError: the state has another task's head, and not the recipe's.
    """
    heads = {task.name: task.head for task in all_tasks() if task.head is not None}
    tasks = [task for task, layer in heads.items() if any(key.startswith(layer) for key in state)]
    if tasks and recipe.task not in tasks:
        raise LzuError(
            f"checkpoint {name} is of task {tasks[0]} but the recipe of {recipe.task}; give one of "
            f"that task, or a recipe of {tasks[0]}"
        )


def to_canvas(recipe: Recipe, warp: Warp) -> SourceToCanvas:
    """From the camera's frame to the normalised canvas."""
    norm = recipe.normalisation
    return SourceToCanvas(
        resample(warp.zoom),
        norm.mean,
        norm.std,
        norm.order,
        cut=cut(recipe),
        coverage=coverage(warp.zoom, recipe.picture),
    )


def randomise(model: nn.Module, seed: int) -> None:
    """Untrained weights of sane magnitude, for timing: activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.35, 0.7, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
