"""Builds the C++ sample; tests that lack a tool or a library skip with the reason."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN_TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(PLUGIN_TESTS))  # for the helpers of the tests of plugins

from host_kernels import build_directory, compiler  # noqa: E402  needs the line above
from toolchain import PLUGINS, wheel  # noqa: E402

Build = Callable[..., Path]
HEADER_PACKAGES = ("libonnxruntime-dev", "libstb-dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder slow: they build programs and download headers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def finished(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command that has to succeed, and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def system_include(header: str, *folders: str) -> Path | None:
    """Return the system's include directory that holds a header, if there is one."""
    places = [Path("/usr/include", each) for each in ("", *folders)]
    return next((each for each in places if (each / header).exists()), None)


@functools.cache
def debian_headers() -> Path:
    """Return an include directory with Debian 13's packages, or skip if they cannot be had."""
    folder = build_directory() / "debian"
    (folder / "lists/partial").mkdir(parents=True)
    if shutil.which("apt-get") is None:
        pytest.skip(f"no apt-get to download {' and '.join(HEADER_PACKAGES)}")
    uris = finished("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    (folder / "trixie.list").write_text(f"deb {uris[0] if uris else ''} trixie main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "trixie.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
    }
    options = [f"-o{key}={value}" for key, value in settings.items()]
    for words in (["update"], ["download", *HEADER_PACKAGES]):
        command = ["apt-get", "-q", *options, *words]
        done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
        if done.returncode:
            pytest.skip(f"Debian 13's {' and '.join(HEADER_PACKAGES)} cannot be downloaded here")
    for package in folder.glob("*.deb"):
        finished("dpkg", "-x", package, folder / "root")
    return folder / "root/usr/include"


@functools.cache
def onnxruntime_options() -> tuple[str, ...]:
    """Return CMake's options: Debian's headers, ONNX Runtime of the Python package."""
    ort = pytest.importorskip("onnxruntime")
    libraries = sorted(Path(ort.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if not libraries:
        pytest.skip("the package onnxruntime has no libonnxruntime.so")
    folder = build_directory() / "onnxruntime"
    folder.mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[0])
    headers = system_include("onnxruntime_cxx_api.h", "onnxruntime")
    headers = headers or debian_headers() / "onnxruntime"
    stb = system_include("stb_image.h", "stb") or debian_headers() / "stb"
    return (
        f"-DONNXRUNTIME_INCLUDE={headers}",
        f"-DONNXRUNTIME={folder / 'libonnxruntime.so'}",
        f"-DSTB_INCLUDE={stb}",
    )


@functools.cache
def kernels() -> Path:
    """Return the folder of the kernels' host build and of its pkg-config file."""
    finished("make", "-C", PLUGINS, "host", f"BUILD={build_directory() / 'host'}")
    return build_directory() / "host"


@functools.cache
def built(session: str, options: tuple[str, ...], library: Path) -> Path:
    """Configure and build the sample with warnings as errors, and return the program."""
    for tool in ("cmake", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: the sample's build needs it")
    json = system_include("nlohmann/json.hpp")
    json = json or wheel("nlohmann-json==3.12.0") / "nlohmann_json/include"
    folder = build_directory() / f"sample-{session}"
    os.environ["PKG_CONFIG_PATH"] = str(library)
    finished(
        "cmake", "-S", PLUGINS / "sample", "-B", folder, f"-DLZU_SESSION={session}",
        "-DCMAKE_BUILD_TYPE=Debug", f"-DCMAKE_CXX_COMPILER={compiler()}",
        "-DCMAKE_CXX_FLAGS=-Werror", "-DLZU_OPENCV=OFF", f"-DNLOHMANN_INCLUDE={json}",
        "-DSTB_INCLUDE=absent", *options,
    )  # fmt: skip
    finished("cmake", "--build", folder)
    return folder / "lzu_sample"


@pytest.fixture(scope="session")
def on_onnxruntime() -> Path:
    """The sample on ONNX Runtime, with stb_image."""
    return built("onnxruntime", onnxruntime_options(), kernels())


@pytest.fixture(scope="session")
def on_recordings() -> Path:
    """The sample on recorded outputs, which reads PPM alone."""
    return built("recorded", (), kernels())


@pytest.fixture(scope="session")
def build_sample() -> Build:
    """Function that builds the sample, given its session, CMake's options and a library folder."""
    return built


@pytest.fixture(scope="session")
def kernel_library() -> Path:
    """Folder of the kernels' host build and of its pkg-config file."""
    return kernels()
