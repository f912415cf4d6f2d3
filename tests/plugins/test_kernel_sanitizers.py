"""The host build of the kernels under the address and undefined-behaviour sanitizers."""

import subprocess
from pathlib import Path

import pytest
from host_kernels import SOURCES, build_directory, compiler, kept, sources_in
from toolchain import PLUGINS

SANITIZERS = "-fsanitize=address,undefined,float-cast-overflow"


@pytest.fixture(scope="module")
def fuzzer() -> Path:
    """The program that calls every launcher with random inputs."""
    flags = ["-std=c++17", "-O1", "-g1", "-ffp-contract=off", f"-I{PLUGINS}", SANITIZERS]
    flags += ["-fno-sanitize-recover=all"]
    files = (*SOURCES, Path(__file__).with_name("kernel_fuzz.cpp"))
    whole = build_directory() / "kernel_fuzz.cpp"
    whole.write_text("".join(f'#include "{file}"\n' for file in files))

    def make(target: Path) -> None:
        command = [compiler(), *flags, str(whole), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "cannot find -lasan" in done.stderr or "cannot find -lubsan" in done.stderr:
            pytest.skip("the compiler has no sanitizer libraries")
        assert done.returncode == 0, done.stderr

    words = [compiler(), *flags, *files]
    return kept("kernel_fuzz", words, sources_in(PLUGINS, Path(__file__).parent), make)


def fuzz(program: Path, rounds: int, seed: int) -> None:
    command = [program, str(rounds), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_random_inputs(fuzzer):
    fuzz(fuzzer, 20, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_random_inputs(fuzzer, seed):
    fuzz(fuzzer, 150, seed)
