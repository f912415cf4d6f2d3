"""The unzoom and zoom kernels, built for the host, against the float64 mathematics."""

import itertools

import numpy as np
import pytest
from host_calls import unzoom, zoom
from host_kernels import (
    CHW4,
    CHW32,
    F16,
    F32,
    HWC8,
    I8,
    INVALID,
    Array,
    Unzoom,
    address,
    aligned,
    library,
    run,
)

from lzu_export.warp.forward import forward_at, forward_axis
from lzu_export.warp.inverse import MIN_GAP, invert_axis
from lzu_export.warp.knots import axis_knots
from lzu_export.warp.sampling import axis_weights

SOURCE = (600, 960)  # canvas that the levels below belong to
STEPS = {F32: 1e-5, F16: 2e-3, HWC8: 2e-3}


def smooth_knots(rng: np.random.Generator, count: int) -> Array:
    return axis_knots(rng.uniform(0.2, 1.0, count) ** 3, 6.0).astype(np.float32)


def axis_of(cells: int, stride: int, pixels: int) -> tuple[float, float]:
    """Return scale and offset of a level's cells in consistent geometry, as float32 numbers."""
    return (float(np.float32(2 * stride / (pixels - 1))) if cells > 1 else 0.0), -1.0


def axis_matrix(knots: Array, cells: int, scale: float, offset: float, upscale: int = 1) -> Array:
    """Return the (out, in) float64 weights of the unzoom along one axis."""
    if scale == 0:  # not moved by the warp
        return axis_weights(np.linspace(-1, 1, cells * upscale), cells)
    scale, offset = np.float32(scale).astype(float), np.float32(offset).astype(float)
    label = scale * np.arange(cells * upscale) / upscale + offset
    pixel = (invert_axis(knots, label) - offset) / scale
    return axis_weights(2 * pixel / (cells - 1) - 1, cells)


def expected(tensor, knots_x, knots_y, axes, upscale=1):
    (sy, oy), (sx, ox) = axes
    result = []
    for image, x, y in zip(tensor.astype(np.float64), knots_x, knots_y, strict=True):
        rows = axis_matrix(y, tensor.shape[2], sy, oy, upscale)
        columns = axis_matrix(x, tensor.shape[3], sx, ox, upscale)
        result.append(np.einsum("Hh,chw,Ww->cHW", rows, image, columns, optimize=True))
    return np.stack(result)


def pyramid(rng, channels=5, batch=2):
    """Return three levels of a small canvas, one of a single row, and their axes."""
    sizes = [(16, 19, 23), (32, 10, 12), (128, 1, 3), (320, 1, 1)]
    levels = [rng.standard_normal((batch, channels, h, w)).astype(np.float32) for _, h, w in sizes]
    axes = [(axis_of(h, s, 300), axis_of(w, s, 360)) for s, h, w in sizes]
    return levels, axes


@pytest.mark.parametrize("layout", [F32, F16, HWC8])
def test_every_float_format_and_tactic_equals_the_mathematics(layout):
    rng = np.random.default_rng(layout)
    levels, axes = pyramid(rng, channels=11)
    x, y = ([smooth_knots(rng, n) for _ in range(2)] for n in (13, 9))
    if layout != F32:
        levels = [level.astype(np.float16) for level in levels]
    for tactic in range(library().lzu_unzoom_tactics(layout)):
        outputs = unzoom(levels, x, y, axes, layout, tactic)
        for (tensor, padding), level, axis in zip(outputs, levels, axes, strict=True):
            truth = expected(level, x, y, axis)
            np.testing.assert_allclose(tensor, truth, rtol=0, atol=STEPS[layout] * 4)
            assert not padding.any(), "padded lanes are zeros"


