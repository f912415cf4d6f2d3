"""Read the version of this machine's CUDA driver. No CUDA package is needed.

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
    """Name of each device with its compute capability; empty if none is usable."""


def find_driver() -> Driver | None:
    """Return this machine's driver; None if none is loaded."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
        number = ctypes.c_int(0)
        if cuda.cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
        return Driver((number.value // 1000, number.value % 1000 // 10), _devices(cuda))
    except (OSError, AttributeError):  # no such library, or a stub of it
        return None


def _devices(cuda: ctypes.CDLL) -> tuple[str, ...]:
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    found = []
    for i in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
        if cuda.cuDeviceGet(ctypes.byref(device), i) != 0:
            continue
        cuda.cuDeviceGetName(name, len(name), device)
        parts = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int(0)
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            parts.append(str(value.value))
        found.append(f"{name.value.decode(errors='replace')} ({'.'.join(parts)})")
    return tuple(found)
