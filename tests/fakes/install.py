"""Install the stand-ins as importable modules for one test."""

import sys
from types import ModuleType
from typing import Any

import pytest

from fakes.fake_cuda import make_bindings_driver, make_runtime
from fakes.fake_pycuda import make_driver
from fakes.fake_tensorrt import make_tensorrt
from fakes.world import World
from lzu_export.runtime import plugin_library

_OURS = ("lzu_export.targets.cuda.cuda_python", "lzu_export.targets.cuda.pycuda")
"""Modules of this project that import the vendor's modules at the top."""


def forget(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let one test import a module anew; what it imports is forgotten behind it.

    `patch.delitem` alone would leave that in place where the module was not imported before.
    """
    patch.setitem(sys.modules, name, ModuleType(name))
    del sys.modules[name]


def install_cuda(patch: pytest.MonkeyPatch, world: World, *back_ends: str) -> None:
    """Make only the given back ends importable, of `cuda-python` and `pycuda`."""
    for name in _OURS:
        forget(patch, name)
    both = ("cuda.bindings.runtime", "cuda.bindings.driver")
    names = ("cuda", "cuda.bindings", *both, "pycuda", "pycuda.driver")
    absent: dict[str, Any] = dict.fromkeys(names)
    if "cuda-python" in back_ends:
        runtime, low = make_runtime(world), make_bindings_driver(world)
        bindings = ModuleType("cuda.bindings")
        bindings.runtime, bindings.driver = runtime, low  # type: ignore[attr-defined]
        absent |= {"cuda": ModuleType("cuda"), "cuda.bindings": bindings}
        absent |= dict(zip(both, (runtime, low), strict=True))
    if "pycuda" in back_ends:
        package, driver = ModuleType("pycuda"), make_driver(world)
        package.driver = driver  # type: ignore[attr-defined]
        absent |= {"pycuda": package, "pycuda.driver": driver}
    for name, module in absent.items():
        patch.setitem(sys.modules, name, module)
    patch.delenv("LZU_CUDA", raising=False)


def install_tensorrt(patch: pytest.MonkeyPatch, world: World, version: str) -> Any:
    """Make this release of TensorRT or TensorRT-RTX importable, and return its module.

    No plugins are registered yet, as in a new process.
    """
    module = make_tensorrt(world, version)
    patch.setattr(plugin_library, "_registered", [])
    patch.setitem(sys.modules, module.__name__, module)
    return module
