"""Open an engine of TensorRT or TensorRT-RTX on the device that this process runs on."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lzu_export.engines import tensorrt, tensorrt_rtx
from lzu_export.engines.base import TensorSpec
from lzu_export.engines.cuda import Cuda
from lzu_export.engines.tensorrt_log import logger_of
from lzu_export.engines.tensorrt_session import LoadedEngine, TensorRtSession
from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime.device_feedback import DeviceFeedback, make_feedback
from lzu_export.runtime.manifest import Engine, Manifest, Tensor
from lzu_export.runtime.plugin_library import find_library, load_kernels, load_library

log = logging.getLogger(__name__)


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
    runtime_cache: bool = True,
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
        runtime_cache: of TensorRT-RTX, kept beside the engine; without it every start compiles.

    Raises:
        LzuError: no TensorRT, a plugin library that is missing or another one, one that was named
            and has no kernels that run here, or an engine that is not what the manifest says.
    """
    if engine.target == "tensorrt-rtx":
        trt = tensorrt_rtx.import_module()
        name = tensorrt.runtime_cache_name(engine.file, trt.__version__, cuda.device)
        loaded = LoadedEngine(trt, path, cuda)
        cache = path.with_name(name) if runtime_cache else None
        kernels = partial(_find_kernels, library, path.parent)
    else:
        trt = tensorrt.import_module()
        with cuda.current():
            loader = plugin_loader(manifest, library, path.parent)
            registered = tensorrt.register(trt, logger_of(trt), loader)
        kernels = partial(_registered_kernels, registered)
        if registered is None and library is not None:  # for its kernels alone
            kernels = partial(_find_kernels, library, path.parent)
        portable = tensorrt.VERSION_COMPATIBLE in engine.portability
        loaded, cache = LoadedEngine(trt, path, cuda, host_code=portable), None
    _check(engine.inputs, loaded.inputs, path)
    _check(engine.outputs, loaded.outputs, path)
    named = library is not None
    epilogue, note = _feedback(manifest.recipe, loaded, kernels, wanted=feedback, named=named)
    make = partial(TensorRtSession, loaded, graph=graph, cache=cache, timed=timed)
    if epilogue is None or named or engine.target == "tensorrt":  # whose plugins it needs anyway
        return make(epilogue=epilogue, feedback_note=note)
    try:
        return make(epilogue=epilogue)
    except LzuError as error:  # of a library found by chance, such as one for another card
        _log_feedback(loaded, str(error))
        return make(feedback_note=str(error))


def pick_for_device(manifest: Manifest, target: str, precision: str | None, cuda: Cuda) -> Engine:
    """The bundle's engine of a target that runs on this device; the highest precision by default.

    Args:
        manifest: of a bundle that has such engines, for whatever device.
        target: `tensorrt` or `tensorrt-rtx`.
        precision: of the engine.
        cuda: the device.

    Raises:
        ElsewhereError: none is for this device; tells what differs of the last one.
    """
    refusal = None
    for engine in manifest.engines:
        if engine.target != target or precision not in (None, engine.precision):
            continue
        try:
            refuse_elsewhere(engine, cuda)
        except ElsewhereError as error:
            refusal = error
            continue
        return engine
    assert refusal is not None
    raise refusal


def refuse_elsewhere(engine: Engine, cuda: Cuda) -> None:
    """Refuse an engine of another device or release, before TensorRT sees it.

    Raises:
        ElsewhereError: names what differs, or what is not installed.
    """
    if engine.target == "tensorrt":
        tensorrt.refuse_foreign(
            engine.file,
            built_with=engine.version,
            capabilities=engine.compute_capabilities,
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
        _log_feedback(loaded, str(error))
        return None, str(error)


def _log_feedback(loaded: LoadedEngine, why: str) -> None:
    log.info("%s: boxes go through the host from frame to frame: %s", loaded.plan.name, why)


def _find_kernels(library: Path | None, folder: Path) -> ctypes.CDLL:
    return load_kernels(find_library(library, folder))


def _registered_kernels(library: ctypes.CDLL | None) -> ctypes.CDLL:
    if library is None:
        raise LzuError("the engine calls no plugins, so no library of them is loaded")
    return library


def _check(said: Sequence[Tensor], found: Sequence[TensorSpec], path: Path) -> None:
    wanted = {each.name: (each.dtype, each.shape) for each in said}
    got = {each.name: (each.dtype, each.shape) for each in found}
    if wanted != got:
        raise LzuError(f"{path} has tensors {got} where the manifest says {wanted}; build it again")
