"""The plugin library on a device: found, compared with the bundle's record, loaded, or refused."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lzu_export.manifest.schema import Operator, Plugins
from lzu_export.runtime import plugin_library
from lzu_export.runtime.plugin_library import (
    NAME,
    check_library,
    describe_library,
    find_library,
    load_library,
)
from lzu_export.support import checkout, cuda_driver
from lzu_export.support.cuda_driver import Driver
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import record_built
from samples import refusal, stub_library


def wanted(library: Path | None = None, **changes: Any) -> Plugins:
    operators = (Operator(name="BoxKnots", version="1", namespace="lzu"),)
    described = describe_library(library) if library is not None else None
    if described is not None:
        described = described.model_copy(update=changes)
    return Plugins(operators=operators, library=described)


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's NVIDIA driver and the variable LZU_PLUGINS."""
    monkeypatch.setattr(plugin_library, "find_driver", lambda: None)
    monkeypatch.delenv("LZU_PLUGINS", raising=False)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return stub_library(tmp_path, cuda=12)


def test_the_bundle_s_own_library_is_loaded(library: Path) -> None:
    found = check_library(library, wanted(library))
    assert (found.file, found.version, found.cuda_major) == (NAME, 1, 12)
    assert len(found.sha256) == 64
    assert load_library(library, wanted(library)).lzu_plugins_version() == 1
    check_library(library, wanted())  # a bundle that recorded none takes any of its version


