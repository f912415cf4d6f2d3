"""2-D detection's parts: from raw outputs to boxes in pixels of the frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lzu_export.tasks.det.parts import Decode, parts
from lzu_export.tasks.pytorch import assemble
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe

SQUARE = 3
"""Number of a cell's square anchor of the smallest scale, 4 cells wide."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": [64, 128]},
        {"crop": [60, 100], "reduce": 2, "scale": 0.8, "batch": 2},
        {"source": [90, 160], "source_multiple": 32, "scale": 0.6},
        {"warp": {"geometry": "published", "unfilled": []}, "crop": [64, 128]},
        {"variant": "uniform", "sampler": "opencv", "input": "zoomed", "crop": [64, 128]},
    ],
)
def test_boxes_lie_where_the_canvas_shows_the_frame(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """An unchanged anchor comes back in the frame's pixels."""
    recipe: Any = tiny_recipe(tmp_path, **changes)
    per_cell, classes = recipe.model.per_cell, recipe.model.num_classes
    sizes = [(recipe.batch, *level.size) for level in recipe.levels]
    cls = [torch.full((b, per_cell * classes, h, w), -9.0) for b, h, w in sizes]
    bbox = [torch.zeros(b, per_cell * 4, h, w) for b, h, w in sizes]
    cls[0][-1, SQUARE * classes + 1, 2, 4] = 5.0
    boxes, scores, labels = Decode(recipe)([cls, bbox])
    assert boxes.shape == (recipe.batch, sum(recipe.candidates), 4)
    assert labels.dtype == torch.int32
    best = int(scores[-1].argmax())
    assert labels[-1, best] == 1
    assert scores[-1, best] == torch.tensor(5.0).sigmoid()
    (top, left), (step_y, step_x) = recipe.corner, recipe.canvas_step
    seen = np.array([32 - 16, 16 - 16, 32 + 16, 16 + 16])  # within every canvas of the cases
    expected = seen * np.array([step_x, step_y] * 2) + [left, top, left, top]
    np.testing.assert_allclose(boxes[-1, best], expected, rtol=1e-6)


def test_the_network_sees_the_canvas_padded_on_its_own_sides(tmp_path: Path) -> None:
    """Rows are added at the bottom and columns on the right, in different numbers."""
    recipe: Any = tiny_recipe(tmp_path, crop=[64, 96])
    assert (recipe.canvas, recipe.network_input) == ((32, 48), (32, 64))
    made = parts(recipe)
    assert (made.groups, made.outputs) == (("cls", "bbox"), ("boxes", "scores", "labels"))
    assert made.margins is None
    model = assemble(recipe, make_warp(recipe), from_source=True)
    with torch.no_grad():
        values = model(torch.zeros(1, 96, 160, 3, dtype=torch.uint8))
    shapes = dict(zip(model.output_names, (tuple(v.shape) for v in values), strict=True))
    for i, level in enumerate(recipe.levels):
        assert shapes[f"level_{i}"] == shapes[f"unzoomed_{i}"] == (1, 16, *level.size)
    assert shapes["zoomed"] == (1, 3, 32, 48)
