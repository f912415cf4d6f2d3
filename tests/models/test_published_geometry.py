"""The geometry of published checkpoints, on the graph that is exported and lowered."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from torch import nn

from lzu_export.graph.derivation import target_passes
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.resample import KINDS, Kind, resample_nodes
from lzu_export.graph.passes import run_passes
from lzu_export.models.trace import trace
from lzu_export.models.zoom import Unzoom
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import load_recipe
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.tasks.assemble import to_canvas
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.geometry import Edge, Level, level_sizes
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency_file import load_saliency
from lzu_export.warp.tables import unzoom_tables
from samples import dialect, relative, run_onnx
from warp_oracles import forward_grid, published_inverse_grid

STRIDES = (8, 16, 32, 64, 128)
LATTICE = (27, 48)
CHANNELS = 4  # not 3: the graph's passes take a warp of three channels for that of the image
TARGETS = ("onnxruntime", "tensorrt-rtx")
SCALES = ("0.25", "0.5", "0.75", "1.0")

EXACT = 1e-6
"""The matrices' weights are computed in float64 and rounded once."""

ONE_COORDINATE = 2e-5
"""GridSample interpolates at one float32 coordinate, off by up to 6e-6 cells on 200 of them."""

SAME_KNOTS = 1e-4
"""Against the published tables. Their knots and their inverse are computed in float32, where ours
round nothing; that leaves up to 9e-7 between the two, in cells 9e-6 at P3 of 0.25x and 5e-5 at P3
of 1x. White noise, whose neighbours differ by more than its largest value, turns it into 6e-5."""

SMOOTH = 1e-5
"""The same on features that change over several cells."""

WIDE_COORDINATE = 5e-4
"""GridSample again, of white noise on 1600 columns: 5e-5 columns."""

SAME_FORWARD = 1e-3
"""As `SAME_KNOTS`, for the zoom: up to 3e-4 pixels of 1600 columns and 928 rows."""


class Unzoomed(NamedTuple):
    """What goes into the exported unzoom of all levels, and how it is lowered."""

    levels: list[Level]
    features: list[np.ndarray]
    canonical: onnx.ModelProto

    def lowered(self, target: str, kind: Kind) -> list[np.ndarray]:
        """The unzoomed levels by ONNX Runtime, from the target's graph."""
        model = lowered(self.canonical, target, kind)
        values = run_onnx(model, **named("level", self.features))
        return [values[name] for name in named("unzoomed", self.features)]


