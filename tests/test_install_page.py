"""The lines of docs/install.md name extras that exist, and resolve for their machines."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs/install.md").read_text(encoding="utf-8")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PC, JETSON_6, JETSON_7 = (
    "x86_64-manylinux_2_35",
    "aarch64-manylinux_2_35",
    "aarch64-manylinux_2_39",
)


class Machine(NamedTuple):
    """A row of the table: the machine that it is for, and what the line has to bring there."""

    python: tuple[str, ...]
    platform: str
    brings: tuple[str, ...]
    """Patterns of resolved packages, `name==version`."""
    never: tuple[str, ...] = ("torch==",)


ALL = ("3.10", "3.13")
MACHINES = {
    "laptop or server that exports": Machine(ALL, PC, ("torch==", "onnxruntime==", "onnx=="), ()),
    "any CPU that runs bundles": Machine(ALL, PC, ("onnxruntime==",), ("torch==", "onnx==")),
    "CI, without torch": Machine(ALL, PC, ("onnx==", "faster-coco-eval==")),
    "RTX, provider of ONNX Runtime": Machine(
        ("3.11", "3.13"), PC, ("onnxruntime-ep-nv-tensorrt-rtx-cu13==",)
    ),
    "RTX, TensorRT-RTX": Machine(("3.10", "3.13"), PC, ("tensorrt-rtx==1.7", "cuda-bindings==13")),
    "RTX, TensorRT": Machine(("3.12",), PC, ("tensorrt==", "cuda-bindings==13")),
    "NVIDIA GPU, ONNX Runtime with CUDA": Machine(
        ("3.11", "3.13"), PC, ("onnxruntime-gpu==",), ("torch==", "onnxruntime==")
    ),
    "JetPack 6": Machine(
        ("3.10",),
        JETSON_6,
        ("cuda-bindings==12.", "onnxruntime==1.23", "numpy==2.2"),
        ("torch==", "tensorrt"),
    ),
    "worker of a Dask cluster": Machine(
        ALL, JETSON_6, ("distributed==", "onnxruntime==", "psutil=="), ("torch==", "tensorrt")
    ),
    "JetPack 7": Machine(("3.12",), JETSON_7, ("cuda-bindings==13.",), ("torch==", "tensorrt")),
}


def rows() -> dict[str, list[str]]:
    """Return the extras of each row of the first table, by the machine's name."""
    table = PAGE.split("## Next")[0]
    found = re.findall(r"^\| ([^|]+) \| `pip install 'lzu-export\[(\S+)\]'.*\|$", table, re.M)
    return {name: extras.split(",") for name, extras in found}


ROWS = rows()


def test_every_row_has_a_machine_and_extras_that_exist() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^([a-z0-9]+) = \[", project.split("[tool.")[0], flags=re.M))
    assert ROWS.keys() == MACHINES.keys()
    for name, mine in ROWS.items():
        assert set(mine) <= extras, name
        assert not {"runtime", "gpu"} <= set(mine), name


def test_lines_with_torch_name_the_index_of_its_cpu_builds() -> None:
    for line in re.findall(r"`(pip install 'lzu-export[^`]+)`", PAGE):
        extras = re.findall(r"\[(\S+)\]", line)[0].split(",")
        assert ("export" in extras) == line.endswith(CPU_INDEX), line


def test_guides_install_the_same_extras() -> None:
    """`make setup` of the device's guide has the extras of the row that points to it."""
    guides = {
        "JetPack 6": ("jetson.md", "EXTRAS=(\\S+) +# JetPack 6"),
        "JetPack 7": ("jetson.md", "EXTRAS=(\\S+) +# JetPack 7"),
        "RTX, provider of ONNX Runtime": ("rtx.md", "EXTRAS=(\\S*rtxprovider\\S*)"),
        "RTX, TensorRT-RTX": ("rtx.md", "EXTRAS=(runtime,verify,rtx,\\S+)"),
        "RTX, TensorRT": ("rtx.md", "EXTRAS=(runtime,verify,device,tensorrt\\S*)"),
        "NVIDIA GPU, ONNX Runtime with CUDA": ("rtx.md", "EXTRAS=(gpu\\S*)"),
    }
    for name, (page, pattern) in guides.items():
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        assert re.findall(pattern, text)[0].split(",") == ROWS[name], name


def resolved(extras: list[str], python: str, platform: str) -> str:
    """Return `name==version` of all that a line installs, a package a line."""
    uv = pytest.importorskip("uv", reason="uv (extra dev) resolves for other machines")
    words = [uv.find_uv_bin(), "pip", "compile", "-q", "--no-annotate", "--no-header"]
    words += ["--python-version", python, "--python-platform", platform]
    words += [word for each in extras for word in ("--extra", each)]
    done = subprocess.run(
        [*words, "pyproject.toml"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_lines_resolve_for_their_machines(name: str) -> None:
    """Slow: it needs the package index, which is asked for the metadata of some dozen packages."""
    machine = MACHINES[name]
    for python in machine.python:
        found = resolved(ROWS[name], python, machine.platform)
        for each in machine.brings:
            assert re.search(rf"^{re.escape(each)}", found, re.M), f"{each} on {python}:\n{found}"
        for each in machine.never:
            assert not re.search(rf"^{re.escape(each)}", found, re.M), f"{each} on {python}"


@pytest.mark.slow
def test_torch_of_the_package_index_brings_cuda() -> None:
    """The remark beside the first line holds: without the other index NVIDIA's libraries come."""
    found = resolved(["export"], "3.12", PC)
    assert "nvidia-cublas==" in found
    assert "nvidia-cudnn" in found