def test_where_it_is_looked_for(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_library(library) == library
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    message = refusal(lambda: find_library(bundle=tmp_path / "bundle"))
    places = [each / "plugins" / NAME for each in (tmp_path / "cache", empty / "build")]
    assert f"there is no plugin library at {places[0]}, {places[1]}; build one" in message
    assert "(lzu-export plugins)" in message
    assert str(tmp_path / "none.so") in refusal(lambda: find_library(tmp_path / "none.so"))
    monkeypatch.setenv("LZU_PLUGINS", str(library))
    assert find_library(bundle=tmp_path) == library  # who names it has looked
    monkeypatch.setenv("LZU_PLUGINS", str(empty / NAME))
    assert "LZU_PLUGINS" in refusal(lambda: find_library(bundle=tmp_path))


def test_one_that_was_built_is_found(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found in the user's folder or, if its hash is recorded, in the working directory."""
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    work, own = tmp_path / "work", tmp_path / "cache/plugins"
    for folder in (work / "build/plugins", own):
        folder.mkdir(parents=True)
    monkeypatch.chdir(work)
    mine = Path(shutil.copy(library, work / "build/plugins"))
    refusal(find_library)  # nothing says who built it
    record_built("0" * 64, "another")
    refusal(find_library)
    record_built(sha256(mine), NAME)
    assert find_library() == mine
    for bundle in (work, work / "build", work / "build/plugins"):
        refusal(lambda bundle=bundle: find_library(bundle=bundle))
    assert find_library(bundle=work / "build/det/fixed-0.5x") == mine
    built = Path(shutil.copy(library, own))
    assert find_library() == built
    with mine.open("ab") as stream:
        stream.write(b" ")
    built.unlink()
    refusal(find_library)  # it is not what was built any more


def test_another_library_than_the_bundle_s(library: Path, tmp_path: Path) -> None:
    plugins = wanted(library, sha256="0" * 64)
    message = refusal(lambda: check_library(library, plugins))
    assert "is not the liblzu_plugins.so that the bundle was made for: its sha256" in message
    assert "not 000000000000; use that one, or derive" in message


def test_another_version(tmp_path: Path) -> None:
    library = stub_library(tmp_path, version=2)
    assert "has plugins of version 2 but the bundle calls version 1" in refusal(
        lambda: check_library(library, wanted())
    )


def test_another_cuda(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = wanted(library, cuda_major=13)
    assert "was built with CUDA 12 but the bundle is for CUDA 13" in refusal(
        lambda: check_library(library, plugins)
    )
    monkeypatch.setattr(plugin_library, "find_driver", lambda: Driver((11, 8), ()))
    assert "with CUDA 12 but this machine's driver runs CUDA 11.8 at most" in refusal(
        lambda: check_library(library, wanted())
    )
    monkeypatch.setattr(plugin_library, "find_driver", lambda: Driver((13, 0), ()))
    check_library(library, wanted())


def test_files_that_are_no_library(library: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library, but long enough for the head of one, as many a text is\n" * 3)
    assert "text.so is not a 64-bit shared library" in refusal(lambda: describe_library(text))
    assert "cannot be read" in refusal(lambda: describe_library(tmp_path / "none.so"))
    whole = library.read_bytes()
    for length in (0, 63, 64, 4000, len(whole) - 1):
        library.write_bytes(whole[:length])
        assert str(library) in refusal(lambda: describe_library(library))


def test_a_library_without_a_version(tmp_path: Path) -> None:
    library = stub_library(tmp_path, told=False)
    assert "reports no version; build it again" in refusal(lambda: describe_library(library))


def test_a_library_for_another_machine(library: Path) -> None:
    """Its hash can be recorded, but the library is not loaded."""
    changed = bytearray(library.read_bytes())
    changed[18] = 183 if changed[18] == 62 else 62
    library.write_bytes(changed)
    found = describe_library(library)
    assert (found.version, found.cuda_major) == (None, None)
    assert "for another kind of machine" in refusal(lambda: check_library(library, wanted()))
    plugins = Plugins(operators=(), library=found)
    assert "for another kind of machine" in refusal(lambda: load_library(library, plugins))


class Registry:
    """A stand-in of TensorRT's plugin registry."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, ""

    def load_library(self, path: str) -> Any:
        self.asked = path
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_tensorrt_gets_the_library(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    monkeypatch.setattr(plugin_library, "_registered", [])
    assert "does not load" in refusal(lambda: load_library(library, wanted(), Registry(None)))
    failing = Registry(RuntimeError("bad\nworse"))
    assert refusal(lambda: load_library(library, wanted(), failing)).endswith(": bad")
    registry = Registry(object())
    assert load_library(library, wanted(library), registry).lzu_cuda_major() == 12
    assert registry.asked == str(library)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", object())
    assert "a process of their own" in refusal(lambda: load_library(library, wanted(), registry))


class RtxRegistry(Registry):
    """TensorRT-RTX's registry."""

    __module__ = "tensorrt_rtx_bindings.tensorrt_rtx"


@pytest.mark.parametrize(("first", "second"), [(Registry, RtxRegistry), (RtxRegistry, Registry)])
def test_plugins_go_with_one_of_the_two_products(
    first: type[Registry],
    second: type[Registry],
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has a registry, and the library one logger."""
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    monkeypatch.setattr(plugin_library, "_registered", [])
    if first is RtxRegistry:
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", object())
    loaded = load_library(library, wanted(), first(object()))
    assert load_library(library, wanted(), first(None)) is loaded
    refused = refusal(lambda: load_library(library, wanted(), second(object())))
    assert refused.startswith("this process has loaded TensorRT-RTX besides TensorRT")


def test_a_library_is_registered_once_a_process(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later sessions reuse it, also for other bundles; a different library is refused."""
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    monkeypatch.setattr(plugin_library, "_registered", [])
    first = load_library(library, wanted(), Registry(object()))
    copy = shutil.copy(library, tmp_path / "copy.so")
    again = Registry(None)  # what NVIDIA's says of plugins that it has
    for path in (library, copy):
        assert load_library(path, wanted(), again) is first
    assert again.asked == ""
    (tmp_path / "other").mkdir()
    other = stub_library(tmp_path / "other", cuda=11)
    message = refusal(lambda: load_library(other, wanted(), again))
    assert f"has registered the plugins of {library} and TensorRT takes no others" in message
    assert f"use {other} in a process of its own" in message


def test_a_driver_is_asked_through_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    source = tmp_path / "cuda.c"
    source.write_text(
        "#include <string.h>\n"
        "int cuDriverGetVersion(int *v) { *v = 12060; return 0; }\n"
        "int cuInit(unsigned f) { return 0; }\n"
        "int cuDeviceGetCount(int *n) { *n = 1; return 0; }\n"
        "int cuDeviceGet(int *d, int i) { *d = i; return 0; }\n"
        'int cuDeviceGetName(char *s, int n, int d) { strcpy(s, "Orin"); return 0; }\n'
        "int cuDeviceGetPCIBusId(char *s, int n, int d) {\n"
        '  if (n < 13) return 1; strcpy(s, "0000:01:00.0"); return 0; }\n'
        "int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : 7; return 0; }\n"
    )
    path = tmp_path / "libcuda.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(path))
    assert cuda_driver.find_driver() == Driver((12, 6), ("Orin (8.7)",), ("0000:01:00.0",))
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(tmp_path / "none.so"))
    assert cuda_driver.find_driver() is None
