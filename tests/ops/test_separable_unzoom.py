"""The adaptive unzoom: torch, body, lowered graph and the float64 mathematics agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import strategies as st
from operator_checks import check_model, on_random_examples, sizes

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.adaptive import lower_adaptive
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.separable_unzoom import AFFINE, CONTRACT, OPERATOR, consistent_affine
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.forward import forward_at
from lzu_export.warp.geometry import Level, level_sizes, unzoom_positions
from lzu_export.warp.sampling import axis_weights
from samples import adaptive_model, random_positions, relative, run_onnx

separable_unzoom = REGISTERED["SeparableUnzoom"]

TOLERANCE = 1e-5
CANVAS = (90, 140)
Pair = tuple[int, int]


def features(seed: int, levels: Sequence[Level], batch: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(batch, 2 + i, *level.size) for i, level in enumerate(levels)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def random_knots(seed: int, lattice: Pair = (7, 11), batch: int = 1) -> list[np.ndarray]:
    """Random knots_x and knots_y from -1 to 1."""
    rng = np.random.default_rng(seed)
    return [
        np.stack([random_positions(rng, n, -1, 1) for _ in range(batch)]).astype(np.float32)
        for n in lattice[::-1]
    ]


def by_torch(
    maps: Sequence[np.ndarray], knots: Sequence[np.ndarray], affine: Any, upscale: int = 1
) -> list[np.ndarray]:
    levels, axes = ([torch.from_numpy(each) for each in part] for part in (maps, knots))
    results = separable_unzoom(levels, *axes, *(affine[name] for name in AFFINE), upscale)
    return [each.numpy() for each in results]


def model_of(
    maps: Sequence[np.ndarray], knots: Sequence[np.ndarray], affine: Any, upscale: int = 1
) -> onnx.ModelProto:
    inputs = {f"level_{i}": each for i, each in enumerate(maps)}
    inputs |= dict(zip(("knots_x", "knots_y"), knots, strict=True))
    shapes = [(*x.shape[:2], x.shape[2] * upscale, x.shape[3] * upscale) for x in maps]
    outputs = dict(zip(CONTRACT.output_names(len(maps)), shapes, strict=True))
    return adaptive_model("SeparableUnzoom", inputs, outputs, **affine, upscale=upscale)


def by_onnx(
    maps: Sequence[np.ndarray],
    knots: Sequence[np.ndarray],
    affine: Any,
    upscale: int = 1,
    *,
    lowered: bool,
) -> list[np.ndarray]:
    model = model_of(maps, knots, affine, upscale)
    if lowered:
        model, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    names = [each.name for each in model.graph.input]
    got = run_onnx(model, **dict(zip(names, [*maps, *knots], strict=True)))
    return [got[name] for name in CONTRACT.output_names(len(maps))]


def by_definition(
    maps: Sequence[np.ndarray],
    knots: Sequence[np.ndarray],
    levels: Sequence[Level],
    canvas: Pair,
    upscale: int = 1,
) -> list[np.ndarray]:
    """The `consistent` geometry of `lzu_export.warp`, image by image."""
    results = []
    for x, level in zip(maps, levels, strict=True):
        images = []
        for image, *axes in zip(x, *knots, strict=True):
            rows, columns = unzoom_positions(
                *axes, level, canvas, geometry="consistent", scale=upscale
            )
            a_y, a_x = (
                axis_weights(p, n) for p, n in zip((rows, columns), level.size, strict=True)
            )
            images.append(a_y @ image.astype(np.float64) @ a_x.T)
        results.append(np.stack(images))
    return results


def check_all(
    levels: Sequence[Level],
    knots: Sequence[np.ndarray],
    canvas: Pair,
    upscale: int = 1,
    *,
    seed: int = 0,
    exact: bool = True,
) -> None:
    """All forms agree with each other and, where `exact`, with the float64 mathematics."""
    maps, affine = features(seed, levels, len(knots[0])), consistent_affine(levels, canvas)
    reference = by_torch(maps, knots, affine, upscale)
    forms = {
        "body": by_onnx(maps, knots, affine, upscale, lowered=False),
        "lowered": by_onnx(maps, knots, affine, upscale, lowered=True),
    }
    if exact:
        forms["mathematics"] = by_definition(maps, knots, levels, canvas, upscale)
    for form, results in forms.items():
        for i, (got, wanted) in enumerate(zip(results, reference, strict=True)):
            assert got.shape == wanted.shape
            bound = TOLERANCE * np.abs(maps[i]).max()
            assert np.abs(got - wanted).max() < bound, (form, i)


LEVELS = level_sizes(CANVAS, (8, 16, 32))


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_all_forms_agree(batch: int, upscale: int) -> None:
    check_all(LEVELS, random_knots(1, batch=batch), CANVAS, upscale)


def test_one_level() -> None:
    check_all(LEVELS[:1], random_knots(2), CANVAS)


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("canvas", [(90, 140), (1, 140), (90, 1), (1, 1), (33, 65)])
def test_levels_of_one_cell(canvas: Pair, upscale: int) -> None:
    check_all(level_sizes(canvas, (8, 32, 64, 128)), random_knots(3), canvas, upscale)


@pytest.mark.parametrize("lattice", [(2, 2), (2, 30), (31, 51), (45, 45)])
def test_every_lattice(lattice: Pair) -> None:
    check_all(LEVELS, random_knots(4, lattice, 2), CANVAS)


def test_full_size() -> None:
    levels = level_sizes((600, 960), (8, 16, 32, 64, 128))
    check_all(levels, random_knots(5, (31, 51)), (600, 960))


def touching() -> list[np.ndarray]:
    """Knots of one image with gaps from zero to a thousandth of uniform ones."""
    x = [-1, -1, -1 + 6e-8, -0.5, -0.5 + 1e-6, -0.5 + 1e-4, 0.2, 0.2, 0.2 + 3e-7, 1 - 6e-8, 1]
    y = [-1, -0.9, -0.9 + 3e-4, 0.1, 0.1, 1, 1]
    return [np.array([each], np.float32) for each in (x, y)]


@pytest.mark.parametrize("upscale", [1, 2])
def test_knots_almost_touching(upscale: int) -> None:
    check_all(LEVELS, touching(), CANVAS, upscale, exact=False)


@pytest.mark.parametrize("knots", [touching(), random_knots(6)])
def test_the_forward_of_the_inverse_is_the_identity(knots: list[np.ndarray]) -> None:
    """A level of column or row numbers tells where each cell was sampled."""
    level = level_sizes(CANVAS, (8,))[0]
    affine = consistent_affine([level], CANVAS)
    height, width = level.size
    numbers = np.broadcast_to(np.arange(1, width + 1), (height, width))
    rows = np.broadcast_to(np.arange(1, height + 1)[:, None], (height, width))
    maps = [np.stack([numbers, rows, np.ones((height, width))])[None].astype(np.float32)]
    for (got,) in (by_torch(maps, knots, affine), by_onnx(maps, knots, affine, lowered=False)):
        column, row, inside = got[0].astype(np.float64)
        whole = inside > 0.999
        assert whole.mean() > 0.5
        scale_y, scale_x = affine["scale_y"][0], affine["scale_x"][0]
        for axis, (place, scale) in enumerate(((column, scale_x), (row, scale_y))):
            u = (place[whole] / inside[whole] - 1) * scale - 1
            v = (np.nonzero(whole)[1 - axis]) * scale - 1
            assert np.abs(forward_at(knots[axis][0], u) - v).max() < TOLERANCE


def test_cells_beyond_the_warped_canvas_are_zeros() -> None:
    """The last cells stand beyond the end knots; there the warp continues out of the level."""
    knots = [np.array([[-1, -1 + 1e-6, 0, 1 - 1e-6, 1]], np.float32)] * 2
    levels = level_sizes((97, 97), (8,))
    maps, affine = [np.ones((1, 1, 16, 16), np.float32)], consistent_affine(levels, (97, 97))
    for (got,) in (by_torch(maps, knots, affine), by_onnx(maps, knots, affine, lowered=True)):
        assert not got[..., 13:].any()
        assert not got[..., 13:, :].any()
        assert got[..., 1:12, 1:12].all()


@on_random_examples(
    25,
    batch=st.integers(1, 2),
    canvas=sizes(1, 100),
    lattice=sizes(2, 30),
    strides=st.lists(st.sampled_from([4, 8, 16, 32, 64]), min_size=1, max_size=4),
    upscale=st.integers(1, 3),
)
def test_agreement_on_random_warps(
    seed: int, batch: int, canvas: Pair, lattice: Pair, strides: list[int], upscale: int
) -> None:
    levels = level_sizes(canvas, strides)
    check_all(levels, random_knots(seed, lattice, batch), canvas, upscale, seed=seed)


def test_offsets_other_than_the_consistent_ones() -> None:
    """Cell 0 need not stand at -1: half-pixel centres, say."""
    maps, knots = features(7, LEVELS), random_knots(8)
    affine = consistent_affine(LEVELS, CANVAS)
    for axis in "yx":
        scales = affine[f"scale_{axis}"]
        affine[f"offset_{axis}"] = [-1 + (0.3 + 0.1 * i) * s for i, s in enumerate(scales)]
    expected = by_torch(maps, knots, affine)
    for lowered in (False, True):
        for got, wanted in zip(
            by_onnx(maps, knots, affine, lowered=lowered), expected, strict=True
        ):
            assert relative(got, wanted) < TOLERANCE
    plain = by_torch(maps, knots, consistent_affine(LEVELS, CANVAS))
    assert relative(plain[0], expected[0]) > 1e-2


def test_half_features_keep_float32_positions() -> None:
    maps, knots = features(9, LEVELS), random_knots(10)
    affine = consistent_affine(LEVELS, CANVAS)
    exact = by_torch(maps, knots, affine)
    half = [each.astype(np.float16) for each in maps]
    for results in (
        by_torch(half, knots, affine),
        by_onnx(half, knots, affine, lowered=False),
        by_onnx(half, knots, affine, lowered=True),
    ):
        for got, wanted in zip(results, exact, strict=True):
            assert got.dtype == np.float16
            assert relative(got.astype(np.float64), wanted) < 3e-3


def test_gradients_are_those_of_the_definition() -> None:
    levels = level_sizes((20, 28), (4, 8), pad_to=4)
    maps = features(11, levels, 2)
    knots = [0.93 * each for each in random_knots(12, (4, 5), 2)]  # a cell's centre is a kink
    affine = consistent_affine(levels, (20, 28))
    settings_ = [affine[name] for name in AFFINE]
    tensors = [torch.from_numpy(each).double().requires_grad_() for each in (*maps, *knots)]
    assert torch.autograd.gradcheck(
        lambda *t: tuple(separable_unzoom(list(t[:-2]), *t[-2:], *settings_, 1)),
        tuple(tensors),
        eps=1e-7,
    )


def test_the_body_fits_its_schema() -> None:
    model = model_of(features(13, LEVELS), random_knots(14), consistent_affine(LEVELS, CANVAS))
    check_model(model, OPERATOR.schema(len(LEVELS)))
    assert set(model.functions[0].attribute) == set(OPERATOR.schema().attributes)


def test_attributes_and_shapes_that_do_not_fit_are_refused() -> None:
    maps, knots = features(15, LEVELS), random_knots(16)
    affine = consistent_affine(LEVELS, CANVAS)
    with pytest.raises(LzuError, match="2 of scale_x for 3 levels"):
        model_of(maps, knots, {**affine, "scale_x": affine["scale_x"][:2]})
    with pytest.raises(LzuError, match=r"SeparableUnzoom got knots_y of shape \(2, 7\)"):
        model_of(maps, [knots[0], np.repeat(knots[1], 2, axis=0)], affine)


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    affine = consistent_affine(LEVELS, CANVAS)
    with torch._subclasses.fake_tensor.FakeTensorMode():
        maps = [torch.empty(each.shape) for each in features(17, LEVELS)]
        knots: Any = [torch.empty(each.shape) for each in random_knots(18)]
        results = separable_unzoom(maps, *knots, *(affine[name] for name in AFFINE), 2)
        assert [tuple(each.shape[2:]) for each in results] == [
            (2 * level.size[0], 2 * level.size[1]) for level in LEVELS
        ]
