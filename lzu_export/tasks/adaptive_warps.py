"""Sources of knots that change with each frame: the previous frame's boxes, a network, the host.

Each source builds a module that computes the knots, and takes its own weights from a checkpoint.
Sources of fixed knots are in `lzu_export.tasks.warps`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.adaptive import BoxWarp
from lzu_export.models.adaptive_warp import AdaptiveWarp, BoxPull
from lzu_export.models.checkpoint import NETWORK, check_finite, load_into
from lzu_export.models.external_warp import ExternalWarp
from lzu_export.models.grid_warp import BoxGridWarp, BoxSaliency, SaliencyKnots
from lzu_export.models.random_weights import randomise
from lzu_export.models.saliency_network import FrameWarp, SaliencyNetwork, SeparableKnots
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.runtime.preprocess import cut
from lzu_export.support.registry import Registry
from lzu_export.warp.saliency import Array

State = Mapping[str, Tensor]


class AdaptiveSource(ABC):
    """Builds the module that computes each image's knots.

    A new source is a subclass and one line in `ADAPTIVE_SOURCES`. A separate package announces an
    instance under the entry point `lzu_export.adaptive_knot_sources`.
    """

    key: ClassVar[str]
    """Recipe key that chooses this source."""

    @abstractmethod
    def applies(self, recipe: Recipe) -> bool:
        """Return whether an adaptive recipe asks for this source."""

    @abstractmethod
    def build(self, recipe: Recipe, saliency: Array) -> AdaptiveWarp:
        """Build the module, with random weights if it has weights.

        Args:
            recipe: an adaptive recipe that the source applies to.
            saliency: (h, w) fixed saliency that is mixed in by `warp.mix`.
        """

    @abstractmethod
    def split(self, recipe: Recipe, state: State, name: str) -> tuple[State, State]:
        """Split a checkpoint's weights into those of the network and those of this source.

        Raises:
            LzuError: weights of the source are missing or unusable.
        """

    @abstractmethod
    def load(self, warp: AdaptiveWarp, state: State, name: str) -> None:
        """Load the source's own weights.

        Raises:
            LzuError: the weights do not fit the module.
        """

    @abstractmethod
    def randomise(self, warp: AdaptiveWarp, seed: int) -> None:
        """Give the module untrained weights, if it has weights."""

    @abstractmethod
    def refuse(self, recipe: Recipe, state: State, name: str) -> None:
        """Refuse a checkpoint that carries this source's weights for a recipe without it.

        Raises:
            LzuError: the checkpoint carries such weights.
        """


class PreviousBoxes(AdaptiveSource):
    """Source that zooms by the boxes of the previous frame."""

    key = "variant"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the warp is adaptive and the recipe names no saliency network."""
        return recipe.follows_boxes

    def build(self, recipe: Recipe, saliency: Array) -> BoxWarp | BoxGridWarp:
        """Build the module with the recipe's amplitude and bandwidth."""
        settings = recipe.warp
        assert isinstance(settings, BoxWarpSettings), "warps by boxes are of detection"
        pull = BoxPull(
            amplitude=settings.amplitude,
            bandwidth=settings.bandwidth,
            mix=settings.mix,
            corner=recipe.corner,
            min_side=settings.min_side,
        )
        if recipe.separable:
            return BoxWarp(saliency, recipe.view, pull, fwhm=settings.fwhm)
        boxes = BoxSaliency(saliency, recipe.view, pull)
        return BoxGridWarp(boxes, SaliencyKnots(settings.lattice, settings.fwhm))

    def split(self, recipe: Recipe, state: State, name: str) -> tuple[State, State]:
        """Split off a learned amplitude and bandwidth, see `learned_warp`."""
        rest, learned = learned_warp(state, name)
        return rest, {kind: torch.tensor(value) for kind, value in learned.items()}

    def load(self, warp: AdaptiveWarp, state: State, name: str) -> None:
        """Set the learned values; the others stay as the recipe has them."""
        holder = warp.saliency if isinstance(warp, BoxGridWarp) else warp
        with torch.no_grad():
            for kind, value in state.items():
                holder.get_parameter(kind).fill_(value)

    def randomise(self, warp: AdaptiveWarp, seed: int) -> None:
        """Do nothing: the recipe gives amplitude and bandwidth."""

    def refuse(self, recipe: Recipe, state: State, name: str) -> None:
        """Do nothing: loading the network refuses weights that it does not know."""


