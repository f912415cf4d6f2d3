"""Segmentation's parts: from logits to the class of every pixel of the view."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.models.pspnet import build_pspnet
from lzu_export.tasks.pytorch import assemble
from lzu_export.tasks.seg.parts import Decode, parts
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe


def logits_of(decode: Decode, recipe: Any, values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        resized, labels = decode([[values]])
    assert resized.shape[2:] == labels.shape[1:] == recipe.view
    return resized.numpy(), labels.numpy()


def test_half_pixel_is_torch_s_resize_where_nothing_is_padded(tmp_path: Path) -> None:
    recipe: Any = tiny_recipe(
        tmp_path, "seg", source=[128, 192], postprocess={"upsampling": "half-pixel"}
    )
    assert recipe.canvas == recipe.network_input
    values = torch.randn(1, 2, 32, 48)
    resized, labels = logits_of(Decode(recipe), recipe, values)
    expected = functional.interpolate(values, recipe.view, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized, expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(labels, resized.argmax(axis=1))


@pytest.mark.parametrize("changes", [{}, {"crop": [64, 96]}, {"reduce": 2, "scale": 0.6}])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_in_phase_puts_cells_on_their_canvas_pixels(
    scale: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    """A map of each cell's canvas position gives every pixel of the view its own place."""
    recipe: Any = tiny_recipe(tmp_path, "seg", warp={"unzoom_scale": scale}, **changes)
    (level,) = recipe.levels
    height, width = (n * scale for n in level.size)
    step = level.stride / scale
    rows, cols = torch.arange(height) * step, torch.arange(width) * step
    values = torch.stack([rows[:, None].expand(height, width), cols.expand(height, width)])[None]
    resized, _ = logits_of(Decode(recipe), recipe, values)
    expected_y = np.arange(recipe.view[0]) / recipe.canvas_step[0]
    expected_x = np.arange(recipe.view[1]) / recipe.canvas_step[1]
    inside_y, inside_x = expected_y <= float(rows[-1]), expected_x <= float(cols[-1])
    assert inside_y.mean() > 0.85
    np.testing.assert_allclose(resized[0, 0, inside_y, 0], expected_y[inside_y], atol=1e-4)
    np.testing.assert_allclose(resized[0, 1, 0, inside_x], expected_x[inside_x], atol=1e-4)


def test_the_margin_is_the_deviation_that_changes_a_class(tmp_path: Path) -> None:
    recipe: Any = tiny_recipe(tmp_path, "seg")
    decode = Decode(recipe)
    (level,) = recipe.levels
    values = torch.randn(1, 2, level.size[0] * 2, level.size[1] * 2)
    resized, labels = logits_of(decode, recipe, values)
    margin = decode.margins([[values]]).numpy()
    assert margin.shape == labels.shape
    largest = np.abs(resized).max()
    best = np.take_along_axis(resized, labels[:, None], axis=1)[:, 0]
    other = resized.sum(axis=1) - best
    np.testing.assert_allclose(margin, (best - other) / 2 / largest, atol=1e-6)


@pytest.mark.parametrize("with_logits", [False, True])
def test_logits_are_an_output_or_a_probe_point(with_logits: bool, tmp_path: Path) -> None:
    recipe: Any = tiny_recipe(tmp_path, "seg", postprocess={"logits": with_logits})
    made = parts(recipe)
    assert made.outputs == (("logits", "labels") if with_logits else ("labels",))
    assert made.decoded == (() if with_logits else ("logits",))
    model = assemble(recipe, make_warp(recipe), from_source=True)
    names = ["zoomed", "level_0", "unzoomed_0", "logits_0", "logits", "labels"]
    assert list(model.output_names) == names
    with torch.no_grad():
        values = model(torch.zeros(1, 96, 160, 3, dtype=torch.uint8))
    shapes = {name: tuple(v.shape) for name, v in zip(names, values, strict=True)}
    assert shapes["level_0"] == (1, 8, 16, 24)
    assert shapes["unzoomed_0"] == (1, 8, 32, 48)
    assert shapes["logits"] == (1, 2, 96, 160)


def test_both_variants_have_heads_of_one_resolution(tmp_path: Path) -> None:
    fixed = make_warp(tiny_recipe(tmp_path, "seg"))
    uniform = make_warp(tiny_recipe(tmp_path, "seg", variant="uniform"))
    for warp in (fixed, uniform):
        assert warp.unzoom is not None
        ((pair,),) = warp.unzoom
        assert (pair.rows.shape[1], pair.cols.shape[1]) == (32, 48)
    # In phase: twice as many cells, on the same canvas pixels.
    assert uniform.unzoom is not None
    rows = uniform.unzoom[0][0].rows
    np.testing.assert_allclose(rows[0] + rows[1], np.arange(32) / 2, atol=1e-5)
    plain = make_warp(tiny_recipe(tmp_path, "seg", variant="uniform", warp={"unzoom_scale": 1}))
    assert plain.unzoom is None


def test_an_mmseg_checkpoint_loads_without_its_auxiliary_head(tmp_path: Path) -> None:
    recipe: Any = tiny_recipe(tmp_path, "seg")
    state = build_pspnet(recipe.model).state_dict()
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(2, 4, 1, 1)
    path = tmp_path / "mine.pth"
    save_checkpoint(path, state)
    loaded = recipe.model_copy(update={"checkpoint": {"fixed": path}})
    model = assemble(loaded, make_warp(loaded), from_source=False)
    kept = model.model.state_dict()["decode_head.conv_seg.weight"]
    torch.testing.assert_close(kept, state["decode_head.conv_seg.weight"], rtol=1e-2, atol=1e-3)
