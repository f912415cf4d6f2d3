"""The frames on which every engine is compared with PyTorch."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest

from lzu_export.compiler.stages import Stages
from lzu_export.tasks.pytorch import noise_frame
from samples import tiny_recipe


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("stateful", [True, False])
def test_without_a_data_set_a_changing_warp_is_compared_twice(
    calibrated: bool, stateful: bool, tmp_path: Path
) -> None:
    """A second frame of a constant warp takes as long again, and compares the same arithmetic."""
    frames = tmp_path / "frames"
    frames.mkdir()
    changes = {"calibration": {"frames": str(frames), "count": 3}} if calibrated else {}
    recipe = tiny_recipe(tmp_path, evaluation={"dataset": None}, **changes)
    pictures = [noise_frame(recipe.source, seed=i) for i in range(5, 8)]
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(frames / f"{i}.png"), picture)
    known = SimpleNamespace(recipe=recipe, pytorch=SimpleNamespace(is_stateful=stateful))
    batches = Stages._reference_shots(cast(Stages, known))
    assert [len(batch) for batch in batches] == [1] * (2 if stateful else 1)
    for i, (shot,) in enumerate(batches):
        expected = pictures[i] if calibrated else noise_frame(recipe.source, seed=i)
        np.testing.assert_array_equal(shot.frame, expected)
