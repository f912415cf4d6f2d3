"""The plugins' contracts: what a call that breaks one is told."""

from typing import Any

import pytest
from onnx import helper

from adaptive_samples import chain
from lzu_export.graph.contracts import (
    CONTRACTS,
    Described,
    broken,
    features,
    takes,
)
from lzu_export.ops.contract import PLUGIN


def described(*shapes: tuple[int, ...], kind: str = "float32") -> list[Described]:
    return [Described(f"tensor_{i}", kind, shape) for i, shape in enumerate(shapes)]


UNZOOM = {"scale_y": [0.1, 0.2], "offset_y": [-1.0] * 2, "scale_x": [0.1] * 2}
UNZOOM = {**UNZOOM, "offset_x": [-1.0] * 2, "upscale": 2}
IN = ((1, 8, 6, 10), (1, 4, 3, 5), (1, 11), (1, 7))
OUT = ((1, 8, 12, 20), (1, 4, 6, 10))


def problems(
    inputs: list[Described] | None = None, outputs: list[Described] | None = None, **changes: Any
) -> str:
    inputs, outputs = inputs or described(*IN), outputs or described(*OUT)
    said = {**UNZOOM, **PLUGIN, **changes}
    said = {name: value for name, value in said.items() if value is not None}
    node = helper.make_node("SeparableUnzoom", ["x"] * len(inputs), ["y"], domain="lzu", **said)
    return "; ".join(broken(node, inputs, outputs))


def test_a_sound_call() -> None:
    assert problems() == ""
    assert problems(described((4, *IN[0][1:]), (4, *IN[1][1:]), *IN[2:]),
                    described((4, *OUT[0][1:]), (4, *OUT[1][1:]))) == ""  # fmt: skip
    halves = [*described(*IN[:2], kind="int8"), *described(*IN[2:])]
    assert problems(halves, described(*OUT, kind="int8")) == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"plugin_version": "2"}, "its plugin_version is not 1, by which the parser would"),
        ({"plugin_namespace": None}, "its plugin_namespace is not lzu"),
        ({"mode": "linear"}, "the plugin has no field mode; leave the attribute out"),
        ({"scale_x": None}, "the field scale_x is missing"),
        ({"scale_x": [1, 2]}, "the field scale_x is not of float32"),
        ({"scale_x": [0.1]}, "the field scale_x has 1 values where 2 are wanted"),
        ({"scale_y": [0.1, -0.5]}, "the field scale_y holds -0.5 where it must be at least 0"),
        ({"upscale": 65}, "the field upscale holds 65 where it must be at most 64"),
        ({"upscale": None}, "tensor_0 is [1, 8, 12, 20] where the plugin has B x C_l x upscale"),
    ],
)
def test_fields_that_break_the_contract(changes: dict[str, Any], expected: str) -> None:
    assert expected in problems(**changes)


def test_tensors_that_break_the_contract() -> None:
    assert problems(described(*IN[:2])) != ""
    assert "tensor_1 is [2, 4, 3, 5] where" in problems(described(IN[0], (2, 4, 3, 5), *IN[2:]))
    assert "tensor_2 is [2, 11] where the plugin has B or 1 x w" in problems(
        described(*IN[:2], (2, 11), IN[3])
    )
    assert "it has 3 inputs and 2 outputs" in problems(described(*IN[1:]))
    half = described(*IN, kind="float16")
    assert "tensor_2 is float16 where the plugin has float32" in problems(half)
    mixed = [*described(IN[0], kind="int8"), *described(*IN[1:])]
    assert "features are float32 and int8 where the plugin has one type" in problems(mixed)
    unknown = [*described(IN[0], kind="uint8"), *described(*IN[1:])]
    assert "tensor_0 is uint8 where the plugin has float32 or float16 or int8" in problems(unknown)
    untold = [Described("x", None, None), *described(*IN[1:])]
    assert "has no type for x; " in problems(untold)
    assert "has no static shape for x" in problems(untold)
    levels = {key: [0.1] * 9 for key in UNZOOM if key != "upscale"}
    nine = described(*[IN[0]] * 9, *IN[2:])
    assert problems(nine, described(*[OUT[0]] * 9), **levels) == (
        "n is 9 where the plugin takes at most 8"
    )


def test_every_call_of_a_traced_graph_names_its_plugin() -> None:
    calls = {node.op_type: node for node in chain().graph.node}
    assert set(calls) == set(CONTRACTS) - {"InvertWarp"}
    for node in calls.values():
        said = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert {key: said[key].decode() for key in PLUGIN} == PLUGIN


def test_features_and_their_types() -> None:
    assert features("BoxKnots", list("abcdef")) == []
    assert features("SeparableZoom", list("abc")) == ["a"]
    assert features("SeparableUnzoom", list("abcde")) == ["a", "b", "c"]
    assert takes("SeparableUnzoom", ["int8", "int8"])
    assert not takes("SeparableUnzoom", ["int8", "float16"])
    assert not takes("SeparableZoom", ["int8"])
