"""What a machine has: every finding with a version, or with the command that gets it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lzu_export import doctor
from lzu_export.cli import app
from lzu_export.doctor import Finding, examine, missing
from lzu_export.errors import LzuError
from lzu_export.runtime.cuda_driver import Driver
from lzu_export.tables import doctor_table
from samples import stub_library


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has nothing; packages are not really imported."""
    monkeypatch.setattr(
        doctor, "_run", lambda *_: (1, "ModuleNotFoundError: No module named 'nothing'")
    )
    monkeypatch.setattr(doctor, "find_driver", lambda: None)
    monkeypatch.setattr(doctor, "library_places", lambda: [tmp_path / "liblzu_plugins.so"])
    monkeypatch.setattr(doctor, "TEGRA_RELEASE", tmp_path / "nv_tegra_release")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("TENSORRT_INCLUDE", str(tmp_path / "include"))
    return tmp_path


def found(name: str, folder: Path) -> Finding:
    (finding,) = (each for each in examine(folder / "plugins") if each.name == name)
    return finding


def test_a_machine_that_has_nothing(bare: Path) -> None:
    findings = {each.name: each for each in examine(bare / "plugins")}
    del findings["torch"]
    assert not any(each.found for each in findings.values())
    assert all(each.install for name, each in findings.items() if name != "jetpack")
    assert findings["nvcc"].looked == (str(bare / "cuda"),)
    assert findings["tensorrt-headers"].looked == (str(bare / "include"),)
    assert findings["plugins"].looked == (str(bare / "liblzu_plugins.so"),)
    assert not (bare / "plugins").exists(), "it only looks"
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(doctor_table(list(findings.values())))
    text = console.export_text()
    assert "looked in" in text
    assert "make plugins" in text
    assert max(map(len, text.splitlines())) <= 80


def test_tools_and_libraries_that_are_there(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = bare / "cuda/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 12.6, V12.6.68\n")
    nvcc.chmod(0o755)
    assert found("nvcc", bare).detail == f"12.6 in {bare / 'cuda'}"
    include = bare / "include"
    include.mkdir()
    (include / "NvInfer.h").write_text("")
    assert found("tensorrt-headers", bare).detail == str(include)
    for old in ("#define NV_TENSORRT_MAJOR 10 //!<\n#define NV_TENSORRT_MINOR 3 //!<\n",
                "#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 3\n"):  # fmt: skip
        (include / "NvInferVersion.h").write_text(old)
        assert found("tensorrt-headers", bare).detail == f"10.3 in {include}"
    library = stub_library(bare, cuda=12)
    assert found("plugins", bare).detail == f"version 1, CUDA 12, {library}"
    library.write_bytes(b"rubbish")
    broken = found("plugins", bare)
    assert not broken.found
    assert "is no shared library" in broken.detail
    monkeypatch.setattr(doctor, "find_driver", lambda: Driver((12, 6), ("Orin (8.7)",)))
    assert found("gpu", bare).detail == "Orin (8.7); driver for CUDA 12.6"
    monkeypatch.setattr(doctor, "find_driver", lambda: Driver((12, 6), ()))
    assert not found("gpu", bare).found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
         "JetPack 6, Jetson Linux 36.4.3"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "Jetson Linux 99.1.0"),
        ("something else", "something else"),
    ],
)  # fmt: skip
def test_a_jetson(line: str, expected: str, bare: Path) -> None:
    (bare / "nv_tegra_release").write_text(line + "\n")
    assert found("jetpack", bare).detail == expected
    assert "apt-get install tensorrt" in found("tensorrt", bare).install


def test_without_a_checkout(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FIND_TOOLS", bare / "none.sh")
    assert "no checkout" in found("nvcc", bare).detail


def test_providers_that_do_not_load(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps(["1.23", {"CUDAExecutionProvider": False, "CPUExecutionProvider": True}])
    monkeypatch.setattr(doctor, "_run", lambda *_: (0, said))
    expected = "1.23, runs on CPUExecutionProvider; does not load CUDAExecutionProvider"
    assert found("onnxruntime", bare).detail == expected


def test_this_machine_s_onnx_runtime_runs_the_model() -> None:
    finding = doctor._onnxruntime()
    assert finding.found
    assert "CPUExecutionProvider" in finding.detail
    assert "does not load CPU" not in finding.detail


def test_a_package_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._package("x", "json", "pip").found
    assert doctor._package("x", "no_such_package", "pip") == Finding(
        "x", False, "not installed", "pip"
    )

    def late(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(subprocess, "run", late)
    assert "no answer within" in doctor._package("x", "json", "pip").detail


def test_what_is_required(bare: Path) -> None:
    findings = [Finding("gpu", False, "none", "buy one"), Finding("nvcc", True, "13.0")]
    assert missing(findings, ["nvcc"]) == []
    assert [each.name for each in missing(findings, ["nvcc", "gpu"])] == ["gpu"]
    with pytest.raises(LzuError, match=r"--require gnu is unknown; choose of gpu, nvcc"):
        missing(findings, ["gnu"])
    runner = CliRunner()
    assert runner.invoke(app, ["doctor"]).exit_code == 0
    done = runner.invoke(app, ["doctor", "--json", "--require", "gpu"])
    assert done.exit_code == 1
    assert {each["name"] for each in json.loads(done.stdout)} >= {"gpu", "torch", "plugins"}
