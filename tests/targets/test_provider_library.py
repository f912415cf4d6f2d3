"""Providers that ONNX Runtime loads from packages, against one as badly behaved as NVIDIA's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fakes.fake_provider import (
    CPU,
    MODULE,
    NAME,
    FakeRuntime,
    device,
    install_provider,
    write_package,
)
from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support.interpreter import run_program
from lzu_export.targets import provider_library
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.tensorrt import rtx
from samples import refusal

FIRST, SECOND = "0000:01:00.0", "0000:41:00.0"


class Machine:
    """A machine with the package and two cards; the provider lists the second first."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch, self.folder = patch, folder
        self.runtime = FakeRuntime(device(SECOND, 1), device(FIRST, 0))
        self.package = write_package(folder)
        install_provider(patch, self.runtime, folder, (FIRST.upper(), SECOND))

    def write(self, **said: Any) -> None:
        """Write the package anew."""
        shutil.rmtree(self.package)
        write_package(self.folder, **said)

    def open(self, number: int | None = None, **options: Any) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(b"", provider="nv-tensorrt-rtx", device=number, **options)

    def refusal(self, number: int | None = None) -> str:
        return refusal(lambda: self.open(number))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "site").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LZU_CACHE", str(tmp_path / "cache"))
        yield Machine(patch, tmp_path / "site")
    sys.modules.pop(MODULE, None)  # last, since what a test removed is put back


@pytest.mark.parametrize(("number", "bus"), [(None, FIRST), (0, FIRST), (1, SECOND)])
def test_the_card_of_the_number_is_taken_by_its_bus(
    number: int | None, bus: str, machine: Machine, tmp_path: Path
) -> None:
    """One device is handed over; the provider refuses several, though its example does that."""
    session = machine.open(number)
    assert (session.provider, session.device) == (NAME, number or 0)
    (options,) = machine.runtime.sessions
    (((chosen,), said),) = options.added
    assert chosen.device.metadata["pci_bus_id"] == bus
    cache = tmp_path / "cache/kernels" / NAME
    assert said == {"enable_cuda_graph": "1", "nv_runtime_cache_path": str(cache)}
    assert cache.is_dir()
    assert options.entries["session.disable_cpu_ep_fallback"] == "1"


def test_without_graph_and_cache(machine: Machine) -> None:
    machine.open(graph=False, keep=False)
    ((_, said),) = machine.runtime.sessions[0].added
    assert said == {"enable_cuda_graph": "0"}


