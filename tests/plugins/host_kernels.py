"""The kernels' C interface in a build by the system's C++ compiler, for comparison with NumPy."""

import ctypes as c
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_benchmarks.gpu_kernels.header import read_header

KERNELS = Path(__file__).parents[2] / "plugins" / "kernels"
BUILDS = Path(__file__).parents[2] / ".pytest_cache" / "lzu" / "kernels"
SOURCES = sorted(KERNELS.glob("*.cu"))
FLAGS = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-ffp-contract=off"]
FLAGS += ["-march=native", "-fno-math-errno", "-fno-trapping-math"]  # plugins/Makefile's HOSTFLAGS

F32, F16, HWC8, CHW4, CHW32, I8 = range(6)
INVALID = -1
BGR, RGB, NV12, GRAY = range(4)
Array = NDArray[Any]
Make = Callable[[Path], object]


def compiler() -> str:
    """Return the C++ compiler, or skip the test."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no g++: the kernels' host build needs one")
    return found


@functools.cache
def build_directory() -> Path:
    """Return a directory for this test process's builds; the system clears its temporary files."""
    return Path(tempfile.mkdtemp(prefix="lzu-kernels-"))


def kept(name: str, words: Sequence[object], files: Iterable[Path], make: Make) -> Path:
    """Return a build that is kept for all processes, as long as what it is made of is the same.

    Args:
        name: name of the file.
        words: compiler, flags and whatever else the build depends on.
        files: all files that the build reads, headers included.
        make: builds into the file that it is given, or fails or skips the test.
    """
    made_of = [" ".join(map(str, words)).encode(), *(path.read_bytes() for path in sorted(files))]
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:16]
    target = BUILDS / f"{digest}-{name}"
    if target.exists():
        return target
    BUILDS.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other worker waits instead of building the same
        if not target.exists():
            part = build_directory() / target.name
            make(part)
            copy = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copy(part, copy)
            os.replace(copy, target)
    return target


def sources_in(*folders: Path) -> list[Path]:
    """Return the C++ and CUDA files, headers included, of folders and of the folders in them."""
    endings = (".cu", ".cpp", ".h")
    return [path for folder in folders for path in folder.rglob("*") if path.suffix in endings]


@functools.cache
def library() -> c.CDLL:
    """Build and load the host build, once for all processes and as long as its sources are."""
    command = [compiler(), *FLAGS, "-fPIC", "-shared"]
    for source in SOURCES:
        command += ["-x", "c++", str(source)]

    def make(target: Path) -> None:
        words = [*command, "-o", str(target)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    target = kept("liblzu_kernels_host.so", command, sources_in(KERNELS), make)
    loaded = c.CDLL(str(target))
    loaded.lzu_suppress_workspace.restype = c.c_size_t
    return loaded


def structure(name: str) -> Any:
    """Return a struct of lzu_kernels.h as a class of ctypes."""
    return HEADER.struct(name)


HEADER = read_header()

Unzoom = structure("LzuUnzoom")
Zoom = structure("LzuZoom")
BoxKnots = structure("LzuBoxKnots")
InvertWarp = structure("LzuInvertWarp")


def address(array: Array | None) -> int | None:
    """Return the address of a contiguous array; NumPy aligns them to 16 bytes."""
    if array is None:
        return None
    assert array.flags.c_contiguous
    assert array.ctypes.data % 16 == 0
    return array.ctypes.data


def run(name: str, call: c.Structure) -> int:
    """Call a launcher by name and return its code."""
    return int(getattr(library(), name)(c.byref(call), None))


def aligned(shape: tuple[int, ...], dtype: Any, fill: float = 0) -> Array:
    """Return a new array that starts at a multiple of 16 bytes, as device buffers do."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(count + 16, np.uint8)
    start = -raw.ctypes.data % 16
    array = raw[start : start + count].view(dtype).reshape(shape)
    array[...] = fill
    return array


def packed(tensor: Array, layout: int) -> Array:
    """Lay a B x C x H x W tensor out in a memory format; padded lanes hold rubbish."""
    batch, channels, height, width = tensor.shape
    if layout in (F32, F16, I8):
        out = aligned(tensor.shape, {F32: np.float32, F16: np.float16, I8: np.int8}[layout])
        out[...] = tensor
        return out
    lanes = {HWC8: 8, CHW4: 4, CHW32: 32}[layout]
    groups = -(-channels // lanes)
    dtype, rubbish = (np.float16, np.nan) if layout == HWC8 else (np.int8, 99)
    full = np.full((batch, groups * lanes, height, width), rubbish, dtype)
    full[:, :channels] = tensor
    if layout == HWC8:
        moved = full.transpose(0, 2, 3, 1)
    else:
        moved = full.reshape(batch, groups, lanes, height, width).transpose(0, 1, 3, 4, 2)
    out = aligned(moved.shape, dtype)
    out[...] = moved
    return out


def unpacked(memory: Array, layout: int, channels: int) -> tuple[Array, Array]:
    """Return the B x C x H x W tensor, and the padded lanes, of a memory format."""
    if layout in (F32, F16, I8):
        return memory, memory[:, :0]
    if layout == HWC8:
        full = memory.transpose(0, 3, 1, 2)
    else:
        batch, groups, height, width, lanes = memory.shape
        full = memory.transpose(0, 1, 4, 2, 3).reshape(batch, groups * lanes, height, width)
    return full[:, :channels], full[:, channels:]
