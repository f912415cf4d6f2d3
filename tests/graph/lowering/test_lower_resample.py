"""Lowering leaves standard operators only, and the tensors' names."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from two_operators import append_again

from lzu_export.errors import LzuError
from lzu_export.graph.dialect import DEFAULT_BLOCKS
from lzu_export.graph.lowering.resample import (
    KINDS,
    Kind,
    bands,
    lower_node,
    lower_resample,
    possible_lowerings,
    resample_nodes,
)
from lzu_export.graph.passes import fold_constants, run_passes
from samples import random_tables, run_onnx, warp_model, warp_node

SHAPE = (1, 4, 40, 100)


def two_warps() -> onnx.ModelProto:
    """x -> warped -> relu -> `again` (a second warp) -> neg -> z."""
    rows, cols = random_tables(0, SHAPE[2:], SHAPE[2:])
    model = warp_model(SHAPE, rows, cols)
    again = warp_node("positive", "again", SHAPE, name="warp_again")
    append_again(model, again, SHAPE)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_domain_is_left_and_names_stay(kind: Kind) -> None:
    model = two_warps()
    lowered, _ = run_passes(model, [lower_resample({"warped": kind, "again": kind})])
    assert {node.domain for node in lowered.graph.node} <= {"", "ai.onnx"}
    assert not lowered.functions
    assert [opset.domain for opset in lowered.opset_import] == [""]
    made = {name for node in lowered.graph.node for name in node.output}
    assert {"warped", "again", "positive", "z"} <= made
    assert [value.name for value in lowered.graph.output] == ["warped", "z"]
    onnx.checker.check_model(lowered, full_check=True)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    expected, got = run_onnx(model, x=x), run_onnx(lowered, x=x)
    for name in ("warped", "z"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-4)


def test_grid_samples_are_never_spelled_as_from_opset_20() -> None:
    lowered, _ = run_passes(
        two_warps(), [lower_resample({"warped": "gridsample", "again": "gridsample"})]
    )
    nodes = [node for node in lowered.graph.node if node.op_type == "GridSample"]
    assert len(nodes) == 2
    for node in nodes:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert attributes == {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 1}
    assert all(opset.version < 20 for opset in lowered.opset_import)


def test_kinds_can_differ_between_the_warps_of_a_graph() -> None:
    lowered, records = run_passes(
        two_warps(), [lower_resample({"warped": "gridsample", "again": "matmul"})]
    )
    operators = [node.op_type for node in lowered.graph.node]
    assert (operators.count("GridSample"), operators.count("MatMul")) == (1, 2)
    assert records[0].name == "lower-resample"
    assert records[0].why == "warped: gridsample, again: matmul"


def test_a_warp_without_a_choice_is_refused_by_name() -> None:
    with pytest.raises(LzuError, match="no lowering was chosen for the warp at again"):
        run_passes(two_warps(), [lower_resample({"warped": "matmul"})])


def test_tables_that_are_computed_are_refused_by_name() -> None:
    rows, cols = random_tables(0, SHAPE[2:], SHAPE[2:])
    model = warp_model(SHAPE, rows, cols)
    model.graph.node[0].input[1] = "moved"
    model.graph.node.insert(0, helper.make_node("Relu", ["rows"], ["moved"], name="move"))
    with pytest.raises(LzuError, match="resample table moved is computed in the graph"):
        run_passes(model, [lower_resample({"warped": "matmul"})])


def test_an_antialiased_warp_cannot_be_a_grid_sample() -> None:
    rows, cols = random_tables(0, SHAPE[2:], (10, 20), antialias=True)
    graph = gs.import_onnx(warp_model(SHAPE, rows, cols))
    (node,) = resample_nodes(graph)
    assert possible_lowerings(node) == ["matmul", "banded"]
    with pytest.raises(LzuError, match=r"warp at warped is antialiased.* cannot be a GridSample"):
        lower_node(graph, node, "gridsample")


@pytest.mark.parametrize("kind", KINDS)
def test_cells_without_a_sample_are_zeros(kind: Kind) -> None:
    """A warp with unfilled edges can still be lowered to GridSample."""
    rows, cols = random_tables(0, SHAPE[2:], SHAPE[2:])
    rows[3, -1] = cols[3, 0] = 0
    model = warp_model(SHAPE, rows, cols)
    lowered, _ = run_passes(model, [lower_resample({"warped": kind})])
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    got = run_onnx(lowered, x=x)["warped"]
    np.testing.assert_allclose(got, run_onnx(model, x=x)["warped"], atol=1e-4)
    assert not got[:, :, -1].any()
    assert not got[..., 0].any()
    assert got[:, :, :-1, 1:].all()


def test_an_axis_of_one_cell_has_no_outside() -> None:
    rows, cols = random_tables(0, (1, 8), (1, 8))
    for lost, lowerings in ((False, list(KINDS)), (True, ["matmul", "banded"])):
        rows[3] = not lost
        (node,) = resample_nodes(gs.import_onnx(warp_model((1, 4, 1, 8), rows, cols)))
        assert possible_lowerings(node) == lowerings


def test_banded_needs_fewer_multiplications_than_dense() -> None:
    rows, cols = random_tables(0, (400, 600), (200, 300))
    model = warp_model((1, 3, 400, 600), rows, cols)

    def weights(kind: Kind) -> int:
        lowered, _ = run_passes(model, [lower_resample({"warped": kind}), fold_constants()])
        tensors = {each.name: each for each in lowered.graph.initializer}
        return sum(
            numpy_helper.to_array(tensors[name]).size
            for node in lowered.graph.node
            if node.op_type == "MatMul"
            for name in node.input
            if name in tensors
        )

    assert weights("matmul") == 200 * 400 + 300 * 600
    assert weights("banded") < 0.5 * weights("matmul")


def products(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    """Return the shapes of the constant matrices, in the order of their products."""
    tensors = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMul"]
    return [tensors[name] for node in nodes for name in node.input if name in tensors]


def test_a_target_says_how_many_rows_and_columns_a_block_has() -> None:
    rows, cols = random_tables(0, (50, 90), (50, 90))
    model = warp_model((1, 2, 50, 90), rows, cols)
    passes = [lower_resample({"warped": "banded"}, (20, 40)), fold_constants()]
    lowered, _ = run_passes(model, passes)
    found = products(lowered)
    # Of equal cost, the columns come first; blocks are 40, 40 and 10 columns, then 20, 20, 10 rows.
    assert [shape[1] for shape in found[:3]] == [40, 40, 10]
    assert [shape[0] for shape in found[3:]] == [20, 20, 10]
    x = np.random.default_rng(1).standard_normal((1, 2, 50, 90)).astype(np.float32)
    got, expected = run_onnx(lowered, x=x)["warped"], run_onnx(model, x=x)["warped"]
    np.testing.assert_allclose(got, expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_out=st.integers(1, 3 * DEFAULT_BLOCKS[0]),
    block=st.sampled_from([1, 7, DEFAULT_BLOCKS[0]]),
)
def test_bands_put_together_are_the_matrix(seed: int, n_out: int, block: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.random((n_out, 20)) * (generator.random((n_out, 20)) < 0.1)
    again = np.zeros_like(matrix)
    first = 0
    for start, stop, part in bands(matrix, block):
        assert part.shape[1] == stop - start > 0
        again[first : first + len(part), start:stop] = part
        first += len(part)
    np.testing.assert_array_equal(again, matrix)


def test_a_graph_without_warps_is_left_alone() -> None:
    rows, cols = random_tables(0, SHAPE[2:], SHAPE[2:])
    model = warp_model(SHAPE, rows, cols)
    lowered, _ = run_passes(model, [lower_resample({"warped": "matmul"})])
    again, records = run_passes(lowered, [lower_resample({})])
    assert [node.op_type for node in again.graph.node] == [
        node.op_type for node in lowered.graph.node
    ]
    assert records[0].why == "no warp in this graph"
