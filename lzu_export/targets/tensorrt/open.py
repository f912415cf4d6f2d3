"""Open an engine of TensorRT or TensorRT-RTX on this process's device."""

import ctypes
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.manifest.schema import Engine, Manifest, Tensor
from lzu_export.recipes import Recipe
from lzu_export.recipes.det import DetRecipe
from lzu_export.runtime.device_feedback import DeviceFeedback, make_feedback
from lzu_export.runtime.device_zoom import DeviceZoom, make_zoom, zoom_refusal
from lzu_export.runtime.plugin_library import find_library, load_kernels, load_library
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import user_folder, was_built_here
from lzu_export.support.session import TensorSpec
from lzu_export.targets.base import OpenOptions
from lzu_export.targets.cuda.interface import Cuda, FatalCudaError
from lzu_export.targets.tensorrt import NAME, RTX, RTX_PLUGINS
from lzu_export.targets.tensorrt import build as tensorrt
from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
from lzu_export.targets.tensorrt.log import logger_of
from lzu_export.targets.tensorrt.memory_kinds import open_fastest
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession

log = logging.getLogger(__name__)

HOST_CODE = "LZU_HOST_CODE"
"""Environment variable that, set to 1, trusts the code in version-compatible engines."""


def open_engine(
    manifest: Manifest, engine: Engine, path: Path, cuda: Cuda, options: OpenOptions
) -> TensorRtSession:
    """Open a session of an engine on this device.

    Args:
        manifest: manifest of the bundle.
        engine: engine of the bundle, for target `tensorrt` or `tensorrt-rtx`, that
            `refuse_elsewhere` accepts.
        path: file of the engine.
        cuda: opened device.
        options: options for opening it, except `cuda`. Boxes stay on the device (`feedback`), and
            frames are taken in place of the zoomed image (`zoom`), if the plugin library's kernels
            are available; see `device_feedback` and `device_zoom`. If not, the session's
            `feedback_note` or `zoom_note` gives the reason.

    Raises:
        LzuError: TensorRT is missing; the engine has processor code that is not allowed; the plugin
            library is missing or another one, or was named and has no kernels that run here; or
            the engine does not match the manifest.
    """
    library = options.library
    registered: ctypes.CDLL | None = None
    cache: Path | None = None
    if engine.target in (RTX, RTX_PLUGINS):
        trt = tensorrt_rtx.import_module()
        if engine.target == RTX_PLUGINS:
            registered = _register_rtx(trt, manifest, path, cuda, options)
        loaded = LoadedEngine(trt, path, cuda)
        cache = _runtime_cache(path, trt.__version__, cuda) if options.runtime_cache else None
    else:
        loaded, registered = _load(manifest, engine, path, cuda, options)
    _check(engine.inputs, loaded.inputs, path)
    _check(engine.outputs, loaded.outputs, path)
    kernels = partial(_kernels, registered, library, path.parent)
    named = library is not None
    prologue, zoom_note = _zoom(manifest.recipe, options, loaded, kernels, named=named)
    epilogue, feedback_note = _feedback(
        manifest.recipe, loaded, kernels, wanted=options.feedback, named=named
    )
    make = partial(_open, loaded, options, cache=cache)
    whole = partial(make, prologue=prologue, epilogue=epilogue)
    if named or registered is not None or not (prologue or epilogue):
        # The engine needs that library anyway, or none is used.
        return whole(zoom_note=zoom_note, feedback_note=feedback_note)
    try:
        return whole(zoom_note=zoom_note, feedback_note=feedback_note)
    except FatalCudaError:
        raise
    except LzuError as error:  # the found library may be for another card, so do without
        why = str(error)
    return make(
        zoom_note=_log_zoom(loaded, why) if prologue else zoom_note,
        feedback_note=_log_feedback(loaded, why) if epilogue else feedback_note,
    )


def _open(loaded: LoadedEngine, options: OpenOptions, **others: Any) -> TensorRtSession:
    """Open a session with the memory that is asked for, or the one that is the fastest here."""
    make = partial(TensorRtSession, loaded, graph=options.graph, timed=options.timed, **others)
    if options.memory is not None:
        return make(memory=options.memory)
    return open_fastest(loaded.cuda.device, lambda kind: make(memory=kind))


def _load(
    manifest: Manifest,
    engine: Engine,
    path: Path,
    cuda: Cuda,
    options: OpenOptions,
) -> tuple[LoadedEngine, ctypes.CDLL | None]:
    """Load an engine of TensorRT, after the plugins that it needs; return their library, too."""
    trt = tensorrt.import_module()
    with cuda.current():
        loader = plugin_loader(manifest, options.library, path.parent)
        registered = tensorrt.register(trt, logger_of(trt), loader)
    host_code = _host_code(engine, path, options.host_code)
    return LoadedEngine(trt, path, cuda, host_code=host_code), registered


def _register_rtx(
    trt: Any, manifest: Manifest, path: Path, cuda: Cuda, options: OpenOptions
) -> ctypes.CDLL | None:
    """Register the plugins of a TensorRT-RTX engine; return their library, None without plugins."""
    loader = plugin_loader(manifest, options.library, path.parent)
    with cuda.current():
        return loader(trt.get_plugin_registry()) if loader is not None else None


