"""The plugins in the builder of TensorRT-RTX, which needs no GPU: parsed, built and refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from toolchain import host_plugins

from adaptive_samples import BATCH, CANVAS, FLOAT, HALF, LEVELS, PAD, SOURCE, chain, quantised_chain
from lzu_export.graph.derivation import lower_for
from lzu_export.ops.separable_unzoom import consistent_affine
from rtx_libraries import PACKAGES, build, environment
from samples import adaptive_model, dialect

pytestmark = pytest.mark.slow

RIG = 6
"""Batch of a rig of six cameras."""
KNOTS = {"knots_x": 11, "knots_y": 7}


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    return lower_for(dialect("tensorrt-rtx-plugins"), model, {})[0]


def shared_knots(dtype: Any, batch: int) -> onnx.ModelProto:
    """An unzoom of one row of knots for all images of a batch."""
    levels = {
        f"level_{i}": np.zeros((batch, 16, *each.size), dtype) for i, each in enumerate(LEVELS)
    }
    knots = {name: np.zeros((1, count), np.float32) for name, count in KNOTS.items()}
    outputs = {name.replace("level", "unzoomed"): x.shape for name, x in levels.items()}
    said = consistent_affine(LEVELS, CANVAS)
    inputs = {**levels, **knots}
    return adaptive_model("SeparableUnzoom", inputs, outputs, bodies=False, **said)


def shared_zoom(dtype: Any, batch: int) -> onnx.ModelProto:
    """A zoom of one row of knots for all images of a batch."""
    knots = {name: np.zeros((1, count), np.float32) for name, count in KNOTS.items()}
    inputs = {"image": np.zeros((batch, 3, *SOURCE), dtype), **knots}
    outputs = {"zoomed": (batch, 3, CANVAS[0] + PAD[0], CANVAS[1] + PAD[1])}
    return adaptive_model("SeparableZoom", inputs, outputs, bodies=False, canvas=CANVAS, pad=PAD)


def inverse(batch: int) -> onnx.ModelProto:
    knots = {"knots": np.zeros((batch, 7, 11, 2), np.float32)}
    outputs = {"grid": (batch, 9, 13, 2)}
    return adaptive_model("InvertWarp", knots, outputs, bodies=False, size=(9, 13))


CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "float32": lambda: lowered(chain(FLOAT)),
    "float16": lambda: lowered(chain(HALF)),
    "int8": lambda: lowered(quantised_chain()),
    "float32_rig": lambda: lowered(chain(FLOAT, batch=RIG)),
    "float16_rig": lambda: lowered(chain(HALF, batch=RIG)),
    "int8_rig": lambda: lowered(quantised_chain(batch=RIG)),
    "float16_upscaled": lambda: lowered(chain(HALF, upscale=2)),
    "int8_upscaled": lambda: lowered(quantised_chain(upscale=2)),
    "float32_shared": lambda: shared_knots(np.float32, RIG),
    "float16_shared": lambda: shared_knots(np.float16, RIG),
    "float32_zoom_shared": lambda: shared_zoom(np.float32, RIG),
    "float16_zoom_shared": lambda: shared_zoom(np.float16, RIG),
    "inverse": lambda: inverse(1),
    "inverse_rig": lambda: inverse(RIG),
}


@pytest.fixture(scope="module", params=PACKAGES)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Environment of a process with the libraries of one package."""
    return environment(request.param, tmp_path_factory.mktemp("links") / "links")


def written(models: dict[str, onnx.ModelProto], folder: Path) -> list[Path]:
    paths = []
    for name, model in models.items():
        paths.append(folder / f"{name}.onnx")
        onnx.save(model, paths[-1])
    return paths


