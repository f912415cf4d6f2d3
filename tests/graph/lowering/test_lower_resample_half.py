"""Warps of float16 features: type-correct in every lowering, and near float64."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lzu_export.graph.lowering.resample import KINDS, Kind, lower_resample
from lzu_export.graph.passes import run_passes
from lzu_export.warp.tables import table_matrix
from samples import random_tables, run_onnx, warp_model

SHAPE = (1, 4, 70, 90)
BOUND = 2e-3
"""Of the largest value: two products, each with weights, sums and results rounded to 2**-11."""


def half_warp(kind: Kind) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """The lowered model, its tables' matrices."""
    rows, cols = random_tables(1, SHAPE[2:], (140, 66))
    model = warp_model(SHAPE, rows, cols, body=False)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    lowered, _ = run_passes(model, [lower_resample({"warped": kind})])
    return lowered, table_matrix(rows, SHAPE[2]), table_matrix(cols, SHAPE[3])


@pytest.mark.parametrize("kind", KINDS)
def test_half_features_stay_near_float64(kind: Kind) -> None:
    model, a_y, a_x = half_warp(kind)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float16)
    got = run_onnx(model, x=x)["warped"]
    assert got.dtype == np.float16
    wanted = a_y @ x.astype(np.float64) @ a_x.T
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error < BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_tensorrt_rtx_builds_half_features(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    path = tmp_path / "warp.onnx"
    onnx.save(half_warp(kind)[0], path)
    built = build(path, tmp_path / "warp.engine", compute_capabilities=["8.6"])
    assert [each.dtype for each in (*built.inputs, *built.outputs)] == ["float16", "float16"]
