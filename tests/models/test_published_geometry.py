"""The geometry of published checkpoints, on the graph that is exported and lowered."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from torch import nn

from lzu_export.graph.lint import lint
from lzu_export.graph.lower_resample import KINDS, Kind, resample_nodes
from lzu_export.graph.passes import run_passes
from lzu_export.graph.targets import target_passes
from lzu_export.models.trace import trace
from lzu_export.models.zoom import Unzoom
from lzu_export.warp.geometry import Edge, Level, level_sizes, published_inverse_grid
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import load_saliency
from lzu_export.warp.tables import unzoom_tables
from samples import relative, run_onnx

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


class Unzoomed(NamedTuple):
    """What goes into the exported unzoom of all levels, and how it is lowered."""

    levels: list[Level]
    features: list[np.ndarray]
    canonical: onnx.ModelProto

    def lowered(self, target: str, kind: Kind) -> list[np.ndarray]:
        """The unzoomed levels by ONNX Runtime, from the target's graph."""
        names = [node.outputs[0].name for node in resample_nodes(gs.import_onnx(self.canonical))]
        model, _ = run_passes(self.canonical, target_passes(target, dict.fromkeys(names, kind)))
        lint(model, target)
        values = run_onnx(model, **named("level", self.features))
        return [values[name] for name in named("unzoomed", self.features)]


class UnzoomAll(nn.Module):
    """Every level by its own unzoom."""

    def __init__(self, unzooms: Sequence[Unzoom]) -> None:
        super().__init__()
        self.unzooms = nn.ModuleList(unzooms)

    def forward(self, *levels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(unzoom(x) for unzoom, x in zip(self.unzooms, levels, strict=True))


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

    def __init__(self, golden: Any) -> None:
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
def published(golden: Any) -> Published:
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


# Levels, finest first, whose lost row copies an interior feature: max(H_l, W_l) is 13 at most.
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
    """Finer levels lose the edges, coarser ones copy a feature into them."""
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
                assert ("bottom" in unfilled and max(size) > 13) == (not value[0, :, -1].any())
