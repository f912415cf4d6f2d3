"""Stand-ins of NVIDIA's provider package and of ONNX Runtime's interface for such packages.

They do what the vendor's own do: importing the module changes the environment and the folder that
it is in, the wheel names a library by its whole version, several devices are refused, devices have
numbers of the provider's own, unknown options are ignored, and what is not taken runs on the CPU.
"""

from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from fakes.install import forget

MODULE = "onnxruntime_ep_nv_tensorrt_rtx"
NAME = "NvTensorRTRTXExecutionProvider"
CPU = "CPUExecutionProvider"
OPTIONS = ("enable_cuda_graph", "nv_runtime_cache_path", "nv_max_workspace_size")

_SOURCE = """
import os
import pathlib

__version__ = "0.5.0"
here = pathlib.Path(__file__).parent
os.environ["LD_LIBRARY_PATH"] = f"{{here}}:" + os.environ.get("LD_LIBRARY_PATH", "")
link = here / "libtensorrt_rtx.so"
if not link.is_symlink():
    link.symlink_to("libtensorrt_rtx.so.1.7.1")
{trouble}


def get_ep_name():
    return "{name}"


def get_library_path():
    path = here / "libonnxruntime_providers_nv_tensorrt_rtx.so"
    if not path.is_file():
        raise FileNotFoundError(f"No EP library found next to this package\\nunder {{here}}")
    return str(path)
"""
_HEADER = """
namespace provider_option_names
{{
{options}
}}  // namespace provider_option_names
namespace run_option_names
{{
constexpr const char* kProfileIndex = "nv_profile_index";
}}
"""


def write_package(folder: Path, *, trouble: str = "", options: tuple[str, ...] = OPTIONS) -> Path:
    """Write the vendor's package into a folder, and return the package's own folder.

    Args:
        folder: folder for the module search path.
        trouble: line that runs while the module is imported.
        options: options that its header names.
    """
    package = folder / MODULE
    package.mkdir()
    (package / "__init__.py").write_text(_SOURCE.format(trouble=trouble, name=NAME))
    lines = [f'constexpr const char* kOption = "{each}";' for each in options]
    (package / "tensorrt_rtx_provider_options.h").write_text(
        _HEADER.format(options="\n".join(lines))
    )
    for name in ("onnxruntime_providers_nv_tensorrt_rtx.so", "tensorrt_rtx.so.1.7.1"):
        (package / f"lib{name}").touch()
    (package / "libcudart.so.13.4.36").write_bytes(b"no library")
    return package


class DeviceType(Enum):
    """Kinds of hardware devices."""

    CPU = 0
    GPU = 1


def device(bus: str | None, number: int = 0, *, name: str = NAME, gpu: bool = True) -> Any:
    """Make a device of a provider: the GPU at a bus, with a number of the provider's own."""
    metadata = {} if bus is None else {"pci_bus_id": bus}
    kind = DeviceType.GPU if gpu else DeviceType.CPU
    hardware = SimpleNamespace(type=kind, metadata=metadata)
    return SimpleNamespace(ep_name=name, device=hardware, ep_options={"device_id": str(number)})


class Options:
    """Options of a session."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.added: list[tuple[list[Any], dict[str, str]]] = []
        self.intra_op_num_threads = self.log_severity_level = 0

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set an entry of the session's configuration."""
        self.entries[key] = value

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        """Add a provider for one device; unknown options are ignored, as the vendor's are."""
        if len(devices) != 1:
            raise ValueError("EP only supports selection for one device.")
        self.added.append((devices, options))


class FakeRuntime:
    """ONNX Runtime on a machine with these devices, once the provider is registered.

    Attributes:
        devices: what the provider's devices are.
        refusal: error of registering the library; None registers it.
        providers: providers that a session gets; by default the one asked for, and the CPU.
        nodes: providers and operators of the parts that a session is cut into.
        taken: device that a session takes instead of the one asked for.
        sessions: options of all sessions that were opened.
    """

    __version__ = "1.24.0"
    OrtHardwareDeviceType = DeviceType
    SessionOptions = Options

    def __init__(self, *devices: Any) -> None:
        self.devices = list(devices)
        self.refusal: str | None = None
        self.failure: str | None = None
        self.providers: list[str] = [NAME, CPU]
        self.nodes: list[tuple[str, list[str]]] = [(NAME, ["Conv", "Relu"])]
        self.taken: Any = None
        self.registered: list[tuple[str, str]] = []
        self.sessions: list[Options] = []

    def register_execution_provider_library(self, name: str, path: str) -> None:
        """Register a library, which is refused where it was registered before."""
        if self.refusal is not None:
            raise RuntimeError(self.refusal)
        if self.registered:
            raise RuntimeError(f"library is already registered under {name}")
        self.registered.append((name, path))

    def get_ep_devices(self) -> list[Any]:
        """Return the CPU's device, and the provider's once it is registered."""
        own = [device(None, name=CPU, gpu=False)]
        return [*own, *self.devices] if self.registered else own

    def InferenceSession(self, _: Any, options: Options) -> Any:
        """Open a session, which never says that it runs elsewhere."""
        if self.failure is not None:
            raise RuntimeError(self.failure)
        self.sessions.append(options)
        (chosen,), _ = options.added[0]
        parts = [
            SimpleNamespace(
                ep_name=name,
                get_nodes=lambda ops=ops: [SimpleNamespace(op_type=each) for each in ops],
            )
            for name, ops in self.nodes
        ]
        tensor = SimpleNamespace(name="x", type="tensor(float)", shape=[1, 2])
        return SimpleNamespace(
            get_providers=lambda: self.providers,
            get_provider_graph_assignment_info=lambda: parts,
            get_input_epdevices=lambda: [self.taken or chosen, None],
            get_inputs=lambda: [tensor],
            get_outputs=lambda: [tensor],
        )


def install_provider(
    patch: pytest.MonkeyPatch, runtime: FakeRuntime, folder: Path, buses: tuple[str, ...]
) -> None:
    """Make a package of `write_package` importable, with this ONNX Runtime and CUDA's GPUs.

    Args:
        patch: restores everything behind the test.
        runtime: stand-in of ONNX Runtime.
        folder: folder that has the package.
        buses: PCI bus id of each GPU, as CUDA counts them.
    """
    from lzu_export.support import device as numbers
    from lzu_export.support.cuda_driver import Driver
    from lzu_export.targets import onnxruntime as target
    from lzu_export.targets import provider_library

    driver = Driver((13, 0), tuple(f"card {i} (8.9)" for i in range(len(buses))), buses)
    patch.setattr(provider_library, "find_driver", lambda: driver)
    patch.setattr(numbers, "find_driver", lambda: driver)
    patch.setattr(target, "ort", runtime)
    patch.syspath_prepend(str(folder))
    forget(patch, MODULE)
    forget(patch, "tensorrt_rtx")
    patch.delenv("LZU_DEVICE", raising=False)
    assert onnxruntime is not runtime