@pytest.fixture(scope="module")
def built(given: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("built")
    models = {name: make() for name, make in CASES.items()}
    return build(given, host_plugins(), written(models, folder)), folder


TYPES = {FLOAT: "FLOAT", HALF: "HALF", onnx.TensorProto.INT8: "INT8"}


def tensor_of(model: onnx.ModelProto, name: str) -> list[Any]:
    """Return name, TensorRT's type and shape of a tensor as the ONNX file says."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    (value,) = (each for each in values if each.name == name)
    kind = value.type.tensor_type
    return [name, TYPES[kind.elem_type], [d.dim_value for d in kind.shape.dim]]


@pytest.mark.parametrize("case", CASES)
def test_each_call_is_one_plugin_with_the_types_and_shapes_of_the_file(
    case: str, built: tuple[dict[str, Any], Path]
) -> None:
    described, folder = built[0][case], built[1]
    assert described["parsed"]
    assert described["errors"] == []
    model = onnx.load(folder / f"{case}.onnx")
    calls = [node for node in model.graph.node if node.domain == "lzu"]
    assert calls
    wanted = [
        [
            node.name,
            [tensor_of(model, name) for name in node.input if name],
            [tensor_of(model, name) for name in node.output],
        ]
        for node in calls
    ]
    assert described["plugins"] == wanted
    kinds = described["kinds"]
    assert ("QUANTIZE" in kinds) == ("DEQUANTIZE" in kinds) == case.startswith("int8")
    levels = [out for _, _, outs in described["plugins"] for out in outs if "unzoomed" in out[0]]
    features = {"float32": "FLOAT", "float16": "HALF", "int8": "INT8"}
    assert {kind for _, kind, _ in levels} <= {features.get(case.partition("_")[0], "")}
    batches = {shape[0] for _, _, shape in levels}
    assert batches <= {RIG if "rig" in case or "shared" in case else BATCH}


@pytest.mark.parametrize("case", CASES)
def test_the_engine_holds_each_plugin_and_its_fields(
    case: str, built: tuple[dict[str, Any], Path]
) -> None:
    described, folder = built[0][case], built[1]
    model = onnx.load(folder / f"{case}.onnx")
    outputs = [tensor_of(model, value.name) for value in model.graph.output]
    names = {"FLOAT": "float32", "HALF": "float16"}
    assert described["outputs"] == [[name, names[kind], shape] for name, kind, shape in outputs]
    engine = (folder / f"{case}.engine").read_bytes()
    for node in (each for each in model.graph.node if each.domain == "lzu"):
        assert node.op_type.encode() in engine
        for attribute in node.attribute:
            if not attribute.name.startswith("plugin_"):
                assert attribute.name.encode() in engine


def test_the_libraries_are_those_of_the_package(
    built: tuple[dict[str, Any], Path], given: Any
) -> None:
    """The first to be loaded answers; the bindings bring their own besides the provider's."""
    mine = str(Path(given["LD_LIBRARY_PATH"], "libtensorrt_rtx.so").resolve())
    assert mine in built[0]["loaded"]


def spoilt(model: onnx.ModelProto, op: str, **values: Any) -> onnx.ModelProto:
    """The model with other values of attributes of a call."""
    (call,) = (node for node in model.graph.node if node.op_type == op)
    kept = [each for each in call.attribute if each.name not in values]
    del call.attribute[:]
    call.attribute.extend(kept)
    call.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in values.items() if v != ())
    return model


BAD: dict[str, tuple[Callable[[], onnx.ModelProto], str, dict[str, Any], str]] = {
    "fwhm": (CASES["float32"], "BoxKnots", {"fwhm": -1.0}, "fwhm"),
    "lattice": (CASES["float32"], "BoxKnots", {"lattice": [7]}, "lattice"),
    "canvas": (CASES["float16"], "SeparableZoom", {"canvas": [0, 52]}, "canvas"),
    "scale": (CASES["float16"], "SeparableUnzoom", {"scale_y": [1.0]}, "scale_y"),
    "missing": (CASES["int8"], "SeparableUnzoom", {"offset_x": ()}, "offset_x"),
    "upscale": (CASES["int8"], "SeparableUnzoom", {"upscale": 0}, "upscale"),
    "nan": (CASES["float32"], "SeparableUnzoom", {"scale_x": [float("nan")] * 3}, "scale_x"),
    "size": (CASES["inverse"], "InvertWarp", {"size": [0, 13]}, "size"),
}


def test_a_bad_field_is_one_logged_sentence_and_no_plugin(given: Any, tmp_path: Path) -> None:
    models = {name: spoilt(make(), op, **said) for name, (make, op, said, _) in BAD.items()}
    described = build(given, host_plugins(), written(models, tmp_path))
    # TensorRT-RTX hands the library a finder of loggers that finds none: then stderr gets it.
    assert len(described["said"]) == len(BAD)
    for sentence, (name, (_, op, _, word)) in zip(described["said"], BAD.items(), strict=True):
        assert not described[name]["parsed"], name
        assert "Could not create the plugin" in " ".join(described[name]["errors"])
        assert sentence.startswith(f"lzu::{op}: ")
        assert word in sentence
        assert not (tmp_path / f"{name}.engine").exists()
