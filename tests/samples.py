"""Small graphs, tables and recipes for several test files."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.graph.dialect import Dialect
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import validate
from lzu_export.recipes.networks import Fcos3dConfig
from lzu_export.support.limits import EMULATED
from lzu_export.support.registry import Registry
from lzu_export.support.session import TensorSpec
from lzu_export.targets.onnxruntime_target import ROUNDED
from lzu_export.targets.registry import find
from lzu_export.warp.tables import Table, resample_table

OPSET = 18
PublishedWarps = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""What the fixture `published_warps` gives."""
CLASSES = ["near", "far"]
TINY_MODEL = {
    "num_classes": 2,
    "depth": 18,
    "base_channels": 8,
    "fpn_channels": 16,
    "feat_channels": 16,
    "stacked_convs": 1,
    "num_outs": 3,
}
SLOW_DET3D = pytest.param("det3d", marks=pytest.mark.slow)
"""Parameter of the task det3d, marked slow because it takes as long as the other tasks together.
It is for tests in which the other tasks check the same."""
TINY_NETWORK = {"base_channels": 8, "input": [32, 32]}
"""Settings of a small saliency network."""


def dialect(name: str) -> Dialect:
    """Return a target's dialect; for `emulated`, ONNX Runtime's with a device's rounding."""
    return ROUNDED if name == EMULATED else find(name).dialect


