"""Builds of TensorRT-RTX that call plugins: the child process, and what becomes of its end."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from adaptive_samples import chain
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Operator, Plugins
from lzu_export.support.interpreter import run_program
from lzu_export.targets.tensorrt import plugin_process
from lzu_export.targets.tensorrt.parsed_network import check_plugins
from lzu_export.targets.tensorrt.plugin_process import LIBRARY, NoPluginsError, environment
from samples import refusal, stub_library

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

WANTED = Plugins(operators=(Operator(name="BoxKnots", version="1", namespace="lzu"),))


def network(*plugins: list[tuple[str, Any, tuple[int, ...]]]) -> Any:
    """A parsed network of plugin layers, each given by its outputs' names, dtypes and shapes."""
    layers = [
        SimpleNamespace(
            type=trt.LayerType.PLUGIN_V3,
            num_outputs=len(outputs),
            get_output=lambda i, outputs=outputs: SimpleNamespace(
                name=outputs[i][0], dtype=outputs[i][1], shape=outputs[i][2]
            ),
        )
        for outputs in plugins
    ]
    return SimpleNamespace(num_layers=len(layers), get_layer=lambda i: layers[i])


def outputs_of(model: onnx.ModelProto) -> list[list[tuple[str, Any, tuple[int, ...]]]]:
    """The calls' outputs as the file says."""
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in model.graph.output
    }
    return [
        [(name, trt.DataType.FLOAT, shapes[name]) for name in node.output]
        for node in model.graph.node
    ]


def test_each_call_is_held_against_its_plugin() -> None:
    """A parser that took a function, or another plugin, would make other tensors."""
    model = chain(bodies=False)
    right = outputs_of(model)
    assert check_plugins(trt, network(*right), model) == 3
    message = refusal(lambda: check_plugins(trt, network(*right[:2]), model))
    assert "parsed no plugin for the call of lzu::SeparableUnzoom that makes unzoomed_0" in message
    name, kind, shape = right[1][0]
    for wrong in ((name, trt.DataType.HALF, shape), (name, kind, (*shape[:3], 5))):
        other = [right[0], [wrong], right[2]]
        message = refusal(lambda other=other: check_plugins(trt, network(*other), model))
        assert "of lzu::SeparableZoom where the ONNX file says" in message


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A graph that calls plugins, the engine to write, and a library."""
    onnx.save(chain(bodies=False), tmp_path / "model.onnx")
    library = stub_library(tmp_path)
    return tmp_path / "model.onnx", tmp_path / "model.engine", library


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run a program in place of the builder."""
    monkeypatch.setattr(plugin_process, "run_module", lambda _: run_program(program))


@pytest.mark.parametrize("before", [None, "", "/some/place:/other"])
def test_the_loader_finds_the_library_by_its_plain_name(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    else:
        monkeypatch.setenv("LD_LIBRARY_PATH", before)
    given = environment(tmp_path)
    assert given["LD_LIBRARY_PATH"] == f"{tmp_path}:{before}" if before else str(tmp_path)
    assert os.environ.get("LD_LIBRARY_PATH") == before
    found = subprocess.run(
        run_program(f"import ctypes; ctypes.CDLL({LIBRARY!r}).getInferLibMajorVersion"),
        env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def test_without_the_package_the_system_is_left_to_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_process, "find_spec", lambda _: None)
    assert environment(tmp_path)["LD_LIBRARY_PATH"].startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_is_ended_means_no_plugins(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser ends it by std::terminate, a SIGABRT, where it does not find its library."""
    child(monkeypatch, "import os, sys; print('terminate called', file=sys.stderr); os.abort()")
    with pytest.raises(NoPluginsError) as caught:
        plugin_process.build(*files, WANTED)
    message = str(caught.value)
    assert message.startswith("TensorRT-RTX 1.")
    assert message.endswith(
        "takes no plugins here: its process ended with signal 6 (terminate called)"
    )
    assert not files[1].exists()


def test_a_child_that_fails_is_one_sentence(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    child(monkeypatch, "raise OSError('no space\\nleft')")
    message = refusal(lambda: plugin_process.build(*files, WANTED))
    assert message.endswith("could not be started in a child process: left")


def test_the_error_has_what_the_plugin_wrote(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX hands a library's plugins no logger, so that they write to stderr."""
    answer = "json.dump({'error': 'cannot read it'}, open(json.load(sys.stdin)['answer'], 'w'))"
    say = "print('noise\\nlzu::BoxKnots: fwhm is -1', file=sys.stderr)"
    child(monkeypatch, f"import json, sys; {say}; {answer}")
    message = refusal(lambda: plugin_process.build(*files, WANTED))
    assert message == "cannot read it: lzu::BoxKnots: fwhm is -1"


def test_a_library_without_plugins_is_refused_by_the_real_builder(
    files: tuple[Path, Path, Path],
) -> None:
    message = refusal(lambda: plugin_process.build(*files, WANTED))
    assert "TensorRT does not load" in message
    assert str(files[2]) in message
    assert not files[1].exists()


def test_an_unfit_library_is_refused_before_any_process(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", run)
    model, engine, library = files
    newer = Plugins(operators=(Operator(name="BoxKnots", version="2", namespace="lzu"),))
    with pytest.raises(LzuError, match="has plugins of version 1 but the bundle calls version 2"):
        plugin_process.build(model, engine, library, newer)
    with pytest.raises(LzuError, match="is not a 64-bit shared library"):
        plugin_process.build(model, engine, model, WANTED)