def test_float32_agrees_to_1e_5():
    rng = np.random.default_rng(5)
    level = rng.uniform(-1, 1, (1, 3, 75, 120)).astype(np.float32)
    axes = [(axis_of(75, 8, 600), axis_of(120, 8, 960))]
    for _ in range(5):
        x, y = [smooth_knots(rng, 51)], [smooth_knots(rng, 31)]
        ((tensor, _),) = unzoom([level], x, y, axes=axes)
        np.testing.assert_allclose(tensor, expected(level, x, y, axes[0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", [I8, CHW4, CHW32])
@pytest.mark.parametrize("channels", [3, 32, 37])
def test_int8_rounds_once_and_saturates(layout, channels):
    rng = np.random.default_rng(channels)
    level = rng.integers(-128, 128, (2, channels, 18, 32)).astype(np.int8)
    axes = [(axis_of(18, 16, 280), axis_of(32, 16, 500))]
    x, y = ([smooth_knots(rng, n) for _ in range(2)] for n in (13, 9))
    for tactic in range(library().lzu_unzoom_tactics(layout)):
        ((tensor, padding),) = unzoom([level], x, y, axes, layout, tactic)
        truth = expected(level, x, y, axes[0])
        rounded = np.clip(np.rint(truth), -127, 127)
        tie = np.abs(truth - np.floor(truth) - 0.5) < 1e-4
        assert (tensor[~tie] == rounded[~tie]).all()
        assert (np.abs(tensor - rounded) <= 1).all()
        assert not padding.any()


def test_int8_ties_go_to_even():
    level = aligned((1, 4, 1, 2), np.int8)
    level[0, :, 0] = [[0, 1], [1, 2], [-1, 0], [127, 126]]
    knots = [np.array([-1, 1], np.float32)]
    # Upscaled by two, the second cell lies half-way between the first two.
    ((tensor, _),) = unzoom([level], knots, knots, [((2.0, -1.0), (2.0, -1.0))], CHW4, 0, 2)
    assert tensor[0, :, 0, 1].tolist() == [0, 2, 0, 126]


@pytest.mark.parametrize("upscale", [1, 2, 3])
@pytest.mark.parametrize("layout", [F32, HWC8])
def test_upscale(layout, upscale):
    rng = np.random.default_rng(upscale)
    levels, axes = pyramid(rng, channels=4, batch=1)
    x, y = [smooth_knots(rng, 13)], [smooth_knots(rng, 9)]
    outputs = unzoom(levels, x, y, axes, layout, 0, upscale)
    for (tensor, _), level, axis in zip(outputs, levels, axes, strict=True):
        truth = expected(level, x, y, axis, upscale)
        np.testing.assert_allclose(tensor, truth, rtol=0, atol=STEPS[layout] * 4)


@pytest.mark.parametrize("upscale", [1, 2])
def test_an_axis_that_the_warp_does_not_move(upscale):
    level = np.random.default_rng(1).standard_normal((1, 2, 7, 5)).astype(np.float32)
    x, y = [smooth_knots(np.random.default_rng(2), 9)], [np.array([-1, 0.9, 1], np.float32)]
    axes = [((0.0, -1.0), axis_of(5, 16, 80))]
    ((tensor, _),) = unzoom([level], x, y, upscale=upscale, axes=axes)
    truth = expected(level, x, y, axes[0], upscale)
    np.testing.assert_allclose(tensor, truth, rtol=0, atol=1e-5)


def test_one_warp_for_a_batch():
    rng = np.random.default_rng(0)
    levels, axes = pyramid(rng, batch=3)
    x, y = smooth_knots(rng, 13), smooth_knots(rng, 9)
    outputs = unzoom(levels, x, y, axes)
    for (tensor, _), level, axis in zip(outputs, levels, axes, strict=True):
        truth = expected(level, [x] * 3, [y] * 3, axis)
        np.testing.assert_allclose(tensor, truth, rtol=0, atol=2e-5)


DEGENERATE = {
    "equal knots": [-1, -0.5, -0.5, -0.5, 0.5, 1],
    "all equal": [0, 0, 0, 0],
    "almost touching": [-1, -0.2, -0.2 + 3e-7, -0.2 + 6e-7, 1],
    "first gap tiny": [-1, -1 + 1e-7, 0, 1],
    "last gap tiny": [-1, 0, 1 - 1e-7, 1],
    "two knots": [-1, 1],
    "shrunken": [-0.6, -0.1, 0.2, 0.5],
    "beyond the frame": [-1.5, -0.3, 0.4, 1.6],
    "a thousandth of uniform": [-1, -0.5, -0.4995, 0.2, 1],
}


def inverse_positions(knots: Array, cells: int) -> Array:
    """Return the kernel's inverse, in cells, at each cell's label position: an upscaled ramp."""
    ramp = aligned((1, 2, cells, 1), np.float32)
    ramp[0, 0, :, 0] = np.arange(cells)
    ramp[0, 1] = 1
    scale = float(np.float32(2 / (cells - 1)))
    ((tensor, _),) = unzoom(
        [ramp], [np.array([-1, 1], np.float32)], [knots], axes=[((scale, -1.0), (1.0, 0.0))]
    )
    return tensor[0, :, :, 0]


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_knots(name):
    knots = np.array(DEGENERATE[name], np.float32)
    cells = 201
    scale = float(np.float32(2 / (cells - 1)))
    found, inside = inverse_positions(knots, cells)
    assert np.isfinite(found).all()
    label = scale * np.arange(cells) - 1.0
    truth = (invert_axis(knots, label) + 1.0) / scale
    whole = inside > 1 - 1e-6
    kept = (truth >= 0) & (truth <= cells - 1)
    # Cells whose position is a rounding away from the border may fall on either side.
    edge = (np.abs(truth) < 1e-3) | (np.abs(truth - (cells - 1)) < 1e-3)
    assert (whole == kept)[~edge].all()
    both = whole & kept
    # Where a gap is small, the forward of the inverse must be right; its slope there is huge.
    back = forward_at(knots, found[both] * scale - 1.0)
    close = np.abs(found[both] - truth[both]) < 1e-5 * cells
    assert (close | (np.abs(back - label[both]) < 1e-5)).all()


def test_min_gap_is_the_mathematics_constant():
    knots = np.array([-1, 0, 0, 1], np.float32)
    assert MIN_GAP == 1e-6
    # v on the merged knots: half-way through a piece of length MIN_GAP.
    level = aligned((1, 1, 3, 1), np.float32)
    level[0, 0, :, 0] = [0, 1, 2]
    axes = [((1.0, float(np.float32(-1 + 5e-7))), (0.0, 0.0))]
    ((tensor, _),) = unzoom([level], [np.array([-1, 1], np.float32)], [knots], axes=axes)
    truth = expected(level, [np.array([-1, 1])], [knots], axes[0])
    np.testing.assert_allclose(tensor, truth, atol=1e-5)


@pytest.mark.parametrize("bad", [[-1, 0.5, 0, 1], [-1, np.nan, 0, 1], [np.inf, -np.inf, 0, 1]])
def test_bad_knots_give_finite_or_zero_samples(bad):
    rng = np.random.default_rng(1)
    levels, axes = pyramid(rng, batch=1)
    good = smooth_knots(rng, 9)
    for tensor, _ in unzoom(levels, [np.array(bad, np.float32)], [good], axes=axes):
        assert np.isfinite(tensor).all()
        assert np.abs(tensor).max() < 10


FLAT = {
    "zeros": [0, 0, 0, 0, 0, 0],
    "decreasing": [1, 0.5, 0, -0.3, -0.6, -1],
    "not a number": [np.nan] * 6,
}
"""Knots of which the last is not above the first."""


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("layout", [F32, HWC8])
def test_when_tactics_are_timed_knots_that_do_not_increase_are_the_identity(name, layout):
    rng = np.random.default_rng(4)
    levels, axes = pyramid(rng, channels=9)
    levels = [level.astype(np.float16 if layout == HWC8 else np.float32) for level in levels]
    flat = np.array([FLAT[name]] * 2, np.float32)
    for tactic in range(library().lzu_unzoom_tactics(layout)):
        outputs = unzoom(levels, flat, flat, axes, layout, tactic, timing=1)
        for (tensor, _), level in zip(outputs, levels, strict=True):
            np.testing.assert_allclose(tensor, level, rtol=0, atol=STEPS[layout])


def test_timing_leaves_a_warp_as_it_is():
    rng = np.random.default_rng(5)
    levels, axes = pyramid(rng)
    x, y = ([smooth_knots(rng, n) for _ in range(2)] for n in (13, 9))
    run_once = unzoom(levels, x, y, axes)
    timed = unzoom(levels, x, y, axes, timing=1)
    for (tensor, _), (same, _) in zip(run_once, timed, strict=True):
        assert (tensor == same).all()


def test_a_zoom_at_flat_knots_is_the_identity_only_when_it_is_timed():
    image = np.random.default_rng(6).uniform(1, 2, (1, 2, 12, 16)).astype(np.float32)
    flat = np.zeros((1, 5), np.float32)
    timed = zoom(image, flat, flat, (12, 16), (0, 0), timing=1)
    np.testing.assert_allclose(timed, image, rtol=0, atol=1e-5)
    middle = image[0, :, 5:7, 7:9].mean(axis=(1, 2))
    found = zoom(image, flat, flat, (12, 16), (0, 0))
    np.testing.assert_allclose(
        found[0], np.broadcast_to(middle[:, None, None], (2, 12, 16)), atol=1e-5
    )


@pytest.mark.parametrize("channels", [1, 8, 20, 48, 100])
def test_hwc8_with_few_channels(channels):
    rng = np.random.default_rng(channels)
    level = rng.standard_normal((2, channels, 21, 45)).astype(np.float16)
    axes = [(axis_of(21, 16, 330), axis_of(45, 16, 710))]
    x, y = ([smooth_knots(rng, n) for _ in range(2)] for n in (13, 9))
    truth = expected(level, x, y, axes[0])
    for tactic in range(library().lzu_unzoom_tactics(HWC8)):
        ((tensor, padding),) = unzoom([level], x, y, axes, HWC8, tactic)
        np.testing.assert_allclose(tensor, truth, rtol=0, atol=STEPS[HWC8] * 4)
        assert not padding.any()


def test_what_lies_outside_is_not_read():
    level = aligned((1, 1, 4, 4), np.float32, np.nan)
    level[0, 0, 1:3, 1:3] = 1
    # The warp shows the middle of the canvas only: the border cells are sampled nowhere.
    knots = [np.array([-3, 3], np.float32)]
    axes = [((float(np.float32(2 / 3)), -1.0),) * 2]
    ((tensor, _),) = unzoom([level], knots, knots, axes=axes)
    middle = expected(np.nan_to_num(level), knots, knots, axes[0])
    seen = ~np.isnan(tensor)
    assert seen[0, 0, 1:3, 1:3].all()
    np.testing.assert_allclose(tensor[seen], middle[seen], atol=1e-5)


@pytest.mark.parametrize(("layout", "atol"), [(F32, 1e-5), (F16, 2e-3)])
@pytest.mark.parametrize("canvas", [(20, 31), (48, 64), (1, 9)])
def test_zoom(layout, atol, canvas):
    rng = np.random.default_rng(3)
    dtype = np.float32 if layout == F32 else np.float16
    image = rng.uniform(-1, 1, (2, 3, 37, 61)).astype(dtype)
    x, y = ([smooth_knots(rng, n) for _ in range(2)] for n in (15, 8))
    truth = np.zeros((2, 3, canvas[0] + 3, canvas[1] + 1))
    for b in range(2):
        rows = axis_weights(forward_axis(y[b], canvas[0]), 37)
        columns = axis_weights(forward_axis(x[b], canvas[1]), 61)
        truth[b, :, :-3, :-1] = np.einsum("Hh,chw,Ww->cHW", rows, image[b], columns)
    for tactic in range(library().lzu_zoom_tactics(layout)):
        out = zoom(image, x, y, canvas, (3, 1), layout, tactic)
        np.testing.assert_allclose(out, truth, rtol=0, atol=atol)
        assert not out[:, :, canvas[0] :].any()
        assert not out[:, :, :, canvas[1] :].any()


def test_zoom_positions_keep_their_precision_in_wide_images():
    rng = np.random.default_rng(7)
    image = rng.uniform(-1, 1, (1, 1, 2, 1920)).astype(np.float32)
    x, y = smooth_knots(rng, 51), np.array([-1, 1], np.float32)
    out = zoom(image, [x], [y], (2, 960), (0, 0))
    truth = image[0, 0].astype(float) @ axis_weights(forward_axis(x, 960), 1920).T
    np.testing.assert_allclose(out[0, 0], truth, rtol=0, atol=4e-6)


def test_invalid_calls_launch_nothing():
    assert library().lzu_unzoom(None, None) == INVALID
    assert library().lzu_zoom(None, None) == INVALID
    level = aligned((1, 1, 4, 4), np.float32)
    knots = np.array([-1, 1], np.float32)
    good = {"level_count": 1, "batch": 1, "format": F32, "tactic": 0, "knot_count_x": 2}
    for name, value in itertools.product(good, (-1, 99)):
        call = Unzoom(**(good | {name: value}), knot_count_y=2)
        if name in ("knot_count_x", "batch") and value == 99:
            continue  # sound, with that many
        call.levels[0] = (address(level), address(level), 1, 4, 4, 1, 1, -1, 1, -1)
        call.knots_x = call.knots_y = knots.ctypes.data
        assert run("lzu_unzoom", call) == INVALID, (name, value)
