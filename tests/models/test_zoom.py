"""The zoom wrapper on a model whose features are a known linear map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lzu_export.models.zoom import ProbeNames, Resample, SourceToCanvas, Unzoom, ZoomedModel
from lzu_export.warp.geometry import level_sizes
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.tables import TablePair, table_matrix, unzoom_tables, zoom_tables
from samples import relative

SOURCE, CANVAS, STRIDES = (60, 90), (40, 56), (8, 16)
PADDING = (24, 8)
MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0)


class Pooling(nn.Module):
    """Levels are block means; the head adds and doubles."""

    def extract(self, image: torch.Tensor) -> list[torch.Tensor]:
        self.seen = image
        return [nn.functional.avg_pool2d(image, stride) for stride in STRIDES]

    def head(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], ...]:
        return [level + 1 for level in levels], [level * 2 for level in levels]


def knots() -> tuple[np.ndarray, np.ndarray]:
    return separable_knots(np.random.default_rng(0).uniform(0.2, 2, (9, 13)), 4)


def pairs(geometry: str = "consistent", unfilled: Sequence[Any] = ()) -> list[list[TablePair]]:
    return [
        unzoom_tables(*knots(), level, CANVAS, geometry=geometry, unfilled=unfilled)
        for level in level_sizes(CANVAS, STRIDES)
    ]


def wrapped(
    tables: list[list[TablePair]] | None, *, from_source: bool = True, order: str = "rgb"
) -> ZoomedModel:
    to_canvas = None
    if from_source:
        zoom = Resample(*zoom_tables(*knots(), SOURCE, CANVAS))
        to_canvas = SourceToCanvas(zoom, MEAN, STD, order)
    return ZoomedModel(
        Pooling(),
        lambda groups: (groups[0][0].sum(),),
        to_canvas=to_canvas,
        padding=PADDING,
        unzoom=None if tables is None else [Unzoom(each) for each in tables],
        groups=("plus", "twice"),
        outputs=("total",),
        levels=2,
    ).eval()


def frames(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (batch, *SOURCE, 3), dtype=np.uint8)


def run(model: ZoomedModel, x: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        values = model(torch.from_numpy(x))
    return {name: v.numpy() for name, v in zip(model.output_names, values, strict=True)}


def resample(x: np.ndarray, pair: TablePair) -> np.ndarray:
    """A_y F A_x^T in float64."""
    a_y = table_matrix(pair.rows, x.shape[-2])
    a_x = table_matrix(pair.cols, x.shape[-1])
    return a_y @ x.astype(np.float64) @ a_x.T


def blocks(x: np.ndarray, stride: int) -> np.ndarray:
    b, c, h, w = x.shape
    return x.reshape(b, c, h // stride, stride, w // stride, stride).mean(axis=(3, 5))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_every_probe_point_is_its_formula(batch: int, order: str) -> None:
    tables = pairs()
    values = run(wrapped(tables, order=order), frames(batch))
    channels = frames(batch)[..., ::-1] if order == "rgb" else frames(batch)
    normalised = (channels - np.array(MEAN)) / np.array(STD)
    zoomed = resample(normalised.transpose(0, 3, 1, 2), zoom_tables(*knots(), SOURCE, CANVAS))
    assert values["zoomed"].shape == (batch, 3, *CANVAS)
    assert relative(values["zoomed"], zoomed) < 1e-6
    padded = np.pad(zoomed, ((0, 0), (0, 0), (0, PADDING[0]), (0, PADDING[1])))
    for i, stride in enumerate(STRIDES):
        level = blocks(padded, stride)
        assert relative(values[f"level_{i}"], level) < 1e-6
        (pair,) = tables[i]
        unzoomed = resample(level, pair)
        assert relative(values[f"unzoomed_{i}"], unzoomed) < 1e-5
        assert relative(values[f"plus_{i}"], unzoomed + 1) < 1e-5
        assert relative(values[f"twice_{i}"], unzoomed * 2) < 1e-5
    assert values["total"] == pytest.approx(values["plus_0"].sum(), rel=1e-5)


def test_the_padding_is_zeros_after_normalising() -> None:
    model = wrapped(None)
    run(model, frames())
    seen: Any = model.model
    height, width = CANVAS
    assert seen.seen.shape == (1, 3, height + PADDING[0], width + PADDING[1])
    assert not seen.seen[:, :, height:].any()
    assert not seen.seen[:, :, :, width:].any()
    assert seen.seen[:, :, height - 1, : width - 1].all()


def test_uniform_has_no_unzoom_and_the_head_sees_the_levels() -> None:
    values = run(wrapped(None), frames())
    assert not [name for name in values if name.startswith("unzoomed")]
    np.testing.assert_array_equal(values["twice_1"], 2 * values["level_1"])


def test_probe_points_come_in_the_order_of_the_chain() -> None:
    tail = ("plus_0", "plus_1", "twice_0", "twice_1", "total")
    levels, unzoomed = ("level_0", "level_1"), ("unzoomed_0", "unzoomed_1")
    assert wrapped(pairs()).output_names == ("zoomed", *levels, *unzoomed, *tail)
    assert wrapped(None).output_names == ("zoomed", *levels, *tail)
    assert wrapped(pairs(), from_source=False).output_names == (*levels, *unzoomed, *tail)
    assert ProbeNames(1, ("a",), False, False).all == ("level_0", "a_0")


def test_from_the_network_s_input_nothing_is_zoomed_or_padded() -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 64, 64)).astype(np.float32)
    values = run(wrapped(pairs(), from_source=False), x)
    assert relative(values["level_0"], blocks(x, 8)) < 1e-6


def test_unfilled_edges_add_up_from_their_parts() -> None:
    """At these sizes the sentinel lies inside the coarse level, so the edge copies a feature."""
    rows = np.random.default_rng(0).uniform(0.2, 2, (27, 48))
    knots_x, knots_y = separable_knots(rows, 10)
    level = level_sizes((40, 56), (16,))[0]
    tables = unzoom_tables(
        knots_x, knots_y, level, CANVAS, geometry="published", unfilled=("bottom",)
    )
    assert len(tables) == 2
    x = np.random.default_rng(3).standard_normal((1, 5, *level.size)).astype(np.float32)
    got = Unzoom(tables)(torch.from_numpy(x)).numpy()
    assert relative(got, sum(resample(x, pair) for pair in tables)) < 1e-6
    assert np.abs(got[0, :, -1] - got[0, :, -1, :1]).max() < 1e-6
    assert np.abs(got[0, :, -1]).max() > 1e-3


def test_normalising_after_the_zoom_equals_normalising_before() -> None:
    for antialias in (False, True):
        zoom = zoom_tables(*knots(), SOURCE, CANVAS, antialias=antialias)
        after = SourceToCanvas(Resample(*zoom), MEAN, STD, "bgr")(torch.from_numpy(frames()))
        before = (frames() - np.array(MEAN)) / np.array(STD)
        assert relative(after.numpy(), resample(before.transpose(0, 3, 1, 2), zoom)) < 1e-6


def test_tables_are_not_weights() -> None:
    """A checkpoint holds the network; the warp's tables come from the recipe."""
    assert not wrapped(pairs()).state_dict()
