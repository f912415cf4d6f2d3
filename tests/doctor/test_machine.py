"""Jetson Linux, JetPack, drivers: read from made-up system files."""

import shutil
import sys
from pathlib import Path

import pytest

from lzu_export.doctor import machine
from lzu_export.doctor.machine import Machine, find_gpu, find_jetpack, hidden_from_python
from lzu_export.support.cuda_driver import Driver

JP62 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
ORIN = Driver((12, 6), ("Orin (8.7)",))
NVRM = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Jul 17 01:17:27 UTC 2025\n"
NVRM_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {}  Release Build\n"


def write(root: Path, path: str, text: str) -> None:
    """One file of the made-up system."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def install(root: Path, **versions: str) -> None:
    """What dpkg says is installed, and one package that was removed."""
    paragraphs = [
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nVersion: {version}\n"
        for name, version in versions.items()
    ]
    removed = "Package: libnvinfer9\nStatus: deinstall ok config-files\nVersion: 99.0-1\n"
    write(root, "var/lib/dpkg/status", "\n".join([*paragraphs, removed]))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[Driver | None]:
    """What CUDA's driver library says; its first entry may be replaced."""
    told: list[Driver | None] = [None]
    monkeypatch.setattr(machine, "find_driver", lambda: told[0])
    return told


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (JP62, "6.2, Jetson Linux 36.4.3, TensorRT is not installed"),
        (JP62.replace("4.3", "4.7"), "6.2.1, Jetson Linux 36.4.7, TensorRT is not installed"),
        (JP62.replace("R36", "R39").replace("4.3", "2.0"),
         "7.2, Jetson Linux 39.2.0, TensorRT is not installed"),
        ("something else", "a Jetson of unknown release"),
    ],
)  # fmt: skip
def test_release_of_a_jetson(line: str, expected: str, tmp_path: Path) -> None:
    write(tmp_path, "etc/nv_tegra_release", line)
    found = find_jetpack(Machine(tmp_path))
    assert found.found
    assert found.detail == expected


def test_jetpack_and_its_tensorrt_by_their_packages(tmp_path: Path) -> None:
    """Without the release file, as in some containers, dpkg tells."""
    install(
        tmp_path,
        nvidia_l4t_core="36.4.3-20250107174145",
        nvidia_jetpack="6.2+b77",
        libnvinfer10="10.3.0.30-1+cuda12.5",
    )
    found = find_jetpack(Machine(tmp_path))
    assert found.detail == "6.2, Jetson Linux 36.4.3, TensorRT 10.3.0.30"
    assert found.notes == ()
    install(tmp_path, nvidia_l4t_core="36.4.3-1", libnvinfer10="10.7.0.23-1+cuda12.6")
    assert "6.2 shipped TensorRT 10.3" in find_jetpack(Machine(tmp_path)).notes[0]


@pytest.mark.parametrize("line", [JP62.replace("R36", "R35"), JP62.replace("4.3", "3.0")])
def test_a_jetpack_that_is_too_old(line: str, tmp_path: Path) -> None:
    write(tmp_path, "etc/nv_tegra_release", line)
    found = find_jetpack(Machine(tmp_path))
    assert not found.found
    assert "needs 6.1 or later" in found.detail
    assert "SDK Manager" in found.install


@pytest.mark.parametrize(("line", "version"), [(NVRM, "580.95.05"), (NVRM_OPEN, "540.4.0")])
def test_a_gpu_and_its_driver(
    line: str, version: str, tmp_path: Path, driver: list[Driver | None]
) -> None:
    write(tmp_path, "proc/driver/nvidia/version", line.format(version))
    driver[0] = ORIN
    assert find_gpu(Machine(tmp_path)).detail == f"Orin (8.7); driver {version} for CUDA 12.6"


def test_gpus_have_numbers_of_which_one_is_chosen(
    tmp_path: Path, driver: list[Driver | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that engines run on is compared with what their libraries need."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LZU_DEVICE", raising=False)
    driver[0] = Driver((12, 6), ("T4 (7.5)", "RTX 4090 (8.9)"))
    machine = Machine(tmp_path)
    assert find_gpu(machine).detail == (
        "GPU 0: T4 (7.5), GPU 1: RTX 4090 (8.9); driver for CUDA 12.6"
    )
    for number, name, capability in ((0, "T4", "7.5"), (1, "RTX 4090", "8.9")):
        monkeypatch.setenv("LZU_DEVICE", str(number))
        device = machine.device
        assert device is not None
        assert (device.number, device.name, device.capability) == (number, name, capability)
    monkeypatch.setenv("LZU_DEVICE", "2")
    assert machine.device is None
    absent = find_gpu(machine)
    assert (absent.found, absent.install) == (False, "unset LZU_DEVICE")
    assert absent.detail.startswith("there is no GPU 2: CUDA counts 0 (T4 (7.5)) and 1 (RTX 4090")


def test_a_driver_that_is_not_usable(
    tmp_path: Path, driver: list[Driver | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "etc/os-release", 'NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\n')
    nothing = find_gpu(Machine(tmp_path))
    assert (nothing.found, nothing.install) == (False, "sudo ubuntu-drivers install")
    board = tmp_path / "board"
    write(board, "etc/nv_tegra_release", JP62)
    assert find_gpu(Machine(board)).install.startswith("sudo apt-get install nvidia-jetpack")
    write(tmp_path, "proc/driver/nvidia/version", NVRM.format("580.95.05"))
    contained = find_gpu(Machine(tmp_path))
    assert "driver 580.95.05, but there is no libcuda.so.1" in contained.detail
    assert "--gpus all" in contained.install
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho Driver/library version mismatch\nexit 18\n")
    smi.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(smi))
    driver[0] = Driver((13, 0), ())
    broken = find_gpu(Machine(tmp_path))
    assert not broken.found
    assert broken.detail.endswith("no usable device: Driver/library version mismatch")


def test_environments_that_hide_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    configuration = tmp_path / "pyvenv.cfg"
    configuration.write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    assert "--system-site-packages" in hidden_from_python()
    configuration.write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    assert hidden_from_python() == ""
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert hidden_from_python() == ""
