"""Find, check and load this machine's library of TensorRT plugins. No torch.

A library is checked before it is loaded. It is refused in one sentence if it is damaged, if it is
for another machine, if the bundle was not made for it, or if the driver does not run its CUDA.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lzu_export.errors import LzuError
from lzu_export.manifest.schema import PluginLibrary, Plugins
from lzu_export.support.cuda_driver import find_driver
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import build_folder, was_built_here

NAME = "liblzu_plugins.so"
VARIABLE = "LZU_PLUGINS"
"""Environment variable with the path of the library."""
BUILD = "lzu-export plugins"
"""Command that builds the library."""

_MACHINES = {"x86_64": 62, "aarch64": 183}
"""ELF machine number by `platform.machine()`."""


class _Registered(NamedTuple):
    """Library whose plugins are in the registry of TensorRT or TensorRT-RTX."""

    path: Path
    sha256: str
    library: ctypes.CDLL
    is_rtx: bool


_registered: list[_Registered] = []
"""Registered library, at most one a process: the registry refuses plugins that it already has."""


def library_places(bundle: Path | None = None) -> list[Path]:
    """Return the default paths of the library, in order.

    If the environment variable `LZU_PLUGINS` is set, it gives the only path. Otherwise the paths
    are in the folder where `lzu-export plugins` builds, and in `build/plugins` of the working
    directory if this user built the library there, by the hash that every build records. A bundle
    may come from anyone, so a library in its folder is never loaded.
    """
    if os.environ.get(VARIABLE):
        return [Path(os.environ[VARIABLE])]
    built, here = build_folder(), Path("build", "plugins").absolute()
    places = [folder / NAME for folder in (built, here) if folder is not None]
    if here != built and _is_strange(here / NAME):
        del places[-1]
    return [each for each in dict.fromkeys(places) if not _is_inside(each, bundle)]


def _is_strange(path: Path) -> bool:
    """Whether a path has a library that this user did not build."""
    return path.is_file() and not was_built_here(sha256(path))


def _is_inside(path: Path, folder: Path | None) -> bool:
    return folder is not None and folder.resolve() in path.resolve().parents


def library_at(places: Sequence[Path]) -> Path | None:
    """Return the first of these paths that is a file; None if none is."""
    return next((place for place in places if place.is_file()), None)


def find_library(given: Path | None = None, bundle: Path | None = None) -> Path:
    """Return the path of the given library, or of the first in `library_places`.

    Raises:
        LzuError: there is no library; the message lists the paths.
    """
    places = [given] if given is not None else library_places(bundle)
    found = library_at(places)
    if found is not None:
        return found
    listed = ", ".join(map(str, places)) or "any place where one is looked for"
    raise LzuError(
        f"there is no plugin library at {listed}; build one on this kind of machine ({BUILD}), or "
        f"name one (--plugins, or the environment variable {VARIABLE})"
    )


def describe_library(path: Path) -> PluginLibrary:
    """Describe a library; one for another kind of machine by its name and hash only.

    Raises:
        LzuError: the file is damaged, or is not a library of these plugins.
    """
    machine = _machine(path)
    digest = sha256(path)
    if machine != _MACHINES.get(platform.machine()):
        return PluginLibrary(file=path.name, sha256=digest, version=None, cuda_major=None)
    library = _open(path)
    try:
        version, major = int(library.lzu_plugins_version()), int(library.lzu_cuda_major())
    except AttributeError as error:
        raise LzuError(
            f"{path} is not a library of this package's plugins, or an older one: it reports "
            f"no version; build it again ({BUILD})"
        ) from error
    return PluginLibrary(file=path.name, sha256=digest, version=version, cuda_major=major)


def check_library(path: Path, wanted: Plugins) -> PluginLibrary:
    """Check a library against the bundle's requirements and against this machine.

    Args:
        path: path of the library.
        wanted: section `plugins` of the bundle's manifest.

    Raises:
        LzuError: the library is another one, of another version, or for another machine or CUDA.
    """
    known = wanted.library
    if known is not None and (digest := sha256(path)) != known.sha256:
        raise LzuError(
            f"{path} is not the {known.file} that the bundle was made for: its sha256 begins with "
            f"{digest[:12]}, not {known.sha256[:12]}; use that one, or derive the bundle's graph "
            "for this library (lzu-export derive BUNDLE --plugins FILE)"
        )
    found = _describe_native(path)
    versions = {operator.version for operator in wanted.operators}
    if versions - {str(found.version)}:
        raise LzuError(
            f"{path} has plugins of version {found.version} but the bundle calls version "
            f"{' and '.join(sorted(versions))}; build the library of the release that made the "
            "bundle, or derive the bundle's graph again"
        )
    if known is not None and known.cuda_major not in (None, found.cuda_major):
        raise LzuError(
            f"{path} was built with CUDA {found.cuda_major} but the bundle is for CUDA "
            f"{known.cuda_major}; use a library of that CUDA"
        )
    _check_driver(path, found)
    return found


def load_kernels(path: Path) -> ctypes.CDLL:
    """Load a library for its kernels alone, without registering its plugins.

    Raises:
        LzuError: the library is damaged, is for another machine or CUDA, or has no kernels for a
            device.
    """
    found = _describe_native(path)
    if not found.cuda_major:
        raise LzuError(
            f"{path} has kernels for a processor, not for a device; build one there ({BUILD})"
        )
    _check_driver(path, found)
    return _open(path)


def load_library(path: Path, wanted: Plugins, registry: Any = None) -> ctypes.CDLL:
    """Check a library and load it; its kernels can then be called through ctypes.

    TensorRT has one registry per process and refuses plugins that it already has (`loadLibrary` in
    NVIDIA's API of `IPluginRegistry`). A library is therefore registered only once.

    Args:
        path: path of the library.
        wanted: section `plugins` of the bundle's manifest.
        registry: plugin registry of TensorRT or TensorRT-RTX (`tensorrt.get_plugin_registry()`);
            the library's plugins are registered in it before an engine is built or deserialised.
            None registers nothing.

    Raises:
        LzuError: `check_library` refuses the library, the process has loaded TensorRT-RTX besides
            TensorRT or registered the plugins of another library, or the registry refuses the
            library.
    """
    found = check_library(path, wanted)
    if registry is None:
        return _open(path)
    is_rtx = type(registry).__module__.startswith("tensorrt_rtx")
    if (not is_rtx and "tensorrt_rtx" in sys.modules) or any(
        each.is_rtx != is_rtx for each in _registered
    ):
        raise LzuError(
            "this process has loaded TensorRT-RTX besides TensorRT, and plugins go with one of "
            "them; load them in a process of their own"
        )
    for before in _registered:
        if before.sha256 == found.sha256:
            return before.library
        raise LzuError(
            f"this process has registered the plugins of {before.path} and TensorRT takes no "
            f"others beside them; use {path} in a process of its own"
        )
    try:
        handle = registry.load_library(str(path.absolute()))
    except Exception as error:  # the exception's type differs between releases
        raise LzuError(f"TensorRT does not load {path}: {_first_line(error)}") from error
    if handle is None:
        raise LzuError(f"TensorRT does not load {path}; its log has the reason")
    library = _open(path)
    _registered.append(_Registered(path.resolve(), found.sha256, library, is_rtx))
    return library


def _describe_native(path: Path) -> PluginLibrary:
    found = describe_library(path)
    if found.version is None or found.cuda_major is None:
        raise LzuError(
            f"{path} is a library for another kind of machine than this {platform.machine()}; "
            f"build one here ({BUILD})"
        )
    return found


def _check_driver(path: Path, found: PluginLibrary) -> None:
    driver = find_driver()
    if driver is not None and (found.cuda_major or 0) > driver.cuda[0]:
        raise LzuError(
            f"{path} was built with CUDA {found.cuda_major} but this machine's driver runs CUDA "
            f"{driver.cuda[0]}.{driver.cuda[1]} at most; build the library here ({BUILD})"
        )


def _machine(path: Path) -> int:
    """Return the ELF machine number of a complete 64-bit library.

    The section table is at the end of the file, so a truncated file is detected here instead of
    crashing the process while it is loaded.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise LzuError(f"{path} cannot be read ({error.strerror}); name a library") from error
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        raise LzuError(f"{path} is not a 64-bit shared library; name {NAME}")
    kind, machine = struct.unpack_from("<HH", head, 16)
    (sections,) = struct.unpack_from("<Q", head, 40)
    entry, count = struct.unpack_from("<HH", head, 58)
    if kind != 3 or sections + entry * count > size:
        raise LzuError(f"{path} is damaged or no shared library; copy or build it again ({BUILD})")
    return int(machine)


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise LzuError(f"{path} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
