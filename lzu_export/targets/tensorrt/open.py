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
from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime.device_feedback import DeviceFeedback, make_feedback
from lzu_export.runtime.device_zoom import DeviceZoom, make_zoom, zoom_refusal
from lzu_export.runtime.plugin_library import find_library, load_kernels, load_library
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import user_folder, was_built_here
from lzu_export.support.session import TensorSpec
from lzu_export.targets.cuda.interface import Cuda
from lzu_export.targets.tensorrt import NAME, RTX
from lzu_export.targets.tensorrt import build as tensorrt
from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
from lzu_export.targets.tensorrt.log import logger_of
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession
from lzu_export.warp.grids import Sampling

log = logging.getLogger(__name__)

HOST_CODE = "LZU_HOST_CODE"
"""Environment variable that, set to 1, trusts the code in version-compatible engines."""


def open_engine(
    manifest: Manifest,
    engine: Engine,
    path: Path,
    cuda: Cuda,
    *,
    library: Path | None = None,
    graph: bool | None = None,
    timed: bool = False,
    feedback: bool = True,
    zoom: Sampling | None = None,
    runtime_cache: bool = True,
    host_code: bool = False,
) -> TensorRtSession:
    """A session on this device.

    Args:
        manifest: of the bundle.
        engine: of the bundle, of target `tensorrt` or `tensorrt-rtx`; one that `refuse_elsewhere`
            lets through.
        path: its file.
        cuda: the device.
        library: of plugins; by default the one that is found.
        graph: see `TensorRtSession`.
        timed: likewise.
        feedback: let the boxes of an engine that follows boxes stay on the device, where the
            plugin library's kernels are at hand; see `device_feedback`. The session's
            `feedback_note` says why where they do not.
        zoom: the warp's tables: of an engine that takes the zoomed image, let the session take the
            camera's frames, where these kernels are at hand; see `device_zoom`. The session's
            `zoom_note` says why where it takes the zoomed image.
        runtime_cache: of TensorRT-RTX, kept in the user's folder; without it every start compiles.
        host_code: let a version-compatible engine of TensorRT run the code for the processor that
            it brings along; one that was built here may anyway.

    Raises:
        LzuError: no TensorRT, code of an engine that is not allowed, a plugin library that is
            missing or another one, one that was named and has no kernels that run here, or an
            engine that is not what the manifest says.
    """
    registered: ctypes.CDLL | None = None
    if engine.target == RTX:
        trt = tensorrt_rtx.import_module()
        loaded = LoadedEngine(trt, path, cuda)
        cache = _runtime_cache(path, trt.__version__, cuda) if runtime_cache else None
    else:
        trt = tensorrt.import_module()
        with cuda.current():
            loader = plugin_loader(manifest, library, path.parent)
            registered = tensorrt.register(trt, logger_of(trt), loader)
        host_code = _host_code(engine, path, host_code)
        loaded, cache = LoadedEngine(trt, path, cuda, host_code=host_code), None
    kernels = partial(_kernels, registered, library, path.parent)
    _check(engine.inputs, loaded.inputs, path)
    _check(engine.outputs, loaded.outputs, path)
    named = library is not None
    prologue, zoom_note = _zoom(manifest.recipe, zoom, loaded, kernels, named=named)
    epilogue, feedback_note = _feedback(
        manifest.recipe, loaded, kernels, wanted=feedback, named=named
    )
    make = partial(TensorRtSession, loaded, graph=graph, cache=cache, timed=timed)
    whole = partial(
        make,
        prologue=prologue,
        epilogue=epilogue,
        zoom_note=zoom_note,
        feedback_note=feedback_note,
    )
    bare = prologue is None and epilogue is None
    if bare or named or registered is not None:  # of plugins that the engine needs anyway
        return whole()
    try:
        return whole()
    except LzuError as error:  # of a library found by chance, such as one for another card
        why = str(error)
    if prologue is not None:
        zoom_note = _log_zoom(loaded, why)
    if epilogue is not None:
        feedback_note = _log_feedback(loaded, why)
    return make(zoom_note=zoom_note, feedback_note=feedback_note)


def _host_code(engine: Engine, path: Path, allowed: bool) -> bool:
    """Whether an engine brings code for the processor, which then is allowed to run.

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
    """Where the kernels that TensorRT-RTX compiles of an engine are kept.

    They are code: not beside the engine, where anyone may have put some, but in the user's folder.
    """
    folder = user_folder()
    name = tensorrt.runtime_cache_name(sha256(path)[:16], version, cuda.device)
    return folder / "kernels" / name if folder is not None else None


def pick_for_device(engines: Sequence[Engine], cuda: Cuda) -> Engine:
    """The first engine that runs on this device.

    Args:
        engines: of one target, for whatever device; at least one.
        cuda: the device.

    Raises:
        ElsewhereError: none is for this device; tells what differs of the last one.
    """
    for engine in engines[:-1]:
        with suppress(ElsewhereError):
            refuse_elsewhere(engine, cuda)
            return engine
    refuse_elsewhere(engines[-1], cuda)
    return engines[-1]


def refuse_elsewhere(engine: Engine, cuda: Cuda) -> None:
    """Refuse an engine of another device or release, before TensorRT sees it.

    Raises:
        ElsewhereError: names what differs, or what is not installed.
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
            f"for that (lzu-export build BUNDLE --compute-capability {mine})"
        )
    tensorrt_rtx.import_module()  # last: beside it this process takes no plugins of TensorRT


def plugin_loader(
    manifest: Manifest, library: Path | None, folder: Path
) -> Callable[[Any], Any] | None:
    """What registers the bundle's plugins in a registry; None where its graphs call none.

    Raises:
        LzuError: there is no library. Whether it is the right one is found out when it is loaded.
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
    """What keeps an engine's boxes on the device, or why they go through the host.

    Neither where it follows no boxes.

    Raises:
        LzuError: a library was named that cannot.
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
    zoom: Sampling | None,
    loaded: LoadedEngine,
    kernels: Callable[[], ctypes.CDLL],
    *,
    named: bool,
) -> tuple[DeviceZoom | None, str]:
    """What zooms on the device before an engine, or why the host has to.

    Neither where the engine zooms by itself.

    Raises:
        LzuError: a library was named that cannot.
    """
    if recipe.input != "zoomed":
        return None, ""
    if zoom is None:
        return None, "switched off"
    why = zoom_refusal(recipe, zoom, loaded.inputs)
    if why is None:
        try:
            return make_zoom(kernels(), recipe, zoom, loaded.inputs), ""
        except LzuError as error:
            if named:
                raise
            why = str(error)
    return None, _log_zoom(loaded, why)


def _log_zoom(loaded: LoadedEngine, why: str) -> str:
    log.info("%s: the host zooms: %s", loaded.plan.name, why)
    return why


def _kernels(registered: ctypes.CDLL | None, library: Path | None, folder: Path) -> ctypes.CDLL:
    """The library that was loaded for its plugins, or one for its kernels alone."""
    return load_kernels(find_library(library, folder)) if registered is None else registered


def _check(said: Sequence[Tensor], found: Sequence[TensorSpec], path: Path) -> None:
    wanted = {each.name: (each.dtype, each.shape) for each in said}
    got = {each.name: (each.dtype, each.shape) for each in found}
    if wanted != got:
        raise LzuError(f"{path} has tensors {got} where the manifest says {wanted}; build it again")
