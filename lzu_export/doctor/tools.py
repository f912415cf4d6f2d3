"""Find the tools that build the plugins, and the plugin library that was built."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from lzu_export.doctor.finding import Finding
from lzu_export.doctor.machine import Machine
from lzu_export.errors import LzuError
from lzu_export.runtime.plugin_library import BUILD, describe_library, library_places
from lzu_export.support.checkout import PLUGINS

FIND_TOOLS = PLUGINS / "find_tools.sh"
"""Script that searches for compilers and headers."""
CROSS = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"}
"""Programs for `lzu-export plugins --cross`, and their packages of Debian and Ubuntu."""


def find_compilers(machine: Machine, build: Path) -> list[Finding]:
    """Find the compilers and headers by the rules of the plugins' build.

    Args:
        machine: machine whose architecture and package manager set the commands.
        build: folder where plugins are built.
    """
    return [_host_compiler(), _cross(machine), *_nvidia(machine, build)]


def find_plugins(machine: Machine) -> Finding:
    """Find the plugin library, and whether this machine's driver runs its CUDA."""
    places = library_places()
    looked = tuple(map(str, places))
    for place in places:
        if place.is_file():
            return _library(machine, place, looked)
    return Finding("plugins", False, "not built", BUILD, looked)


def _library(machine: Machine, place: Path, looked: tuple[str, ...]) -> Finding:
    try:
        library = describe_library(place)
    except LzuError as error:
        return Finding("plugins", False, str(error), BUILD, looked)
    if library.version is None:
        why = f"{place} is for another kind of machine"
        return Finding("plugins", False, why, BUILD, looked)
    detail = f"version {library.version}, CUDA {library.cuda_major}, {place}"
    driver = machine.driver
    if driver is not None and library.cuda_major and library.cuda_major > driver.cuda[0]:
        why = f"{detail}: more than this driver's CUDA {driver.cuda[0]}.{driver.cuda[1]}"
        return Finding("plugins", False, why, BUILD, looked)
    return Finding("plugins", True, detail, "", looked)


def _host_compiler() -> Finding:
    name = os.environ.get("CXX", "g++")
    place = shutil.which(name)
    if place is None:
        return Finding("c++", False, f"no {name}", "sudo apt-get install g++ make")
    try:
        done = subprocess.run(
            [place, "-dumpfullversion"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return Finding("c++", False, f"{place} does not run: {error.strerror}")
    return Finding("c++", True, f"{done.stdout.strip() or 'unknown version'} in {place}")


def _cross(machine: Machine) -> Finding:
    """Find the tools that build plugins for aarch64 on another machine, and test them."""
    if machine.architecture == "aarch64":
        return Finding("aarch64", True, "this machine is one")
    places = {name: shutil.which(name) for name in CROSS}
    absent = [name for name, place in places.items() if place is None]
    if not absent:
        return Finding("aarch64", True, ", ".join(str(place) for place in places.values()))
    why = f"no {' and no '.join(absent)}; only {BUILD} --cross and its test need them"
    packages = " ".join(CROSS[name] for name in absent)
    return Finding("aarch64", False, why, f"sudo apt-get install {packages}")


def _nvidia(machine: Machine, build: Path) -> list[Finding]:
    """Find nvcc and TensorRT's headers, which the build downloads on machines but Jetsons."""
    from_system = {
        "nvcc": "sudo apt-get install nvidia-jetpack",
        "tensorrt-headers": "sudo apt-get install libnvinfer-dev",
    }
    downloaded = f"{BUILD}  # downloads it"
    wanted = (("nvcc", "cuda"), ("tensorrt-headers", "headers"))
    command = ["/bin/sh", str(FIND_TOOLS), "--look", str(build.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    findings = []
    for name, what in wanted:
        found = next((place for kind, _, place in lines if kind == f"+{what}"), "")
        looked = tuple(place for kind, _, place in lines if kind == what)
        detail = _release(found, what) if found else "not found"
        install = from_system[name] if machine.jetson else downloaded
        findings.append(Finding(name, bool(found), detail, "" if found else install, looked))
    return findings


def _release(directory: str, what: str) -> str:
    """Return a folder and the release of nvcc or the headers in it, in words."""
    if what == "headers":
        return _header_release(Path(directory))
    command = [str(Path(directory, "bin/nvcc")), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        release = re.search(r"release ([\d.]+)", done.stdout)
    except OSError as error:
        return f"{directory}, which does not run: {error.strerror}"
    return f"{release[1]} in {directory}" if release else directory


def _header_release(directory: Path) -> str:
    for file in ("NvInferVersion.h", "NvInfer.h"):
        path = directory / file
        text = path.read_text(errors="replace") if path.is_file() else ""
        names = (r"(?:NV|TRT)_(?:TENSORRT_)?" + part for part in ("MAJOR", "MINOR"))
        found = [re.search(rf"#define {name}(?:_ENTERPRISE)? (\d+)", text) for name in names]
        numbers = [each[1] for each in found if each]
        if len(numbers) == len(found):
            return f"{'.'.join(numbers)} in {directory}"
    return str(directory)
