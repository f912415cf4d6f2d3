"""The resample operator: torch, function body and every lowering give the same numbers."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from hypothesis import strategies as st
from operator_checks import check_body, on_random_examples, sizes

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.resample import KINDS, Kind, lower_resample
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.separable_resample import OPERATOR, function_body
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.geometry import Level, published_sentinel
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.tables import Table, table_matrix, unzoom_tables
from samples import OPSET, random_tables, relative, run_onnx, warp_model
from warp_oracles import published_inverse_grid

separable_resample = REGISTERED["SeparableResample"]

TOLERANCE = 1e-5
Pair = tuple[int, int]


def image(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_torch(x: np.ndarray, rows: Table, cols: Table) -> np.ndarray:
    return separable_resample(*map(torch.from_numpy, (x, rows, cols))).numpy()


def by_definition(x: np.ndarray, rows: Table, cols: Table) -> np.ndarray:
    a_y, a_x = table_matrix(rows, x.shape[2]), table_matrix(cols, x.shape[3])
    return np.einsum("ik,bckl,jl->bcij", a_y, x.astype(np.float64), a_x)


def by_lowering(x: np.ndarray, rows: Table, cols: Table, kind: Kind) -> np.ndarray:
    model = warp_model(x.shape, rows, cols)
    lowered, _ = run_passes(model, [lower_resample({"warped": kind}), fold_constants()])
    return run_onnx(lowered, x=x)["warped"]


CASES = {
    "shrink": ((1, 4, 24, 40), (12, 20), 1.0),
    "enlarge": ((1, 4, 9, 14), (17, 31), 1.0),
    "several bands": ((1, 2, 90, 70), (70, 150), 1.0),
    "outside": ((1, 4, 15, 22), (15, 22), 1.4),
    "one row": ((1, 4, 1, 22), (3, 22), 1.0),
    "one column": ((1, 4, 15, 1), (15, 5), 1.2),
    "one cell": ((1, 4, 1, 1), (1, 1), 1.0),
    "batch 2": ((2, 3, 15, 22), (8, 11), 1.1),
}


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_torch_body_and_lowerings_agree(name: str, antialias: bool) -> None:
    shape, out, reach = CASES[name]
    rows, cols = random_tables(1, shape[2:], out, reach=reach, antialias=antialias)
    x = image(2, shape)
    reference = by_torch(x, rows, cols)
    assert relative(reference, by_definition(x, rows, cols)) < TOLERANCE
    body = run_onnx(warp_model(shape, rows, cols), x=x)["warped"]
    assert relative(body, reference) < TOLERANCE
    bilinear = (rows[2:] == 1).all() and (cols[2:] == 1).all()
    for kind in KINDS:
        if kind == "gridsample" and not bilinear:
            with pytest.raises(
                LzuError, match=r"warp at warped is antialiased.* cannot be a GridSample"
            ):
                by_lowering(x, rows, cols, kind)
        else:
            assert relative(by_lowering(x, rows, cols, kind), reference) < TOLERANCE, kind


def test_the_antialiased_case_is_antialiased() -> None:
    rows, _ = random_tables(1, (24, 40), (12, 20), antialias=True)
    assert (rows[2] > 1).any()


def test_positions_far_outside_are_zeros_everywhere() -> None:
    rows, cols = random_tables(4, (15, 22), (15, 22), reach=3.0)
    x = image(5, (1, 2, 15, 22)) + 10
    outside = (rows[0] + rows[1] <= -1) | (rows[0] + rows[1] >= 15)
    assert outside.any()
    assert not outside.all()
    results = [by_torch(x, rows, cols), run_onnx(warp_model(x.shape, rows, cols), x=x)["warped"]]
    results += [by_lowering(x, rows, cols, kind) for kind in KINDS]
    for result in results:
        assert not result[:, :, outside].any()
        assert result.any()


def test_a_warp_that_reads_nothing_is_zeros_in_every_lowering() -> None:
    rows, cols = random_tables(4, (15, 22), (4, 5))
    rows[0] = -9
    x = image(5, (1, 2, 15, 22))
    assert not by_torch(x, rows, cols).any()
    for kind in KINDS:
        assert not by_lowering(x, rows, cols, kind).any(), kind


@on_random_examples(
    25,
    size=sizes(1, 30),
    out=sizes(1, 30),
    batch=st.integers(1, 2),
    reach=st.floats(0.2, 1.6),
    antialias=st.booleans(),
)
def test_agreement_on_random_warps(
    seed: int, size: Pair, out: Pair, batch: int, reach: float, antialias: bool
) -> None:
    rows, cols = random_tables(seed, size, out, reach=reach, antialias=antialias)
    x = image(seed, (batch, 2, *size))
    reference = by_definition(x, rows, cols)
    if np.abs(reference).max() < 1e-3:
        return  # nothing to be relative to
    assert relative(by_torch(x, rows, cols), reference) < TOLERANCE
    bilinear = (rows[2] == 1).all() and (cols[2] == 1).all()
    body = run_onnx(warp_model(x.shape, rows, cols), x=x)["warped"]
    assert relative(body, reference) < TOLERANCE
    for kind in ("matmul", "banded"):
        assert relative(by_lowering(x, rows, cols, kind), reference) < TOLERANCE, kind
    if bilinear:
        # GridSample rounds a position to float32, which costs a share of the values it reads: where
        # all of them fade out at the border, that is more than the same share of the result.
        difference = np.abs(by_lowering(x, rows, cols, "gridsample") - reference).max()
        assert difference < TOLERANCE * np.abs(x).max()


@pytest.mark.parametrize("unfilled", [(), ("bottom",), ("top", "right"), ("bottom", "left")])
@pytest.mark.parametrize(("size", "inside"), [((4, 7), True), ((8, 13), True), ((15, 25), False)])
def test_unfilled_edges_are_the_published_grid_sample(
    size: tuple[int, int], inside: bool, unfilled: tuple[str, ...]
) -> None:
    lattice = (27, 48)
    saliency = np.random.default_rng(7).uniform(0.2, 2.0, lattice)
    knots_x, knots_y = separable_knots(saliency, 10)
    sentinel = published_sentinel(size, lattice)
    assert (max(map(abs, sentinel)) <= 1) == inside
    level = Level(8, size)
    x = image(8, (2, 3, *size))
    pairs = unzoom_tables(knots_x, knots_y, level, (1, 1), geometry="published", unfilled=unfilled)
    assert (len(pairs) > 1) == (inside and bool(unfilled))
    grid = published_inverse_grid(knots_x, knots_y, level, unfilled=unfilled)
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(x).double(),
        torch.from_numpy(grid)[None].expand(2, -1, -1, -1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    ).numpy()
    assert relative(sum(by_torch(x, *pair) for pair in pairs), sampled) < TOLERANCE
    for kind in ("matmul", "banded"):
        assert relative(sum(by_lowering(x, *pair, kind) for pair in pairs), sampled) < TOLERANCE


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    rows, cols = random_tables(1, (9, 14), (5, 6))
    with torch._subclasses.fake_tensor.FakeTensorMode():
        x = torch.empty(2, 3, 9, 14)
        tables = [torch.empty(4, n.shape[1]) for n in (rows, cols)]
        assert tuple(separable_resample(x, *tables).shape) == (2, 3, 5, 6)


def test_half_features_are_sampled_in_their_own_type() -> None:
    rows, cols = random_tables(1, (9, 14), (5, 6))
    x = torch.from_numpy(image(3, (1, 2, 9, 14)))
    half = separable_resample(x.half(), *map(torch.from_numpy, (rows, cols)))
    assert half.dtype == torch.float16
    assert relative(half.float().numpy(), by_torch(x.numpy(), rows, cols)) < 5e-3


def test_the_function_body_fits_its_schema() -> None:
    body = function_body(OPSET)
    assert (body.domain, body.name) == ("lzu", "SeparableResample")
    check_body(body, OPERATOR.schema())
    rows, cols = random_tables(1, (9, 14), (5, 6))
    onnx.checker.check_model(warp_model((1, 2, 9, 14), rows, cols), full_check=True)


def test_the_body_keeps_fractions_at_wide_images() -> None:
    """A single float32 coordinate would be off by 1e-4 pixel at this width."""
    width, n = 4096, 40
    rows, _ = random_tables(1, (2, 2), (2, 2))
    _, cols = random_tables(2, (2, width), (2, n))
    ramp = np.broadcast_to(np.arange(width) % 2, (1, 1, 2, width)).astype(np.float32)
    exact = by_definition(ramp, rows, cols)
    body = run_onnx(warp_model(ramp.shape, rows, cols), x=ramp)["warped"]
    assert np.abs(body - exact).max() < 1e-6


def test_graphsurgeon_reads_the_canonical_node() -> None:
    rows, cols = random_tables(1, (9, 14), (5, 6))
    graph = gs.import_onnx(warp_model((1, 2, 9, 14), rows, cols))
    (node,) = graph.nodes
    assert (node.op, node.domain, node.attrs["height"]) == ("SeparableResample", "lzu", 9)
