"""The adaptive operators' three forms agree: torch, ONNX body in ONNX Runtime, kernel on the host.

To 1e-5 in float32. Where knots stand so close that the inverse is steeper than a thousand times
the uniform one's, no float32 input says it that well: there the warp brings all forms' positions
back to one place.
"""

from functools import lru_cache
from itertools import combinations
from typing import Any

import host_calls
import numpy as np
import pytest
from host_calls import spacing
from host_kernels import Array
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from samples import adaptive_model

torch = pytest.importorskip("torch")

from lzu_export.ops import box_knots, invert_warp  # noqa: E402
from lzu_export.ops.invert_warp import EDGE  # noqa: E402
from lzu_export.ops.torch_ops import REGISTERED  # noqa: E402
from lzu_export.targets.onnxruntime import OnnxRuntimeSession  # noqa: E402
from lzu_export.warp.forward import forward_at, forward_points  # noqa: E402
from lzu_export.warp.knots import axis_knots, nonseparable_knots  # noqa: E402

TOLERANCE = 1e-5
STEEP = 1e-3
"""Gaps of knots below this share of uniform ones."""
FRAME = (600, 960)
KINDS = ("random", "hundred", "outside", "no area", "one place", "huge", "far", "not finite")
SEEDS = st.integers(0, 2**31)


def close(forms: dict[str, Array], tolerance: float = TOLERANCE, where: Any = ...) -> None:
    """Every pair of forms agrees."""
    for (one, a), (other, b) in combinations(forms.items(), 2):
        assert a.shape == b.shape
        assert np.isfinite(a).all()
        assert np.isfinite(b).all()
        apart = np.abs(a.astype(np.float64) - b)[where].max(initial=0)
        assert apart <= tolerance, f"{one} and {other} are {apart:.2g} apart"


@lru_cache(maxsize=64)
def _session(op: str, shapes: Any, outputs: Any, said: Any) -> OnnxRuntimeSession:
    inputs = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    attributes = {k: list(v) if isinstance(v, tuple) else v for k, v in said}
    model = adaptive_model(op, inputs, dict(outputs), **attributes)
    return OnnxRuntimeSession(model.SerializeToString(), threads=1)


def by_body(
    op: str, inputs: dict[str, Array], outputs: dict[str, tuple[int, ...]], **said: Any
) -> dict[str, Array]:
    """Outputs of an operator's body; sessions are remembered by shapes and attributes."""
    shapes = tuple((name, value.shape) for name, value in inputs.items())
    frozen = tuple((k, tuple(v) if isinstance(v, (list, tuple)) else v) for k, v in said.items())
    return _session(op, shapes, tuple(outputs.items()), frozen).run(inputs)


def boxes_of(kind: str, seed: int) -> Array:
    """(N, 4) float32 boxes, ordinary and otherwise."""
    rng = np.random.default_rng(seed)
    count = 100 if kind == "hundred" else 8
    corner = rng.uniform(0, 1, (count, 2)) * (FRAME[1], FRAME[0])
    boxes = np.concatenate([corner, corner + rng.exponential(60, (count, 2)) + 4], axis=1)
    if kind == "outside":
        boxes += rng.choice([-1500, 1500], (count, 1))
    elif kind == "no area":
        boxes[:, 2:] = boxes[:, :2]
        boxes[1, 2:] -= 30  # not even that
    elif kind == "one place":
        boxes[:] = boxes[0]
    elif kind == "huge":
        boxes = boxes * 50 - 20000
    elif kind == "far":
        boxes[::2] = [1e30, 0, 3e30, 5]
    elif kind == "not finite":
        boxes[0, 1], boxes[1, 2], boxes[2, 0] = np.nan, np.inf, -np.inf
    return boxes.astype(np.float32)


# --- BoxKnots -------------------------------------------------------------------------------------


