"""Sources of knots that change with each frame: what a new one takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lzu_export.models.adaptive_warp import AdaptiveWarp
from lzu_export.models.checkpoint import NETWORK
from lzu_export.recipes import Recipe
from lzu_export.tasks.adaptive_warps import (
    ADAPTIVE_SOURCES,
    AdaptiveSource,
    State,
    adaptive_source,
    split_warp,
)
from lzu_export.tasks.pytorch import assemble, noise_frame
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.grids import AXIS_KNOTS
from samples import TINY_NETWORK, registered, relative, tiny_recipe


class BrighterHalf(AdaptiveWarp):
    """Shows the half of each frame, left or right, that is brighter."""

    knot_names = AXIS_KNOTS

    def __init__(self, lattice: tuple[int, int]) -> None:
        super().__init__()
        self.columns = torch.linspace(-1, 0, lattice[1])
        self.rows = torch.linspace(-1, 1, lattice[0])

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) to knots_x (B, w) and knots_y (B, h)."""
        left, right = (half.float().mean(dim=(1, 2, 3)) for half in frame.chunk(2, dim=2))
        shift = (right > left).float()[:, None]
        return self.columns + shift, self.rows.expand(len(frame), -1)


class Halves(AdaptiveSource):
    """Its source, which has no weights."""

    key = "variant"

    def applies(self, recipe: Recipe) -> bool:
        return recipe.adapts

    def build(self, recipe: Recipe, saliency: np.ndarray) -> AdaptiveWarp:
        return BrighterHalf(recipe.warp.lattice)

    def split(self, recipe: Recipe, state: State, name: str) -> tuple[State, State]:
        return state, {}

    def load(self, warp: AdaptiveWarp, state: State, name: str) -> None: ...

    def randomise(self, warp: AdaptiveWarp, seed: int) -> None: ...

    def refuse(self, recipe: Recipe, state: State, name: str) -> None: ...


@registered(ADAPTIVE_SOURCES, "halves", Halves())
def test_a_new_source_is_a_class_and_one_line(tmp_path: Path) -> None:
    """The zoom and the unzoom follow the new source's knots."""
    recipe = tiny_recipe(tmp_path, variant="adaptive", scale=0.5, batch=2)
    model = assemble(recipe, make_warp(recipe), from_source=True)
    frames = np.stack([noise_frame(recipe.source, seed=i) // 2 for i in range(2)])
    middle = recipe.source[1] // 2
    frames[0, :, :middle] += 100
    frames[1, :, middle:] += 100
    with torch.no_grad():
        values = dict(zip(model.output_names, model(torch.from_numpy(frames)), strict=True))
    np.testing.assert_allclose(values["knots_x"][:, 0], [-1, 0])
    # Each canvas shows its half alone, in which the mean is the brighter one.
    norm = recipe.normalisation
    canvas = values["zoomed"].numpy().mean(axis=(2, 3)) * np.array(norm.std) + np.array(norm.mean)
    halves = np.stack([frames[0, :, :middle], frames[1, :, middle:]]).mean(axis=(1, 2))
    order = slice(None) if norm.order == "bgr" else slice(None, None, -1)
    assert relative(canvas, halves[:, order]) < 0.03


def test_weights_go_to_the_source_that_the_recipe_names(tmp_path: Path) -> None:
    by_boxes = tiny_recipe(tmp_path, variant="adaptive")
    by_network = tiny_recipe(tmp_path, variant="adaptive", warp={"network": TINY_NETWORK})
    assert [type(adaptive_source(each)).__name__ for each in (by_boxes, by_network)] == [
        "PreviousBoxes",
        "Network",
    ]
    assert adaptive_source(tiny_recipe(tmp_path)) is None
    weight, learned = torch.zeros(1), torch.tensor(2.0)
    state = {"backbone.w": weight, "warp.amplitude": learned}
    assert split_warp(by_boxes, state, "a.pth") == (
        {"backbone.w": weight},
        {"amplitude": learned},
    )
    state = {"backbone.w": weight, f"{NETWORK}head": weight}
    assert [list(part) for part in split_warp(by_network, state, "a.pth")] == [
        ["backbone.w"],
        [f"{NETWORK}head"],
    ]


@pytest.mark.parametrize("separable", [True, False])
def test_learned_values_replace_those_of_the_recipe(separable: bool, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="adaptive", warp={"separable": separable})
    source = adaptive_source(recipe)
    assert source is not None
    warp = source.build(recipe, np.ones(recipe.warp.lattice))
    source.load(warp, {"amplitude": torch.tensor(3.0)}, "a.pth")
    values = {
        name.rpartition(".")[2]: float(each.detach()) for name, each in warp.named_parameters()
    }
    assert values == {"amplitude": 3.0, "bandwidth": recipe.warp.bandwidth}
