"""Finds what builds plugins on this machine; tests that lack a part skip with a reason."""

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from host_kernels import SOURCES, build_directory, compiler, kept, sources_in

PLUGINS = Path(__file__).parents[2] / "plugins"
KERNELS = PLUGINS / "kernels"
INTERFACES = sorted(path for path in PLUGINS.glob("*/*.cpp") if path.parent.name != "sample")
CUDA_HOMES = (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda")
HEADER_PLACES = (
    os.environ.get("TENSORRT_INCLUDE", ""),
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/include",
    str(PLUGINS.parent / "build/plugins/headers/kernel_lens/include/tensorrt"),
)


def cuda_home() -> Path:
    """Return a CUDA toolkit with a compiler, or skip."""
    for home in CUDA_HOMES:
        if home and Path(home, "bin/nvcc").exists():
            return Path(home)
    pytest.skip("no nvcc: set CUDA_HOME to a CUDA toolkit")


def cuda_headers() -> Path:
    """Return the directory of cuda_runtime_api.h, or skip."""
    for home in CUDA_HOMES:
        if home and Path(home, "include/cuda_runtime_api.h").exists():
            return Path(home, "include")
    pytest.skip("no CUDA headers: set CUDA_HOME to a CUDA toolkit")


@functools.cache
def wheel(requirement: str) -> Path:
    """Return the unpacked wheel of a package, or skip where the index does not give it."""
    target = build_directory() / requirement.replace("==", "-")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(target)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{requirement} cannot be downloaded here")
    for file in target.glob("*.whl"):
        zipfile.ZipFile(file).extractall(target)
    return target


@functools.cache
def tensorrt_headers() -> Path:
    """Return the directory of NvInfer.h: the system's, else the package index's, or skip."""
    for place in HEADER_PLACES:
        if place and Path(place, "NvInfer.h").exists():
            return Path(place)
    return wheel("kernel-lens==2.0.1") / "kernel_lens/include/tensorrt"


def include_flags() -> list[str]:
    """Return flags for sources that include TensorRT's headers."""
    return [f"-I{PLUGINS}", "-isystem", str(tensorrt_headers()), "-isystem", str(cuda_headers())]


def build(target: Path, sources: list[Path], *flags: str, objects: tuple[str, ...] = ()) -> Path:
    """Compile and link sources, .cu ones as C++, two at a time; fail with the compiler's words."""
    running, done = [], []
    for source in sources:
        file = target.with_suffix(f".{source.stem}.o")
        command = [
            compiler(),
            "-std=c++17",
            *flags,
            "-c",
            "-x",
            "c++",
            str(source),
            "-o",
            str(file),
        ]
        while len([p for p in running if p.poll() is None]) >= 2:
            next(p for p in running if p.poll() is None).wait()
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        done.append(str(file))
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    link = [compiler(), *flags, *done, *objects, "-o", str(target), "-ldl"]
    linked = subprocess.run(link, capture_output=True, text=True, check=False)
    assert linked.returncode == 0, linked.stderr
    return target


PLUGIN_FLAGS = ["-O0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]
PLUGIN_FLAGS += ["-Wno-deprecated-declarations"]


@functools.cache
def host_plugins() -> Path:
    """Build the plugin library with kernels for the processor, or skip."""
    # All in one unit: NVIDIA's headers are parsed once, which takes most of the time.
    whole = build_directory() / "liblzu_plugins_host.cpp"
    whole.write_text("".join(f'#include "{source}"\n' for source in (*INTERFACES, *SOURCES)))
    flags = [*PLUGIN_FLAGS, *include_flags(), "-shared", "-Wl,-z,defs"]
    words = [compiler(), *flags, *INTERFACES, *SOURCES]
    return kept(
        "liblzu_plugins_host.so", words, sources_in(PLUGINS), lambda to: build(to, [whole], *flags)
    )


def tool(name: str, package: str) -> str:
    """Return a CUDA binary utility of the system or of a wheel of the package index, or skip."""
    for home in CUDA_HOMES:
        if home and Path(home, "bin", name).exists():
            return str(Path(home, "bin", name))
    found = shutil.which(name) or next(iter(map(str, wheel(package).rglob(f"bin/{name}"))), None)
    if found is None:
        pytest.skip(f"no {name} in {package}")
    Path(found).chmod(0o755)
    return found
