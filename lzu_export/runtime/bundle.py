"""Open a bundle for inference. Imports no torch."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from lzu_export.engines.base import Session
from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.extras import install
from lzu_export.files import read_npz
from lzu_export.recipes import Recipe
from lzu_export.runtime.check_arrays import check_warp
from lzu_export.runtime.choice import Choice, make_choice
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.detector3d import Detector3d
from lzu_export.runtime.fitting import Fit, fit_of
from lzu_export.runtime.manifest import AGAIN, Engine, Manifest, check_file, read_manifest
from lzu_export.runtime.predictor import NO_CHOICE, Predictor
from lzu_export.runtime.segmenter import Segmenter
from lzu_export.warp.grids import Sampling, stored_zoom

if TYPE_CHECKING:
    from lzu_export.engines.cuda import Cuda

WARP_FILE = "warp.npz"
DEVICE_TARGETS = ("tensorrt", "tensorrt-rtx")
"""Targets whose engines run on an NVIDIA GPU only."""
PREDICTORS: dict[str, type[Predictor]] = {
    "det": Detector,
    "seg": Segmenter,
    "det3d": Detector3d,
}
"""What runs the bundles of each task."""


def make_predictor(
    recipe: Recipe,
    session: Session,
    warp: Mapping[str, NDArray[Any]],
    *,
    fit: Fit = "exact",
    choice: Choice = NO_CHOICE,
) -> Predictor:
    """The predictor of the recipe's task on an opened engine."""
    return PREDICTORS[recipe.task](recipe, session, warp, fit=fit, choice=choice)