def _host_code(engine: Engine, path: Path, allowed: bool) -> bool:
    """Return whether an engine contains processor code, after checking that it is allowed.

    A version-compatible plan holds a library that TensorRT loads into this process.
    """
    if tensorrt.VERSION_COMPATIBLE not in engine.portability:
        return False
    if allowed or os.environ.get(HOST_CODE) == "1" or was_built_here(sha256(path)):
        return True
    raise LzuError(
        f"{path} brings code for the processor, as version-compatible engines do, and was not "
        f"built here; where you trust it set {HOST_CODE}=1 (load: host_code=True), else build one "
        "here (lzu-export build --target tensorrt)"
    )


def _runtime_cache(path: Path, version: str, cuda: Cuda) -> Path | None:
    """Return the path of the kernels that TensorRT-RTX compiles from an engine.

    They are code, so they are in the user's folder, not beside the engine, where anyone may have
    put some.
    """
    folder = user_folder()
    name = tensorrt.runtime_cache_name(sha256(path)[:16], version, cuda.device)
    return folder / "kernels" / name if folder is not None else None


def pick_for_device(engines: Sequence[Engine], cuda: Cuda) -> Engine:
    """Return the first engine that runs on this device.

    Args:
        engines: engines of one target, for any device; at least one.
        cuda: opened device.

    Raises:
        ElsewhereError: no engine is for this device; the message names the difference to the last.
    """
    for engine in engines[:-1]:
        with suppress(ElsewhereError):
            refuse_elsewhere(engine, cuda)
            return engine
    refuse_elsewhere(engines[-1], cuda)
    return engines[-1]


def refuse_elsewhere(engine: Engine, cuda: Cuda) -> None:
    """Refuse an engine for another device or release, before TensorRT sees it.

    Raises:
        ElsewhereError: the engine does not run here; the message names the difference or the
            missing library.
    """
    if engine.target == NAME:
        tensorrt.refuse_foreign(
            engine.file,
            built_with=engine.version,
            capabilities=engine.compute_capabilities,
            model=engine.device,
            portability=engine.portability,
            version=tensorrt.import_module().__version__,
            device=cuda.device,
        )
        return
    mine = cuda.device.capability
    if mine not in engine.compute_capabilities:
        raise ElsewhereError(
            f"{engine.file} was built for compute capabilities "
            f"{', '.join(engine.compute_capabilities)} but {cuda.device.name} has {mine}; build it "
            f"for that (lzu-export build BUNDLE --compute-capability {mine}"
            f"{' --plugins FILE' if engine.target == RTX_PLUGINS else ''})"
        )
    tensorrt_rtx.import_module()  # last: after this import the process takes no plugins of TensorRT


def plugin_loader(
    manifest: Manifest, library: Path | None, folder: Path
) -> Callable[[Any], Any] | None:
    """Return the function that registers the bundle's plugins; None if its graphs call none.

    The library is checked when it is loaded.

    Raises:
        LzuError: there is no library.
    """
    if manifest.plugins is None:
        return None
    return partial(load_library, find_library(library, folder), manifest.plugins)


def _feedback(
    recipe: Recipe,
    loaded: LoadedEngine,
    kernels: Callable[[], ctypes.CDLL],
    *,
    wanted: bool,
    named: bool,
) -> tuple[DeviceFeedback | None, str]:
    """Make the kernels that keep an engine's boxes on the device, or return why there are none.

    An engine that follows no boxes gets neither kernels nor a reason.

    Raises:
        LzuError: a library was named whose kernels cannot do it.
    """
    if not isinstance(recipe, DetRecipe) or not recipe.follows_boxes:
        return None, ""
    if not wanted:
        return None, "switched off"
    try:
        return make_feedback(kernels(), recipe, loaded.outputs), ""
    except LzuError as error:
        if named:
            raise
        return None, _log_feedback(loaded, str(error))


def _log_feedback(loaded: LoadedEngine, why: str) -> str:
    log.info("%s: boxes go through the host from frame to frame: %s", loaded.plan.name, why)
    return why


def _zoom(
    recipe: Recipe,
    options: OpenOptions,
    loaded: LoadedEngine,
    kernels: Callable[[], ctypes.CDLL],
    *,
    named: bool,
) -> tuple[DeviceZoom | None, str]:
    """Make the kernel that zooms on the device before an engine, or return why the host zooms.

    An engine that zooms by itself gets neither a kernel nor a reason.

    Raises:
        LzuError: a library was named whose kernel cannot do it.
    """
    if recipe.input != "zoomed":
        return None, ""
    zoom, pixel_format = options.zoom, options.pixel_format
    if zoom is None:
        return None, "switched off"
    why = zoom_refusal(recipe, zoom, loaded.inputs, pixel_format)
    if why is None:
        try:
            return make_zoom(kernels(), recipe, zoom, loaded.inputs, pixel_format), ""
        except LzuError as error:
            if named:
                raise
            why = str(error)
    return None, _log_zoom(loaded, why)


def _log_zoom(loaded: LoadedEngine, why: str) -> str:
    log.info("%s: the host zooms: %s", loaded.plan.name, why)
    return why


def _kernels(registered: ctypes.CDLL | None, library: Path | None, folder: Path) -> ctypes.CDLL:
    """Return the library that was loaded for its plugins, or load one for its kernels alone."""
    return load_kernels(find_library(library, folder)) if registered is None else registered


def _check(said: Sequence[Tensor], found: Sequence[TensorSpec], path: Path) -> None:
    wanted = {each.name: (each.dtype, each.shape) for each in said}
    got = {each.name: (each.dtype, each.shape) for each in found}
    if wanted != got:
        raise LzuError(f"{path} has tensors {got} where the manifest says {wanted}; build it again")
