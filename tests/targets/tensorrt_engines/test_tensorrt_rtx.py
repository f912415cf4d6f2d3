"""TensorRT-RTX: real builds without a GPU, and the check of what its parser read."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine_information import not_in_int8
from fakes.install import install_cuda
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.graph.derivation import target_passes
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.resample import KINDS, Kind, lower_resample
from lzu_export.graph.passes import keep_outputs, name_zoom, run_passes
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.tensorrt.log import logger_of
from lzu_export.targets.tensorrt.parsed_network import (
    check_network,
    int8_convolutions,
)
from lzu_export.targets.tensorrt.rtx import PORTABLE, build, version
from lzu_export.targets.tensorrt.session import LoadedEngine
from samples import dialect, graph_model, random_tables, tiny_recipe, warp_model

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The graph of a tiny zoomed detector."""
    torch = pytest.importorskip("torch")
    from lzu_export.models.trace import trace
    from lzu_export.tasks.pytorch import assemble
    from lzu_export.tasks.warps import make_warp

    recipe = tiny_recipe(tmp_path_factory.mktemp("rtx"))
    module = assemble(recipe, make_warp(recipe), from_source=True)
    frame = torch.zeros((1, *recipe.source, 3), dtype=torch.uint8)
    model = trace(module, frame, "frame", module.output_names)
    return run_passes(model, [keep_outputs(module.outputs), name_zoom()])[0]


