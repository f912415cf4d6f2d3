"""What is missing is asked for by an extra that brings it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lzu_export.cli import exits
from lzu_export.support import extras
from lzu_export.support.extras import (
    ALWAYS,
    BRINGS,
    OF_COMMANDS,
    broken,
    cure,
    extra_of,
    install,
    needs,
)

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {
    "onnx-graphsurgeon": "onnx_graphsurgeon",
    "ml-dtypes": "ml_dtypes",
    "onnxruntime-gpu": "onnxruntime",
    "tensorrt-rtx": "tensorrt_rtx",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13": "onnxruntime_ep_nv_tensorrt_rtx",
    "cuda-bindings": "cuda",
    "faster-coco-eval": "faster_coco_eval",
    "lzu-export-demo": "lzu_export_demo",
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
}
"""Of packages whose module has another name."""
WITH_OTHERS = {"markupsafe": "jinja2", "pydantic_core": "pydantic"}
"""Modules that come with another."""


def _declared() -> dict[str, set[str]]:
    """Modules of every extra, and of none, as pyproject.toml declares them."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^([a-z0-9]+) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    found = {}
    for name, entries in lists:
        packages = re.findall(r'"([A-Za-z0-9_.-]+)[^"]*"', entries)
        found[name] = {MODULES.get(each.lower(), each.lower()) for each in packages}
    return found


@pytest.mark.parametrize("extra", BRINGS)
def test_an_extra_brings_what_it_declares(extra: str) -> None:
    """No more and no less: a hint is only as good as this table."""
    mine = {WITH_OTHERS.get(module, module) for module in BRINGS[extra]}
    assert mine == _declared()[extra]


def test_own_dependencies_are_declared() -> None:
    """They need no extra."""
    assert {WITH_OTHERS.get(module, module) for module in ALWAYS} == _declared()["dependencies"]


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("bench", {"onnx": "bench", "jinja2": "bench", "torch": "export"}),
        ("verify", {"onnx": "verify", "torch": "export"}),
        ("calibrate", {"onnx.helper": "verify", "matplotlib.pyplot": "bench"}),
        ("derive", {"onnx_graphsurgeon": "device"}),
        ("build --target tensorrt", {"onnx": "device"}),
        ("export", {"onnxscript": "export", "faster_coco_eval": "bench"}),
        ("run", {"onnx": "verify", "cuda.bindings": "cuda", "ghost": None}),
        ("regress", {"onnx": "verify"}),
        ("", {"torch": "export"}),
    ],
)
def test_the_smallest_extra_of_the_command(command: str, extras: dict[str, str | None]) -> None:
    """An extra that brings torch is named only where no other has the module."""
    assert {module: extra_of(module, command) for module in extras} == extras


@pytest.mark.parametrize("command", [*OF_COMMANDS, "run", "inspect", "doctor"])
def test_a_hint_holds_what_is_missing(command: str) -> None:
    """Of every command and every module."""
    modules = {module for found in BRINGS.values() for module in found} - {"onnxruntime"}
    for module in modules:
        (extra,) = re.findall(r"^pip install 'lzu-export\[(\w+)\]'$", install(module, command))
        assert module in BRINGS[extra]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that stands alone."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def _put(folder: Path, name: str, version: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_one_of_several_packages_is_written_again(packages: Path) -> None:
    """A plain install would find it satisfied, since its metadata is there."""
    plain = "pip install --force-reinstall --no-deps"
    assert install("cv2") == f"{plain} opencv-python-headless"
    assert install("onnxruntime") == "pip install 'lzu-export[runtime]'"
    _put(packages, "opencv-python", "4.10.0.84")
    _put(packages, "onnxruntime-gpu", "1.23.2")
    assert install("cv2") == f"{plain} opencv-python==4.10.0.84"
    assert install("onnxruntime") == f"{plain} onnxruntime-gpu==1.23.2"
    _put(packages, "opencv-python-headless", "5.0.0.93")
    _put(packages, "onnxruntime", "1.32.0")
    assert cure("cv2") == (
        f"pip uninstall -y opencv-python && {plain} opencv-python-headless==5.0.0.93"
    )
    assert cure("onnxruntime") == (
        f"pip uninstall -y onnxruntime && {plain} onnxruntime-gpu==1.23.2"
    )


def test_what_is_left_of_a_package_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package without its files imports, and has no attribute."""
    for name in ("cv2", "onnxruntime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        code = "from lzu_export.cli import exits\nwith exits.ending():\n    import {0}\n    {0}.{1}"
        done = subprocess.run(
            [sys.executable, "-c", code.format(name, extras.ENTRY[name])],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == exits.UNFIT
        assert done.stderr.startswith(f"error: the package {name} is damaged (files of it are mis")
        assert "--force-reinstall" in done.stderr


def test_an_import_that_fails_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """As OpenCV's without the system's libraries."""
    error = ImportError("libGL.so.1: cannot open shared object file", name="cv2")
    assert exits.explain(error) == exits.UNFIT
    said = capsys.readouterr().err
    assert said.startswith("error: the package cv2 is damaged (libGL.so.1: cannot open")
    assert broken("cv2", "why").startswith("the package cv2 is damaged (why); pip install")
    assert needs("this", "ghost").endswith("; install the package with the module ghost")
