"""From the frame to the canvas, as the recipe cuts, pads and reduces it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.models.random_weights import randomise
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.tasks.assemble import check_task, to_canvas
from lzu_export.tasks.pytorch import assemble, noise_frame
from lzu_export.tasks.warps import make_warp, trained_note
from lzu_export.warp.tables import table_pixels
from samples import TINY_NETWORK, relative, tiny_recipe

CASES: dict[str, dict[str, Any]] = {
    "crop": {"crop": [64, 96]},
    "window": {"crop": {"x": 7, "y": 30, "width": 96, "height": 64}},
    "padded": {"source_multiple": 64},
    "reduced": {"reduce": 3},
    "cropped, padded and reduced": {"crop": [60, 100], "source_multiple": 32, "reduce": 2},
    "antialiased crop": {"crop": [64, 96], "sampler": "antialiased"},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_the_canvas_is_sampled_from_the_normalised_padded_picture(
    changes: dict[str, Any], order: str, tmp_path: Path
) -> None:
    """The steps are: normalise, crop, pad with zeros, downsample, sample bilinearly."""
    norm = {"order": order, "mean": [90.0, 100.0, 110.0], "std": [20.0, 30.0, 40.0]}
    recipe = tiny_recipe(tmp_path, normalisation=norm, **changes)
    warp = make_warp(recipe)
    frame = noise_frame(recipe.source, seed=4)
    with torch.no_grad():
        canvas = to_canvas(recipe, warp)(torch.from_numpy(frame)[None])[0].numpy()
    host = ZoomedInput(recipe, warp.zoom)(frame[None])[0]
    height, width = recipe.canvas
    np.testing.assert_allclose(host[:, :height, :width], canvas, atol=1e-4)
    if recipe.sampler == "antialiased":
        assert np.abs(canvas).max() <= np.abs((255 - 90) / 20) + 1e-5  # weights sum to 1
        return
    colours = frame if order == "bgr" else frame[:, :, ::-1]
    normalised = (colours - np.array(norm["mean"])) / np.array(norm["std"])
    (top, left), (rows, cols) = recipe.corner, recipe.view
    view = normalised[top : top + rows, left : left + cols]
    padding = [(0, -n % recipe.source_multiple) for n in recipe.view]
    picture = np.pad(view, [*padding, (0, 0)])[:: recipe.reduce, :: recipe.reduce]
    assert picture.shape[:2] == recipe.span
    y, x = table_pixels(warp.zoom.rows), table_pixels(warp.zoom.cols)
    grid = np.stack(
        np.meshgrid(2 * x / (recipe.span[1] - 1) - 1, 2 * y / (recipe.span[0] - 1) - 1), axis=-1
    )
    expected = functional.grid_sample(
        torch.from_numpy(picture).permute(2, 0, 1)[None],
        torch.from_numpy(grid)[None],
        align_corners=True,
    )[0].numpy()
    assert relative(canvas, expected) < 1e-5


def test_the_warp_spans_the_padding_and_ends_in_zeros(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, source=[90, 160], source_multiple=32, scale=0.6)
    assert (recipe.span, recipe.picture) == ((96, 160), (90, 160))
    frame = np.full((1, 90, 160, 3), 255, np.uint8)
    with torch.no_grad():
        canvas = to_canvas(recipe, make_warp(recipe))(torch.from_numpy(frame))[0].numpy()
    assert np.abs(canvas[:, -1]).max() < 1e-6  # on the last of the six rows of zeros
    assert np.abs(canvas[:, 0]).min() > 1


@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_untrained_weights_are_of_a_seed_and_sane(task: str, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, task)
    first, second = (
        assemble(recipe, make_warp(recipe), from_source=True).model.state_dict() for _ in range(2)
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    other = assemble(recipe, make_warp(recipe), from_source=True).model
    randomise(other, seed=1)
    assert any(not torch.equal(v, first[n]) for n, v in other.state_dict().items())


TASKS = ["det", "seg", "det3d"]


def trained(folder: Path, task: str, **model: Any) -> Path:
    """A checkpoint of a tiny recipe of this task, but for fields of its model."""
    classes = [f"class {i}" for i in range(model.get("num_classes", 2))]
    recipe = tiny_recipe(folder, task, model=model, classes=classes)
    path = folder / "trained.pth"
    save_checkpoint(
        path, assemble(recipe, make_warp(recipe), from_source=False).model.state_dict(), half=False
    )
    return path


def refusal(folder: Path, task: str, checkpoint: Path) -> str:
    recipe = tiny_recipe(folder, task, checkpoint={"fixed": str(checkpoint)})
    with pytest.raises(LzuError) as caught:
        assemble(recipe, make_warp(recipe), from_source=True)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_s_weights_are_the_model_s(task: str, tmp_path: Path) -> None:
    path = trained(tmp_path, task)
    recipe = tiny_recipe(tmp_path, task, random_weights=99, checkpoint={"fixed": str(path)})
    loaded = assemble(recipe, make_warp(recipe), from_source=True).model.state_dict()
    for name, value in torch.load(path)["state_dict"].items():
        assert torch.equal(loaded[name], value), name


@pytest.mark.parametrize(("task", "other"), [(a, b) for a in TASKS for b in TASKS if a != b])
def test_a_checkpoint_of_another_task_is_refused(task: str, other: str, tmp_path: Path) -> None:
    """The error names the checkpoint's task, whatever warp it records."""
    path = trained(tmp_path, other)
    for meta in ({}, {"variant": "fixed", "fwhm": "40", "saliency": "0" * 64}):
        save_checkpoint(path, torch.load(path)["state_dict"], half=False, meta=meta)
        message = refusal(tmp_path, task, path)
        assert f"trained.pth belongs to task {other}, but the recipe to {task}; give one" in message


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_any_network_takes_weights_of_any_head(task: str, tmp_path: Path) -> None:
    """A wrapped RetinaNet has the head of the task det, but its recipe is generic."""
    state = torch.load(trained(tmp_path, task))["state_dict"]
    generic: Any = SimpleNamespace(task="generic")
    check_task(generic, state, "trained.pth")
    for other in set(TASKS) - {task}:
        with pytest.raises(LzuError, match=f"belongs to task {task}, but the recipe to {other}"):
            check_task(SimpleNamespace(task=other), state, "trained.pth")  # type: ignore[arg-type]