def lowered(model: onnx.ModelProto, kind: Kind) -> onnx.ModelProto:
    places = [n.output[0] for n in model.graph.node if n.domain == "lzu"]
    return run_passes(model, target_passes(dialect("tensorrt-rtx"), dict.fromkeys(places, kind)))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_zoomed_detector_builds(kind: Kind, canonical: onnx.ModelProto, tmp_path: Path) -> None:
    model = lowered(canonical, kind)
    lint(model, dialect("tensorrt-rtx"))
    onnx.save(model, tmp_path / "model.onnx")
    built = build(tmp_path / "model.onnx", tmp_path / "model.engine")
    assert (tmp_path / "model.engine").stat().st_size > 10_000
    assert built.version == version() == trt.__version__
    assert built.compute_capabilities == PORTABLE
    assert built.sampling_layers == (4 if kind == "gridsample" else 0)  # the zoom, three levels
    assert [(spec.name, spec.dtype, spec.shape) for spec in built.inputs] == [
        ("frame", "uint8", (1, 96, 160, 3))
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in built.outputs] == [
        ("boxes", "float32", (1, 150, 4)),
        ("scores", "float32", (1, 150)),
        ("labels", "int32", (1, 150)),
    ]


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A graph that builds at once."""
    node = helper.make_node("Relu", ["x"], ["y"], name="rectify")
    return save(graph_model([node], {"x": (1, 4)}, {"y": (1, 4)}), tmp_path)


@pytest.mark.parametrize("capability", ["7.5", "8.9", "12.0"])
def test_an_engine_of_one_capability(capability: str, small: Path, tmp_path: Path) -> None:
    built = build(small, tmp_path / "one.engine", compute_capabilities=[capability])
    assert built.compute_capabilities == (capability,)


@pytest.mark.parametrize("capability", ["1.0", "9.9.9", "1.20", "89", "ada", "8.90", ""])
def test_an_unknown_capability_is_refused(capability: str, small: Path, tmp_path: Path) -> None:
    with pytest.raises(LzuError) as caught:
        build(small, tmp_path / "no.engine", compute_capabilities=["8.6", capability])
    message = str(caught.value)
    assert f"no compute capability {capability}; it knows " in message
    assert "8.9" in message
    assert not (tmp_path / "no.engine").exists()


def test_turing_needs_an_engine_of_its_own(small: Path, tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"7\.5 \(Turing\) needs an engine of its own"):
        build(small, tmp_path / "no.engine", compute_capabilities=["7.5", "8.6"])


@pytest.mark.parametrize(("op", "domain"), [("StringNormalizer", ""), ("Abacus", "toys")])
def test_a_node_the_parser_refuses_is_named_in_one_sentence(
    op: str, domain: str, tmp_path: Path
) -> None:
    node = helper.make_node(op, ["x"], ["y"], name="culprit", domain=domain)
    model = graph_model([node], {"x": (1, 4)}, {"y": (1, 4)})
    model.opset_import.append(helper.make_opsetid("toys", 1))
    with pytest.raises(LzuError) as caught:
        build(save(model, tmp_path), tmp_path / "no.engine")
    message = str(caught.value)
    assert message.startswith(f"TensorRT-RTX cannot read model.onnx: node culprit ({op})")
    assert "\n" not in message
    assert not (tmp_path / "no.engine").exists()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00\x01no model")
    with pytest.raises(LzuError, match=r"model\.onnx is damaged or no ONNX file") as caught:
        build(tmp_path / "model.onnx", tmp_path / "no.engine")
    assert "\n" not in str(caught.value)


def parsed(model: onnx.ModelProto) -> Any:
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString())
    return SimpleNamespace(network=network, keep=(builder, parser, logger))


def sampler(**attributes: Any) -> onnx.ModelProto:
    rows, cols = random_tables(0, (6, 8), (4, 5))
    model = warp_model((1, 4, 6, 8), rows, cols)
    model, _ = run_passes(model, [lower_resample({"warped": "gridsample"})])
    (node,) = (node for node in model.graph.node if node.op_type == "GridSample")
    wanted = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 1, **attributes}
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in wanted.items())
    return model


def test_a_bilinear_grid_sample_is_read_as_such() -> None:
    model = sampler()
    inputs, outputs, layers = check_network(trt, parsed(model).network, model)
    assert ([spec.name for spec in inputs], [spec.name for spec in outputs]) == (["x"], ["warped"])
    assert layers == 1


OTHERS = [
    {"mode": "nearest"},
    {"padding_mode": "border"},
    {"padding_mode": "reflection"},
    {"align_corners": 0},
]


@pytest.mark.parametrize("attributes", OTHERS)
def test_a_grid_sample_is_read_as_the_file_says(attributes: dict[str, Any]) -> None:
    model = sampler(**attributes)
    assert check_network(trt, parsed(model).network, model)[2] == 1


@pytest.mark.parametrize("attributes", OTHERS)
def test_a_grid_sample_read_otherwise_is_refused(attributes: dict[str, Any]) -> None:
    read = parsed(sampler(**attributes)).network
    with pytest.raises(LzuError, match=r"reads the GridSample .* not as .*bilinear.* of the ONNX"):
        check_network(trt, read, sampler())


def resizer(**attributes: str) -> onnx.ModelProto:
    wanted = {"mode": "nearest", "nearest_mode": "floor"}
    wanted |= {"coordinate_transformation_mode": "asymmetric", **attributes}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], name="grow", **wanted)
    model = graph_model([node], {"x": (1, 2, 3, 4)}, {"y": (1, 2, 5, 8)})
    sizes = numpy_helper.from_array(np.array([1, 2, 5, 8]), "sizes")
    model.graph.initializer.append(sizes)
    return model


def test_a_nearest_resize_is_read_as_it_says() -> None:
    model = resizer()
    check_network(trt, parsed(model).network, model)


@pytest.mark.parametrize(
    "attributes",
    [
        {"nearest_mode": "ceil"},
        {"coordinate_transformation_mode": "half_pixel"},
        {"mode": "linear"},
    ],
)
def test_a_resize_read_otherwise_is_refused(attributes: dict[str, str]) -> None:
    """The parser is made to read another file than the one that is built."""
    with pytest.raises(LzuError, match="reads the graph's Resize nodes as"):
        check_network(trt, parsed(resizer(**attributes)).network, resizer())


def test_opset_20_is_misread_or_refused() -> None:
    """Lint refuses opset 20, whose mode `linear` some parsers read as nearest."""
    model = sampler(mode="linear")
    model.opset_import[0].version = 20
    read = parsed(model)
    layer = next(
        layer
        for layer in (read.network.get_layer(i) for i in range(read.network.num_layers))
        if layer.type == trt.LayerType.GRID_SAMPLE
    )
    layer.__class__ = trt.IGridSampleLayer
    if layer.interpolation_mode == trt.InterpolationMode.LINEAR:
        check_network(trt, read.network, model)
    else:
        with pytest.raises(LzuError, match="reads the GridSample"):
            check_network(trt, read.network, model)
    with pytest.raises(LzuError, match="opset 20"):
        lint(model, dialect("tensorrt-rtx"))


def test_names_shapes_and_types_are_held_against_the_file() -> None:
    model = sampler()
    read = parsed(model)
    wrong_name, wrong_shape, wrong_type = (
        onnx.ModelProto.FromString(model.SerializeToString()) for _ in range(3)
    )
    wrong_name.graph.output[0].name = "other"
    wrong_shape.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 6
    wrong_type.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for wrong in (wrong_name, wrong_shape, wrong_type):
        with pytest.raises(LzuError, match=r"parsed .* where the ONNX file says"):
            check_network(trt, read.network, wrong)


def test_a_lost_sampling_layer_is_refused() -> None:
    model = sampler()
    without = onnx.ModelProto.FromString(model.SerializeToString())
    without.graph.node.append(
        helper.make_node("GridSample", ["x", "x"], ["unused"], name="second", align_corners=1)
    )
    with pytest.raises(LzuError, match="parsed 1 sampling layers where the ONNX file has 2"):
        check_network(trt, parsed(model).network, without)


def test_without_the_package_the_remedy_is_named(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert version() is None
    with pytest.raises(LzuError, match="TensorRT-RTX is not installed; pip install"):
        build(small, tmp_path / "no.engine")


BUILDER = trt.Builder


class Builder:
    """TensorRT-RTX's builder; `build` is called instead of building."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self._real: Any = None

    def __call__(self, logger: Any) -> "Builder":
        self._real = BUILDER(logger)
        return self

    def create_network(self, flags: int) -> Any:
        return self._real.create_network(flags)

    def create_builder_config(self) -> Any:
        return self._real.create_builder_config()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        return self._build(config)


