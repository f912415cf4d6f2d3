"""Compile kernels to machine code and read it: nvcc, nvdisasm and cuobjdump."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lzu_benchmarks.machine_code.sass import Listing, parse
from lzu_export.errors import LzuError
from lzu_export.support.interpreter import run_module

PACKAGES = ("nvidia-cuda-nvdisasm==13.2.86", "nvidia-cuda-cuobjdump==13.2.86")
"""Packages of the two tools; they read code of older compilers, too."""
FLAGS = ("-std=c++17", "-O3", "-cubin", "-lineinfo")
HOMES = ("/usr/local/cuda",)
REGISTRY = "a CUDA toolkit has them, and so have the packages " + " and ".join(PACKAGES)


@dataclass(frozen=True)
class Toolkit:
    """Paths of the programs."""

    nvcc: str
    nvdisasm: str
    cuobjdump: str

    def release(self) -> str:
        """Return the compiler's release, such as 13.0.88."""
        (found,) = re.findall(r"\bV([\d.]+)", _run([self.nvcc, "--version"]))
        return str(found)


@dataclass(frozen=True)
class Compiled:
    """A kernel's machine code and what a block takes of a multiprocessor."""

    listing: Listing
    registers: int
    shared: int
    """Bytes of static shared memory."""
    local: int
    """Bytes of local memory of a thread: above 0 where registers were spilled."""


def find_toolkit(cuda_home: str, folder: Path) -> Toolkit:
    """Find the programs in a CUDA toolkit, on PATH or in an earlier download.

    Args:
        cuda_home: directory of a CUDA toolkit, or an empty string.
        folder: directory that `download` wrote to; it need not exist.

    Raises:
        LzuError: a program is missing; the message says where it can be had.
    """
    homes = [Path(home, "bin") for home in (cuda_home, *HOMES) if home]
    homes += sorted(folder.glob("nvidia/cu*/bin"))
    homes += sorted(Path(sys.prefix).glob("lib/python*/site-packages/nvidia/cu*/bin"))
    found = {}
    for name in ("nvcc", "nvdisasm", "cuobjdump"):
        places = [str(home / name) for home in homes if (home / name).is_file()]
        found[name] = next(iter(places), None) or shutil.which(name) or ""
        if not found[name]:
            raise LzuError(f"there is no {name}: set CUDA_HOME to a CUDA toolkit; {REGISTRY}")
    return Toolkit(**found)


def download(folder: Path) -> None:
    """Download the two tools from the package index into a folder; nothing is installed.

    Raises:
        LzuError: the package index does not give them.
    """
    command = run_module("pip", "install", "-q", "--no-deps", "--target", str(folder), *PACKAGES)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LzuError(f"nvdisasm and cuobjdump cannot be downloaded; {REGISTRY}")
    for program in folder.glob("nvidia/cu*/bin/*"):
        program.chmod(0o755)


def compile_kernels(
    toolkit: Toolkit, source: Path, architecture: str, folder: Path
) -> dict[str, Compiled]:
    """Compile a `.cu` file for one architecture and return its kernels by their symbols.

    Args:
        toolkit: the programs.
        source: file with kernels.
        architecture: compute capability without the dot, such as 87.
        folder: directory for the machine code.

    Raises:
        LzuError: a program failed; the message ends with its last line.
    """
    cubin = folder / f"{source.stem}.sm_{architecture}.cubin"
    command = [toolkit.nvcc, *FLAGS, f"-arch=sm_{architecture}", str(source), "-o", str(cubin)]
    _run(command)
    listings = parse(_run([toolkit.nvdisasm, "-c", "-gi", str(cubin)]))
    usage = _run([toolkit.cuobjdump, "--dump-resource-usage", str(cubin)])
    rows = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    return {
        symbol: Compiled(listings[symbol], int(registers), int(shared), int(local))
        for symbol, registers, _, shared, local in rows
        if symbol in listings
    }


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it gave no message"])[-1]
        raise LzuError(f"{Path(command[0]).name} failed: {last}")
    return done.stdout
