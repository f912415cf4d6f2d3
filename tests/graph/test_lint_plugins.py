"""What lint refuses of a flavour for TensorRT: calls that would not become the right plugin."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaptive_samples import chain, quantised_chain
from lzu_export.errors import LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.lint import lint
from samples import dialect


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(LzuError) as caught:
        lint(model, dialect("tensorrt"))
    message = str(caught.value)
    assert message.startswith("the tensorrt graph is refused: ")
    assert "\n" not in message
    return message


def flavour(model: onnx.ModelProto) -> onnx.ModelProto:
    return lower_for(dialect("tensorrt"), model, {})[0]


def call(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    (node,) = (node for node in model.graph.node if node.op_type == op)
    return node


def test_functions_that_a_parser_may_take_instead() -> None:
    message = refusal(chain())
    assert "node BoxKnots, a call of the plugin BoxKnots, has a function, which" in message


def test_operators_without_a_plugin() -> None:
    model = flavour(chain())
    call(model, "SeparableZoom").op_type = "Kaleidoscope"
    assert "is lzu::Kaleidoscope; lower it first" in refusal(model)
    call(model, "Kaleidoscope").domain = "com.microsoft"
    assert "is com.microsoft::Kaleidoscope; lower it first" in refusal(model)


def test_calls_are_no_operators_of_other_targets() -> None:
    for target in ("onnxruntime", "tensorrt-rtx"):
        with pytest.raises(LzuError, match=r"node BoxKnots is lzu::BoxKnots; lower it first"):
            lint(flavour(chain()), dialect(target))


def test_fields_of_a_call() -> None:
    model = flavour(chain())
    (pad,) = (each for each in call(model, "SeparableZoom").attribute if each.name == "pad")
    pad.ints[0] += 1
    message = refusal(model)
    assert "a call of the plugin SeparableZoom, breaks its contract: zoomed is [" in message
    pad.ints.append(3)
    assert "the field pad has 3 values where 2 are wanted" in refusal(model)


def test_types_at_a_plugin_s_boundary() -> None:
    model = flavour(chain())
    (image,) = (value for value in model.graph.input if value.name == "image")
    image.type.tensor_type.elem_type = TensorProto.UINT8
    assert "image is uint8 where the plugin has float32 or float16" in refusal(model)
    model = flavour(chain(TensorProto.FLOAT16))
    (knots,) = (value for value in model.graph.output if value.name == "knots_x")
    knots.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert "knots_x is float16 where the plugin has float32" in refusal(model)


def test_more_boxes_than_the_plugin_takes() -> None:
    model = flavour(chain())
    for value in model.graph.input:
        if value.name in ("boxes", "valid"):
            value.type.tensor_type.shape.dim[1].dim_value = 1025
    assert "N is 1025 where the plugin takes at most 1024" in refusal(model)


def test_the_scales_of_int8_levels() -> None:
    model = flavour(quantised_chain())
    lint(model, dialect("tensorrt"))
    (scale,) = (each for each in model.graph.initializer if each.name == "unzoomed_1/scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(0.5), scale.name))
    message = refusal(model)
    assert "the INT8 output unzoomed_1/int8 of SeparableUnzoom is read by" in message
    assert "does not dequantise it by its input's scale; leave the warp's pair" in message


def test_int8_levels_that_are_read_otherwise() -> None:
    model = flavour(quantised_chain())
    model.graph.node.append(helper.make_node("Identity", ["unzoomed_0/int8"], ["more"], "more"))
    assert "unzoomed_0/int8 of SeparableUnzoom is read by more" in refusal(model)
    model = flavour(quantised_chain())
    value = next(v for v in model.graph.value_info if v.name == "unzoomed_0/int8")
    model.graph.output.append(value)
    assert "INT8 output unzoomed_0/int8 of SeparableUnzoom is not dequantised" in refusal(model)


def test_int8_levels_that_nobody_quantised() -> None:
    model = flavour(quantised_chain())
    unzoom = call(model, "SeparableUnzoom")
    whole = unzoom.input[0]
    kept = [node for node in model.graph.node if whole not in node.output]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    value = next(v for v in model.graph.value_info if v.name == whole)
    model.graph.input.append(value)
    message = refusal(model)
    assert f"the INT8 input {whole} of SeparableUnzoom is not quantised by one" in message


def test_suppression_stays_out() -> None:
    model = flavour(chain())
    model.graph.node.append(helper.make_node("NonMaxSuppression", ["image"], ["kept"], "nms"))
    assert "node nms is a NonMaxSuppression" in refusal(model)
