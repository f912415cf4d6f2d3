"""Compilers, headers and the plugin library."""

from pathlib import Path

import pytest

from lzu_export.doctor import Finding, Machine, machine, tools
from lzu_export.doctor.tools import find_compilers, find_plugins
from lzu_export.support.cuda_driver import Driver
from samples import stub_library


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder where everything is looked for."""
    monkeypatch.setattr(tools, "library_places", lambda: [tmp_path / "liblzu_plugins.so"])
    monkeypatch.setattr(machine, "find_driver", lambda: None)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("TENSORRT_INCLUDE", str(tmp_path / "include"))
    return tmp_path


def compiler(name: str, folder: Path, on: Machine | None = None) -> Finding:
    found = find_compilers(on or Machine(folder), folder / "plugins")
    (finding,) = (each for each in found if each.name == name)
    return finding


def test_compilers_and_headers(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiler("nvcc", places).looked == (str(places / "cuda"),)
    nvcc = places / "cuda/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 12.6, V12.6.68\n")
    nvcc.chmod(0o755)
    assert compiler("nvcc", places).detail == f"12.6 in {places / 'cuda'}"
    include = places / "include"
    include.mkdir()
    (include / "NvInfer.h").write_text("")
    assert compiler("tensorrt-headers", places).detail == str(include)
    for old in ("#define NV_TENSORRT_MAJOR 10 //!<\n#define NV_TENSORRT_MINOR 3 //!<\n",
                "#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 3\n"):  # fmt: skip
        (include / "NvInferVersion.h").write_text(old)
        assert compiler("tensorrt-headers", places).detail == f"10.3 in {include}"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiler("c++", places).install == "sudo apt-get install g++ make"


def test_what_builds_for_boards_on_another_machine(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(places))
    pc, board = Machine(places, "x86_64"), Machine(places, "aarch64")
    absent = compiler("aarch64", places, pc)
    assert not absent.found
    assert absent.install == "sudo apt-get install g++-aarch64-linux-gnu qemu-user"
    assert "lzu-export plugins --cross" in absent.detail
    for name in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        (places / name).write_text("")
        (places / name).chmod(0o755)
    assert compiler("aarch64", places, pc).found
    assert compiler("aarch64", places, board).found
    (places / "aarch64-linux-gnu-g++").unlink()
    absent = compiler("aarch64", places, pc)
    assert absent.install == "sudo apt-get install g++-aarch64-linux-gnu"
    assert compiler("aarch64", places, board).detail == "this machine is one"


def test_where_they_come_from(places: Path) -> None:
    downloaded = compiler("tensorrt-headers", places).install
    assert downloaded == "lzu-export plugins  # downloads it"
    (places / "etc").mkdir()
    (places / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3")
    assert compiler("tensorrt-headers", places).install == "sudo apt-get install libnvinfer-dev"
    assert compiler("nvcc", places).install == "sudo apt-get install nvidia-jetpack"


def test_a_plugin_library(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_plugins(Machine(places)).looked == (str(places / "liblzu_plugins.so"),)
    library = stub_library(places, cuda=13)
    assert find_plugins(Machine(places)).detail == f"version 1, CUDA 13, {library}"
    monkeypatch.setattr(machine, "find_driver", lambda: Driver((12, 6), ("Orin (8.7)",)))
    newer = find_plugins(Machine(places))
    assert not newer.found
    assert "more than this driver's CUDA 12.6" in newer.detail
    library.write_bytes(b"rubbish")
    broken = find_plugins(Machine(places))
    assert not broken.found
    assert "is not a 64-bit shared library" in broken.detail
