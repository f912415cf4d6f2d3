"""Assemble a recipe's model: weights, zoom, unzoom, decode. Each task adds its own parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.adaptive import (
    AdaptiveToCanvas,
    AdaptiveUnzoom,
    AdaptiveZoomedModel,
    Unwarp,
)
from lzu_export.models.adaptive_warp import AdaptiveWarp
from lzu_export.models.checkpoint import load_checkpoint, load_into
from lzu_export.models.grid_warp import GridUnzoom, GridZoom
from lzu_export.models.random_weights import randomise
from lzu_export.models.zoom import SourceToCanvas, Unzoom, ZoomedModel, resample
from lzu_export.recipes import Recipe
from lzu_export.runtime.preprocess import cut
from lzu_export.tasks.adaptive_warps import adaptive_source, split_warp
from lzu_export.tasks.registry import all_tasks
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import Warp
from lzu_export.warp.grids import coverage

State = Mapping[str, Tensor]

LOGITS = "warp.logits"
"""Default name of a saliency's learned logits in a checkpoint."""


@dataclass(frozen=True)
class Parts:
    """Parts of a model that depend on its task."""

    model: nn.Module
    """Network, a `zoom.LevelModel`, with random weights."""
    decode: Callable[..., Sequence[Tensor]]
    """Function from the groups of raw outputs to the final outputs."""
    groups: tuple[str, ...]
    """Names of the head's groups of raw outputs."""
    outputs: tuple[str, ...]
    """Names of the final outputs."""
    decoded: tuple[str, ...] = ()
    """Names of the probe points within the decode."""
    margins: Callable[..., Tensor] | None = None
    """Function to the margins of the outputs that are choices; None if there are none."""
    prepare_state: Callable[[State], State] = lambda state: state
    """Function that drops weights of a checkpoint that inference does not need."""


def assemble(recipe: Recipe, parts: Parts, warp: Warp, *, from_source: bool) -> ZoomedModel:
    """Assemble the recipe's model with its weights, in eval mode, up to the task's outputs.

    It begins at the frame if `from_source`, else at the network's input.

    Raises:
        LzuError: the checkpoint is missing, unreadable, or belongs to another task, warp or
            architecture.
    """
    source = adaptive_source(recipe)
    adaptive = None if source is None else source.build(recipe, warp.saliency)
    of_warp = load_weights(recipe, parts.model, warp, parts.prepare_state)
    if source is not None and adaptive is not None and of_warp is not None:
        source.load(adaptive, of_warp, str(recipe.checkpoint[recipe.variant]))
    elif of_warp is None:
        assert recipe.random_weights is not None, "checked by the pipeline"
        randomise(parts.model, recipe.random_weights)
        if source is not None and adaptive is not None:
            # Another seed, since the tracer stores equal weights only once, under one layer's name.
            source.randomise(adaptive, recipe.random_weights + 1)
    height, width = recipe.network_input
    common: dict[str, Any] = {
        "padding": (height - recipe.canvas[0], width - recipe.canvas[1]),
        "groups": parts.groups,
        "outputs": parts.outputs,
        "levels": len(recipe.levels),
        "decoded": parts.decoded,
        "margins": parts.margins,
    }
    if adaptive is not None:
        return _adaptive(recipe, parts, adaptive, common).eval()
    zoomed = ZoomedModel(
        parts.model,
        parts.decode,
        to_canvas=to_canvas(recipe, warp) if from_source else None,
        unzoom=None if warp.unzoom is None else [Unzoom(pairs) for pairs in warp.unzoom],
        **common,
    )
    return zoomed.eval()


def load_weights(
    recipe: Recipe,
    model: nn.Module,
    warp: Warp,
    prepare: Callable[[State], State] = lambda state: state,
) -> State | None:
    """Load the weights of the recipe's checkpoint into a network.

    Args:
        recipe: recipe that names the checkpoint.
        model: network with the checkpoint's architecture.
        warp: warp of the recipe, with which the training is compared.
        prepare: function that drops weights which inference does not need.

    Returns:
        The checkpoint's tensors of the warp; None if the recipe has no checkpoint.

    Raises:
        LzuError: the checkpoint is missing, unreadable, or belongs to another task, warp or
            architecture.
    """
    path = recipe.checkpoint.get(recipe.variant)
    if path is None:
        return None
    loaded = load_checkpoint(path)
    check_task(recipe, loaded.state, str(path))
    check_training(recipe, warp.saliency, loaded.meta, str(path))
    state: State = without_logits(recipe, loaded.state, str(path))
    state, of_warp = split_warp(recipe, state, str(path))
    load_into(model, prepare(state), name=str(path))
    return of_warp


def _adaptive(
    recipe: Recipe, parts: Parts, warp: AdaptiveWarp, common: dict[str, Any]
) -> ZoomedModel:
    """Assemble the model whose warp changes with each frame."""
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


def _unwarp(recipe: Recipe) -> Unwarp:
    """Make the map from canvas pixels to frame pixels; centres of corner pixels correspond."""
    spans = [(height - 1, width - 1) for height, width in (recipe.canvas, recipe.view)]
    return Unwarp(spans[0], spans[1], corner=recipe.corner)


def without_logits(recipe: Recipe, state: State, name: str) -> dict[str, Tensor]:
    """Return a checkpoint's weights without the logits that the recipe names for its warp.

    Raises:
        LzuError: there are logits under the default name that the recipe does not name.
    """
    named = None if recipe.variant == "uniform" else recipe.warp.logits
    if LOGITS in state and named is None:
        raise LzuError(
            f"checkpoint {name} carries the logits of its warp, {LOGITS}; set warp.logits to "
            f"{LOGITS} (and warp.saliency to null), with a variant that is not uniform"
        )
    return {key: value for key, value in state.items() if key != named}


def check_task(recipe: Recipe, state: State, name: str) -> None:
    """Refuse weights of another task before errors about its warp or tensors can mislead.

    A task of any network, which has no head of its own, takes weights of any.

    Raises:
        LzuError: the weights have another task's head, and not the recipe's.
    """
    heads = {task.name: task.head for task in all_tasks() if task.head is not None}
    tasks = [task for task, layer in heads.items() if any(key.startswith(layer) for key in state)]
    if tasks and recipe.task in heads and recipe.task not in tasks:
        raise LzuError(
            f"checkpoint {name} belongs to task {tasks[0]}, but the recipe to {recipe.task}; give "
            "one of "
            f"that task, or a recipe of {tasks[0]}"
        )


def to_canvas(recipe: Recipe, warp: Warp) -> SourceToCanvas:
    """Make the module from the camera's frame to the normalised canvas."""
    norm = recipe.normalisation
    return SourceToCanvas(
        resample(warp.zoom),
        norm.mean,
        norm.std,
        norm.order,
        cut=cut(recipe),
        coverage=coverage(warp.zoom, recipe.picture),
    )
