"""The plugins' build: what it hands to the makefile, and how it ends in one sentence.

A makefile of a few lines stands in for the plugins'; tests/plugins builds the real sources.
"""

import os
import platform
import shutil
import stat
from pathlib import Path

import pytest

from lzu_export.compiler import build_plugins as module
from lzu_export.compiler.build_plugins import CROSS, DEVICE, HOST, build_plugins, find_build
from lzu_export.errors import LzuError
from lzu_export.support import checkout
from samples import refusal, stub_library

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

MAKEFILE = """\
library host:
	@echo "$(ARCHS)|$(CROSS)|$(TENSORRT_INCLUDE)|$(MAKELEVEL)" > $(BUILD)/told
	@echo "$(EDITION)" >> $(BUILD)/told
	cp library.so $(BUILD)/$(NAME)
	@mkdir -p $(BUILD)/include; touch $(BUILD)/include/lzu_kernels.h
	@touch $(BUILD)/lzu_plugins.pc $(BUILD)/lzu_kernels_host.pc
library: NAME := liblzu_plugins.so
host: NAME := liblzu_kernels_host.so
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sources that cannot be written; outside of a checkout."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    stub_library(folder, cuda=13).rename(folder / "library.so")
    (folder / "Makefile").write_text(MAKEFILE)
    monkeypatch.setattr(module, "PLUGINS", folder)
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAKELEVEL", "3")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return folder


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines()


@pytest.mark.usefixtures("sources")
def test_a_library_is_built_where_the_runtime_looks(tmp_path: Path) -> None:
    headers = tmp_path / "TensorRT" / "include"
    headers.mkdir(parents=True)
    (headers / "NvInfer.h").touch()
    build, library = build_plugins(architectures=["sm_110", "8.7"], tensorrt=tmp_path / "TensorRT")
    assert build.library == tmp_path / "cache/plugins/liblzu_plugins.so"
    assert library is not None
    assert (library.version, library.cuda_major) == (1, 13)
    assert build.is_complete
    assert told(build.folder)[0] == f"87 110||{headers}|0"
    assert "cp library.so" in (build.folder / "build.log").read_text()


def test_changed_sources_are_told_to_make(sources: Path, tmp_path: Path) -> None:
    """Files of an installer may be older than what was built of the files before them."""
    build, _ = build_plugins(HOST, out=tmp_path / "out")
    first = told(build.folder)[1]
    build_plugins(HOST, out=tmp_path / "out")
    assert told(build.folder)[1] == first
    makefile = sources / "Makefile"
    before = makefile.stat()
    makefile.write_text(MAKEFILE + "# changed\n")
    os.utime(makefile, ns=(before.st_atime_ns, before.st_mtime_ns))
    build_plugins(HOST, out=tmp_path / "out")
    assert told(build.folder)[1] != first


@pytest.mark.usefixtures("sources")
def test_the_kernels_of_the_processor_are_loaded(tmp_path: Path) -> None:
    build, library = build_plugins(HOST, out=tmp_path / "out")
    assert library is None
    assert build.library == tmp_path / "out" / "liblzu_kernels_host.so"


@pytest.mark.parametrize("text", ["9x", "", "8.7.1", "sm_", "-1", "87a"])
@pytest.mark.usefixtures("sources")
def test_an_architecture_is_a_number(text: str, tmp_path: Path) -> None:
    message = refusal(lambda: build_plugins(architectures=[text]))
    assert message == f"--arch {text} is no compute capability; give one such as 8.7"
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("sources")
def test_headers_that_are_not_there(tmp_path: Path) -> None:
    message = refusal(lambda: build_plugins(tensorrt=tmp_path / "none"))
    assert message.startswith(f"there is no NvInfer.h in {tmp_path / 'none'} or its include")


@pytest.mark.usefixtures("sources")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal(lambda: build_plugins(HOST, out=tmp_path / "file"))
    assert message.endswith(
        "a file is in the way of the output folder; choose another folder (--out)"
    )


@pytest.mark.usefixtures("sources")
def test_no_make_and_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "build_folder", lambda name: None)
    assert "name a folder (--out)" in refusal(lambda: find_build(DEVICE))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(build_plugins).endswith("sudo apt-get install g++ make")


@pytest.mark.usefixtures("sources")
def test_this_machine_needs_no_cross_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    message = refusal(lambda: build_plugins(CROSS))
    assert message == "this machine is aarch64 itself; leave out --cross"


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ('echo "no wheel" >&2; echo "error: no NvInfer.h in x" >&2; exit 2', "no NvInfer.h in x"),
        (
            "echo 'a.cu:1:2: error: no such thing'; exit 1",
            "the plugins do not compile (a.cu:1:2: error: no such thing); ",
        ),
        ("echo 'cp: denied'; exit 1", "the plugins do not compile (cp: denied); "),
        ("exit 1", "the plugins do not compile (no error is shown); "),
    ],
)
def test_a_failed_build_is_one_sentence(
    recipe: str, sentence: str, sources: Path, tmp_path: Path
) -> None:
    (sources / "Makefile").write_text(f"library:\n\t@{recipe}\n")
    message = refusal(lambda: build_plugins(out=tmp_path / "out"))
    assert message.startswith(sentence)
    assert "\n" not in message
    assert ("build.log has all output" in message) == ("compile" in sentence)


def test_a_folder_that_make_refuses(sources: Path, tmp_path: Path) -> None:
    (sources / "Makefile").write_text("$(error make cannot build in $(BUILD): take another)\n")
    message = refusal(lambda: build_plugins(out=tmp_path / "out"))
    assert message == f"make cannot build in {tmp_path / 'out'}: take another"


def test_nothing_built_is_refused_with_the_command(tmp_path: Path) -> None:
    for kind, command in (
        (DEVICE, "lzu-export plugins"),
        (CROSS, "lzu-export plugins --cross"),
        (HOST, "lzu-export plugins --host"),
    ):
        with pytest.raises(LzuError, match=f"nothing is built in {tmp_path}; run {command}$"):
            find_build(kind, tmp_path).require()
