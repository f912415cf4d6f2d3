"""The non-separable inverse: torch, body, lowered graph and the float64 mathematics agree."""

import time
from pathlib import Path
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
from lzu_export.ops.invert_warp import CONTRACT, OPERATOR
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.forward import forward_points
from lzu_export.warp.inverse import invert_axis, invert_tiles
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from samples import PublishedWarps, adaptive_model, run_onnx

invert_warp = REGISTERED["InvertWarp"]
ATTRIBUTES = tuple(CONTRACT.fields)

TOLERANCE = 1e-5
OUTSIDE = -4.0
Pair = tuple[int, int]


def attributes(size: Pair, **changes: float) -> dict[str, Any]:
    """Of a level whose first and last cells stand on the borders, unless told otherwise."""
    scale_y, scale_x = (2 / max(n - 1, 1) for n in size)
    said = {"scale_y": scale_y, "offset_y": -1.0, "scale_x": scale_x, "offset_x": -1.0}
    return {"size": size, **said, "outside": OUTSIDE, **changes}


def cells(said: dict[str, Any]) -> np.ndarray:
    """Label positions H x W x 2."""
    y, x = (
        np.float64(np.float32(said[f"scale_{axis}"])) * np.arange(n)
        + np.float64(np.float32(said[f"offset_{axis}"]))
        for axis, n in zip("yx", said["size"], strict=True)
    )
    return np.stack(np.meshgrid(x, y), axis=-1)


def random_knots(seed: int, lattice: Pair = (7, 11), batch: int = 1, fwhm: float = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    saliencies = rng.uniform(0.05, 1, (batch, *lattice)) ** 2
    knots = np.stack([nonseparable_knots(each, fwhm) for each in saliencies])
    return knots.astype(np.float32)


def by_torch(knots: np.ndarray, said: dict[str, Any]) -> np.ndarray:
    return invert_warp(torch.from_numpy(knots), *(said[name] for name in ATTRIBUTES)).numpy()


def model_of(knots: np.ndarray, said: dict[str, Any]) -> onnx.ModelProto:
    outputs = {"grid": (len(knots), *said["size"], 2)}
    return adaptive_model("InvertWarp", {"knots": knots}, outputs, **said)


def by_onnx(knots: np.ndarray, said: dict[str, Any], *, lowered: bool) -> np.ndarray:
    model = model_of(knots, said)
    if lowered:
        model, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    return run_onnx(model, knots=knots)["grid"]


def by_definition(knots: np.ndarray, said: dict[str, Any]) -> np.ndarray:
    return np.stack([invert_tiles(each, cells(said), outside=OUTSIDE) for each in knots])


def check_all(knots: np.ndarray, said: dict[str, Any]) -> np.ndarray:
    """All forms agree but on the very border; returns torch's grid."""
    expected, labels = by_definition(knots, said), cells(said)
    border = np.abs(np.abs(labels) - 1).min(axis=-1) < 1e-5
    found = by_torch(knots, said)
    for got in (found, by_onnx(knots, said, lowered=False), by_onnx(knots, said, lowered=True)):
        assert got.dtype == np.float32
        apart = np.abs(got - expected).max(axis=-1)
        assert apart[:, ~border].max(initial=0) < TOLERANCE
        # Rounding decides whether a cell on the border is inside; where it is, it is right.
        inside = got[..., 0] > -1.5
        for each, ok, plane in zip(got, inside, knots, strict=True):
            missed = np.abs(forward_points(plane, each[ok].astype(np.float64)) - labels[ok])
            assert missed.max(initial=0) < TOLERANCE
    return found


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(15, 22), (40, 64), (2, 3), (1, 9), (9, 1), (1, 1)])
def test_all_forms_agree(size: Pair, batch: int) -> None:
    check_all(random_knots(0, batch=batch), attributes(size))


@pytest.mark.parametrize("lattice", [(2, 2), (2, 9), (9, 3), (31, 51)])
def test_every_lattice(lattice: Pair) -> None:
    check_all(random_knots(1, lattice, fwhm=5), attributes((19, 30)))


def test_cells_beyond_the_knots_are_outside() -> None:
    said = attributes((20, 30), scale_y=2 / 15, scale_x=2 / 23)
    found = check_all(random_knots(2), said)
    assert (found[:, 17:] == OUTSIDE).all()
    assert (found[:, :, 25:] == OUTSIDE).all()
    assert (found[:, 1:15, 1:23] > -1).all()