class UnzoomAll(nn.Module):
    """Every level by its own unzoom."""

    def __init__(self, unzooms: Sequence[Unzoom]) -> None:
        super().__init__()
        self.unzooms = nn.ModuleList(unzooms)

    def forward(self, *levels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(unzoom(x) for unzoom, x in zip(self.unzooms, levels, strict=True))


def lowered(canonical: onnx.ModelProto, target: str, kind: Kind) -> onnx.ModelProto:
    """The target's graph, all its warps of one kind."""
    names = [node.outputs[0].name for node in resample_nodes(gs.import_onnx(canonical))]
    model, _ = run_passes(canonical, target_passes(dialect(target), dict.fromkeys(names, kind)))
    lint(model, dialect(target))
    return model


def named(prefix: str, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}_{i}": value for i, value in enumerate(values)}


def unzoomed(
    knots: tuple[np.ndarray, np.ndarray],
    canvas: tuple[int, int],
    *,
    strides: Sequence[int] = STRIDES,
    smooth: bool = False,
    unfilled: Sequence[Edge] = ("bottom",),
) -> Unzoomed:
    """Trace the unzoom of random features: white noise, or noise drawn out over eight cells."""
    levels = level_sizes(canvas, strides)
    rng = np.random.default_rng(0)
    features = [noise(rng, level.size, 8 if smooth else 1) for level in levels]
    unzooms = [
        Unzoom(unzoom_tables(*knots, level, canvas, geometry="published", unfilled=unfilled))
        for level in levels
    ]
    canonical = trace(
        UnzoomAll(unzooms),
        [torch.from_numpy(x) for x in features],
        list(named("level", features)),
        list(named("unzoomed", features)),
    )
    return Unzoomed(levels, features, canonical)


def noise(rng: np.random.Generator, size: tuple[int, int], reach: int) -> np.ndarray:
    """1 x CHANNELS x size of standard normal numbers, one every `reach` cells."""
    coarse = [-(-(n - 1) // reach) + 1 for n in size]
    values = torch.from_numpy(rng.standard_normal((1, CHANNELS, *coarse)).astype(np.float32))
    if reach == 1:
        return values.numpy()
    full = [(n - 1) * reach + 1 for n in coarse]
    large = nn.functional.interpolate(values, size=full, mode="bilinear", align_corners=True)
    return large[..., : size[0], : size[1]].contiguous().numpy()


def sampled(x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """PyTorch's sampling of `x` at an (H, W, 2) grid, in float64."""
    return torch.nn.functional.grid_sample(
        torch.from_numpy(x.astype(np.float64)),
        torch.from_numpy(grid.astype(np.float64))[None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    ).numpy()


def by_hand(x: np.ndarray, place: Sequence[float]) -> np.ndarray:
    """Bilinear value (CHANNELS,) at one normalised (x, y), zeros outside, from its definition."""
    height, width = x.shape[2:]
    column, row = (
        (float(p) + 1) / 2 * (n - 1) for p, n in zip(place, (width, height), strict=True)
    )
    total = np.zeros(x.shape[1])
    for i, j in np.ndindex(height, width):
        total += max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * x[0, :, i, j]
    return total


def limit(kind: Kind) -> float:
    return ONE_COORDINATE if kind == "gridsample" else EXACT


class Published:
    """What the published code computed for the released saliency, by scale and level."""

    def __init__(self, golden: Path) -> None:
        with np.load(golden / "published_nuscenes.npz") as archive:
            self.arrays = dict(archive)
        self.meta: dict[str, Any] = json.loads(str(self.arrays.pop("meta")))
        saliency = load_saliency(golden / "nuscenes_saliency_27x48.npy", LATTICE)
        self.knots = separable_knots(saliency, 10)
        self.unzoomed = cache(lambda scale: unzoomed(self.knots, self.canvas(scale)))

    def canvas(self, scale: str) -> tuple[int, int]:
        height, width = self.meta[scale]["canvas"]
        return height, width

    def grid(self, scale: str, level: Level) -> np.ndarray:
        """(H_l, W_l, 2) float32, put together from a row, a column and the lost last row."""
        parts = ("inverse_x", "inverse_y", "last_row")
        size = "x".join(map(str, level.size))
        x, y, last = (self.arrays[f"{scale}/{part}_{size}"] for part in parts)
        grid = np.stack(np.meshgrid(x, y), axis=-1)
        grid[-1] = last
        return grid


@pytest.fixture(scope="module")
def published(golden: Path) -> Published:
    return Published(golden)


@pytest.mark.parametrize("scale", SCALES)
def test_the_exported_unzoom_samples_where_the_published_code_does(
    scale: str, published: Published
) -> None:
    case = published.unzoomed(scale)
    assert [list(level.size) for level in case.levels] == published.meta[scale]["levels"]
    grids = [published.grid(scale, level) for level in case.levels]
    own = [
        published_inverse_grid(*published.knots, level, unfilled=("bottom",))
        for level in case.levels
    ]
    for target in TARGETS:
        for kind in KINDS:
            values = case.lowered(target, kind)
            for value, x, theirs, ours in zip(values, case.features, grids, own, strict=True):
                assert relative(value, sampled(x, ours)) < limit(kind), (target, kind)
                expected = sampled(x, theirs)
                assert relative(value, expected) < SAME_KNOTS, (target, kind)
                # No more than what the distance of the two grids explains.
                error = np.abs(value - expected).max()
                assert error < limit(kind) * np.abs(x).max() + explained(x, ours, theirs)


def explained(x: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """How much sampling at another grid can change: the shift in cells times the steepest slope."""
    shift = np.abs(ours - theirs) * (np.array(x.shape[:1:-1]) - 1) / 2
    bordered = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    steepest = [np.abs(np.diff(bordered, axis=axis)).max() for axis in (3, 2)]
    return float(shift.max(axis=(0, 1)) @ steepest)


@pytest.mark.parametrize("scale", SCALES)
def test_on_features_that_change_over_several_cells(scale: str, published: Published) -> None:
    case = unzoomed(published.knots, published.canvas(scale), smooth=True)
    for kind in KINDS:
        values = case.lowered("onnxruntime", kind)
        for value, x, level in zip(values, case.features, case.levels, strict=True):
            assert relative(value, sampled(x, published.grid(scale, level))) < SMOOTH, kind


COPIES_UP_TO = 13
"""Of these knots: the longest side of a level whose lost row copies an interior feature."""

# Such levels, finest first.
COPYING = {"0.25": (2, 3, 4), "0.5": (3, 4), "0.75": (4,), "1.0": (4,)}


@pytest.mark.parametrize("scale", SCALES)
def test_the_lost_row_is_zeros_or_a_copied_feature(scale: str, published: Published) -> None:
    case = published.unzoomed(scale)
    for kind in KINDS:
        values = case.lowered("tensorrt-rtx", kind)
        for i, (value, x) in enumerate(zip(values, case.features, strict=True)):
            bottom = value[0, :, -1]
            assert value[0, :, -2].any()
            if i not in COPYING[scale]:
                assert not bottom.any()
                continue
            place = published.grid(scale, case.levels[i])[-1, 0]
            assert np.abs(place).max() <= 1
            feature = by_hand(x, place)
            assert np.abs(feature).max() > 0.1
            np.testing.assert_allclose(
                bottom, np.repeat(feature[:, None], x.shape[3], 1), atol=1e-6
            )


def inverse(knots: np.ndarray, cells: int) -> np.ndarray:
    """The inverse of one axis at the cells, by interpolating between the knots."""
    even = np.linspace(-1, 1, len(knots))
    return np.interp(np.linspace(-1, 1, cells), knots, even)


@pytest.mark.parametrize("unfilled", [(), ("bottom",), ("bottom", "right")])
def test_any_saliency_without_golden_vectors(unfilled: tuple[Edge, ...]) -> None:
    """Finer levels lose their edges; coarser ones copy a feature into them."""
    knots_x, knots_y = separable_knots(np.random.default_rng(1).uniform(0.05, 1, LATTICE), 6)
    case = unzoomed((knots_x, knots_y), (90, 150), strides=STRIDES[:4], unfilled=unfilled)
    assert [level.size for level in case.levels] == [(12, 20), (6, 10), (3, 5), (2, 3)]
    for kind in KINDS:
        for target in TARGETS:
            values = case.lowered(target, kind)
            for value, x in zip(values, case.features, strict=True):
                size = x.shape[2:]
                grid = np.stack(
                    np.meshgrid(inverse(knots_x, size[1]), inverse(knots_y, size[0])), axis=-1
                )
                lost = 4 * max(size) / (np.array(LATTICE[::-1]) - 1) - 1
                if "bottom" in unfilled:
                    grid[-1] = lost
                if "right" in unfilled:
                    grid[:, -1] = lost
                assert relative(value, sampled(x, grid)) < limit(kind), (target, kind)
                assert ("bottom" in unfilled and max(size) > COPIES_UP_TO) == (
                    not value[0, :, -1].any()
                )


@pytest.mark.parametrize("kind", KINDS)
def test_tensorrt_rtx_builds_the_unzoom(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from lzu_export.targets.tensorrt.rtx import build

    knots = separable_knots(np.random.default_rng(1).uniform(0.05, 1, LATTICE), 6)
    case = unzoomed(knots, (90, 150), strides=STRIDES[:4])
    onnx.save(lowered(case.canonical, "tensorrt-rtx", kind), tmp_path / "unzoom.onnx")
    built = build(tmp_path / "unzoom.onnx", tmp_path / "unzoom.engine")
    copying = sum(max(level.size) <= COPIES_UP_TO for level in case.levels)
    assert built.sampling_layers == (len(case.levels) + copying if kind == "gridsample" else 0)


def white_frame(size: tuple[int, int]) -> np.ndarray:
    """1 x H x W x 3 random bytes."""
    return np.random.default_rng(2).integers(0, 256, (1, *size, 3), dtype=np.uint8)


def smooth_frame(size: tuple[int, int]) -> np.ndarray:
    """1 x H x W x 3 bytes whose neighbours differ by a few per cent of the range at most."""
    large = noise(np.random.default_rng(3), size, 50)[0, :3]
    large = (large - large.min()) / np.ptp(large)
    return np.round(255 * large).astype(np.uint8).transpose(1, 2, 0)[None]


def padded(recipe: Recipe, frame: np.ndarray) -> np.ndarray:
    """1 x 3 x span float64: normalised first, then zeros at the bottom and right."""
    norm = recipe.normalisation
    assert norm.order == "bgr"
    image = (frame[0] - np.array(norm.mean)) / np.array(norm.std)
    height, width = recipe.source
    whole = np.zeros((1, 3, *recipe.span))
    whole[0, :, :height, :width] = image.transpose(2, 0, 1)
    return whole


def zoomed(recipe: Recipe, frame: np.ndarray) -> dict[tuple[str, Kind], np.ndarray]:
    """The canvas (1 x 3 x H x W) by PyTorch and by every target's graph of every kind."""
    module = to_canvas(recipe, make_warp(recipe)).eval()
    with torch.no_grad():
        by_torch = module(torch.from_numpy(frame)).numpy()
    canonical = trace(module, torch.from_numpy(frame), "frame", ["zoomed"])
    values = {
        (target, kind): run_onnx(lowered(canonical, target, kind), frame=frame)["zoomed"]
        for target in TARGETS
        for kind in KINDS
    }
    return {("torch", "matmul"): by_torch, **values}


def nuscenes(golden: Path, scale: str) -> Recipe:
    saliency = str(golden / "nuscenes_saliency_27x48.npy")
    return load_recipe("nuscenes", {"scale": float(scale), "warp.saliency": saliency})


@pytest.mark.parametrize("scale", SCALES)
def test_the_zoom_of_the_recipe_spans_the_frame_and_its_padding(
    scale: str, golden: Path, published: Published
) -> None:
    recipe = nuscenes(golden, scale)
    assert (recipe.source, recipe.span) == ((900, 1600), (928, 1600))
    assert recipe.canvas == published.canvas(scale)
    assert list(recipe.network_input) == published.meta[scale]["padded"]
    assert [list(level.size) for level in recipe.levels] == published.meta[scale]["levels"]
    theirs = published.arrays[f"{scale}/forward"]
    ours = forward_grid(*published.knots, recipe.canvas)[::15, ::15]
    frame = white_frame(recipe.source)
    source = padded(recipe, frame)
    for (target, kind), value in zoomed(recipe, frame).items():
        assert value.shape[2:] == recipe.canvas
        part = value[:, :, ::15, ::15]
        tight = WIDE_COORDINATE if kind == "gridsample" else EXACT
        assert relative(part, sampled(source, ours)) < tight, (target, kind)
        expected = sampled(source, theirs)
        assert relative(part, expected) < SAME_FORWARD, (target, kind)
        error = np.abs(part - expected).max()
        assert error < tight * np.abs(source).max() + explained(source, ours, theirs)
        # Below the frame there are zeros, not the colour black.
        assert not value[:, :, -1].any()
        assert value[:, :, : recipe.canvas[0] * 3 // 4].any(axis=(1, 3)).all()


@pytest.mark.parametrize("scale", SCALES)
def test_the_recipe_s_unzoom_is_the_one_held_against_the_tables(
    scale: str, golden: Path, published: Published
) -> None:
    recipe = nuscenes(golden, scale)
    unzooms = make_warp(recipe).unzoom
    assert unzooms is not None
    for pairs, level in zip(unzooms, recipe.levels, strict=True):
        expected = unzoom_tables(
            *published.knots, level, recipe.canvas, geometry="published", unfilled=("bottom",)
        )
        for pair, other in zip(pairs, expected, strict=True):
            np.testing.assert_array_equal(pair.rows, other.rows)
            np.testing.assert_array_equal(pair.cols, other.cols)


@pytest.mark.parametrize("scale", SCALES)
def test_the_zoom_of_a_smooth_frame(scale: str, golden: Path, published: Published) -> None:
    recipe = nuscenes(golden, scale)
    frame = smooth_frame(recipe.source)
    expected = sampled(padded(recipe, frame), published.arrays[f"{scale}/forward"])
    for (target, kind), value in zoomed(recipe, frame).items():
        assert relative(value[:, :, ::15, ::15], expected) < SMOOTH, (target, kind)


def test_a_padded_source_without_golden_vectors(tmp_path: Path) -> None:
    """A frame of 90 x 150 lies in 96 x 160, with zero rows, zero columns and a zero corner."""
    saliency = np.random.default_rng(4).uniform(0.05, 1, (9, 13))
    np.save(tmp_path / "saliency.npy", saliency)
    recipe = load_recipe(
        "nuscenes",
        {
            "source": [90, 150],
            "scale": 0.5,
            "warp.saliency": str(tmp_path / "saliency.npy"),
            "warp.lattice": [9, 13],
            "warp.fwhm": 4,
            "model.num_outs": 3,
            "normalisation.std": [50, 60, 70],
        },
    )
    assert (recipe.span, recipe.canvas) == ((96, 160), (45, 75))
    rows, columns = (
        np.interp(np.linspace(-1, 1, n), np.linspace(-1, 1, len(knots)), knots)
        for n, knots in zip(recipe.canvas, separable_knots(saliency, 4)[::-1], strict=True)
    )
    frame = white_frame(recipe.source)
    expected = sampled(padded(recipe, frame), np.stack(np.meshgrid(columns, rows), axis=-1))
    for (target, kind), value in zoomed(recipe, frame).items():
        assert relative(value, expected) < limit(kind), (target, kind)
    assert not expected[:, :, -1].any()
    assert not expected[..., -1].any()
    host = ZoomedInput(recipe, make_warp(recipe).zoom)(frame)
    assert relative(host[:, :, : recipe.canvas[0], : recipe.canvas[1]], expected) < EXACT