def test_a_checkpoint_of_another_head_is_refused_by_its_tensors(tmp_path: Path) -> None:
    """An example are mmseg's other decode heads, whose last layer has the same name."""
    path = trained(tmp_path, "seg")
    state = torch.load(path)["state_dict"]
    renamed = {name.replace("psp_modules", "aspp_modules"): v for name, v in state.items()}
    save_checkpoint(path, renamed, half=False)
    message = refusal(tmp_path, "seg", path)
    assert "trained.pth does not fit the model, with tensors " in message
    assert " missing (decode_head.psp_modules." in message
    assert " unexpected (decode_head.aspp_modules." in message
    assert "set the recipe's model fields" in message


@pytest.mark.parametrize("task", TASKS)
def test_a_head_of_other_classes_is_refused(task: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, task, trained(tmp_path, task, num_classes=7))
    assert "trained.pth has 7 classes, recipe has 2; list the classes it was trained" in message


def test_a_head_of_other_attributes_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "det3d", trained(tmp_path, "det3d", num_attributes=5))
    assert "bbox_head.conv_attr.weight (5, 8, 1, 1) instead of (3, 8, 1, 1)" in message


def test_a_checkpoint_trained_with_another_warp_is_refused(tmp_path: Path) -> None:
    """The recorded warp is checked before the weights."""
    recipe = tiny_recipe(tmp_path)
    warp = make_warp(recipe)
    note = trained_note(recipe, warp.saliency)
    save_checkpoint(tmp_path / "trained.pth", {"weight": torch.zeros(1)}, meta=note)
    message = refusal(tmp_path, "det", tmp_path / "trained.pth")
    assert "does not fit the model" in message
    save_checkpoint(
        tmp_path / "trained.pth", {"weight": torch.zeros(1)}, meta={**note, "fwhm": "40"}
    )
    message = refusal(tmp_path, "det", tmp_path / "trained.pth")
    assert "trained.pth was trained with fwhm 40 but the recipe has 4; export it with" in message


