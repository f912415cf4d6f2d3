"""Compare the network that TensorRT or TensorRT-RTX parsed with its ONNX graph.

The module, `tensorrt` or `tensorrt_rtx`, is passed in.
"""

from collections import Counter
from typing import Any

import numpy as np
import onnx

from lzu_export.errors import LzuError
from lzu_export.ops.contract import DOMAIN
from lzu_export.support.checkout import option
from lzu_export.support.session import TensorSpec
from lzu_export.targets.tensorrt.log import NAME_LIBRARY, PLUGIN, product


def check_network(
    trt: Any, network: Any, model: onnx.ModelProto
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], int]:
    """Compare the parsed network with the ONNX graph it was parsed from.

    Parsers have misread sampling modes silently (GridSample of opset 20 became nearest). So each
    sampling layer is checked, and the names, shapes and dtypes of inputs and outputs.

    Returns:
        Inputs, outputs, number of sampling layers.

    Raises:
        LzuError: the network differs from the graph; the message names the difference.
    """
    inputs = tuple(_spec(trt, network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_spec(trt, network.get_output(i)) for i in range(network.num_outputs))
    for got, wanted in ((inputs, model.graph.input), (outputs, model.graph.output)):
        expected = tuple(_onnx_spec(value) for value in wanted)
        if got != expected:
            raise LzuError(f"{product(trt)} parsed {got} where the ONNX file says {expected}")
    sampling = [
        layer
        for layer in (network.get_layer(i) for i in range(network.num_layers))
        if layer.type == trt.LayerType.GRID_SAMPLE
    ]
    in_graph = sum(node.op_type == "GridSample" for node in model.graph.node)
    if len(sampling) != in_graph:
        raise LzuError(
            f"{product(trt)} parsed {len(sampling)} sampling layers where the ONNX file has "
            f"{in_graph}; lower the unzoom to matmul"
        )
    nodes = [node for node in model.graph.node if node.op_type == "GridSample"]
    for layer, node in zip(sampling, nodes, strict=True):
        layer.__class__ = trt.IGridSampleLayer  # the bindings hand out the base class
        read = (layer.interpolation_mode, layer.sample_mode, layer.align_corners)
        if read != _sampling(trt, node):
            said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            raise LzuError(
                f"{product(trt)} reads the GridSample {layer.name} as {read}, not as {said} of the "
                "ONNX file; lower it to matmul if it is a warp's"
            )
    _check_resizes(trt, network, model)
    check_plugins(trt, network, model)
    check_quantised(trt, network, model)
    return inputs, outputs, len(sampling)


def _sampling(trt: Any, node: onnx.NodeProto) -> tuple[Any, Any, bool]:
    """Return how a GridSample is to be read: mode, padding, align_corners."""
    said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    modes = {
        b"bilinear": trt.InterpolationMode.LINEAR,
        b"nearest": trt.InterpolationMode.NEAREST,
        b"bicubic": trt.InterpolationMode.CUBIC,
        b"linear": trt.InterpolationMode.LINEAR,  # the spelling of opset 20
        b"cubic": trt.InterpolationMode.CUBIC,
    }
    paddings = {
        b"zeros": trt.SampleMode.FILL,
        b"border": trt.SampleMode.CLAMP,
        b"reflection": trt.SampleMode.REFLECT,
    }
    mode = modes[said.get("mode", b"bilinear")]
    return mode, paddings[said.get("padding_mode", b"zeros")], bool(said.get("align_corners", 0))


def _check_resizes(trt: Any, network: Any, model: onnx.ModelProto) -> None:
    """Check that each Resize is parsed as written: a misread rounding shifts features by a cell."""
    coordinates = trt.ResizeCoordinateTransformation
    meaning = {
        "nearest": trt.InterpolationMode.NEAREST,
        "linear": trt.InterpolationMode.LINEAR,
        "asymmetric": coordinates.ASYMMETRIC,
        "half_pixel": coordinates.HALF_PIXEL,
        "align_corners": coordinates.ALIGN_CORNERS,
        "floor": trt.ResizeRoundMode.FLOOR,
    }

    def wanted(node: onnx.NodeProto) -> tuple[Any, ...]:
        said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        keys = ["mode", "coordinate_transformation_mode"]
        keys += ["nearest_mode"] if said.get("mode", b"nearest") == b"nearest" else []
        return tuple(meaning.get(said.get(key, b"").decode()) for key in keys)

    def parsed(layer: Any) -> tuple[Any, ...]:
        layer.__class__ = trt.IResizeLayer
        mode = layer.resize_mode
        rounding = [layer.nearest_rounding] if mode == trt.InterpolationMode.NEAREST else []
        return (mode, layer.coordinate_transformation, *rounding)

    layers = [network.get_layer(i) for i in range(network.num_layers)]
    got = Counter(parsed(each) for each in layers if each.type == trt.LayerType.RESIZE)
    said = Counter(wanted(node) for node in model.graph.node if node.op_type == "Resize")
    if got != said:
        raise LzuError(
            f"{product(trt)} reads the graph's Resize nodes as {dict(got)} where they say "
            f"{dict(said)}; update {product(trt)}, or leave the target out"
        )


def check_plugins(trt: Any, network: Any, model: onnx.ModelProto) -> int:
    """Check that each call of an `lzu` operator was parsed as one plugin with the call's outputs.

    Calls of operators whose function is in the model are no plugins.

    Returns:
        Number of these calls.

    Raises:
        LzuError: a call is missing from the network, or an output has another name, dtype or shape
            than in the ONNX file; the message names the call.
    """
    layers = (network.get_layer(i) for i in range(network.num_layers))
    plugins = [layer for layer in layers if layer.type == trt.LayerType.PLUGIN_V3]
    made = [[layer.get_output(i) for i in range(layer.num_outputs)] for layer in plugins]
    found = {tuple(each.name for each in outputs): outputs for outputs in made}
    said = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    bodies = {(each.domain, each.name) for each in model.functions}  # which the parser inlines
    calls = [
        node
        for node in model.graph.node
        if node.domain == DOMAIN and (node.domain, node.op_type) not in bodies
    ]
    for call in calls:
        outputs = found.get(tuple(call.output))
        if outputs is None:
            raise LzuError(
                f"{product(trt)} parsed no plugin for the call of lzu::{call.op_type} that makes "
                f"{', '.join(call.output)}; derive the graph again"
            )
        wanted = [_onnx_spec(said[name]) for name in call.output if name in said]
        got = [_spec(trt, each) for each in outputs if each.name in said]
        if got != wanted:
            raise LzuError(
                f"{product(trt)} makes {got} of lzu::{call.op_type} where the ONNX file says "
                f"{wanted}; use the plugin library of the release that made the bundle"
            )
    return len(calls)


def check_quantised(trt: Any, network: Any, model: onnx.ModelProto) -> int:
    """Check that the parsed network can run the convolutions meant for INT8 in INT8.

    Convolutions are meant for INT8 if their weights are stored as INT8. TensorRT can run one in
    INT8 only if both data and weights come from a dequantisation; otherwise it silently runs the
    convolution in higher precision.

    Returns:
        Number of these convolutions.

    Raises:
        LzuError: a convolution is missing from the network, or lacks a dequantisation; the message
            names it.
    """
    meant = int8_convolutions(model)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    source = {layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)}
    convolutions = {
        layer.name: layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION
    }
    for name in meant:
        if name not in convolutions:
            raise LzuError(
                f"{product(trt)} parsed no convolution {name}, which is meant for INT8; leave int8 "
                f"out of {option('precision')}"
            )
        for i, what in enumerate(("data", "weights")):
            tensor = convolutions[name].get_input(i)
            layer = source.get(tensor.name) if tensor is not None else None
            if layer is None or layer.type != trt.LayerType.DEQUANTIZE:
                raise LzuError(
                    f"the {what} of the convolution {name} come from no dequantisation in the "
                    f"network that {product(trt)} parsed: it would not run in INT8; leave int8 out "
                    f"of {option('precision')}, or keep its layer higher (higher_precision.int8)"
                )
    return len(meant)


def int8_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions whose weights are stored as INT8."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    stored = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and (weight := made_by.get(node.input[1])) is not None
        and weight.op_type == "DequantizeLinear"
        and weight.input[0] in stored
    ]


def parser_errors(parser: Any) -> str:
    """Return the first error of an OnnxParser in one line."""
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    if not errors:
        return "it gave no reason"
    first = errors[0]
    reason = first.desc().strip().splitlines()[0]
    if any(word in reason for word in PLUGIN):
        reason += f"; {NAME_LIBRARY}"
    return f"node {first.node_name()} ({first.node_operator()}): {reason}"


def _spec(trt: Any, tensor: Any) -> TensorSpec:
    return TensorSpec(tensor.name, np.dtype(trt.nptype(tensor.dtype)).name, tuple(tensor.shape))


def _onnx_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, dtype.name, tuple(d.dim_value for d in tensor.shape.dim))