def status_of(*words: Any) -> int:
    """Run `lzu-export WORDS` in this process and return its exit status."""
    from lzu_export.cli import app as cli

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["lzu-export", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def relative(value: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return max|a - b| / max|b| of arrays of equal shape."""
    assert value.shape == reference.shape
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def random_positions(generator: np.random.Generator, n: int, low: float, high: float) -> Any:
    """Draw `n` increasing positions between `low` and `high`."""
    steps = np.cumsum(generator.uniform(0.2, 1.8, n))
    return low + (high - low) * (steps - steps[0]) / max(steps[-1] - steps[0], 1e-9)


def random_tables(
    seed: int,
    size: tuple[int, int],
    out: tuple[int, int],
    *,
    reach: float = 1.0,
    antialias: bool = False,
) -> tuple[Table, Table]:
    """Make tables of a random monotone warp whose positions span [-reach, reach]."""
    generator = np.random.default_rng(seed)
    rows, cols = (
        resample_table(random_positions(generator, n, -reach, reach), m, antialias=antialias)
        for n, m in zip(out, size, strict=True)
    )
    return rows, cols


def graph_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[Any, ...]],
    outputs: Mapping[str, tuple[Any, ...]],
    constants: Mapping[str, NDArray[Any]] | None = None,
    *,
    opset: int = OPSET,
    dtype: int = onnx.TensorProto.FLOAT,
    ir_version: int = 10,
) -> onnx.ModelProto:
    """Make an ONNX model of nodes with named inputs, outputs and constants."""
    graph = helper.make_graph(
        list(nodes),
        "sample",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return model


def warp_node(x: str, y: str, shape: tuple[int, ...], *, name: str) -> onnx.NodeProto:
    """Make an `lzu::SeparableResample` node of `x` (of `shape`) by the tables `rows` and `cols`."""
    size = {"height": shape[2], "width": shape[3]}
    inputs = [x, "rows", "cols"]
    return helper.make_node("SeparableResample", inputs, [y], name=name, domain="lzu", **size)


def warp_model(
    shape: tuple[int, ...], rows: Table, cols: Table, *, body: bool = True
) -> onnx.ModelProto:
    """Make a model of one `lzu::SeparableResample` from `x` to `warped`, with its body if asked."""
    node = warp_node("x", "warped", shape, name="warp")
    out = (*shape[:2], rows.shape[1], cols.shape[1])
    model = graph_model([node], {"x": shape}, {"warped": out}, {"rows": rows, "cols": cols})
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    if body:
        from lzu_export.ops.separable_resample import function_body

        model.functions.append(function_body(OPSET))
    return model


def deform_model(
    x: tuple[int, ...],
    weight: NDArray[Any],
    bias: NDArray[Any],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    offset_groups: int = 1,
) -> onnx.ModelProto:
    """Make a model of one `lzu::DeformConv` from `x`, `offset` and `mask` to `y`, with its body."""
    from lzu_export.ops.deform_conv import function_body

    kernel = weight.shape[2:]
    node = helper.make_node(
        "DeformConv",
        ["x", "weight", "offset", "bias", "mask"],
        ["y"],
        name="deform",
        domain="lzu",
        kernel_shape=kernel,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=groups,
        offset_group=offset_groups,
    )
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x[2:], padding, dilation, kernel, stride, strict=True)
    )
    taps = offset_groups * kernel[0] * kernel[1]
    model = graph_model(
        [node],
        {"x": x, "offset": (x[0], 2 * taps, *out), "mask": (x[0], taps, *out)},
        {"y": (x[0], len(weight), *out)},
        {"weight": weight, "bias": bias},
    )
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    model.functions.append(function_body(OPSET))
    return model


def adaptive_model(
    op: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, tuple[int, ...]],
    *,
    bodies: bool = True,
    **attributes: Any,
) -> onnx.ModelProto:
    """Make a model of one adaptive operator of domain `lzu`.

    Inputs have the shapes of `inputs`, and outputs those of `outputs`. All have the type of the
    first input, except the knots, which are float32.
    """
    from lzu_export.ops.bodies import add_bodies
    from lzu_export.ops.contract import PLUGIN

    node = helper.make_node(
        op, list(inputs), list(outputs), name=op, domain="lzu", **attributes, **PLUGIN
    )
    model = graph_model([node], {name: value.shape for name, value in inputs.items()}, outputs)
    kind = helper.np_dtype_to_tensor_dtype(next(iter(inputs.values())).dtype)
    for value in (*model.graph.input, *model.graph.output):
        if not value.name.startswith("knots"):
            value.type.tensor_type.elem_type = kind
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    if bodies:
        add_bodies(model, OPSET)
    return model


class FakeSession:
    """What an engine's session has besides `run`: the name of a provider, and no tensors."""

    provider = "fake"
    pixel_format = "bgr"
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


class Network:
    """Builds a graph node by node; every node has the name of its output."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        """Begin with float32 inputs of these shapes."""
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.generator = np.random.default_rng(0)

    def op(self, op: str, *inputs: str | NDArray[Any], to: str, **attributes: Any) -> str:
        """Add a node and return its output; arrays among its inputs become constants."""
        names = []
        for i, each in enumerate(inputs):
            if isinstance(each, np.ndarray):
                self.constants[f"{to}_{i}"] = each
            names.append(f"{to}_{i}" if isinstance(each, np.ndarray) else each)
        self.nodes.append(helper.make_node(op, names, [to], name=to, **attributes))
        return to

    def conv(
        self, x: str, shape: tuple[int, ...], *, to: str, layer: str = "", stride: int = 1
    ) -> str:
        """Add a convolution with weights of `shape` (O, I, h, w); `layer` shares weights."""
        layer = layer or to
        names = [f"model.{layer}.{part}" for part in ("weight", "bias")]
        if names[0] not in self.constants:
            for name, each in zip(names, (shape, shape[:1]), strict=True):
                self.constants[name] = self.generator.normal(0, 0.3, each).astype(np.float32)
        pads = [side // 2 for side in shape[2:]] * 2
        strides = [stride, stride]
        return self.op("Conv", x, *names, to=to, kernel_shape=shape[2:], pads=pads, strides=strides)

    def warp(self, x: str, shape: tuple[int, ...], tables: tuple[Table, Table], *, to: str) -> str:
        """Add an `lzu::SeparableResample` of a map of this shape."""
        rows, cols = tables
        self.shapes[to] = (*shape[:2], rows.shape[1], cols.shape[1])
        size = {"height": shape[2], "width": shape[3]}
        return self.op("SeparableResample", x, rows, cols, to=to, domain="lzu", **size)

    def deform(self, x: str, offset: str, mask: str, shape: tuple[int, ...], *, to: str) -> str:
        """Add a 3 x 3 `lzu::DeformConv` of a map of this shape; the channels stay as many."""
        self.shapes[to] = shape
        names = [f"model.{to}.{part}" for part in ("weight", "bias")]
        for name, each in zip(names, ((shape[1], shape[1], 3, 3), shape[1:2]), strict=True):
            self.constants[name] = self.generator.normal(0, 0.3, each).astype(np.float32)
        pair = [1, 1]
        attributes = {"strides": pair, "pads": [*pair, *pair], "dilations": pair, "group": 1}
        attributes |= {"kernel_shape": [3, 3], "offset_group": 1, "domain": "lzu"}
        return self.op("DeformConv", x, names[0], offset, names[1], mask, to=to, **attributes)

    def predicted_deform(self, x: str, shape: tuple[int, ...]) -> str:
        """Add `deform`, an `lzu::DeformConv` of a map of `shape` (1, 4, h, w).

        A convolution `conv_offset` of the map predicts its `offset` and, as `logit`, its `mask`.
        """
        self.conv(x, (27, 4, 3, 3), to="conv_offset")
        for name, start, stop in (("offset", 0, 18), ("logit", 18, 27)):
            limits = (np.array([each]) for each in (start, stop, 1))
            self.op("Slice", "conv_offset", *limits, to=name)
        self.op("Sigmoid", "logit", to="mask")
        return self.deform(x, "offset", "mask", shape, to="deform")

    def residual_block(self, x: str, shape: tuple[int, ...]) -> str:
        """Add a block of two convolutions with weights of `shape` and an identity shortcut.

        The nodes are `a`, `a_relu`, `b`, `sum` and `out`, which is the block's output.
        """
        self.conv(x, shape, to="a")
        self.op("Relu", "a", to="a_relu")
        self.conv("a_relu", shape, to="b")
        self.op("Add", "b", x, to="sum")
        return self.op("Relu", "sum", to="out")

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Make the model with these outputs, with all types, shapes and lzu bodies."""
        from lzu_export.ops import deform_conv, separable_resample

        model = graph_model(self.nodes, self.inputs, dict.fromkeys(outputs, ()), self.constants)
        for value in model.graph.output:
            value.type.tensor_type.ClearField("elem_type")
            value.type.tensor_type.ClearField("shape")
        for name, shape in self.shapes.items():
            info = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            model.graph.value_info.append(info)
        for body in (separable_resample.function_body, deform_conv.function_body):
            if any(node.op_type == body(OPSET).name for node in self.nodes):
                model.functions.append(body(OPSET))
        if self.shapes:
            model.opset_import.append(helper.make_opsetid("lzu", 1))
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def node_named(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """Return the node of this name."""
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def made_by(model: onnx.ModelProto, tensor: str) -> str:
    """Return the operator that makes a tensor; empty for inputs and constants."""
    return next((node.op_type for node in model.graph.node if tensor in node.output), "")


def run_onnx(model: onnx.ModelProto, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Run a model in ONNX Runtime and return its outputs by name."""
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(model.SerializeToString()).run(inputs)


def saliency_file(folder: Path, lattice: tuple[int, int] = (7, 11), seed: int = 3) -> Path:
    """Write a smooth random saliency as a .npy file and return its path."""
    y, x = np.mgrid[0 : lattice[0], 0 : lattice[1]]
    centre = np.random.default_rng(seed).uniform(0.3, 0.7, 2) * lattice
    spread = np.array(lattice) / 4
    bump = np.exp(-(((y - centre[0]) / spread[0]) ** 2) - ((x - centre[1]) / spread[1]) ** 2)
    path = folder / "saliency.npy"
    np.save(path, (0.1 + bump) / (0.1 + bump).sum())
    return path


TINY_TASKS: dict[str, dict[str, Any]] = {
    "det": {"model": TINY_MODEL, "postprocess": {"candidates_per_level": 50}},
    "seg": {
        "model": {
            "num_classes": 2,
            "depth": 18,
            "base_channels": 8,
            "channels": 8,
            "cut": "fpn",
            "fpn_channels": 8,
        },
        "postprocess": {"upsampling": "in-phase"},
        "warp": {"unzoom_scale": 2},
        "random_weights": 6,  # this seed predicts both classes in noise
    },
    "det3d": {
        "model": {
            "num_classes": 2,
            "depth": 50,
            "base_channels": 4,
            "fpn_channels": 8,
            "feat_channels": 8,
            "centerness_channels": 8,
            "norm_groups": 4,
            "num_attributes": 3,
            "num_outs": 3,
        },
        "postprocess": {"candidates_per_level": 30},
    },
}
"""Settings of each task's tiny recipe that differ from the common ones."""
SLIM_FCOS3D = Fcos3dConfig(**TINY_TASKS["det3d"]["model"] | {"num_classes": 3, "num_outs": 5})
"""A small FCOS3D of three classes and five levels."""


def tiny_settings(folder: Path, task: str = "det", **changes: Any) -> dict[str, Any]:
    """Return the plain data of a small untrained model's recipe."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "task": task,
        "source": [96, 160],
        "scale": 0.5,
        "warp": {"saliency": str(saliency_file(folder)), "lattice": [7, 11], "fwhm": 4},
        "classes": CLASSES,
        "random_weights": 0,
        "precision": ["fp32"],
        "targets": ["onnxruntime"],
    }
    for given in (TINY_TASKS[task], changes):
        for key, value in given.items():
            nested = isinstance(value, dict) and isinstance(settings.get(key), dict)
            settings[key] = {**settings[key], **value} if nested else copy.deepcopy(value)
    return settings


def tiny_recipe(folder: Path, task: str = "det", **changes: Any) -> Recipe:
    """Return a small untrained model's recipe: 96x160 to 48x80, three levels, or one for seg."""
    return validate(tiny_settings(folder, task, **changes), "tiny.yaml")


def write_sealed(bundle: Path, data: Mapping[str, Any]) -> None:
    """Write a manifest's plain data with a valid hash, as after a deliberate edit."""
    from lzu_export.manifest.schema import FILE
    from lzu_export.manifest.seal import manifest_text

    (bundle / FILE).write_text(manifest_text(data), encoding="utf-8")


def noise_frames(
    folder: Path,
    count: int,
    size: tuple[int, int] = (96, 160),
    *,
    seed: int = 0,
    name: str = "{}.png",
) -> Path:
    """Write `count` frames of noise into a folder, which is made if need be, and return it.

    Frame i is of seed `seed` + i and of `size` (height, width); its file is `name` with i in it.
    """
    from lzu_export.tasks.pytorch import noise_frame

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        assert cv2.imwrite(str(folder / name.format(i)), noise_frame(size, seed + i))
    return folder


def sentence(call: Callable[[], object]) -> str | None:
    """Return the one-line message of a call's `LzuError`; None if the call succeeds."""
    try:
        call()
    except LzuError as error:
        text = str(error)
        assert text.strip()
        assert "\n" not in text
        return text
    return None


def refusal(call: Callable[[], object]) -> str:
    """Return the one-line message of the `LzuError` that a call must raise."""
    said = sentence(call)
    assert said is not None, "the call succeeds"
    return said


def loaded_by(modules: str, names: Sequence[str]) -> list[str]:
    """Return those of some modules that a new process has loaded once it has imported `modules`.

    Args:
        modules: operand of an import statement.
        names: names of the modules that may have been loaded.
    """
    code = f"import sys, {modules}; print(*[name for name in {list(names)} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@contextmanager
def registered(registry: Registry[Any], name: str, value: Any) -> Iterator[None]:
    """Hold `value` in a registry under `name` for the length of a block or a decorated test."""
    registry.register(name, value)
    try:
        yield
    finally:
        registry.forget(name)


def stub_library(folder: Path, version: int = 1, cuda: int = 13, *, told: bool = True) -> Path:
    """Build a library that only reports its CUDA version and, if `told`, its own version.

    Skip the test if there is no compiler.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    source, path = folder / "stub.c", folder / "liblzu_plugins.so"
    telling = f"int lzu_plugins_version(void) {{ return {version}; }}" if told else ""
    source.write_text(f"{telling} int lzu_cuda_major(void) {{ return {cuda}; }}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path