def knots_of_boxes(
    boxes: Array,
    valid: Array,
    lattice: tuple[int, int],
    a: float,
    b: float,
    fwhm: float,
    mix: float,
) -> dict[str, Array]:
    """Both axes' knots, one after the other, by form."""
    fixed = [np.random.default_rng(n).uniform(0.1, 1, n) for n in lattice[::-1]]
    fixed = [(each / each.sum()).astype(np.float32) for each in fixed]
    number = [np.array(each, np.float32) for each in (a, b)]
    arrays = [boxes[None], valid[None], *number, *fixed]
    said = {"lattice": list(lattice), "source": list(FRAME), "fwhm": fwhm, "mix": mix}
    said |= {"min_side": 1.0}
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in arrays]
    names = dict(zip(box_knots.CONTRACT.input_names(), arrays, strict=True))
    outputs = {"knots_x": (1, lattice[1]), "knots_y": (1, lattice[0])}
    found = {
        "torch": [each.numpy() for each in REGISTERED["BoxKnots"](*tensors, *said.values())],
        "body": list(by_body("BoxKnots", names, outputs, **said).values()),
        "kernel": host_calls.box_knots(
            boxes[None], valid[None], mixed=mix, fixed=fixed, lattice=lattice, source=FRAME,
            a=a, b=b, fwhm=fwhm,
        ),
    }  # fmt: skip
    return {form: np.concatenate(both, axis=1) for form, both in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    share=st.sampled_from([0.0, 0.5, 1.0]),
    lattice=st.sampled_from([(31, 51), (9, 13), (2, 3)]),
    a=st.sampled_from([0.0, 1.0, 40.0]),
    b=st.sampled_from([0.5, 64.0, 3000.0]),
    shape=st.sampled_from([(10.0, 1.0), (4.0, 1.0), (22.0, 0.5), (10.0, 0.0)]),
)
@example("one place", 1, 1.0, (31, 51), 40.0, 0.5, (4.0, 1.0))
@example("hundred", 2, 1.0, (31, 51), 1.0, 64.0, (10.0, 1.0))
@example("random", 3, 0.0, (31, 51), 1.0, 64.0, (10.0, 1.0))
def test_box_knots(
    kind: str,
    seed: int,
    share: float,
    lattice: tuple[int, int],
    a: float,
    b: float,
    shape: tuple[float, float],
) -> None:
    boxes = boxes_of(kind, seed)
    valid = (np.random.default_rng(seed).uniform(0, 1, len(boxes)) < share).astype(np.float32)
    close(knots_of_boxes(boxes, valid, lattice, a, b, *shape))


# --- SeparableZoom and SeparableUnzoom ------------------------------------------------------------


def line_of_knots(seed: int, count: int, kind: str) -> Array:
    """(count,) knots of an axis: smooth, sharp, or some of them almost touching."""
    rng = np.random.default_rng(seed)
    if kind == "identity":
        return np.linspace(-1, 1, count).astype(np.float32)
    power = {"smooth": 2.0, "sharp": 12.0, "touching": 2.0}[kind]
    knots = axis_knots(rng.uniform(0.05, 1, count) ** power, 4.0).astype(np.float32)
    if kind == "touching" and count > 3:
        at = int(rng.integers(1, count - 2))
        knots[at + 1] = knots[at] + np.float32(rng.choice([0.0, 1e-7, 1e-6, 1e-5]))
    return np.sort(knots)


