"""Find nvcc and a C++ compiler on a machine that nobody prepared, and build the kernels."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lzu_benchmarks.gpu_kernels.header import KERNELS
from lzu_export.errors import LzuError

FLAGS = ("-std=c++17", "-O3", "-shared", "--cudart", "static", "--threads", "0")
HOST_FLAGS = "-fPIC,-fvisibility=hidden,-ffp-contract=off"
SHOWN = 5
"""Number of the compiler's lines that a refusal shows."""


class Compiler(NamedTuple):
    """nvcc with its release and the C++ compiler that it calls."""

    nvcc: Path
    release: str
    host: str

    @property
    def major(self) -> int:
        """Major version of the CUDA runtime that it links."""
        return int(self.release.partition(".")[0])


def nvcc_places(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the paths where nvcc is looked for, in order; `CUDA_HOME` leaves no others."""
    if home := environment.get("CUDA_HOME"):
        yield Path(home) / "bin" / "nvcc"
        return
    if found := shutil.which("nvcc", path=environment.get("PATH", "")):
        yield Path(found)
    for folder in ("/usr/local/cuda", *map(str, sorted(Path("/usr/local").glob("cuda-*")))):
        yield Path(folder) / "bin" / "nvcc"
    yield Path("/opt/cuda/bin/nvcc")
    for folder in sys.path:  # packages nvidia-cuda-nvcc
        yield from sorted(Path(folder or ".").glob("nvidia/*/bin/nvcc"))


def find_compiler(environment: Mapping[str, str] = os.environ) -> Compiler:
    """Find nvcc and the C++ compiler that it needs.

    Raises:
        LzuError: one of them is missing; the message lists the places.
    """
    places = list(dict.fromkeys(nvcc_places(environment)))
    nvcc = next((place for place in places if place.is_file()), None)
    if nvcc is None:
        listed = ", ".join(map(str, places))
        raise LzuError(
            f"there is no CUDA compiler at {listed}; install a CUDA toolkit and name it "
            "(CUDA_HOME=DIR)"
        )
    names = [environment["CXX"]] if environment.get("CXX") else ["g++", "c++", "clang++"]
    path = environment.get("PATH", "")
    host = next((found for name in names if (found := shutil.which(name, path=path))), None)
    if host is None:
        raise LzuError(
            f"nvcc needs a C++ compiler, and there is no {' or '.join(names)}; install g++, or "
            "name one (CXX)"
        )
    told = _run([str(nvcc), "--version"], "nvcc does not start")
    release = re.search(r"release (\d+\.\d+)", told)
    if release is None:
        raise LzuError(f"{nvcc} reports no release; name another CUDA toolkit (CUDA_HOME)")
    return Compiler(nvcc, release[1], host)


def build_library(compiler: Compiler, capability: tuple[int, int], folder: Path) -> Path:
    """Compile all kernels for one card; return the path of the library.

    Args:
        compiler: see `find_compiler`.
        capability: compute capability of the card.
        folder: folder to build in.

    Raises:
        LzuError: the compiler does not know the card, or refuses the kernels.
    """
    number = f"{capability[0]}{capability[1]}"
    known = _run([str(compiler.nvcc), "--list-gpu-arch"], "nvcc does not list its architectures")
    if f"compute_{number}" not in known.split():
        raise LzuError(
            f"nvcc {compiler.release} does not know compute capability {capability[0]}."
            f"{capability[1]}; name a newer CUDA toolkit (CUDA_HOME)"
        )
    library = folder / f"liblzu_kernels.sm{number}.so"
    code = f"arch=compute_{number},code=sm_{number}"
    command = [str(compiler.nvcc), "-ccbin", compiler.host, *FLAGS, "-gencode", code]
    command += ["-Xcompiler", HOST_FLAGS, "-o", str(library)]
    _run([*command, *map(str, sorted(KERNELS.glob("*.cu")))], "nvcc does not build the kernels")
    return library


def _run(command: list[str], refusal: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LzuError(f"{refusal} ({command[0]}: {error.strerror}); name another") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = "; ".join(lines[:SHOWN])
        raise LzuError(f"{refusal} ({told}); fix that, or name another CUDA toolkit (CUDA_HOME)")
    return done.stdout
