"""Fixtures of tests of exports."""

import shutil
from pathlib import Path

import pytest
from export_samples import quick

from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import export
from lzu_export.targets.onnxruntime import OnnxRuntimeSession


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the recipes of a test module read."""
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def finished(inputs: Path) -> Path:
    """A bundle's parent folder, to be copied: the fixed variant, no target but ONNX Runtime."""
    export(quick(inputs), inputs / "finished")
    return inputs / "finished"


@pytest.fixture
def exported(finished: Path, tmp_path: Path) -> Path:
    """A copy of the bundle in `finished`, which a test may change."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out" / "det" / "tiny-fixed-0.5x"


@pytest.fixture
def out(exported: Path) -> Path:
    """The folder of all bundles that `exported` is in."""
    return exported.parents[1]


@pytest.fixture
def world(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine with TensorRT, whose engines compute the bundle's graph."""
    derive(bundle)
    session = OnnxRuntimeSession(bundle / "model.fp32.tensorrt.onnx", threads=1)
    world = World(compute=session.run)
    install_cuda(monkeypatch, world, "cuda-python")
    install_tensorrt(monkeypatch, world, "10.3.0")
    return world