WARPS = st.sampled_from(["identity", "smooth", "sharp", "touching"])


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    kinds=st.tuples(WARPS, WARPS),
    image=st.sampled_from([(37, 61), (1, 1), (1, 40), (2, 1920)]),
    canvas=st.sampled_from([(20, 31), (1, 9), (1, 1)]),
    lattice=st.sampled_from([(8, 15), (31, 51), (2, 2)]),
)
def test_separable_zoom(
    seed: int,
    kinds: tuple[str, str],
    image: tuple[int, int],
    canvas: tuple[int, int],
    lattice: tuple[int, int],
) -> None:
    pixels = np.random.default_rng(seed).uniform(-1, 1, (1, 2, *image)).astype(np.float32)
    y, x = (line_of_knots(seed + i, lattice[i], kinds[i])[None] for i in (0, 1))
    said: dict[str, Any] = {"canvas": list(canvas), "pad": [2, 1]}
    arrays = {"image": pixels, "knots_x": x, "knots_y": y}
    shape = (1, 2, canvas[0] + 2, canvas[1] + 1)
    tensors = [torch.from_numpy(each) for each in arrays.values()]
    # Two pixels may differ by 2, and stand 2 / (n - 1) apart: positions err by half of float32's
    # last digit.
    steep = max(image) * 2**-24
    with torch.no_grad():  # in training positions are single numbers
        by_torch = REGISTERED["SeparableZoom"](*tensors, *said.values()).numpy()
    close(
        {
            "torch": by_torch,
            "body": by_body("SeparableZoom", arrays, {"zoomed": shape}, **said)["zoomed"],
            "kernel": host_calls.zoom(pixels, x, y, canvas, (2, 1)),
        },
        max(TOLERANCE, 2 * steep),
    )


def steep_cells(knots: Array, labels: Array) -> Array:
    """Whether labels lie in, or beside, pieces of close knots."""
    gaps = np.diff(knots.astype(np.float64))
    close_knots = gaps < STEEP * 2 / (len(knots) - 1)
    near = 1e-6
    inside = (labels[:, None] >= knots[:-1] - near) & (labels[:, None] <= knots[1:] + near)
    # Beyond the end knots the first and the last piece go on.
    inside[:, 0] |= labels <= knots[0]
    inside[:, -1] |= labels >= knots[-1]
    return np.asarray((inside & close_knots).any(axis=1))


def unzoom_forms(
    levels: list[Array], knots_x: Array, knots_y: Array, axes: Any
) -> dict[str, list[Array]]:
    """Every level by every form."""
    (sy, oy), (sx, ox) = (tuple(zip(*(each[i] for each in axes), strict=True)) for i in (0, 1))
    affine = {"scale_y": sy, "offset_y": oy, "scale_x": sx, "offset_x": ox}
    affine = {name: [float(each) for each in values] for name, values in affine.items()}
    named = {f"level_{i}": level for i, level in enumerate(levels)}
    arrays = {**named, "knots_x": knots_x, "knots_y": knots_y}
    outputs = {f"unzoomed_{i}": level.shape for i, level in enumerate(levels)}
    tensors = [torch.from_numpy(each) for each in arrays.values()]
    with torch.no_grad():
        found = REGISTERED["SeparableUnzoom"](tensors[:-2], *tensors[-2:], *affine.values(), 1)
    body = by_body("SeparableUnzoom", arrays, outputs, **affine)
    kernel = host_calls.unzoom(levels, knots_x, knots_y, axes=axes)
    return {
        "torch": [each.numpy() for each in found],
        "body": list(body.values()),
        "kernel": [each for each, _ in kernel],
    }


