"""TensorRT-RTX: engines built ahead of time, without a GPU, for RTX cards.

One portable file serves several compute capabilities; on first use the card compiles its kernels
from it. Nothing here runs on a machine without a GPU but the build and the check of what the
parser made of the graph.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from lzu_export.engines.base import TensorSpec
from lzu_export.errors import LzuError

log = logging.getLogger(__name__)

PORTABLE = ("8.0", "8.6", "8.9", "12.0")
"""NVIDIA's portable default: Ampere to Blackwell."""
TURING = "7.5"


@dataclass(frozen=True)
class BuiltEngine:
    """What a build gave, besides the file."""

    version: str
    compute_capabilities: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sampling_layers: int


def build(
    model: Path,
    engine: Path,
    *,
    compute_capabilities: Sequence[str] = (),
    detailed: bool = False,
) -> BuiltEngine:
    """Build a strongly typed engine file from a lowered ONNX file.

    Args:
        model: ONNX of standard operators, linted for this target.
        engine: file to write.
        compute_capabilities: such as `8.9`; empty for the portable default.
        detailed: keep names and types of layers in the file, for the engine inspector.

    Raises:
        LzuError: TensorRT-RTX is missing, does not know a capability, refuses a node, or parsed
            the graph into something else than it says.
    """
    trt = _import()
    wanted = tuple(compute_capabilities) or PORTABLE
    pairs = [_capability(trt, each) for each in wanted]
    if TURING in wanted and len(wanted) > 1:
        raise LzuError(
            "compute capability 7.5 (Turing) needs an engine of its own; build it separately"
        )
    from polygraphy import config as polygraphy_config

    # Read once when Polygraphy's TensorRT backend is first used in this process.
    polygraphy_config.USE_TENSORRT_RTX = True
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
    from polygraphy.backend.trt import create_network, engine_bytes_from_network, get_trt_logger
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    create_config = CreateConfigRTX(compute_capabilities=pairs)

    def config(builder: Any, network: Any) -> Any:
        made = create_config(builder, network)
        made.clear_flag(trt.BuilderFlag.TF32)  # FP32 is the reference: no rounded products
        if detailed:
            made.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        return made

    try:
        parsed_from = onnx.load(model)
    except DecodeError as error:
        raise LzuError(f"TensorRT-RTX cannot read {model.name}: it is no ONNX file") from error
    quiet = not log.isEnabledFor(logging.INFO)
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL if quiet else G_LOGGER.ERROR):
        builder, network = create_network(strongly_typed=True)
        parser = trt.OnnxParser(network, get_trt_logger())
        if not parser.parse(model.read_bytes()):
            raise LzuError(f"TensorRT-RTX cannot read {model.name}: {_parser_errors(parser)}")
        inputs, outputs, sampling = check_network(trt, network, parsed_from)
        try:
            serialised = engine_bytes_from_network((builder, network, parser), config=config)
        except PolygraphyException as error:
            raise LzuError(
                f"TensorRT-RTX could not build an engine from {model.name}; run again with "
                "--verbose to see its log"
            ) from error
    engine.write_bytes(serialised)
    return BuiltEngine(trt.__version__, wanted, inputs, outputs, sampling)


def check_network(
    trt: Any, network: Any, model: onnx.ModelProto
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], int]:
    """Hold the parsed network against the ONNX graph it was parsed from.

    Parsers have misread sampling modes silently (GridSample of opset 20 became nearest), so each
    sampling layer is checked, and names, shapes and dtypes of inputs and outputs with it.

    Returns:
        Inputs, outputs, number of sampling layers.
    """
    inputs = tuple(_spec(trt, network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_spec(trt, network.get_output(i)) for i in range(network.num_outputs))
    for got, wanted in ((inputs, model.graph.input), (outputs, model.graph.output)):
        expected = tuple(_onnx_spec(value) for value in wanted)
        if got != expected:
            raise LzuError(f"TensorRT-RTX parsed {got} where the ONNX file says {expected}")
    sampling = [
        layer
        for layer in (network.get_layer(i) for i in range(network.num_layers))
        if layer.type == trt.LayerType.GRID_SAMPLE
    ]
    in_graph = sum(node.op_type == "GridSample" for node in model.graph.node)
    if len(sampling) != in_graph:
        raise LzuError(
            f"TensorRT-RTX parsed {len(sampling)} sampling layers where the ONNX file has "
            f"{in_graph}; lower the unzoom to matmul"
        )
    for layer in sampling:
        layer.__class__ = trt.IGridSampleLayer  # the bindings hand out the base class
        read = (layer.interpolation_mode, layer.sample_mode, layer.align_corners)
        if read != (trt.InterpolationMode.LINEAR, trt.SampleMode.FILL, True):
            raise LzuError(
                f"TensorRT-RTX reads the GridSample {layer.name} as {read}, not as bilinear with "
                "zeros outside and aligned corners; lower it to matmul"
            )
    _check_resizes(trt, network, model)
    check_quantised(trt, network, model)
    return inputs, outputs, len(sampling)


def _check_resizes(trt: Any, network: Any, model: onnx.ModelProto) -> None:
    """Each Resize is parsed as what it says: a misread rounding shifts features by a cell."""
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
            f"TensorRT-RTX reads the graph's Resize nodes as {dict(got)} where they say "
            f"{dict(said)}; update TensorRT-RTX, or leave the target out"
        )


