"""The C++ sample on TensorRT compiles and links, and runs up to the driver."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from host_kernels import build_directory, compiler
from sample_bundles import write_bundle
from toolchain import cuda_home, tensorrt_headers

from samples import tiny_recipe

ENTRY_POINTS = """
extern "C" void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }
extern "C" void* getPluginRegistry() noexcept { return nullptr; }
extern "C" bool initLibNvInferPlugins(void*, char const*) { return true; }
"""
"""TensorRT's functions that the sample calls by name; it calls all others through objects."""


def linked(folder: Path) -> tuple[str, ...]:
    """Return CMake's options for TensorRT: its headers, and stand-ins for its libraries."""
    source = folder / "entry_points.cpp"
    source.write_text(ENTRY_POINTS)
    options = [f"-DTENSORRT_INCLUDE={tensorrt_headers()}", f"-DCUDAToolkit_ROOT={cuda_home()}"]
    for name in ("nvinfer", "nvinfer_plugin"):
        library = folder / f"lib{name}.so"
        subprocess.run([compiler(), "-shared", "-fPIC", source, "-o", library], check=True)
        options.append(f"-D{name.upper()}={library}")
    return tuple(options)


def in_place_of_plugins(host: Path) -> Path:
    """Return a folder like that of `make plugins`, with the host build as the plugin library."""
    folder = Path(shutil.copytree(host, build_directory() / "plugins"))
    shutil.copy(folder / "liblzu_kernels_host.so", folder / "liblzu_plugins.so")
    text = (folder / "lzu_kernels_host.pc").read_text()
    (folder / "lzu_plugins.pc").write_text(text.replace("lzu_kernels_host", "lzu_plugins"))
    return folder


def test_it_ends_with_a_sentence_where_there_is_no_driver(
    build_sample: Callable[..., Path], kernel_library: Path, tmp_path: Path
) -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("there is a driver, and TensorRT is a stand-in")
    program = build_sample("tensorrt", linked(tmp_path), in_place_of_plugins(kernel_library))
    frame = np.zeros((96, 160, 3), np.uint8)
    tensors = {"inputs": {"frame": frame[None]}, "outputs": {"labels": frame[None]}}
    write_bundle(tmp_path / "bundle", tiny_recipe(tmp_path, "seg"), tensors, "tensorrt")
    assert cv2.imwrite(str(tmp_path / "0.ppm"), frame)
    command = [program, tmp_path / "bundle", tmp_path / "0.ppm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("lzu_sample: CUDA cannot open a stream: ")
    assert "driver" in line