@pytest.mark.parametrize("task", TASKS)
def test_logits_are_the_warp_s_and_no_weights(task: str, tmp_path: Path) -> None:
    """The network loads without them; a recipe that does not name them is refused."""
    path = trained(tmp_path, task)
    logits = torch.linspace(-1, 1, 77).reshape(7, 11)
    save_checkpoint(path, {**torch.load(path)["state_dict"], "warp.logits": logits}, half=False)
    message = refusal(tmp_path, task, path)
    assert "trained.pth carries the logits of its warp, warp.logits; set warp.logits" in message
    recipe = tiny_recipe(
        tmp_path,
        task,
        warp={"saliency": None, "logits": "warp.logits"},
        checkpoint={"fixed": str(path)},
    )
    warp = make_warp(recipe)
    assert "warp.logits" not in assemble(recipe, warp, from_source=True).state_dict()
    expected = torch.softmax(logits.flatten(), 0).reshape(7, 11)
    np.testing.assert_allclose(warp.saliency, expected, atol=1e-6)


ADAPTIVE: dict[str, Any] = {
    "variant": "adaptive",
    "warp": {"network": TINY_NETWORK},
    "sampler": "bilinear",
}


def with_network(folder: Path, task: str) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint with a saliency network, and its weights."""
    recipe = tiny_recipe(folder, task, **ADAPTIVE, random_weights=5)
    state = assemble(recipe, make_warp(recipe), from_source=True).state_dict()
    state = {name.removeprefix("model."): value for name, value in state.items()}
    path = folder / "seeing.pth"
    save_checkpoint(path, state, half=False)
    return path, state


@pytest.mark.parametrize("task", TASKS)
def test_a_saliency_network_s_weights_are_the_checkpoint_s(task: str, tmp_path: Path) -> None:
    path, state = with_network(tmp_path, task)
    assert "warp.network.backbone.layer3.1.conv2.weight" in state
    assert "warp.network.head.bias" in state
    recipe = tiny_recipe(tmp_path, task, **ADAPTIVE, checkpoint={"adaptive": str(path)})
    loaded = assemble(recipe, make_warp(recipe), from_source=True).state_dict()
    for name, value in state.items():
        own = name if name.startswith("warp.") else f"model.{name}"
        assert torch.equal(loaded[own], value), name


def test_a_saliency_network_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path, state = with_network(tmp_path, "det")

    def message(saved: dict[str, torch.Tensor], **changes: Any) -> str:
        save_checkpoint(path, saved, half=False)
        given = {**ADAPTIVE, "checkpoint": {"adaptive": str(path), "fixed": str(path)}, **changes}
        recipe = tiny_recipe(tmp_path, **given)
        with pytest.raises(LzuError) as caught:
            assemble(recipe, make_warp(recipe), from_source=True)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    without = {name: v for name, v in state.items() if not name.startswith("warp.network.")}
    assert "seeing.pth has no tensor warp.network.*, the saliency" in message(without)
    missing = {name: v for name, v in state.items() if name != "warp.network.head.bias"}
    words = "does not fit the warp.network, with tensors 1 missing (warp.network.head.bias); set"
    assert words in message(missing)
    wrong = {**state, "warp.network.head.bias": torch.zeros(2)}
    assert "(warp.network.head.bias (2,) instead of (1,))" in message(wrong)
    words = "carries a saliency network, warp.network.*, which variant"
    assert f"{words} fixed of" in message(state, variant="fixed", warp={})
    assert f"{words} adaptive of" in message(state, warp={"network": None})