def load(
    bundle: str | Path,
    *,
    target: str | None = None,
    precision: str | None = None,
    resize: bool = False,
    threads: int | None = None,
    provider: str = "cpu",
    cuda: str | None = None,
    plugins: Path | None = None,
    graph: bool | None = None,
    runtime_cache: bool = True,
    feedback: bool = True,
    host_code: bool = False,
    fit: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool = False,
    classes: Collection[str] | None = None,
) -> Any:
    """Open a bundle for inference; imports no torch.

    The choice of results (`score_threshold` and what follows) replaces the recipe's `postprocess`
    within what the graph holds: it hands over at most `postprocess.candidates_per_level`
    candidates, the best of each level, which only another export changes. Boxes that an adaptive
    bundle feeds back stay those of the recipe's settings, and then stay on the host.

    Returns:
        A `Detector`, `Segmenter` or `Detector3d`, by the bundle's task.

    Args:
        bundle: folder that export made.
        target: engine to run; by default onnxruntime, which runs on any machine.
        precision: of the engine; by default the highest there is.
        resize: the same as fit `stretch`.
        threads: of ONNX Runtime on the CPU; all processors by default.
        provider: of ONNX Runtime: `cpu`, `cuda`, `tensorrt` (extra `gpu`), or a name of its own;
            one that does not load is refused, never replaced by the CPU.
        cuda: how the targets `tensorrt` and `tensorrt-rtx` reach the device: `cuda-python` or
            `pycuda`; by default the first that is installed.
        plugins: library of plugins for the target `tensorrt`, and of kernels that keep boxes on the
            device for both; by default the one that is found. One that is named has to fit.
        graph: whether those targets run as a CUDA graph; by default where it can be.
        runtime_cache: keep what TensorRT-RTX compiles in the user's folder of caches; else every
            start compiles.
        feedback: let boxes that an adaptive engine follows stay on the device, where they can.
        host_code: let a version-compatible engine of TensorRT run the code for the processor that
            it brings along; one that was built here may anyway.
        fit: what becomes of frames of another size than the source: `exact` refuses them (the
            default), `stretch` resizes each axis by itself, `pad` keeps the aspect and fills bars
            with the normalisation's mean. Results are in pixels of the frame either way.
        score_threshold: lowest score of a detection, exclusive, in [0, 1).
        iou_threshold: highest overlap of two detections, inclusive, in (0, 1].
        max_detections: most detections of a frame.
        class_agnostic: let a detection suppress those of other classes, too.
        classes: names of the classes that are found; others neither appear nor suppress.

    Raises:
        LzuError: no such bundle or engine, a file changed after the export, the target's libraries
            are missing, or the graph cannot serve the choice of results.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    warp = read_warp(folder, manifest)
    engine = pick_engine(manifest, target, precision)  # refuses where there is none at all
    kept_fit = fit_of(fit, resize)
    choice = make_choice(
        manifest.recipe,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        classes=classes,
    )
    if target in DEVICE_TARGETS:
        from lzu_export.engines.cuda import open_cuda
        from lzu_export.runtime.device import open_engine, pick_for_device

        device = open_cuda(cuda)
        engine = pick_for_device(manifest, target, precision, device)
        path = check_file(folder, engine.file, manifest)
        session: Session = open_engine(
            manifest,
            engine,
            path,
            device,
            library=plugins,
            graph=graph,
            zoom=stored_zoom(warp),
            runtime_cache=runtime_cache,
            feedback=feedback and not choice,  # its kernels have the recipe's settings
            host_code=host_code,
        )
    else:
        path = check_file(folder, engine.file, manifest)
        session = open_session(engine, path, threads, provider)
    return make_predictor(manifest.recipe, session, warp, fit=kept_fit, choice=choice)


def engines_here(
    manifest: Manifest, folder: Path | None = None
) -> tuple[list[Engine], dict[str, str]]:
    """The bundle's engines that run on this machine, and why its others do not.

    Args:
        manifest: of the bundle.
        folder: of the bundle, where a plugin library may lie.

    Returns:
        Engines, at most one a target and precision: what `load` takes; and reasons by
        `target/precision` of the others.

    Raises:
        LzuError: there is no such CUDA back end as `LZU_CUDA` says.
    """
    found: dict[tuple[str, str], Engine] = {}
    elsewhere: dict[str, str] = {}
    cuda: Cuda | None = None
    for engine in manifest.engines:
        key = (engine.target, engine.precision)
        name = f"{engine.target}/{engine.precision}"
        if key in found:
            continue
        if engine.target in DEVICE_TARGETS:
            from lzu_export.engines.cuda import open_cuda
            from lzu_export.runtime.device import refuse_elsewhere

            try:
                cuda = cuda or open_cuda()
                refuse_elsewhere(engine, cuda)
            except ElsewhereError as error:
                elsewhere[name] = str(error)
                continue
        found[key] = engine
        elsewhere.pop(name, None)  # of another device's
    if manifest.plugins and _has_rtx(found):
        for target, precision in [key for key in found if key[0] == "tensorrt"]:
            del found[target, precision]
            elsewhere[f"{target}/{precision}"] = (
                "TensorRT's plugins and TensorRT-RTX do not go together in one process; take the "
                "TensorRT-RTX engines out of the bundle, or run this one by load() in a process of "
                "its own"
            )
    on_tensorrt = [key for key in found if key[0] == "tensorrt"]
    if manifest.plugins and on_tensorrt:
        from lzu_export.runtime.plugin_library import check_library, find_library

        try:
            check_library(find_library(bundle=folder), manifest.plugins)
        except LzuError as error:
            for target, precision in on_tensorrt:
                del found[target, precision]
                elsewhere[f"{target}/{precision}"] = str(error)
    return list(found.values()), elsewhere


def open_here(folder: Path, manifest: Manifest, engine: Engine, provider: str = "cpu") -> Session:
    """Open an engine that `engines_here` found; `provider` is of ONNX Runtime, see `load`.

    Raises:
        LzuError: its file was changed, it does not open, or the provider does not load.
    """
    path = check_file(folder, engine.file, manifest)
    if engine.target in DEVICE_TARGETS:
        from lzu_export.engines.cuda import open_cuda
        from lzu_export.runtime.device import open_engine

        zoom = read_zoom(folder, manifest)
        return open_engine(manifest, engine, path, open_cuda(), zoom=zoom)
    return open_session(engine, path, provider=provider)


def _has_rtx(engines: Collection[tuple[str, str]]) -> bool:
    """Whether this process has TensorRT-RTX, or will have it once these engines are opened."""
    return "tensorrt_rtx" in sys.modules or any(target == "tensorrt-rtx" for target, _ in engines)


def read_warp(folder: Path, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """The arrays of a bundle's warp, by name.

    Raises:
        LzuError: the file is missing, damaged, was changed after the export, or holds no warp of
            the recipe's canvas.
    """
    path = check_file(folder, WARP_FILE, manifest)
    arrays = read_npz(path, remedy=AGAIN)
    try:
        check_warp(arrays, manifest.recipe)
    except ValueError as error:
        raise LzuError(f"{path} holds no warp of this bundle: {error}; {AGAIN}") from error
    return arrays


def read_zoom(folder: Path, manifest: Manifest) -> Sampling:
    """The zoom's tables of a bundle.

    Raises:
        LzuError: see `read_warp`.
    """
    return stored_zoom(read_warp(folder, manifest))


def pick_engine(manifest: Manifest, target: str | None, precision: str | None) -> Engine:
    """The bundle's engine for a target (by default one that runs on any machine).

    Engines stand from the highest precision to the lowest; without one asked for it is the highest.
    """
    wanted = target or "onnxruntime"
    for engine in manifest.engines:
        if engine.target == wanted and precision in (None, engine.precision):
            return engine
    there = ", ".join(f"{engine.target} {engine.precision}" for engine in manifest.engines)
    asked = f"{wanted} in {precision}" if precision else wanted
    raise LzuError(f"the bundle has no engine for {asked}; it has {there}")


def open_session(
    engine: Engine,
    path: Path,
    threads: int | None = None,
    provider: str = "cpu",
) -> Session:
    """Open an engine file in ONNX Runtime."""
    if engine.target == "onnxruntime":
        try:
            from lzu_export.engines.onnxruntime import OnnxRuntimeSession
        except ImportError as error:
            raise LzuError(f"ONNX Runtime is not installed; {install('onnxruntime')}") from error
        session = OnnxRuntimeSession(path, threads=threads, provider=provider)
        for said, found in ((engine.inputs, session.inputs), (engine.outputs, session.outputs)):
            if [(t.name, t.dtype, t.shape) for t in said] != [
                (t.name, t.dtype, t.shape) for t in found
            ]:
                raise LzuError(f"{path} has other tensors than the manifest says; {AGAIN}")
        return session
    raise LzuError(
        f"{engine.target} engines run on their device only; load the bundle there with "
        f"target={engine.target!r}, or choose onnxruntime"
    )
