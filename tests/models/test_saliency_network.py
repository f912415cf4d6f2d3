"""The network that says of each frame where to look, and the warp that it makes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn
from torch.nn import functional

from lzu_export.graph.half import stay_high
from lzu_export.graph.quantize import place
from lzu_export.graph.regions import find_regions, layer_name
from lzu_export.models.grid_warp import SaliencyKnots
from lzu_export.models.random_weights import randomise
from lzu_export.models.saliency_network import FrameWarp, SaliencyNetwork, SeparableKnots
from lzu_export.models.trace import trace
from lzu_export.recipes.networks import SaliencyNetworkConfig
from lzu_export.tasks.pytorch import assemble, model_inputs, noise_frame
from lzu_export.tasks.warps import Warp, make_warp
from lzu_export.warp.grids import unzoom_grid, zoom_grid
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import uniform_saliency
from lzu_export.warp.tables import unzoom_tables, zoom_tables
from samples import TINY_NETWORK, relative, tiny_recipe

LATTICE, PICTURE, SIZE, FWHM = (7, 11), (60, 90), (48, 40), 4.0
MEAN, STD = (90.0, 100.0, 110.0), (20.0, 30.0, 40.0)


def network(**changes: Any) -> SaliencyNetwork:
    config = SaliencyNetworkConfig.model_validate({**TINY_NETWORK, "input": SIZE, **changes})
    cut = (slice(4, 64), slice(2, 92))
    made = SaliencyNetwork(config, LATTICE, PICTURE, MEAN, STD, "rgb", cut=cut)
    randomise(made, 1)
    return made.eval()


@pytest.mark.parametrize("downsampling", ["bilinear", "average"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stages", [1, 3, 4])
def test_it_is_what_pytorch_says_step_by_step(
    downsampling: str, align_corners: bool, stages: int
) -> None:
    """The steps are: normalise, downsample, ResNet, one channel, resize, softmax over all cells."""
    made = network(downsampling=downsampling, align_corners=align_corners, stages=stages)
    frames = np.stack([noise_frame((70, 100), seed=i) for i in range(2)])
    picture = torch.from_numpy(frames[:, 4:64, 2:92, ::-1].copy()).double().permute(0, 3, 1, 2)
    normalised = (picture - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    resize: dict[str, Any] = {"mode": "bilinear", "align_corners": align_corners}
    if downsampling == "average":
        small = functional.adaptive_avg_pool2d(normalised, SIZE)
    else:
        small = functional.interpolate(normalised, SIZE, **resize)
    with torch.no_grad():
        assert relative(made.to_input(torch.from_numpy(frames)).numpy(), small.numpy()) < 1e-5
        (features,) = made.backbone(small.float())
        logits = functional.interpolate(made.head(features), LATTICE, **resize)
        expected = functional.softmax(logits.flatten(1), dim=1).reshape(2, *LATTICE)
        got = made(torch.from_numpy(frames))
    assert features.shape[1] == 8 << (stages - 1)
    np.testing.assert_allclose(got, expected, rtol=1e-3)
    assert np.ptp(got.numpy()) > 1e-3
    assert not [name for name in made.state_dict() if f"layer{stages + 1}" in name]


saliencies = arrays.arrays(
    np.float32, st.just((2, *LATTICE)), elements=st.floats(np.float32(1e-3), 1, width=32)
)


@given(saliencies)
def test_knots_are_those_of_the_mathematics(saliency: np.ndarray) -> None:
    saliency = saliency / saliency.sum(axis=(1, 2), keepdims=True)
    knots = SeparableKnots(LATTICE, FWHM)(torch.from_numpy(saliency))
    for i in range(2):
        for got, expected in zip(knots, separable_knots(saliency[i], FWHM), strict=True):
            assert np.abs(got[i].numpy() - expected).max() < 1e-6
            assert (got[i, 0], got[i, -1]) == (-1, 1)


@pytest.mark.parametrize("separable", [True, False])
def test_a_saliency_on_one_cell_has_finite_knots(separable: bool) -> None:
    """Softmax underflows to zero in every other cell."""
    logits = torch.zeros(1, 31, 51)
    logits[0, 3, 2] = 500.0
    saliency = torch.softmax(logits.flatten(1), dim=1).reshape(1, 31, 51)
    assert (saliency == 0).sum() == 31 * 51 - 1
    knots = (SeparableKnots if separable else SaliencyKnots)((31, 51), 10.0)
    warp = FrameWarp(nn.Identity(), knots, uniform_saliency((31, 51)), 1.0)
    for made in warp(saliency)[1:]:
        assert torch.isfinite(made).all()
        axes = [made] if separable else [made[..., 0], made[..., 1].transpose(1, 2)]
        for along in axes:
            assert (along.diff() >= -1e-6).all()
            assert (along[..., 0] == -1).all()
            assert (along[..., -1] == 1).all()


def test_a_fixed_saliency_is_mixed_in() -> None:
    """The two shares sum to one; with no share of the network all frames are zoomed alike."""
    fixed = np.arange(1.0, 78.0).reshape(LATTICE)
    frames = torch.from_numpy(np.stack([noise_frame((70, 100), seed=i) for i in range(2)]))
    seen, made = network(), SeparableKnots(LATTICE, FWHM)
    with torch.no_grad():
        whole, half, none = (
            FrameWarp(seen, made, fixed, mix)(frames)[0].numpy() for mix in (1.0, 0.5, 0.0)
        )
    np.testing.assert_allclose(none, np.broadcast_to(fixed / fixed.sum(), none.shape), rtol=1e-5)
    np.testing.assert_allclose(half, (whole + none) / 2, rtol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def inputs_of(recipe: Any) -> list[torch.Tensor]:
    """Two pictures of noise and, where it takes any, their cameras."""
    values = []
    for spec in model_inputs(recipe, from_source=True):
        many = range(recipe.batch)
        frames = spec.dtype == "uint8"
        images = [noise_frame(recipe.source, seed=i) if frames else np.eye(4) for i in many]
        values.append(torch.from_numpy(np.stack(images).astype(spec.dtype)))
    return values


def fixed_warp(recipe: Any, knots: list[np.ndarray]) -> Warp:
    """The fixed warp of these knots, separable or not."""
    canvas, scale = recipe.canvas, recipe.unzoom_scale
    even = uniform_saliency(recipe.warp.lattice)
    if len(knots) == 1:
        grids = [[unzoom_grid(knots[0], each, canvas, scale=scale)] for each in recipe.levels]
        return Warp(even, {"knots": knots[0]}, zoom_grid(knots[0], recipe.source, canvas), grids)
    rest: Any = {"geometry": "consistent", "unfilled": (), "scale": scale}
    tables: Any = [unzoom_tables(*knots, level, canvas, **rest) for level in recipe.levels]
    zoom = zoom_tables(knots[0], knots[1], recipe.source, canvas)
    return Warp(even, {"knots_x": knots[0], "knots_y": knots[1]}, zoom, tables)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_every_frame_is_zoomed_by_the_fixed_warp_of_its_knots(
    task: str, separable: bool, tmp_path: Path
) -> None:
    settings = {"network": TINY_NETWORK, "separable": separable}
    recipe = tiny_recipe(tmp_path, task, variant="adaptive", warp=settings, batch=2)
    model = assemble(recipe, make_warp(recipe), from_source=True)
    names = ("knots_x", "knots_y") if separable else ("knots",)
    first = ("saliency", *names, "zoomed")
    assert model.output_names[: len(first)] == first
    assert model.engine_outputs == (*model.outputs, *names)
    inputs = inputs_of(recipe)
    with torch.no_grad():
        values = dict(zip(model.output_names, model(*inputs), strict=True))
    assert (values[names[0]][0] - values[names[0]][1]).abs().max() > 0.01
    alone = tiny_recipe(tmp_path, task, warp={"separable": separable})
    for i in range(2):
        knots = [values[name][i].numpy() for name in names]
        fixed = assemble(alone, fixed_warp(alone, knots), from_source=True)
        with torch.no_grad():
            wanted = fixed(*(each[i : i + 1] for each in inputs))
        for name, value in zip(fixed.output_names, wanted, strict=True):
            if name.startswith(("zoomed", "level", "unzoomed", "cls", "bbox", "logits")):
                assert relative(values[name][i : i + 1].numpy(), value.numpy()) < 1e-4, name


@pytest.mark.parametrize("separable", [pytest.param(True, marks=pytest.mark.slow), False])
def test_what_makes_the_warp_stays_high(separable: bool, tmp_path: Path) -> None:
    """The last convolution and what follows stay float32; the rest of the network does not."""
    settings = {"network": TINY_NETWORK, "separable": separable}
    recipe = tiny_recipe(tmp_path, variant="adaptive", warp=settings)
    model = assemble(recipe, make_warp(recipe), from_source=True)
    inputs = inputs_of(recipe)
    graph = gs.import_onnx(trace(model, inputs, ["frame"], model.output_names)).toposort()
    parts = find_regions(graph)
    nodes = {node.name: node for node in graph.nodes}
    assert {nodes[name].op for name in parts.warps} >= {"Conv", "Softmax", "ReduceSum", "Div"}
    operators = {node.op: node.name for node in graph.nodes}
    places = {node.outputs[0].name: node.name for node in graph.nodes}
    assert operators["SeparableResample"] in parts.preparation
    assert places["zoomed"] in parts.preparation
    assert places["unzoomed_0"] not in parts.preparation | parts.decode | parts.warps
    if not separable:
        assert operators["InvertWarp"] in parts.warps
    assert operators["TopK"] in parts.decode
    kept = stay_high(graph)
    assert parts.warps <= set(kept)
    convolutions = {layer_name(node): node.name for node in graph.nodes if node.op == "Conv"}
    low = {name for name, node in convolutions.items() if node not in kept}
    assert "warp.network.backbone.layer3.1.conv2" in low
    assert "warp.network.head" not in low
    assert kept[convolutions["warp.network.head"]] == "it computes where a warp samples"
    softmax = operators["Softmax"]
    assert kept[softmax] == "it computes where a warp samples"
    placed = place(graph)
    assert placed.kept["warp.network.head"] == "it computes where a warp samples"
    assert "bbox_head.retina_cls" in placed.kept
