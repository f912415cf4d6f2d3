"""`make plugins` and `make plugins-aarch64`: what comes out loads, and holds what it should."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from host_kernels import build_directory
from toolchain import PLUGINS, cuda_home, include_flags, tensorrt_headers, tool

ROOT = PLUGINS.parent


def make(target: str, out: Path, archs: str) -> Path:
    """Build for few architectures and return the library."""
    command = ["make", "-C", str(ROOT), target, f"OUT={out}", f"ARCHS={archs}"]
    environment = os.environ | {
        "CUDA_HOME": str(cuda_home()),
        "TENSORRT_INCLUDE": str(tensorrt_headers()),
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / target / "include/lzu_kernels.h").exists()
    assert "-llzu_plugins\n" in (out / target / "lzu_plugins.pc").read_text()
    assert "spill" not in (done.stdout + done.stderr).replace("-warn-spills", "")
    return out / target / "liblzu_plugins.so"


def check_objects(library: Path, compiler: str, *emulator: str) -> None:
    """Create every plugin of the library in a program by this compiler."""
    program = build_directory() / f"objects-{compiler}"
    source = Path(__file__).with_name("plugin_objects.cpp")
    flags = ["-std=c++17", "-O0", "-Wno-deprecated-declarations", *include_flags()]
    command = [compiler, *flags, str(source), "-o", str(program), "-ldl"]
    subprocess.run(command, check=True)
    done = subprocess.run(
        [*emulator, program, library], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


NEWEST = {"GLIBC": (2, 39), "GLIBCXX": (3, 4, 33)}
"""What Ubuntu 24.04 has, on which JetPack 7 stands: glibc 2.39 and the libstdc++ of GCC 14."""


def too_new(versions: str) -> set[str]:
    """Versions of symbols that a library needs and Ubuntu 24.04 has not.

    Args:
        versions: what `readelf --version-info` prints.
    """
    needs = versions.partition("Version needs section")[2]
    found = re.findall(r"Name: (GLIBC|GLIBCXX)_([\d.]+)", needs)
    return {
        f"{name}_{version}"
        for name, version in found
        if tuple(map(int, version.split("."))) > NEWEST[name]
    }


def test_versions_newer_than_jetpack_7_s_are_found():
    needs = "Name: GLIBC_2.39 Name: GLIBC_2.4 Name: GLIBCXX_3.4.33 Name: CXXABI_9.9"
    newer = "Name: GLIBC_2.40 Name: GLIBCXX_3.4.34 Name: GLIBC_3.0"
    defined = "Version definition section\nName: GLIBC_9.9\nVersion needs section\n"
    assert too_new(f"{defined}{needs}") == set()
    assert too_new(f"{defined}{needs} {newer}") == {"GLIBC_2.40", "GLIBCXX_3.4.34", "GLIBC_3.0"}


def check_symbols(library: Path) -> None:
    """No TensorRT symbol is undefined; nothing but the entry points is exported; JetPack 7's C and
    C++ libraries have all that is needed.
    """
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf")
    needed = subprocess.run(
        [readelf, "--version-info", "--wide", str(library)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Name: GLIBC_" in needed
    assert too_new(needed) == set()
    table = subprocess.run(
        [readelf, "--dyn-syms", "--wide", str(library)], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in table.splitlines() if re.match(r"\s*\d+:", line)]
    undefined = {row[7] for row in rows if row[6] == "UND" and len(row) > 7}
    exported = {row[7] for row in rows if row[6] != "UND" and row[4] == "GLOBAL"}
    assert not [name for name in undefined if "nvinfer" in name or "Plugin" in name]
    assert not [name for name in undefined if name.startswith(("cuda", "__cuda", "cu"))]
    assert {"getCreators", "setLoggerFinder"} <= exported
    assert not [
        n for n in exported if n not in ("getCreators", "setLoggerFinder") and n[:4] != "lzu_"
    ]


@pytest.mark.slow
def test_make_plugins(tmp_path):
    library = make("plugins", tmp_path, "75 87")
    check_symbols(library)
    check_objects(library, "g++")
    cuobjdump = tool("cuobjdump", "nvidia-cuda-cuobjdump")

    def listed(option: str) -> set[str]:
        command = [cuobjdump, option, str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(re.findall(r"sm_\d+", done.stdout))

    assert listed("--list-elf") == {"sm_75", "sm_87"}
    assert listed("--list-ptx") == {"sm_87"}


@pytest.mark.slow
def test_make_plugins_for_aarch64(tmp_path):
    cross, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if not (shutil.which(cross) and shutil.which(emulator)):
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user")
    library = make("plugins-aarch64", tmp_path, "110")
    assert library.read_bytes()[18:20] == b"\xb7\x00", "the machine is AArch64"
    check_symbols(library)
    check_objects(library, cross, emulator, "-L", "/usr/aarch64-linux-gnu")


def test_a_directory_without_headers_or_compiler_is_refused_in_one_sentence(tmp_path):
    for name in ("CUDA_HOME", "TENSORRT_INCLUDE"):
        environment = os.environ | {"CUDA_HOME": "", "TENSORRT_INCLUDE": "", name: str(tmp_path)}
        if name == "TENSORRT_INCLUDE":
            environment["CUDA_HOME"] = str(cuda_home())
        done = subprocess.run(
            ["sh", str(PLUGINS / "find_tools.sh"), str(tmp_path / "build")],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert str(tmp_path) in done.stderr
