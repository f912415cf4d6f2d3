"""Fixtures of tests of exports."""

import shutil
from pathlib import Path

import pytest
from export_samples import quick

from lzu_export.compiler.pipeline import export


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
