"""Which tensors leave FP16's range, and the shortest list of layers that cures it."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from lzu_export.graph.fit_half import cure, too_large
from lzu_export.graph.half import half_tensors, stay_high
from samples import Network

MAP = (1, 4, 8, 8)
LIMIT = 100.0


def chain(*extra: Any) -> Network:
    """Five convolutions with an activation behind each, and a shortcut around the third."""
    net = Network(x=MAP)
    net.op("Mul", "x", np.float32([0.1]), to="normalised")
    net.conv("normalised", (4, 4, 3, 3), to="c1")
    net.op("Relu", "c1", to="r1")
    net.conv("r1", (4, 4, 3, 3), to="c2")
    net.op("Relu", "c2", to="r2")
    net.conv("r2", (4, 4, 3, 3), to="c3")
    net.op("Add", "c3", "r2", to="sum")
    net.op("Relu", "sum", to="r3")
    net.conv("r3", (4, 4, 3, 3), to="c4")
    net.op("Relu", "c4", to="r4")
    net.conv("r4", (4, 4, 1, 1), to="last")
    net.op("Sigmoid", "last", to="scores")
    return net


def graph(model: onnx.ModelProto) -> gs.Graph:
    return gs.import_onnx(model).toposort()


def sizes(made: gs.Graph, **values: float) -> dict[str, float]:
    """One of every tensor that could be FP16, but for those named."""
    return {**dict.fromkeys(half_tensors(made, stay_high(made)), 1.0), **values}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Between two convolutions: that which makes it and that which takes it back.
        ({"c1": 1e6, "r1": 1e6}, ["c1", "c2"]),
        # In front of the activation alone, which cuts it off (Clip); nobody reads it.
        ({"c1": 1e6}, ["c1"]),
        # A stream with a shortcut: all that read it and what adds to it.
        ({"r2": 1e6, "c2": 1e6, "sum": 1e6, "r3": 1e6}, ["c2", "c3", "c4"]),
        # Only the sum is large: what feeds it, and its reader.
        ({"sum": 1e6, "r3": 1e6}, ["c3", "c4"]),
        # In front of the predictions.
        ({"c4": 1e6, "r4": 1e6}, ["c4", "last"]),
        ({"last": 1e6}, ["last"]),
        # Two places apart.
        ({"c1": 1e6, "r1": 1e6, "last": 1e6}, ["c1", "c2", "last"]),
        ({}, []),
    ],
)
def test_the_shortest_list_that_cures(values: dict[str, float], expected: list[str]) -> None:
    made = graph(chain().model("scores"))
    largest = sizes(made, **values)
    found = cure(made, (), largest, LIMIT)
    assert found == expected
    assert not too_large(made, found or (), largest, LIMIT)
    for name in found or ():
        assert too_large(made, [n for n in found or () if n != name], largest, LIMIT), name


def test_the_first_tensor_is_named_in_the_order_of_the_graph() -> None:
    made = graph(chain().model("scores"))
    found = too_large(made, (), sizes(made, r4=300, c2=200, r2=150), LIMIT)
    assert found == {"c2": 200, "r2": 150, "r4": 300}
    assert next(iter(found)) == "c2"
    assert too_large(made, ["c2"], sizes(made, c2=200), LIMIT) == {}


def test_what_is_kept_already_counts() -> None:
    made = graph(chain().model("scores"))
    assert cure(made, ["c1"], sizes(made, c1=1e6, r1=1e6), LIMIT) == ["c2"]
    assert cure(made, ["c*"], sizes(made, c1=1e6, r1=1e6), LIMIT) == []


def test_what_feeds_a_node_is_found_through_nodes_that_stay_anyway() -> None:
    net = chain()
    net.op("Exp", "r1", to="wide")
    net.op("Mul", "wide", np.float32([2]), to="narrow")
    net.op("Add", "narrow", "r4", to="both")
    net.conv("both", (4, 4, 1, 1), to="other")
    made = graph(net.model("scores", "other"))
    assert stay_high(made)["wide"] == "exponentials overflow"
    largest = sizes(made, wide=1e6, narrow=1e6, both=1.0)
    assert cure(made, (), largest, LIMIT) == ["c1"]
    assert not too_large(made, ["c1"], largest, LIMIT)


def test_weights_beyond_the_range_of_fp16_count_but_infinite_limits_do_not() -> None:
    net = chain()
    net.constants["model.c3.weight"][0, 0, 0, 0] = 7e4
    net.op("Min", "r4", np.float32([np.inf]), to="cut")
    made = graph(net.model("scores", "cut"))
    assert too_large(made, (), sizes(made), LIMIT) == {"model.c3.weight": 7e4}
    assert cure(made, (), sizes(made), LIMIT) == ["c3"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_cures_what_float32_does_not_hold(value: float) -> None:
    made = graph(chain().model("scores"))
    largest = sizes(made, r2=value)
    assert list(too_large(made, (), largest, LIMIT)) == ["r2"]
    assert cure(made, (), largest, LIMIT) is None


@pytest.mark.parametrize("seed", range(20))
def test_every_advice_cures_whatever_is_too_large(seed: int) -> None:
    made = graph(chain().model("scores"))
    generator = np.random.default_rng(seed)
    largest = {name: float(10 ** generator.uniform(0, 4)) for name in sizes(made)}
    largest["normalised"] = 1.0
    found = cure(made, (), largest, LIMIT)
    assert found is not None
    assert not too_large(made, found, largest, LIMIT)
