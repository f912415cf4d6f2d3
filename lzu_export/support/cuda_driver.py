"""Read the version of this machine's CUDA driver, and its GPUs. No CUDA package is needed.

It calls libcuda through ctypes; a machine without libcuda has no driver.
"""

import ctypes
from typing import NamedTuple

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
"""Values of CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h."""


class Driver(NamedTuple):
    """A driver and its devices."""

    cuda: tuple[int, int]
    """Newest CUDA that the driver runs, (major, minor)."""
    devices: tuple[str, ...]
    """Name of each GPU with its compute capability, by number; empty if none is usable."""
    buses: tuple[str, ...] = ()
    """PCI bus id of each GPU, such as `0000:01:00.0`, by number; empty if it is unknown."""


def find_driver() -> Driver | None:
    """Return this machine's driver; None if none is loaded."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
        number = ctypes.c_int(0)
        if cuda.cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
        found = [_device(cuda, device) for device in _devices(cuda)]
    except (OSError, AttributeError):  # no such library, or a stub of it
        return None
    names, buses = zip(*found, strict=True) if found else ((), ())
    return Driver((number.value // 1000, number.value % 1000 // 10), names, buses)


def _devices(cuda: ctypes.CDLL) -> list[ctypes.c_int]:
    """Return the handles of the GPUs, by number; none if the driver fails."""
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = [ctypes.c_int(0) for _ in range(count.value)]
    failed = [cuda.cuDeviceGet(ctypes.byref(each), i) for i, each in enumerate(found)]
    return [] if any(failed) else found


def _device(cuda: ctypes.CDLL, device: ctypes.c_int) -> tuple[str, str]:
    """Return a GPU's name with its compute capability, and its PCI bus id."""
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    cuda.cuDeviceGetName(name, len(name), device)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int(0)
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    if cuda.cuDeviceGetPCIBusId(bus, len(bus), device) != 0:
        bus.value = b""
    return f"{name.value.decode(errors='replace')} ({'.'.join(parts)})", bus.value.decode()
