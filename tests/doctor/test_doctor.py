"""What a machine has and can do: all of it on one page, or as JSON."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lzu_export.cli import exits
from lzu_export.cli.app import app
from lzu_export.cli.tables.doctor import doctor_commands, doctor_tables
from lzu_export.doctor import (
    Examination,
    Finding,
    Machine,
    examine,
    machine,
    missing,
    packages,
    tools,
)
from lzu_export.errors import LzuError
from lzu_export.support.console import Terminal
from lzu_export.targets.openvino import OpenVino

NAMES = {
    "openvino", "nv-tensorrt-rtx",
    "jetpack", "gpu", "torch", "onnxruntime", "tensorrt-rtx", "tensorrt", "cuda", "c++", "aarch64",
    "nvcc", "tensorrt-headers", "plugins", "onnx", "opencv", "home", "packages",
}  # fmt: skip
LINES = 64
"""Of a page."""


def homeless() -> Path:
    """As of a user without HOME whom the system does not know."""
    raise RuntimeError("Could not determine home directory.")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has nothing; packages are not really imported."""
    nothing = (1, "ModuleNotFoundError: No module named 'nothing'")
    monkeypatch.setattr(packages, "_run", lambda *_: nothing)
    monkeypatch.setattr(packages, "EXPORTING", ("no-such-package",))
    monkeypatch.setattr(packages, "BUILDING", ("no-such-package",))
    monkeypatch.setattr(OpenVino, "version", lambda _: None)
    monkeypatch.setattr(machine, "find_driver", lambda: None)
    monkeypatch.setattr(packages, "owners", lambda module: {})
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tools, "library_places", lambda: [tmp_path / "liblzu_plugins.so"])
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(tools, "CROSS", {"no-such-cross-compiler": "g++-aarch64-linux-gnu"})
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("TENSORRT_INCLUDE", str(tmp_path / "include"))
    return tmp_path


def page(found: Examination) -> list[str]:
    """The lines as they are printed."""
    console = Terminal(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(doctor_tables(found))
    return [*console.export_text().splitlines(), "", "", *doctor_commands(found)]


def test_a_machine_that_has_nothing(bare: Path) -> None:
    found = examine(bare / "plugins", Machine(bare, "x86_64"))
    assert {each.name for each in found.findings} == NAMES
    there = [each.name for each in found.findings if each.found]
    assert there == ["packages"], "the installed ones are in their ranges"
    no_command = {"jetpack", "packages"}
    assert all(each.install for each in found.findings if each.name not in no_command)
    assert not (bare / "plugins").exists(), "it only looks"
    lines = page(found)
    text = "\n".join(lines)
    assert "looked in" in text
    assert "lzu-export plugins" in text
    assert len(lines) <= LINES
    assert max(len(line) for line in lines[: lines.index("")]) <= 80
    for command in doctor_commands(found):
        subprocess.run(["sh", "-nc", command], check=True)
    able = {each.target: each for each in found.abilities}
    assert able["onnxruntime"].run == ("onnxruntime", "opencv")
    assert able["tensorrt"].build == ("onnx", "tensorrt", "cuda", "gpu")


def test_this_machine_on_one_page() -> None:
    found = examine()
    lines = page(found)
    assert len(lines) <= LINES
    able = {each.target: each for each in found.abilities}
    assert able["onnxruntime"].run == (), "the tests run it"
    assert any("onnxruntime" in line and "yes" in line for line in lines)


def test_what_is_required(bare: Path) -> None:
    findings = [Finding("gpu", False, "none", "buy one"), Finding("nvcc", True, "13.0")]
    assert missing(findings, ["nvcc"]) == []
    assert [each.name for each in missing(findings, ["nvcc", "gpu"])] == ["gpu"]
    with pytest.raises(LzuError, match=r"--require gnu is unknown; choose of gpu, nvcc"):
        missing(findings, ["gnu"])
    runner = CliRunner()
    assert runner.invoke(app, ["doctor"]).exit_code == 0
    done = runner.invoke(app, ["doctor", "--json", "--require", "gpu"])
    assert done.exit_code == exits.UNFIT  # 1 is a mismatch, and nothing else
    said = json.loads(done.stdout)
    assert {each["name"] for each in said["findings"]} == NAMES
    assert {each["target"] for each in said["abilities"]} == {
        "onnxruntime", "openvino", "tensorrt-rtx", "tensorrt-rtx-plugins", "tensorrt", "plugins",
    }  # fmt: skip
