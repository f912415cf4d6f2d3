"""Refuse graphs that a target would misread or cannot hold."""

from collections.abc import Callable, Iterator

import onnx
from onnx import helper

from lzu_export.errors import LzuError
from lzu_export.graph.contracts import CONTRACTS, NAMESPACE, Described, broken
from lzu_export.graph.dialect import Dialect

MAX_IR_VERSION = 10
MAX_OPSET = 22
MAX_SAMPLING_OPSET = 19
"""Newest opset for GridSample: from opset 20 on, TensorRT reads it as nearest."""


_MOVES = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Expand", "Identity"}
)
"""Operators that only move values: INT8 gains nothing there, and a pair costs a kernel each."""


def lint(model: onnx.ModelProto, dialect: Dialect) -> None:
    """Check a graph that is meant for a target.

    Args:
        model: the target's executable graph.
        dialect: the ONNX that the target reads.

    Raises:
        LzuError: the graph has a problem; the first one is named with its node or tensor and the
            remedy.
    """
    for rule in _RULES:
        for problem in rule(model, dialect):
            raise LzuError(f"the {dialect.name} graph is refused: {problem}")


def _name(node: onnx.NodeProto) -> str:
    """Return a node's name, or words that name the tensor it makes where it has none."""
    return node.name or f"that makes {next(iter(node.output), 'nothing')}"