def check_quantised(trt: Any, network: Any, model: onnx.ModelProto) -> int:
    """Hold the convolutions meant for INT8 against the parsed network.

    Meant are those whose weights are stored as INT8. Only where both data and weights come from a
    dequantisation can TensorRT run one in INT8; if either lost it, it runs in higher precision and
    nobody is told.

    Returns:
        Their number.

    Raises:
        LzuError: one is missing from the network, or lacks a dequantisation; names it.
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
                f"TensorRT-RTX parsed no convolution {name}, which is meant for INT8; leave int8 "
                "out of PRECISION"
            )
        for i, what in enumerate(("data", "weights")):
            tensor = convolutions[name].get_input(i)
            layer = source.get(tensor.name) if tensor is not None else None
            if layer is None or layer.type != trt.LayerType.DEQUANTIZE:
                raise LzuError(
                    f"the {what} of the convolution {name} come from no dequantisation in the "
                    "network that TensorRT-RTX parsed: it would not run in INT8; leave int8 out "
                    "of PRECISION, or keep its layer higher (keep_high.int8)"
                )
    return len(meant)


def int8_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions whose weights are stored as INT8."""
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


def not_in_int8(information: str, names: Sequence[str]) -> list[str]:
    """Which of these convolutions an engine does not read INT8 data for.

    Args:
        information: of the engine inspector, as JSON, of an engine that was built `detailed`.
        names: of the ONNX nodes.

    Raises:
        LzuError: the information names no layers.
    """
    layers = [each for each in json.loads(information).get("Layers", []) if isinstance(each, dict)]
    if not layers:
        raise LzuError("the engine names no layers: build it with detailed information")

    def reads_int8(layer: dict[str, Any]) -> bool:
        inputs = layer.get("Inputs") or [{}]
        return "int8" in str(inputs[0].get("Format/Datatype", "")).lower()

    # A layer that was fused is named after all its parts.
    parts = [(set(re.split(r"[\s+{},:()\[\]]+", str(e.get("Name", "")))), e) for e in layers]
    return [name for name in names if not any(name in p and reads_int8(e) for p, e in parts)]


def version() -> str | None:
    """The installed TensorRT-RTX, or None."""
    try:
        import tensorrt_rtx
    except ImportError:
        return None
    return str(tensorrt_rtx.__version__)


def _import() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise LzuError(
            "TensorRT-RTX is not installed; pip install 'lzu-export[rtx]' on Linux x86-64, or "
            "leave tensorrt-rtx out of TARGET"
        ) from error
    return tensorrt_rtx


def _capability(trt: Any, text: str) -> tuple[int, int]:
    numbers = sorted(
        int(name[2:]) for name in trt.ComputeCapability.__members__ if name.startswith("SM")
    )
    known = {f"{number // 10}.{number % 10}": divmod(number, 10) for number in numbers}
    if text not in known:
        listed = ", ".join(known)
        raise LzuError(f"TensorRT-RTX knows no compute capability {text}; it knows {listed}")
    return known[text]


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    if not errors:
        return "it gave no reason"
    first = errors[0]
    reason = first.desc().strip().splitlines()[0]
    return f"node {first.node_name()} ({first.node_operator()}): {reason}"


def _spec(trt: Any, tensor: Any) -> TensorSpec:
    return TensorSpec(tensor.name, np.dtype(trt.nptype(tensor.dtype)).name, tuple(tensor.shape))


def _onnx_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, dtype.name, tuple(d.dim_value for d in tensor.shape.dim))
