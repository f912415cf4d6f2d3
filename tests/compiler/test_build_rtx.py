"""Engines built again on or for another device."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lzu_export.compiler.build_rtx import build_rtx, build_rtx_plugins
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Manifest, read_manifest, write_manifest
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
from lzu_export.targets.tensorrt.plan import BuiltEngine
from samples import status_of, stub_library


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that has a graph for TensorRT-RTX: the file itself does not matter here."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = read_manifest(folder)
    (engine,) = manifest.engines
    shutil.copy(folder / engine.onnx, folder / "model.fp32.tensorrt-rtx.onnx")
    name = "model.fp32.tensorrt-rtx.onnx"
    rtx = engine.model_copy(update={"target": "tensorrt-rtx", "onnx": name})
    changed = manifest.model_copy(
        update={
            "engines": (engine, rtx),
            "files": {**manifest.files, name: sha256(folder / name)},
        }
    )
    write_manifest(folder, changed)
    return folder


class Builder:
    """Stands for TensorRT-RTX."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, list[str]]] = []
        self.error: Exception | None = None

    def __call__(self, model: Path, engine: Path, *, compute_capabilities: Any) -> Any:
        self.calls.append((model.read_bytes(), list(compute_capabilities)))
        engine.write_bytes(b"half")
        if self.error:
            raise self.error
        engine.write_bytes(b"engine")
        capabilities = tuple(compute_capabilities) or ("8.0", "8.6")
        return BuiltEngine("1.7", capabilities, (), (), 0)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """In TensorRT-RTX's place."""
    made = Builder()
    monkeypatch.setattr(tensorrt_rtx, "build", made)
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def manifest_of(folder: Path) -> Manifest:
    return read_manifest(folder)


def test_a_build_needs_neither_onnx_runtime_nor_torch() -> None:
    """The machine that builds for other cards may have TensorRT-RTX alone."""
    blocked = "import sys; sys.modules |= dict.fromkeys(('onnxruntime', 'torch')); "
    code = blocked + "import lzu_export.compiler.build_rtx, lzu_export.cli.build"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_engine_stands_beside_the_bundle(bundle: Path, builder: Builder) -> None:
    """Its name says what it is for, and the verified bundle does not change."""
    before = names(bundle)
    manifest = manifest_of(bundle)
    built = build_rtx(bundle, ["8.9", "12.0"], None)
    assert built["file"] == str(bundle.parent / "bundle.fp32.rtx.sm89.sm120.engine")
    assert built["version"] == "1.7"
    assert built["for"] == "sm8.9, sm12.0"
    assert names(bundle) == before
    assert Path(built["file"]).read_bytes() == b"engine"
    assert builder.calls == [((bundle / manifest.engines[0].onnx).read_bytes(), ["8.9", "12.0"])]
    assert manifest_of(bundle) == manifest


def test_portable_by_default(bundle: Path, builder: Builder) -> None:
    """The new engine does not replace the bundle's own."""
    built = build_rtx(bundle, [], None)
    assert Path(built["file"]).name == "bundle.fp32.rtx.portable.engine"
    assert Path(built["file"]).read_bytes() == b"engine"


def test_another_place_may_be_given(bundle: Path, builder: Builder, tmp_path: Path) -> None:
    """The engine may go into any existing folder."""
    out = tmp_path / "my.engine"
    assert build_rtx(bundle, [], out)["file"] == str(out)
    assert out.read_bytes() == b"engine"
    with pytest.raises(LzuError, match=r"my\.engine cannot be written"):
        build_rtx(bundle, [], tmp_path / "nowhere" / "my.engine")


@pytest.mark.parametrize(
    "error", [LzuError("it failed"), OSError(28, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failed_build_leaves_nothing(bundle: Path, builder: Builder, error: Any) -> None:
    """An engine of an earlier run is kept."""
    before = names(bundle)
    builder.error = error
    wanted = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else LzuError
    with pytest.raises(wanted):
        build_rtx(bundle, [], None)
    assert names(bundle) == before


def test_a_bundle_without_such_a_graph_is_refused(tiny_bundle: Path, builder: Builder) -> None:
    """The error says how to get the graph."""
    with pytest.raises(LzuError, match="has no tensorrt-rtx graph; export it with that target"):
        build_rtx(tiny_bundle, [], None)
    assert builder.calls == []


def test_a_graph_without_computed_warps_calls_no_plugins(tiny_bundle: Path, tmp_path: Path) -> None:
    folder, library = (
        Path(shutil.copytree(tiny_bundle, tmp_path / "bundle")),
        stub_library(tmp_path),
    )
    before = names(folder)
    words = ["build", folder, "--target", "tensorrt-rtx", "--plugins", library]
    assert status_of(*words) == 2
    with pytest.raises(LzuError, match=r"calls no plugins: .*; leave --plugins out"):
        build_rtx_plugins(folder, [], library)
    assert status_of(*words, "--out", tmp_path / "x.engine") == 2
    assert status_of(*words, "--workspace", "100") == 2
    assert names(folder) == before


def test_a_changed_graph_is_refused(bundle: Path, builder: Builder) -> None:
    """It is refused before anything is built."""
    (bundle / "model.fp32.tensorrt-rtx.onnx").write_bytes(b"other")
    with pytest.raises(LzuError, match=r"tensorrt-rtx\.onnx was changed after the export"):
        build_rtx(bundle, [], None)
    assert builder.calls == []