def level_axis(cells: int, stride: int, pixels: int) -> tuple[float, float]:
    """Scale and offset of a level's axis over so many canvas pixels."""
    return (float(np.float32(2 * stride / (pixels - 1))) if cells > 1 else 0.0), -1.0


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    kinds=st.tuples(WARPS, WARPS),
    lattice=st.sampled_from([(9, 13), (31, 51), (2, 2)]),
    canvas=st.sampled_from([(152, 240), (96, 64)]),
)
@example(1, ("touching", "touching"), (31, 51), (152, 240))
def test_separable_unzoom(
    seed: int, kinds: tuple[str, str], lattice: tuple[int, int], canvas: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    y, x = (line_of_knots(seed + i, lattice[i], kinds[i])[None] for i in (0, 1))
    levels, axes, ramps = [], [], []
    for stride in (8, 32, 256):  # the last has one pixel
        size = [-(-n // stride) for n in canvas]
        levels.append(rng.uniform(-1, 1, (1, 3, *size)).astype(np.float32))
        axes.append(tuple(level_axis(n, stride, m) for n, m in zip(size, canvas, strict=True)))
        columns, rows = np.meshgrid(*(np.arange(n) for n in size[::-1]))
        ramps.append(np.stack([columns, rows, np.ones(size)])[None].astype(np.float32))
    found, placed = unzoom_forms(levels, x, y, axes), unzoom_forms(ramps, x, y, axes)
    for i, ((sy, oy), (sx, ox)) in enumerate(axes):
        height, width = levels[i].shape[2:]
        steep_y, steep_x = (
            steep_cells(knots[0], scale * np.arange(n) + offset) & (scale != 0)
            for knots, scale, offset, n in ((y, sy, oy, height), (x, sx, ox, width))
        )
        plain = ~(steep_y[:, None] | steep_x)
        close({form: every[i][0] for form, every in found.items()}, where=np.s_[:, plain])
        # Ramps give the positions themselves, where nothing of the sample lies outside.
        whole = np.all([every[i][0, 2] > 1 - 1e-6 for every in placed.values()], axis=0)
        for channel, knots, scale, offset in ((0, x, sx, ox), (1, y, sy, oy)):
            if scale == 0:
                continue
            back = {
                form: forward_at(knots[0], every[i][0, channel].astype(np.float64) * scale + offset)
                for form, every in placed.items()
            }
            close(back, where=whole)


# --- InvertWarp -----------------------------------------------------------------------------------


def invert_forms(
    knots: Array, size: tuple[int, int], affine: tuple[float, ...], outside: float = 4.0
) -> dict[str, Array]:
    """The grid (H, W, 2) by form."""
    said = dict(zip(invert_warp.CONTRACT.fields, (list(size), *affine, outside), strict=True))
    arrays = {"knots": knots[None]}
    grid = REGISTERED["InvertWarp"](torch.from_numpy(arrays["knots"]), *said.values())
    return {
        "torch": grid.numpy()[0],
        "body": by_body("InvertWarp", arrays, {"grid": (1, *size, 2)}, **said)["grid"][0],
        "kernel": host_calls.invert(arrays["knots"], size, outside, affine=affine)[0],
    }


def labels_of(size: tuple[int, int], affine: tuple[float, ...]) -> Array:
    """(H, W, 2) places of a level's cells, order x, y."""
    y, x = (
        np.float64(np.float32(scale)) * np.arange(n) + np.float64(np.float32(offset))
        for n, scale, offset in zip(size, affine[::2], affine[1::2], strict=True)
    )
    return np.stack(np.meshgrid(x, y), axis=-1)


def knots_of_warp(seed: int, lattice: tuple[int, int], kind: str) -> Array:
    """(h, w, 2) knots: smooth, sharp, or rows and columns of them almost touching."""
    rng = np.random.default_rng(seed)
    power = {"smooth": 2.0, "sharp": 12.0, "touching": 2.0}[kind]
    saliency = rng.uniform(0.05, 1, lattice) ** power
    knots = nonseparable_knots(saliency / saliency.sum(), 5.0).astype(np.float32)
    if kind == "touching":
        for axis in (0, 1):
            moving = np.moveaxis(knots[..., 1 - axis], axis, 0)  # a view
            if len(moving) > 2:  # an inner line comes close to the one before it
                at = int(rng.integers(1, len(moving) - 1))
                moving[at] = moving[at - 1] + np.float32(1e-5)
    return knots


def folds(knots: Array) -> bool:
    """Whether some tile is not convex."""
    p = knots.astype(np.float64)
    right, down = np.diff(p, axis=1), np.diff(p, axis=0)
    corners = [
        along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]
        for along in (right[:-1], right[1:])
        for across in (down[:, :-1], down[:, 1:])
    ]
    return bool(np.min(corners) <= 0)


def check_inverse(
    knots: Array, size: tuple[int, int], affine: tuple[float, ...]
) -> dict[str, Array]:
    """All forms agree, on where cells lie and on which lie outside."""
    found, labels = invert_forms(knots, size, affine), labels_of(size, affine)
    inside = {form: grid[..., 0] != 4 for form, grid in found.items()}
    for form, where in inside.items():
        np.testing.assert_array_equal(where, inside["torch"], err_msg=form)
    within = inside["torch"]
    at = (found["torch"].astype(np.float64) + 1) / 2 * (knots.shape[1] - 1, knots.shape[0] - 1)
    corner = np.floor(at).astype(int)
    sides = np.minimum(_sides(knots, 0), _sides(knots, 1))
    j, i = (corner[..., k].clip(0, n - 2) for k, n in ((0, knots.shape[1]), (1, knots.shape[0])))
    # Also beside a thin tile: rounding may put a cell into either.
    steep = sides[i, j] < STEEP
    close(found, where=within & ~steep)
    back = {
        form: forward_points(knots.astype(np.float64), grid[within].astype(np.float64))
        for form, grid in found.items()
    }
    close({**back, "place": labels[within]}, where=np.abs(labels[within]).max(axis=-1) <= 1)
    return found


def _sides(knots: Array, axis: int) -> Array:
    """(h - 1, w - 1) shortest side along an axis of a tile and its neighbours, uniform ones 1."""
    gaps = np.diff(knots[..., 1 - axis].astype(np.float64), axis=axis)
    gaps = gaps / (2 / (knots.shape[axis] - 1))
    gaps = np.moveaxis(gaps, 1 - axis, 0)
    gaps = np.moveaxis(np.minimum(gaps[:-1], gaps[1:]), 0, 1 - axis)
    wide = np.pad(gaps, 1, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(wide, (3, 3)).min(axis=(-1, -2))


@settings(max_examples=25, deadline=None)
# A wide tile once took the cells on the border of the thin tile beside it.
@example(seed=2_147_483_646, kind="touching", lattice=(7, 11), size=(15, 22), reach=1.0)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["smooth", "sharp", "touching"]),
    lattice=st.sampled_from([(7, 11), (31, 51), (2, 2), (2, 9)]),
    size=st.sampled_from([(15, 22), (38, 60), (1, 1), (1, 9), (9, 1)]),
    reach=st.sampled_from([1.0, 0.7, 1.3]),
)
def test_invert_warp(
    seed: int, kind: str, lattice: tuple[int, int], size: tuple[int, int], reach: float
) -> None:
    affine = (*spacing(size[0]), *spacing(size[1]))
    knots = knots_of_warp(seed, lattice, kind)
    assume(not folds(knots))  # as no warp of a saliency does; the operator need not undo it
    check_inverse(knots, size, tuple(reach * each for each in affine))


@pytest.mark.parametrize("cropped", [False, True])
@pytest.mark.parametrize("side", range(4))
def test_the_edge_of_a_warp_is_the_same_in_all_forms(side: int, cropped: bool) -> None:
    """Half of EDGE beyond the outermost knots is inside, twice as far is not; tiles are unequal."""
    for seed in range(4):
        knots = knots_of_warp(seed, (7, 11), "smooth")
        if cropped:  # borders that are neither straight nor the frame's
            knots = (knots * 0.8 + 0.03 * np.sin(3 * knots[..., ::-1])).astype(np.float32)
        axis, last = side % 2, side >= 2
        border = (knots[-1 if last else 0, :, 1], knots[:, -1 if last else 0, 0])[axis]
        at = len(border) // 2  # a knot of the border
        along = (knots[-1 if last else 0, at, 0], knots[at, -1 if last else 0, 1])[axis]
        for beyond, inside in ((0.5, True), (0.9, True), (1.1, False), (2.0, False)):
            place = float(border[at]) + (1 if last else -1) * beyond * EDGE
            y, x = (place, float(along)) if axis == 0 else (float(along), place)
            for form, grid in invert_forms(knots, (1, 1), (0.0, y, 0.0, x)).items():
                assert (grid[0, 0, 0] != 4) == inside, (form, seed, beyond)
                if inside:
                    assert grid[0, 0, 1 - axis] == (1 if last else -1)
