"""A bundle's graph for TensorRT, written into it."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from lzu_export.bundle.bundle import Bundle
from lzu_export.cli.app import app
from lzu_export.compiler import derive as module
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.graph.lint import lint
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.support.files.hashes import sha256
from lzu_export.verification.parity import verify_engine
from samples import dialect, stub_library


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was built on the machine of the tests."""
    monkeypatch.setattr(module, "library_places", lambda bundle: [])


def test_a_fixed_warp_needs_no_plugins(bundle: Path) -> None:
    before = read_manifest(bundle)
    (made,) = derive(bundle)
    assert made == {
        "file": str(bundle / "model.fp32.tensorrt.onnx"),
        "precision": "fp32",
        "plugins": [],
        "library": None,
        "status": "graph passed",
    }
    model = onnx.load(made["file"])
    lint(model, dialect("tensorrt"))
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    manifest = read_manifest(bundle)
    assert manifest.plugins is None
    (derived,) = manifest.derived
    assert manifest.files[derived.file] == sha256(bundle / derived.file)
    assert {each.place for each in derived.lowerings} >= {"zoom", "unzoomed_0"}
    assert manifest.parity[:-1] == before.parity
    parity = manifest.parity[-1]
    assert (parity.target, parity.status) == ("tensorrt", "graph passed")
    assert "needs TensorRT" in parity.note
    assert parity.outputs
    assert not list(bundle.glob(".*"))


def test_again_it_takes_the_place_of_the_first(bundle: Path) -> None:
    derive(bundle)
    first = read_manifest(bundle)
    derive(bundle)
    second = read_manifest(bundle)
    assert second == first
    assert verify_engine(Bundle(bundle, second), second.derived[0]).status == "graph passed"


def test_refusals_leave_the_bundle_as_it_was(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: sha256(path) for path in bundle.iterdir()}
    with pytest.raises(LzuError, match=r"has no graph in fp64; it has fp32"):
        derive(bundle, precision="fp64")
    with pytest.raises(LzuError, match=r"nowhere\.so cannot be read"):
        derive(bundle, plugins=bundle / "nowhere.so")

    def drifting(*arguments: object) -> object:
        return read_manifest(bundle).parity[0].model_copy(update={"limit": -1.0})

    monkeypatch.setattr(module, "compare", drifting)
    with pytest.raises(LzuError, match=r"deviates from PyTorch.*; the file was not written"):
        derive(bundle)
    assert {path.name: sha256(path) for path in bundle.iterdir()} == before


def test_a_changed_flavour_is_found_out(bundle: Path) -> None:
    derive(bundle)
    (bundle / "model.fp32.tensorrt.onnx").write_bytes(b"other")
    manifest = read_manifest(bundle)
    with pytest.raises(LzuError, match=r"tensorrt\.onnx was changed after the export"):
        verify_engine(Bundle(bundle, manifest), manifest.derived[0])


def test_on_the_command_line(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["derive", str(bundle)])
    assert done.exit_code == 0, done.output
    assert "model.fp32.tensorrt.onnx: graph passed, needs no plugins" in done.output
    done = CliRunner().invoke(app, ["derive", str(bundle), "--json"])
    assert json.loads(done.stdout)[0]["status"] == "graph passed"
    done = CliRunner().invoke(app, ["verify", str(bundle), "--json"])
    assert [each["target"] for each in json.loads(done.stdout)] == ["onnxruntime", "tensorrt"]


def test_deformable_convolutions_are_tensorrt_s_own(
    tiny_det3d_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_det3d_bundle, tmp_path / "bundle"))
    (made,) = derive(bundle)
    assert made["status"] == "graph passed"
    operators = {node.op_type for node in onnx.load(made["file"]).graph.node}
    assert "DeformConv" in operators
    assert FILE in {path.name for path in bundle.iterdir()}


def test_a_library_is_recorded_only_where_plugins_are_called(bundle: Path, tmp_path: Path) -> None:
    library = stub_library(tmp_path)
    derive(bundle, plugins=library)
    assert read_manifest(bundle).plugins is None
