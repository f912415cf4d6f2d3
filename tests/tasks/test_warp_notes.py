"""A checkpoint remembers the warp that it was trained with."""

from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import make_warp, trained_note, warp_note, warp_source
from samples import TINY_NETWORK, tiny_recipe


@pytest.mark.parametrize("task", ["det", "seg"])
def test_a_network_s_warp_is_remembered_without_boxes(task: str, tmp_path: Path) -> None:
    changes = {"variant": "adaptive", "warp": {"network": TINY_NETWORK, "unzoom_scale": 1}}
    if task == "det":
        changes["warp"] = {"network": TINY_NETWORK}
    recipe = tiny_recipe(tmp_path, task, **changes)
    note = trained_note(recipe, make_warp(recipe).saliency)
    assert note == {"variant": "adaptive", "geometry": "consistent", "fwhm": "4"}
    assert warp_source(recipe) == "saliency network, ResNet-18, on each frame"


def test_weights_that_remember_another_warp_are_refused(tmp_path: Path) -> None:
    """What a checkpoint does not record is not checked."""
    recipe = tiny_recipe(tmp_path)
    saliency = make_warp(recipe).saliency
    right = warp_note("consistent", recipe.warp.fwhm, saliency)
    for meta in (right, {}, {"author": "somebody"}):
        check_training(recipe, saliency, meta, "mine.pth")
    other = {"geometry": "published", "fwhm": "40", "variant": "uniform", "saliency": "0" * 64}
    for key, value in other.items():
        with pytest.raises(LzuError, match=rf"mine\.pth was trained with {key} {value[:12]} but"):
            check_training(recipe, saliency, {**right, key: value}, "mine.pth")
    uniform = tiny_recipe(tmp_path, variant="uniform")
    with pytest.raises(LzuError, match="variant fixed but the recipe has uniform"):
        check_training(uniform, saliency, right, "mine.pth")


def test_weights_remember_the_warp_of_their_boxes(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="adaptive")
    saliency = make_warp(recipe).saliency
    note = trained_note(recipe, saliency)
    check_training(recipe, saliency, note, "mine.pth")
    others = {"variant": "fovea", "lattice": "5x4", "fwhm": "40", "bandwidth": "32"}
    for key, value in others.items():
        with pytest.raises(LzuError, match=rf"mine\.pth was trained with {key} {value} but"):
            check_training(recipe, saliency, {**note, key: value}, "mine.pth")


def test_weights_remember_how_fine_their_map_was(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "seg")
    saliency = make_warp(recipe).saliency
    note = trained_note(recipe, saliency)
    assert note["unzoom_scale"] == "2"
    check_training(recipe, saliency, note, "mine.pth")
    coarse = tiny_recipe(tmp_path, "seg", warp={"unzoom_scale": 1})
    with pytest.raises(LzuError, match="trained with unzoom_scale 2 but the recipe has 1"):
        check_training(coarse, saliency, note, "mine.pth")
    uniform = tiny_recipe(tmp_path, "seg", variant="uniform")
    assert trained_note(uniform, saliency) == {"variant": "uniform", "unzoom_scale": "2"}
