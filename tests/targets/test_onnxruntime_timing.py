"""Times of small models in ONNX Runtime."""

import pytest
from onnx import helper

from lzu_export.support.interleave import Plan
from lzu_export.targets import onnxruntime_timing as module
from samples import graph_model


def test_timing_tells_a_heavy_model_from_a_light_one() -> None:
    negate = helper.make_node("Neg", ["x"], ["y"], name="negate")
    model = graph_model([negate], {"x": (2, 3)}, {"y": (2, 3)})
    size = (400, 400)
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["a"]),
        helper.make_node("MatMul", ["a", "a"], ["y"]),
    ]
    heavy = graph_model(nodes, {"x": size}, {"y": size})
    light, slow = module.time_models([m.SerializeToString() for m in (model, heavy)], rounds=3)
    assert 0 < light < slow


def test_a_hopelessly_slow_model_is_compared_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those within a factor of three take many, so that the choice between them is certain."""
    seconds = {"fast": 1.0, "close": 2.9, "hopeless": 3.0}
    ran = []

    def rounds(subjects: dict[str, str], plan: Plan) -> dict[str, list[float]]:
        ran.append((list(subjects), plan.queries // plan.block))
        return {name: [seconds[name]] * (plan.queries // plan.block) for name in subjects}

    monkeypatch.setattr(module, "_subjects", lambda models: {name: name for name in models})
    monkeypatch.setattr(module, "_seconds_of", seconds.__getitem__)
    monkeypatch.setattr(module, "_rounds", rounds)
    found = module.compare_models(list(seconds))
    assert ran == [(["fast", "close", "hopeless"], 3), (["fast", "close"], 9)]
    assert found == [[1.0] * 12, [2.9] * 12, [3.0] * 3]
    ran.clear()
    assert module.compare_models(["fast", "hopeless"]) == [[1.0] * 3, [3.0] * 3]
    assert len(ran) == 1
