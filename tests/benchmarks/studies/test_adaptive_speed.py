"""What adaptive warps cost: the part of a graph that does not see the image, and its table."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lzu_benchmarks.studies.adaptive_speed import tables_alone, time_tables
from lzu_benchmarks.studies.speed import CASES, _adaptive_table
from lzu_export.compiler.pipeline import export
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from samples import tiny_recipe


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptive one."""
    folder = tmp_path_factory.mktemp("adaptive-speed")
    return export(tiny_recipe(folder, variant="adaptive", warp={"boxes": 9}), folder).folder


def test_tables_are_what_boxes_alone_decide(bundle: Path) -> None:
    model = onnx.load(bundle / "model.fp32.onnxruntime.onnx")
    alone = tables_alone(model)
    onnx.checker.check_model(alone)
    assert {each.name for each in alone.graph.input} == {"prev_boxes", "prev_valid"}
    assert not {"Conv", "Relu6"} & {node.op_type for node in alone.graph.node}
    assert len(alone.graph.node) < len(model.graph.node)
    session = OnnxRuntimeSession(alone.SerializeToString())
    valid = np.zeros((1, 9), np.float32)
    boxes = np.tile(np.array([100, 40, 140, 60], np.float32), (1, 9, 1))
    still = session.run({"prev_boxes": boxes, "prev_valid": valid})
    moved = session.run({"prev_boxes": boxes, "prev_valid": valid + 1})
    # The unzoom's matrices: 2 axes of 3 levels; of the zoom places and weights.
    assert len(still) > 6
    assert sum(not np.allclose(still[name], moved[name], atol=1e-3) for name in still) > 6
    assert 0 < time_tables(bundle, 3) < 1000


def test_the_table_tells_ratio_and_milliseconds() -> None:
    costs = {"tables": 1.5, "inversion": {"Algorithm 1, NumPy": 18.0, "host kernel": 0.4}}
    table = _adaptive_table(costs)
    assert table.caption == "the kernel is 45 times faster"
    assert list(table.columns[1].cells) == ["1.50", "18.00", "0.40"]
    assert "needs make and g++" in str(_adaptive_table({**costs, "inversion": None}).caption)
    assert [name for name, case in CASES.items() if case.adapts] == ["det"]
