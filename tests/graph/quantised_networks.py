"""Small networks, their INT8 versions, and what to look up in these."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import numpy_helper

from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import Placement, place, quantise
from samples import Network, made_by, node_named

MAP = (1, 4, 12, 16)
"""Shape of the networks' input and of `stem`."""
SHAPE = (4, 4, 3, 3)
"""Shape of the weights of a convolution that keeps the shape of its input."""


def network(features: str = "stem") -> Network:
    """A convolution `first` of the input `x`, and its ReLU of the given name."""
    net = Network(x=MAP)
    net.conv("x", SHAPE, to="first")
    net.op("Relu", "first", to=features)
    return net


def finished(net: Network, features: str, *outputs: str) -> onnx.ModelProto:
    """A prediction of these features is the last convolution."""
    net.conv(features, (4, 4, 1, 1), to="last")
    return net.model("last", *outputs)


def placed(model: onnx.ModelProto, *keep: str) -> Placement:
    """Where pairs are placed if the recipe keeps the layers of these patterns."""
    return place(gs.import_onnx(model).toposort(), keep)


def limits(placement: Placement) -> dict[str, float]:
    """Ranges that tell tensors apart."""
    return {name: 1.0 + i for i, name in enumerate(placement.calibrated)}


def quantised(model: onnx.ModelProto, *keep: str) -> onnx.ModelProto:
    """The model with its pairs, checked, where the recipe keeps the layers of these patterns."""
    placement = placed(model, *keep)
    made, _ = run_passes(model, [quantise(placement, limits(placement))])
    onnx.checker.check_model(made, full_check=True)
    assert {o.domain: o.version for o in made.opset_import}[""] == 19
    check_pairs(made)
    return made


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    """Values of a model's constants by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def check_pairs(model: onnx.ModelProto) -> None:
    """What holds for every pair: symmetric, INT8, scales that float16 holds, same on both sides."""
    held = constants(model)
    quantisers = {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (held[name] for name in node.input[1:])
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            assert (scale == scale.astype(np.float16)).all()
        if node.op_type == "DequantizeLinear":
            made_from = node.input[0]
            if made_from in quantisers:
                assert node.input[1:] == quantisers[made_from].input[1:]
            else:
                assert held[made_from].dtype == np.int8
        if node.op_type == "QuantizeLinear":
            readers = [n.op_type for n in model.graph.node if node.output[0] in n.input]
            assert readers == ["DequantizeLinear"]
            assert made_by(model, node.input[0]) not in ("Reshape", "Transpose")


def behind(model: onnx.ModelProto, name: str, i: int) -> str:
    """The tensor that node `name` reads behind a pair at its input i; empty if in front."""
    read = node_named(model, name).input[i]
    if made_by(model, read) != "DequantizeLinear":
        return ""
    (back,) = [node for node in model.graph.node if read in node.output]
    whole = [node for node in model.graph.node if back.input[0] in node.output]
    return whole[0].input[0] if whole else back.input[0]


def scale_of(model: onnx.ModelProto, tensor: str) -> float:
    """Scale of the pair around a tensor."""
    return float(constants(model)[node_named(model, f"{tensor}/quantize").input[1]])


def pairs(model: onnx.ModelProto) -> set[str]:
    """Names of the tensors that a pair quantises; weights are stored quantised, without one."""
    return {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
