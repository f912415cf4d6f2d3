"""Networks of users' own whose knots the host gives at inference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lzu_export
from lzu_export.compiler.inputs import Inputs
from lzu_export.compiler.wrapped import built_recipe
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.tasks.pytorch import torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.families import gaze_knots, radial_knots
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.tables import zoom_tables
from lzu_export.wrapping.hooks import wrapping_of
from lzu_export.wrapping.learned import LearnedWarp
from lzu_export.wrapping.wrap import wrap

SOURCE, LATTICE = (48, 64), (6, 9)
NORM = {"order": "rgb", "mean": [0.0] * 3, "std": [255.0] * 3}
GAZE = gaze_knots((20, 20), SOURCE, lattice=LATTICE)
DISC = radial_knots((30, 24), SOURCE, radius=0.6, lattice=LATTICE)


class Cut(nn.Module):
    """A network with a cut at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1))
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stem(x))
        return y


class Gazes(nn.Module):
    """Knots for training: the same gaze in every image, shifted by a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Any:
        axes = (torch.tensor(each, dtype=torch.float32) for each in GAZE.values())
        return tuple((each + self.shift).expand(len(image), -1) for each in axes)


def external(warp: Any, out: Path) -> GenericRecipe:
    model = wrap(Cut(), warp, ["stem"]).eval()
    wrapping = wrapping_of(model)
    assert wrapping is not None
    data = {"name": "cut", "normalisation": NORM, "variant": "external", "precision": ["fp32"]}
    with Inputs(out) as inputs:
        return built_recipe(model, wrapping, {**data, "targets": ["onnxruntime"]}, inputs)


def at(knots: Any, frame: np.ndarray) -> np.ndarray:
    """What the network returns for a frame if it is wrapped in the fixed warp of these knots."""
    warp = FixedWarp.from_knots(knots=knots, source=SOURCE, scale=0.5)
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        values: np.ndarray = wrap(Cut(), warp, ["stem"]).eval()(image)[0].numpy()
    return values


@pytest.mark.parametrize("knots", [GAZE, DISC], ids=["axes", "plane"])
def test_it_begins_at_the_warp_s_knots_and_follows_the_host_s(knots: Any, tmp_path: Path) -> None:
    others: Any = {name: each / 2 + np.asarray(even(name)) / 2 for name, each in knots.items()}
    recipe = external(FixedWarp.from_knots(knots=knots, source=SOURCE, scale=0.5), tmp_path)
    assert recipe.variant == "external"
    assert recipe.warp.lattice == LATTICE
    predictor: Any = torch_predictor(recipe, make_warp(recipe))
    frame = np.random.default_rng(0).integers(0, 256, (*SOURCE, 3), dtype=np.uint8)
    np.testing.assert_allclose(predictor(frame)["output"], at(knots, frame), atol=1e-4)
    predictor.set_knots(others)
    np.testing.assert_allclose(predictor(frame)["output"], at(others, frame), atol=1e-4)
    assert np.abs(at(knots, frame) - at(others, frame)).max() > 0.01


def even(name: str) -> np.ndarray:
    y, x = (np.linspace(-1, 1, count) for count in LATTICE)
    axes = {"knots_x": x, "knots_y": y}
    return axes[name] if name in axes else np.stack(np.meshgrid(x, y), axis=-1)


def test_knots_of_the_host_replace_those_of_a_module(tmp_path: Path) -> None:
    """A network that was trained with a learned warp begins at the identity."""
    recipe = external(LearnedWarp.of(Gazes(), SOURCE, scale=0.5), tmp_path)
    assert recipe.warp.lattice == LATTICE
    predictor: Any = torch_predictor(recipe, make_warp(recipe))
    frame = np.random.default_rng(1).integers(0, 256, (*SOURCE, 3), dtype=np.uint8)
    identity = {name: even(name) for name in GAZE}
    np.testing.assert_allclose(predictor(frame)["output"], at(identity, frame), atol=1e-4)
    predictor.set_knots(GAZE)
    np.testing.assert_allclose(predictor(frame)["output"], at(GAZE, frame), atol=1e-4)


@pytest.mark.slow  # exports: half a minute
def test_a_network_s_engine_takes_knots(tmp_path: Path) -> None:
    window = FixedWarp.from_window(SOURCE, (10, 5, 32, 24), canvas=(24, 32))
    warp = FixedWarp.from_knots(knots=GAZE, source=SOURCE, canvas=(24, 32))
    model = wrap(Cut(), [warp, window], ["stem"]).eval()
    settings = {"variant": "external", "targets": ["onnxruntime"], "precision": ["fp32", "fp16"]}
    done = lzu_export.export(model, tmp_path, normalisation=NORM, settings=settings)
    assert done.folder.name == "cut-external-0.5x"
    assert {each.engine: each.status for each in done.manifest.parity} == {
        "onnxruntime/fp32": "passed",
        "onnxruntime/fp16": "passed",
        "emulated/fp16": "graph passed",
    }
    engine = done.manifest.engines[0]
    assert [each.name for each in engine.inputs] == ["frame", "knots_x", "knots_y"]
    assert [each.name for each in engine.outputs] == ["output"]
    frame = np.random.default_rng(0).integers(0, 256, (*SOURCE, 3), dtype=np.uint8)
    shifted = gaze_knots((50, 20), SOURCE, lattice=LATTICE)
    with lzu_export.load(done.folder, precision="fp32") as predictor:
        predictor.set_knots(shifted)
        first, second = predictor(frame)["output"]
        np.testing.assert_allclose(first, at(shifted, frame), atol=1e-4)
        moved = zoom_tables(*shifted.values(), SOURCE, (24, 32))
        np.testing.assert_allclose(predictor.tables.cols, moved.cols, atol=1e-5)
        predictor.reset()
        again, same = predictor(frame)["output"]
        np.testing.assert_allclose(again, at(GAZE, frame), atol=1e-4)
        np.testing.assert_array_equal(second, same)  # the window has no knots
