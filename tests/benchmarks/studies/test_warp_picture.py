"""The README's picture: a frame, its sampling grid and its zoomed image, side by side."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="a bundle's PyTorch model stands for its engine")

from lzu_benchmarks.studies.warp_picture import three_panels
from lzu_export.runtime.draw import zoom
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe


def test_the_panels_are_the_frame_its_grid_and_its_zoomed_image(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    predictor = torch_predictor(recipe, make_warp(recipe))
    frame = noise_frame(recipe.source, 0)
    height, width = recipe.source
    picture = three_panels(predictor, frame)
    assert picture.shape[0] == height
    top = slice(0, height // 4)  # captions are at the bottom
    assert np.array_equal(picture[top, :width], frame[top])
    rest = picture.shape[1] - width
    zoomed = zoom(predictor, frame)
    assert zoomed.shape[:2] == recipe.canvas
    shown = round(zoomed.shape[1] * height / zoomed.shape[0])
    gaps = rest - width - shown
    assert 0 < gaps < width // 2
    grid = picture[top, width + gaps // 2 : 2 * width + gaps // 2]
    assert not np.array_equal(grid, frame[top]), "lines are drawn over it"
