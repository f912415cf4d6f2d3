"""Execution providers that ONNX Runtime loads from packages of their own, and what is checked.

ONNX Runtime registers such a library once a process, finds the devices that it serves, and takes
one of them into a session. Whatever goes wrong there is silent: options that the library does not
know, nodes that it leaves to the CPU, another GPU than the one that was meant. Everything is
therefore checked, and the vendor's module is kept from changing this process.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support.cuda_driver import find_driver
from lzu_export.support.device import device_number, refuse_absent_here
from lzu_export.support.extras import install
from lzu_export.support.files import read_text
from lzu_export.support.files.places import user_folder
from lzu_export.targets.tensorrt.rtx import PROVIDER

SEARCH_PATH = "LD_LIBRARY_PATH"
BUS = "pci_bus_id"
"""Key of a device's PCI bus id in the metadata that ONNX Runtime finds on Linux."""
RECORD = "session.record_ep_graph_assignment_info"
NO_CPU = "session.disable_cpu_ep_fallback"
"""Keys of a session's configuration."""


@dataclass(frozen=True)
class ProviderLibrary:
    """A package that brings an execution provider.

    Attributes:
        module: module of the package, with `get_ep_name` and `get_library_path`.
        header: file beside the module that names the provider's options.
        preloaded: patterns of libraries beside the module that the provider needs, and that the
            module does not load.
        apart: module that must not be loaded in the same process, since it brings other copies of
            the provider's libraries.
        graph: option that captures runs as a CUDA graph.
        cache: option with the folder where compiled engines are kept.
    """

    module: str
    header: str
    preloaded: tuple[str, ...]
    apart: str
    graph: str
    cache: str


LIBRARIES: dict[str, ProviderLibrary] = {
    "nv-tensorrt-rtx": ProviderLibrary(
        module=PROVIDER,
        header="tensorrt_rtx_provider_options.h",
        # The provider needs libcudart.so.13, and the wheel names it by its whole version.
        preloaded=("libcudart.so.*",),
        apart="tensorrt_rtx",
        graph="enable_cuda_graph",
        cache="nv_runtime_cache_path",
    )
}
"""Provider libraries by the short name of the provider."""


@dataclass(frozen=True)
class Plugged:
    """A provider that was added to the options of a session.

    Attributes:
        name: ONNX Runtime's name of the provider.
        device: number of the GPU, as CUDA counts them.
        bus: PCI bus id of the GPU; empty if it is unknown.
    """

    name: str
    device: int
    bus: str

    def check(self, session: Any) -> None:
        """Refuse a session that runs elsewhere than on the provider and the GPU.

        Args:
            session: opened `onnxruntime.InferenceSession`.

        Raises:
            LzuError: the session runs on another provider or GPU, or some nodes run on the CPU.
        """
        got = session.get_providers()
        if got[:1] != [self.name]:
            raise _elsewhere(self.name, f"runs on {' and '.join(got)}")
        if hasattr(session, "get_provider_graph_assignment_info"):  # ONNX Runtime 1.24 and later
            for part in session.get_provider_graph_assignment_info():
                if part.ep_name != self.name:
                    nodes = ", ".join(sorted({each.op_type for each in part.get_nodes()}))
                    raise _elsewhere(self.name, f"runs {nodes} on {part.ep_name}")
        devices = session.get_input_epdevices() if hasattr(session, "get_input_epdevices") else []
        for device in devices:
            bus = _bus(device) if device is not None else ""
            if self.bus and bus and bus != self.bus:
                raise _elsewhere(self.name, f"took the GPU at {bus}, not GPU {self.device}")


def plug(
    ort: ModuleType,
    library: ProviderLibrary,
    options: Any,
    *,
    device: int | None = None,
    graph: bool | None = None,
    keep: bool = True,
) -> Plugged:
    """Register a provider's library, and add its provider for one GPU to a session's options.

    Args:
        ort: module `onnxruntime`.
        library: entry of `LIBRARIES`.
        options: `onnxruntime.SessionOptions`, which are changed.
        device: number of the GPU; by default see `device_number`.
        graph: whether runs are captured as a CUDA graph; by default they are.
        keep: keep compiled engines in the user's folder.

    Raises:
        LzuError: ONNX Runtime is too old, the package is missing or damaged, it does not know an
            option, or the process has loaded what it does not go together with.
        ElsewhereError: there is no driver, or no GPU that the provider serves.
    """
    module, name = register(ort, library)
    number = device_number(device)
    refuse_absent_here(number)
    chosen = _choose(devices(ort, name), number, name)
    wanted = {library.graph: "0" if graph is False else "1"}
    folder = user_folder() if keep else None
    if folder is not None:
        wanted[library.cache] = str(folder / "kernels" / name)
        (folder / "kernels" / name).mkdir(parents=True, exist_ok=True)
    _check_options(module, library, wanted)
    options.add_session_config_entry(RECORD, "1")
    options.add_session_config_entry(NO_CPU, "1")
    # One device: the provider refuses several, though its own example hands over all.
    options.add_provider_for_devices([chosen], wanted)
    return Plugged(name, number, _bus(chosen))