def test_the_configuration_is_the_one_asked_for(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 is off, and there is one compute capability for each that was asked for."""
    seen: list[Any] = []

    def spy(config: Any) -> bytes:
        many = config.num_compute_capabilities
        seen.append([config.get_compute_capability(i).name for i in range(many)])
        seen.append(config.get_flag(trt.BuilderFlag.TF32))
        seen.append(config.profiling_verbosity.name)
        return b"engine"

    monkeypatch.setattr(trt, "Builder", Builder(spy))
    build(small, tmp_path / "one.engine", compute_capabilities=["8.9", "12.0"])
    assert seen == [["SM89", "SM120"], False, "LAYER_NAMES_ONLY"]
    assert (tmp_path / "one.engine").read_bytes() == b"engine"
    seen.clear()
    build(small, tmp_path / "other.engine", detailed=True)
    assert seen == [["SM80", "SM86", "SM89", "SM120"], False, "DETAILED"]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_failed_build_is_one_sentence_and_verbose_shows_its_log(
    verbose: bool,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Any) -> None:
        logger_of(trt).log(trt.ILogger.Severity.ERROR, "no kernel fits\nmore")

    monkeypatch.setattr(trt, "Builder", Builder(fail))
    caplog.set_level("INFO" if verbose else "WARNING")
    with pytest.raises(LzuError) as caught:
        build(small, tmp_path / "second.engine")
    said = "TensorRT-RTX could not build an engine from model.onnx: no kernel fits"
    assert str(caught.value) == said
    assert not (tmp_path / "second.engine").exists()
    assert ("no kernel fits\nmore" in caplog.text) == verbose


def int8_model(tmp_path: Path, *, without: str = "") -> onnx.ModelProto:
    """Two convolutions in INT8; the first one lacks a pair on its data or weights if asked."""
    generator = np.random.default_rng(0)
    scale, zero = np.float32(0.05), np.int8(0)
    constants: dict[str, Any] = {"scale": np.array(scale), "zero": np.array(zero)}
    nodes, x = [], "x"
    for i in range(2):
        weight = generator.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
        stripped = without if i == 0 else ""
        constants[f"w{i}"] = weight
        nodes.append(helper.make_node("QuantizeLinear", [x, "scale", "zero"], [f"q{i}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{i}", "scale", "zero"], [f"d{i}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"w{i}", "scale", "zero"], [f"dw{i}"]))
        data, weights = f"d{i}", f"dw{i}"
        if stripped == "data":
            nodes.append(helper.make_node("Relu", [data], ["between"]))
            data = "between"
        nodes.append(
            helper.make_node("Conv", [data, weights], [f"y{i}"], f"conv{i}", pads=[1, 1, 1, 1])
        )
        x = f"y{i}"
    return graph_model(nodes, {"x": (1, 8, 16, 16)}, {"y1": (1, 8, 16, 16)}, constants, opset=19)


def test_int8_convolutions_are_held_to_their_dequantisations(tmp_path: Path) -> None:
    """A convolution with INT8 weights but no Q/DQ pair on its data is refused by name."""
    pytest.importorskip("tensorrt_rtx")
    model = int8_model(tmp_path)
    assert int8_convolutions(model) == ["conv0", "conv1"]
    onnx.save(model, tmp_path / "right.onnx")
    build(tmp_path / "right.onnx", tmp_path / "right.engine", compute_capabilities=["8.6"])
    wrong = int8_model(tmp_path, without="data")
    onnx.save(wrong, tmp_path / "wrong.onnx")
    said = (
        "the data of the convolution conv0 come from no dequantisation in the network that "
        "TensorRT-RTX parsed: it would not run in INT8"
    )
    with pytest.raises(LzuError, match=said):
        build(tmp_path / "wrong.onnx", tmp_path / "wrong.engine", compute_capabilities=["8.6"])
    assert not (tmp_path / "wrong.engine").exists()


def test_the_inspector_s_words_tell_what_runs_in_int8() -> None:
    """Plain and fused layers are recognised; an engine without layer details is refused."""
    layers = [
        {"Name": "conv0 + relu0", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]},
        {"Name": "conv1", "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}]},
        {"Name": "conv10", "Inputs": [{"Format/Datatype": "Int8"}]},
        "a name only",
    ]
    information = json.dumps({"Layers": layers})
    assert not_in_int8(information, ["conv0", "conv1", "conv10"]) == ["conv1"]
    assert not_in_int8(information, ["conv"]) == ["conv"]
    with pytest.raises(ValueError, match="names no layers"):
        not_in_int8('{"Layers": ["conv0"]}', ["conv0"])


def test_the_runtime_refuses_an_engine_that_nothing_here_can_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a card the real runtime raises an error and does not abort."""
    build(small, tmp_path / "small.engine")
    install_cuda(monkeypatch, World(gpu="no card"), "cuda-python")
    with pytest.raises(LzuError) as caught:
        LoadedEngine(trt, tmp_path / "small.engine", open_cuda())
    message = str(caught.value)
    assert "does not run small.engine on no card (Error reading CUDA GPU properties" in message
    assert "\n" not in message