@pytest.mark.parametrize("before", [None, "/mine"])
def test_the_module_leaves_the_environment_as_it_was(
    before: str | None, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It puts its own folder into the loader's path, which every child process would inherit."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH", before)
    machine.open()
    assert os.environ.get("LD_LIBRARY_PATH") == before
    machine.write(trouble="raise OSError('cannot preload\\nmore')")
    sys.modules.pop(MODULE)
    assert "is damaged (cannot preload)" in machine.refusal()
    assert os.environ.get("LD_LIBRARY_PATH") == before


def test_the_library_is_registered_once(machine: Machine) -> None:
    machine.open()
    machine.open(1)
    assert [name for name, _ in machine.runtime.registered] == [NAME]
    machine.runtime.devices.clear()  # registered, and lists none: registering again is refused
    assert "finds no card here" in machine.refusal()


def test_without_the_package_the_extra_is_named(machine: Machine) -> None:
    shutil.rmtree(machine.package)
    said = f"{MODULE} is not installed; pip install 'lzu-export[rtxprovider]'"
    assert machine.refusal() == said


def test_a_module_that_lacks_another_is_damaged(machine: Machine) -> None:
    machine.write(trouble="import ghost")
    assert "is damaged (No module named 'ghost')" in machine.refusal()


def test_a_package_without_its_library_is_damaged(machine: Machine) -> None:
    (machine.package / "libonnxruntime_providers_nv_tensorrt_rtx.so").unlink()
    assert "is damaged (No EP library found next to this package); pip" in machine.refusal()


def test_an_older_onnx_runtime_is_refused(machine: Machine) -> None:
    old = type("Old", (), {"__version__": "1.20.1", "SessionOptions": FakeRuntime.SessionOptions})
    machine.patch.setattr("lzu_export.targets.onnxruntime.ort", old())
    assert machine.refusal().startswith("ONNX Runtime 1.20.1 takes no provider from a package")


def test_without_a_driver_the_reason_is_given(machine: Machine) -> None:
    machine.runtime.refusal = (
        "FAIL : Failed to load library /there/libonnxruntime_providers_nv_tensorrt_rtx.so with "
        "error: libcuda.so.1: cannot open shared object file\nmore"
    )
    with pytest.raises(ElsewhereError) as caught:
        machine.open()
    message = str(caught.value)
    assert message.startswith(
        f"ONNX Runtime does not load {NAME}: libcuda.so.1: cannot open shared object file; it "
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    "found",
    [[], [device(FIRST, name="Other")], [device(FIRST, gpu=False)], [device(None, name=CPU)]],
)
def test_a_machine_without_a_card_is_elsewhere(found: list[Any], machine: Machine) -> None:
    machine.runtime.devices = found
    with pytest.raises(ElsewhereError, match=f"{NAME} finds no card here that it serves"):
        machine.open()
    assert machine.runtime.sessions == []


def test_a_card_that_is_not_served_is_named(machine: Machine) -> None:
    """The first card is too old for the provider, which counts only the second."""
    machine.runtime.devices = [device(SECOND, 0)]
    with pytest.raises(ElsewhereError, match=r"does not serve GPU 0, at 1:0\.0; .* at 41:0\.0"):
        machine.open(0)
    assert "would run on GPU 0 in the place of GPU 1" in machine.refusal(1)
    with pytest.raises(LzuError, match="there is no GPU 2"):
        machine.open(2)


def test_cards_that_cannot_be_told_apart_are_refused(machine: Machine) -> None:
    machine.runtime.devices = [device(None, 0), device(None, 1)]
    with pytest.raises(ElsewhereError, match="it serves those at unknown, unknown"):
        machine.open()
    install_provider(machine.patch, machine.runtime, machine.folder, ("",))
    assert "cannot be told from the others" in machine.refusal()
    machine.runtime.devices = [device(None, 0)]
    assert machine.open().device == 0


def test_an_option_that_the_header_does_not_name_is_refused(machine: Machine) -> None:
    """The provider would ignore it: no graph, or no cache, and no word."""
    machine.write(options=("enable_cuda_graph", "nv_runtime_cache_file"))
    said = f"{MODULE} 0.5.0 has no option nv_runtime_cache_path, which it would ignore"
    assert machine.refusal().startswith(said)
    machine.write(options=("nv_runtime_cache_path", "nv_cuda_graph_enable"))
    assert "has no option enable_cuda_graph" in machine.refusal()
    (machine.package / "tensorrt_rtx_provider_options.h").unlink()
    assert "it has no tensorrt_rtx_provider_options.h" in machine.refusal()
    assert machine.runtime.sessions == []


def test_a_session_elsewhere_is_refused(machine: Machine) -> None:
    runtime = machine.runtime
    runtime.providers = [CPU]
    assert f"does not run on {NAME} as asked, it runs on {CPU}" in machine.refusal()
    runtime.providers = [NAME, CPU]
    runtime.nodes.append((CPU, ["DeformConv", "Cast", "Cast"]))
    assert f"it runs Cast, DeformConv on {CPU}; use target tensorrt-rtx" in machine.refusal()
    runtime.nodes.pop()
    runtime.taken = device(SECOND, 1)
    assert "it took the GPU at 41:0.0, not GPU 0" in machine.refusal(0)
    assert machine.open(1).device == 1


def test_operators_that_are_not_taken_have_a_remedy(machine: Machine) -> None:
    machine.runtime.failure = (
        "NOT_IMPLEMENTED : This session contains graph nodes that are assigned to the default CPU "
        "EP, but fallback to CPU EP has been explicitly disabled by the user."
    )
    message = machine.refusal()
    assert message.startswith("ONNX Runtime cannot open the model: NOT_IMPLEMENTED")
    assert message.endswith("operators that the provider does not take: use target tensorrt-rtx")


def test_two_copies_of_the_libraries_never_meet(machine: Machine) -> None:
    machine.patch.setitem(sys.modules, "tensorrt_rtx", object())
    assert "this process has loaded tensorrt_rtx" in machine.refusal()
    machine.patch.delitem(sys.modules, "tensorrt_rtx")
    machine.open()
    assert rtx.version() is None
    with pytest.raises(ElsewhereError, match=f"this process has loaded {MODULE}"):
        rtx.import_module()


_REAL = """
import base64, json, os, sys
from lzu_export.doctor.packages import IDENTITY
from lzu_export.errors import LzuError
from lzu_export.targets import provider_library
from lzu_export.targets.onnxruntime import OnnxRuntimeSession, ort

before, (library,) = os.environ["LD_LIBRARY_PATH"], provider_library.LIBRARIES.values()
try:
    OnnxRuntimeSession(base64.b64decode(IDENTITY), provider="nv-tensorrt-rtx")
    said = "opened"
except LzuError as error:
    said = str(error)
module = sys.modules[library.module]
wanted = {library.graph: "1", library.cache: "here"}
provider_library._check_options(module, library, wanted)
try:
    provider_library._check_options(module, library, {"nv_cuda_graph_enable": "1"})
    unknown = ""
except LzuError as error:
    unknown = str(error)
same = os.environ["LD_LIBRARY_PATH"] == before
print(json.dumps([said, unknown, same, ort.__version__]))
"""


@pytest.mark.slow
def test_the_vendor_s_own_module_where_the_driver_finds_no_card(tmp_path: Path) -> None:
    """A stand-in of the driver, so that the library loads: it registers, and serves nothing."""
    if find_spec(MODULE) is None:
        pytest.skip(f"extra rtxprovider is not installed: there is no module {MODULE}")
    compiler = shutil.which("gcc")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no gcc and nm")
    spec = find_spec(MODULE)
    assert spec is not None
    assert spec.origin is not None
    libraries = [str(each) for each in Path(spec.origin).parent.glob("lib*.so*")]
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", *libraries], capture_output=True, text=True, check=False
    ).stdout.split()
    for name, start in (("libcuda.so.1", "cu"), ("libnvidia-ml.so.1", "nvml")):
        calls = {s for s in symbols if s.startswith(start) and s[len(start)].isupper()}
        assert calls
        source = tmp_path / f"{name}.c"
        source.write_text("".join(f"int {each}(void) {{ return 100; }}\n" for each in calls))
        flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", str(tmp_path / name)]
        subprocess.run([compiler, *flags, str(source)], check=True)
    done = subprocess.run(
        run_program(_REAL), capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, unknown, same, _ = json.loads(done.stdout.splitlines()[-1])
    assert said.startswith(f"{NAME} finds no card here that it serves")
    assert "has no option nv_cuda_graph_enable" in unknown
    assert same


def test_pci_bus_ids_are_compared_by_their_numbers() -> None:
    plain = provider_library._plain
    assert plain("0000:0A:00.0") == plain("00000000:0a:00.0") == plain("a:0.0") == "a:0.0"
    assert plain("0000:01:00.1") != plain("0000:01:00.0")
    assert plain("") == plain("1234") == ""