def test_a_separable_warp_is_inverted_by_axis() -> None:
    knots_x, knots_y = separable_knots(np.random.default_rng(3).uniform(0.1, 1, (7, 11)), 4)
    knots = np.stack(np.meshgrid(knots_x, knots_y), axis=-1)[None].astype(np.float32)
    said = attributes((15, 22))
    x, y = np.linspace(-1, 1, 22), np.linspace(-1, 1, 15)
    expected = np.stack(np.meshgrid(invert_axis(knots_x, x), invert_axis(knots_y, y)), axis=-1)
    for got in (by_torch(knots, said), by_onnx(knots, said, lowered=False)):
        assert np.abs(got[0] - expected).max() < TOLERANCE


def test_knots_that_touch_give_finite_numbers() -> None:
    knots = random_knots(4)
    knots[:, 3] = knots[:, 4]
    knots[:, :, 5] = knots[:, :, 6]
    said = attributes((15, 22))
    for got in (by_torch(knots, said), by_onnx(knots, said, lowered=False)):
        assert np.isfinite(got).all()
        inside = got[0, 1:-1, 1:-1].astype(np.float64)
        assert np.abs(forward_points(knots[0], inside) - cells(said)[1:-1, 1:-1]).max() < 1e-4


@on_random_examples(
    20, lattice=sizes(2, 12), size=sizes(1, 25), fwhm=st.floats(2, 12), reach=st.floats(0.5, 1.4)
)
def test_agreement_on_random_warps(
    seed: int, lattice: Pair, size: Pair, fwhm: float, reach: float
) -> None:
    said = attributes(size)
    for axis in "yx":
        said[f"scale_{axis}"] *= reach
    check_all(random_knots(seed, lattice, fwhm=fwhm), said)


def test_the_published_warps(published_warps: PublishedWarps) -> None:
    arrays, settings = published_warps
    cases = [c for c in settings["warps"] if not c["separable"]]
    assert any(not case["anti_crop"] for case in cases)
    for case in cases:
        saliency = arrays[f"{case['name']}/saliency"]
        knots = nonseparable_knots(saliency, case["fwhm"], anti_crop=case["anti_crop"])
        for size in (*map(tuple, case["levels"][:1]), (13, 21)):
            check_all(knots[None].astype(np.float32), attributes(size))


@pytest.mark.slow
def test_full_scale_is_fast_and_small() -> None:
    """P3 of a 1200 x 1920 canvas, far below the 1 GB that trying all pairs would take."""
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    knots, said = random_knots(5, (31, 51), fwhm=10), attributes((152, 240))
    session = OnnxRuntimeSession(model_of(knots, said).SerializeToString())
    session.run({"knots": knots})
    times = []
    for _ in range(5):
        start = time.perf_counter()
        session.run({"knots": knots})
        times.append(time.perf_counter() - start)
    print(f"\n{1e3 * min(times):.1f} ms")
    assert min(times) < 1.0


def test_the_body_fits_its_schema_and_checks_shapes() -> None:
    knots, said = random_knots(6), attributes((9, 14))
    model = model_of(knots, said)
    check_model(model, OPERATOR.schema())
    with pytest.raises(LzuError, match=r"InvertWarp got knots of shape \(1, 7, 11\)"):
        model_of(knots[..., 0], said)
    with pytest.raises(LzuError, match=r"InvertWarp got knots of shape \(1, 7, 11, 1\)"):
        model_of(knots[..., :1], said)


def test_it_traces_and_tensorrt_rtx_builds_it(tmp_path: Path) -> None:
    from lzu_export.models.trace import trace

    knots, said = random_knots(7, batch=2), attributes((9, 14))

    class Inverse(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            grid: torch.Tensor = invert_warp(x, *(said[name] for name in ATTRIBUTES))
            return grid

    model = trace(Inverse(), torch.from_numpy(knots), "knots", ["grid"])
    got = run_onnx(model, knots=knots)["grid"]
    assert np.abs(got - by_torch(knots, said)).max() < TOLERANCE
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    path = tmp_path / "inverse.onnx"
    onnx.save(model, path)
    built = build(path, tmp_path / "inverse.engine", compute_capabilities=["8.6"])
    assert built.outputs[0].shape == (2, 9, 14, 2)


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        said = attributes((9, 14))
        grid = invert_warp(torch.empty(2, 7, 11, 2), *(said[name] for name in ATTRIBUTES))
        assert tuple(grid.shape) == (2, 9, 14, 2)