def _versions(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    if model.ir_version > MAX_IR_VERSION:
        yield f"ir_version {model.ir_version} is newer than {MAX_IR_VERSION}; lower it"
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > MAX_OPSET:
            yield f"opset {opset.version} is newer than {MAX_OPSET}; export with an older one"
        elif opset.domain in ("", "ai.onnx") and opset.version > MAX_SAMPLING_OPSET:
            sampling = [node for node in model.graph.node if node.op_type == "GridSample"]
            if sampling:
                yield (
                    f"opset {opset.version} is newer than {MAX_SAMPLING_OPSET}, and from then on "
                    f"TensorRT reads GridSample as nearest, as {_name(sampling[0])}; lower it to "
                    "banded or matmul"
                )


def _domains(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    for node in model.graph.node:
        plugin = dialect.plugins and node.domain == NAMESPACE and node.op_type in CONTRACTS
        if node.domain not in ("", "ai.onnx") and not plugin:
            yield f"node {_name(node)} is {node.domain}::{node.op_type}; lower it first"


def _plugins(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    """Yield calls of plugins that break their contracts or have a function in the graph."""
    if not dialect.plugins:
        return
    bodies = {body.name for body in model.functions}
    types, shapes = _element_types(model), _static_shapes_of(model)

    def described(name: str) -> Described:
        kind = types.get(name, 0)
        known = helper.tensor_dtype_to_np_dtype(kind).name if kind else None
        return Described(name, known, shapes.get(name))

    for node in _calls(model):
        call = f"node {_name(node)}, a call of the plugin {node.op_type},"
        if node.op_type in bodies:
            yield f"{call} has a function, which the parser would take instead; drop it"
        for problem in broken(
            node, list(map(described, node.input)), list(map(described, node.output))
        ):
            yield f"{call} breaks its contract: {problem}"


def _plugin_scales(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    """Yield INT8 maps of plugins whose input and output scales differ; plugins get no scales."""
    if not dialect.plugins:
        return
    types, made_by = _element_types(model), _producers(model)
    constants = {t.name: t for t in model.graph.initializer}
    ends = {value.name for value in model.graph.output}

    def scale(node: onnx.NodeProto | None, op: str) -> float | None:
        if node is None or node.op_type != op or node.input[1] not in constants:
            return None
        values = onnx.numpy_helper.to_array(constants[node.input[1]])
        return float(values.item()) if values.size == 1 else None

    for node in _calls(model):
        for x, y in zip(node.input, node.output, strict=False):
            if types.get(y) != onnx.TensorProto.INT8:
                continue
            wanted = scale(made_by.get(x), "QuantizeLinear")
            readers = [each for each in model.graph.node if y in each.input]
            if wanted is None:
                yield f"the INT8 input {x} of {_name(node)} is not quantised by one constant scale"
            elif y in ends or not readers:
                yield f"the INT8 output {y} of {_name(node)} is not dequantised"
            for reader in readers:
                found = scale(reader, "DequantizeLinear")
                if found is None or wanted not in (None, found):
                    yield (
                        f"the INT8 output {y} of {_name(node)} is read by {_name(reader)}, which "
                        "does not dequantise it by its input's scale; leave the warp's pair where "
                        "it is"
                    )


def _calls(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that are plugins in TensorRT."""
    return [n for n in model.graph.node if n.domain == NAMESPACE and n.op_type in CONTRACTS]


SPELLINGS = ("bilinear", "nearest", "bicubic")
"""Modes of GridSample in opsets 16 to 19. Those of opset 20 are called otherwise and misread."""


def _operators(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type in dialect.forbidden:
            yield f"node {_name(node)} is a {node.op_type}, which has no static shape or no kernel"


def _grid_sample(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type == "GridSample":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            mode = attributes.get("mode", b"bilinear").decode()
            if mode not in SPELLINGS:
                yield f"GridSample {_name(node)} has mode {mode}, which TensorRT reads as nearest"


def _resize(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type == "Resize":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            read = tuple(
                attributes.get(key, default).decode()
                for key, default in (
                    ("mode", b"nearest"),
                    ("coordinate_transformation_mode", b"half_pixel"),
                    ("nearest_mode", b"round_prefer_floor"),
                )
            )
            if read[0] == "nearest" and read[1:] != ("asymmetric", "floor"):
                yield (
                    f"Resize {_name(node)} is nearest by {read[1]} and {read[2]}, not by "
                    "asymmetric and floor as PyTorch's; targets differ there by a cell"
                )


def _static_shapes(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value") or dimension.dim_value < 1:
                yield f"tensor {value.name} has a dynamic or empty dimension; export it static"


def _types(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    if dialect.float64:
        return
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.DOUBLE:
            yield f"constant {tensor.name} is float64, which TensorRT has not; make it float32"
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            yield f"tensor {value.name} is float64, which TensorRT has not; make it float32"


def _topk(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    if dialect.max_topk is None:
        return
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "TopK":
            k = constants.get(node.input[1])
            if k is None:
                yield f"TopK {_name(node)} has a computed k; make it a constant"
            elif int(onnx.numpy_helper.to_array(k).item()) > dialect.max_topk:
                yield (
                    f"TopK {_name(node)} keeps more than {dialect.max_topk}; lower "
                    "candidates_per_level"
                )


def _pairs(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    """Yield pairs that are not symmetric INT8, which is all that targets fuse."""
    types = _element_types(model)
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if types.get(node.input[0]) == onnx.TensorProto.INT32:
            yield (
                f"node {_name(node)} dequantises int32, as biases have it in other tools; leave "
                "biases in float, targets quantise them themselves"
            )
        zero = node.input[2] if len(node.input) > 2 else ""
        # A QuantizeLinear without a zero point makes uint8.
        unsigned = node.op_type == "QuantizeLinear" and not zero
        names = (node.input[0], node.output[0], zero)
        if unsigned or onnx.TensorProto.UINT8 in (types.get(name) for name in names):
            yield f"node {_name(node)} is of uint8; quantise to int8 with a zero point of 0"
        elif zero and zero not in constants:
            yield f"node {_name(node)} has a computed zero point; make it a constant 0"
        elif zero and onnx.numpy_helper.to_array(constants[zero]).any():
            yield (
                f"node {_name(node)} has a zero point that is not 0, which TensorRT has not; "
                "quantise symmetrically"
            )


def _half_pairs(model: onnx.ModelProto, dialect: Dialect) -> Iterator[str]:
    """Yield pairs in half precision, where ONNX Runtime needs float32 on their wide side."""
    if not dialect.float32_pairs:
        return
    types = _element_types(model)
    for node in model.graph.node:
        if node.op_type not in _QUANTISERS:
            continue
        wide = node.input[0] if node.op_type == "QuantizeLinear" else node.output[0]
        if _HALVES & {types.get(wide), types.get(node.input[1])}:
            yield (
                f"node {_name(node)} is of half precision, which ONNX Runtime cuts off before 1.30 "
                "instead of rounding, and 1.20 does not open; make the tensor and its scale float32"
            )


def _products(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    """Yield products by quantised constants: matrices of warps and pooling must stay in float."""
    made_by = _producers(model)
    constants = {t.name for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "GridSample"):
            for name in node.input:
                origin, passed = _origin(name, made_by, _MOVES | {"Cast"} | _QUANTISERS)
                if origin in constants and any(each.op_type in _QUANTISERS for each in passed):
                    yield (
                        f"node {_name(node)} is a {node.op_type} by a quantised constant, as a "
                        "warp's weights must not be; keep it in float"
                    )


def _islands(model: onnx.ModelProto, _dialect: Dialect) -> Iterator[str]:
    made_by = _producers(model)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            origin, passed = _origin(node.input[0], made_by, _MOVES)
            before = made_by.get(origin)
            if passed and before is not None and before.op_type == "DequantizeLinear":
                yield (
                    f"node {_name(passed[-1])} is a {passed[-1].op_type} between {_name(before)} "
                    f"and {_name(node)}, where INT8 gains nothing; leave the pair out"
                )


_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_HALVES = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})


def _producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _origin(
    name: str, made_by: dict[str, onnx.NodeProto], through: frozenset[str]
) -> tuple[str, list[onnx.NodeProto]]:
    """Follow a tensor back through the first inputs of nodes of some operators.

    Returns:
        The name of the tensor that is reached, and the nodes passed, the last one first.
    """
    passed = []
    while name in made_by and made_by[name].op_type in through:
        passed.append(made_by[name])
        name = passed[-1].input[0]
    return name, passed


def _static_shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the static shapes that the graph states, by tensor."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    return shapes


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


_RULES: tuple[Callable[[onnx.ModelProto, Dialect], Iterator[str]], ...] = (
    _versions,
    _domains,
    _plugins,
    _plugin_scales,
    _operators,
    _grid_sample,
    _resize,
    _static_shapes,
    _types,
    _topk,
    _pairs,
    _half_pairs,
    _products,
    _islands,
)