class Network(AdaptiveSource):
    """Source that zooms by the saliency that a network computes from each frame."""

    key = "warp.network"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe has an adaptive warp with a saliency network."""
        return recipe.adapts and recipe.warp.network is not None

    def build(self, recipe: Recipe, saliency: Array) -> FrameWarp:
        """Build the network and the module that turns its saliency into knots."""
        settings = recipe.warp
        assert settings.network is not None, "asked by `applies`"
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
        return FrameWarp(network, knots, saliency, settings.mix)

    def split(self, recipe: Recipe, state: State, name: str) -> tuple[State, State]:
        """Split off the network's weights."""
        own = _of_network(state)
        if not own:
            raise LzuError(
                f"checkpoint {name} has no tensor {NETWORK}*, the saliency network that "
                "warp.network asks for; give one that was trained with it, or remove warp.network"
            )
        return {key: value for key, value in state.items() if key not in own}, own

    def load(self, warp: AdaptiveWarp, state: State, name: str) -> None:
        """Load the network's weights."""
        whole = nn.ModuleDict({"warp": warp})  # so that errors use the file's names
        load_into(whole, state, name=name, fields="warp.network")

    def randomise(self, warp: AdaptiveWarp, seed: int) -> None:
        """Give the network untrained weights."""
        randomise(warp, seed)

    def refuse(self, recipe: Recipe, state: State, name: str) -> None:
        """Refuse a checkpoint with a network that the recipe does not use."""
        if _of_network(state):
            raise LzuError(
                f"checkpoint {name} carries a saliency network, {NETWORK}*, which variant "
                f"{recipe.variant} of this recipe does not use; choose adaptive and set "
                "warp.network to its architecture"
            )


class Host(AdaptiveSource):
    """Source that takes the knots as inputs of the model."""

    key = "variant"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the host gives the knots."""
        return recipe.takes_knots

    def build(self, recipe: Recipe, saliency: Array) -> ExternalWarp:
        """Build the module for the recipe's kind of warp."""
        return ExternalWarp(separable=recipe.separable)

    def split(self, recipe: Recipe, state: State, name: str) -> tuple[State, State]:
        """Leave out the amplitude and bandwidth of a detector that was trained with boxes."""
        return learned_warp(state, name)[0], {}

    def load(self, warp: AdaptiveWarp, state: State, name: str) -> None:
        """Do nothing: the module has no weights."""

    def randomise(self, warp: AdaptiveWarp, seed: int) -> None:
        """Do nothing: the module has no weights."""

    def refuse(self, recipe: Recipe, state: State, name: str) -> None:
        """Do nothing: no checkpoint carries weights of this source."""


HOST_SOURCE, NETWORK_SOURCE, BOXES_SOURCE = Host(), Network(), PreviousBoxes()
ADAPTIVE_SOURCES: Registry[AdaptiveSource] = Registry(
    "source of adaptive knots",
    {
        "host": "lzu_export.tasks.adaptive_warps:HOST_SOURCE",
        "network": "lzu_export.tasks.adaptive_warps:NETWORK_SOURCE",
        "boxes": "lzu_export.tasks.adaptive_warps:BOXES_SOURCE",
    },
    group="lzu_export.adaptive_knot_sources",
)
"""Sources of knots that change with each frame. The first one that applies to a recipe is used:
registered and installed sources are tried first, then the table's in its order."""


def adaptive_source(recipe: Recipe) -> AdaptiveSource | None:
    """Return the source of an adaptive recipe's knots; None for a fixed warp."""
    if not recipe.adapts:
        return None
    return next((each for each in ADAPTIVE_SOURCES.others_first() if each.applies(recipe)), None)


def split_warp(recipe: Recipe, state: State, name: str) -> tuple[State, State]:
    """Split a checkpoint's weights into those of the network and those of its adaptive warp.

    Raises:
        LzuError: weights of the warp are missing or unusable, or belong to a source that the recipe
            does not name.
    """
    source = adaptive_source(recipe)
    for other in ADAPTIVE_SOURCES.others_first():
        if other is not source:
            other.refuse(recipe, state, name)
    return (state, {}) if source is None else source.split(recipe, state, name)


def learned_warp(
    state: State, name: str = "of these weights"
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Split the learned amplitude and bandwidth of a warp off a checkpoint's weights.

    This package's scalars are `warp.amplitude` and `warp.bandwidth`. FOVEA's learned scalars, alpha
    and beta, mean a = |1 + alpha| + 0.1 and b = 64 |1 + beta| + 0.1 (its LKDE grid generator).

    Returns:
        The other weights, and the values of `amplitude` and `bandwidth` that were found.

    Raises:
        LzuError: a scalar is no positive, finite number.
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


def _of_network(state: State) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith(NETWORK)}