def register(ort: ModuleType, library: ProviderLibrary) -> tuple[ModuleType, str]:
    """Register a provider's library with ONNX Runtime, once for a process.

    Returns:
        The package's module, and ONNX Runtime's name of the provider.

    Raises:
        LzuError: see `plug`.
        ElsewhereError: the library does not load, as without a driver.
    """
    if not hasattr(ort, "register_execution_provider_library"):
        raise LzuError(
            f"ONNX Runtime {ort.__version__} takes no provider from a package of its own; update "
            "it to 1.24 or later, which needs Python 3.11 (pip install 'onnxruntime>=1.24')"
        )
    if library.apart in sys.modules:
        raise LzuError(
            f"this process has loaded {library.apart}, whose libraries do not go together with "
            f"those of {library.module}; use the provider in a process of its own"
        )
    module = _import(library)
    try:
        name, path = str(module.get_ep_name()), str(module.get_library_path())
    except Exception as error:  # FileNotFoundError in some releases, others in others
        raise _damaged(library, _first_line(error)) from error
    if not devices(ort, name):
        for pattern in library.preloaded:
            for file in sorted(Path(path).parent.glob(pattern)):
                with suppress(OSError):  # the provider then says what it lacks
                    ctypes.CDLL(str(file))
        try:
            ort.register_execution_provider_library(name, path)
        except Exception as error:  # its exception types are private
            if "already" not in str(error):
                why = _first_line(error).rpartition(" with error: ")[2]
                raise ElsewhereError(
                    f"ONNX Runtime does not load {name}: {why}; it needs an RTX card and NVIDIA's "
                    "driver for CUDA 13 (580 or later)"
                ) from error
    return module, name


def devices(ort: ModuleType, name: str) -> list[Any]:
    """Return the GPUs that a registered provider serves; none before it is registered."""
    gpu = ort.OrtHardwareDeviceType.GPU
    return [
        each for each in ort.get_ep_devices() if each.ep_name == name and each.device.type == gpu
    ]


def _import(library: ProviderLibrary) -> ModuleType:
    """Import the package's module, which changes the loader's search path for child processes."""
    try:
        with _unchanged(SEARCH_PATH):
            return import_module(library.module)
    except ModuleNotFoundError as error:
        if error.name != library.module:
            raise _damaged(library, _first_line(error)) from error
        raise LzuError(f"{library.module} is not installed; {install(library.module)}") from error
    except Exception as error:  # its preloading may fail in any way
        raise _damaged(library, _first_line(error)) from error


@contextmanager
def _unchanged(variable: str) -> Iterator[None]:
    before = os.environ.get(variable)
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


def _choose(found: Sequence[Any], number: int, name: str) -> Any:
    """Return the provider's device that is the GPU of a number, by their PCI bus ids.

    The provider numbers its devices by itself: cards that it does not serve are not counted.
    """
    if not found:
        raise ElsewhereError(
            f"{name} finds no card here that it serves (GeForce or professional RTX, Ampere or "
            "later); a container has to pass /sys/class/drm and the driver through"
        )
    driver = find_driver()
    buses = driver.buses if driver is not None else ()
    if number >= len(buses) or not buses[number]:
        if number == 0 and len(found) == 1:
            return found[0]
        raise LzuError(
            f"GPU {number} cannot be told from the others, as its PCI bus id is unknown; leave one "
            "GPU visible (CUDA_VISIBLE_DEVICES)"
        )
    wanted = _plain(buses[number])
    mine = [each for each in found if _bus(each) == wanted]
    if not mine:
        served = ", ".join(_bus(each) or "unknown" for each in found)
        raise ElsewhereError(
            f"{name} does not serve GPU {number}, at {wanted}; it serves those at {served}"
        )
    own = dict(mine[0].ep_options).get("device_id", str(number))
    if own != str(number):
        raise LzuError(
            f"{name} would run on GPU {own} in the place of GPU {number}; leave only the one to "
            f"use visible (CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={number})"
        )
    return mine[0]


def _bus(device: Any) -> str:
    return _plain(str(dict(device.device.metadata).get(BUS, "")))


def _plain(bus: str) -> str:
    """Return a PCI bus id as `1:0.0`, whatever zeros and domain are written before."""
    parts = re.findall(r"[0-9a-f]+", bus.lower())[-3:]
    return "{}:{}.{}".format(*(f"{int(each, 16):x}" for each in parts)) if len(parts) == 3 else ""


def _check_options(module: ModuleType, library: ProviderLibrary, wanted: Mapping[str, str]) -> None:
    """Refuse options that the header beside the libraries does not name."""
    header = Path(str(module.__file__)).parent / library.header
    if not header.is_file():
        raise _damaged(library, f"it has no {library.header}, which names its options")
    _, _, text = read_text(header).partition("namespace provider_option_names\n")
    text = text.partition("namespace provider_option_names\n")[0]
    known = set(re.findall(r'constexpr const char\* k\w+ = "(\w+)"', text))
    for option in wanted:
        if option not in known:
            release = getattr(module, "__version__", "of unknown release")
            raise LzuError(
                f"{library.module} {release} has no option {option}, which it would ignore; use "
                "the release that this package asks for (lzu-export doctor)"
            )


def _damaged(library: ProviderLibrary, why: str) -> LzuError:
    return LzuError(f"{library.module} is damaged ({why}); {install(library.module)} again")


def _elsewhere(name: str, why: str) -> LzuError:
    return LzuError(
        f"ONNX Runtime does not run on {name} as asked, it {why}; use target tensorrt-rtx, or "
        "another provider"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
