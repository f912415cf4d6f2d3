"""A bundle on disk as one object: opened once, checked once, read when asked. Imports no torch."""

import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.manifest.schema import (
    AGAIN,
    Derived,
    Engine,
    Manifest,
    canonical_file,
    check_bundle,
    check_file,
    read_manifest,
    rewrite_manifest,
)
from lzu_export.recipes import Recipe
from lzu_export.runtime.check_arrays import check_warp
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.fitting import Fit
from lzu_export.runtime.predictor import NO_CHOICE, Predictor, Shot
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import Reference, read_reference
from lzu_export.support.extras import install
from lzu_export.support.files import read_npz
from lzu_export.support.session import Session
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.registry import find_task
from lzu_export.warp.grids import Sampling, stored_zoom

WARP_FILE = "warp.npz"
DEVICE_TARGETS = ("tensorrt", "tensorrt-rtx")
"""Targets whose engines run on an NVIDIA GPU only."""


class Here(NamedTuple):
    """The engines of a bundle that run on this machine."""

    engines: list[Engine]
    """At most one engine per target and precision: those that `load` opens."""
    elsewhere: dict[str, str]
    """By `target/precision`, the reason why an engine does not run here."""


class Bundle:
    """A folder that export made. Its small files are checked when it is opened, others when read.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
    """

    def __init__(self, folder: str | Path, manifest: Manifest | None = None) -> None:
        """Open a bundle.

        Args:
            folder: that export made.
            manifest: what is known of it already; by default it is read and checked.

        Raises:
            LzuError: the folder is no bundle, or its manifest or a small file was changed.
        """
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder) if manifest is None else manifest
        self._checked: dict[str, Path] = {}

    @property
    def recipe(self) -> Recipe:
        """The recipe of the export, without paths of the exporting machine."""
        return self.manifest.recipe

    def file(self, name: str) -> Path:
        """The path of one of its files, whose hash is checked once.

        Raises:
            LzuError: the file is missing or was changed after the export.
        """
        if name not in self._checked:
            self._checked[name] = check_file(self.folder, name, self.manifest)
        return self._checked[name]

    def canonical(self, precision: str) -> Path:
        """The canonical graph of a precision.

        Raises:
            LzuError: see `file`.
        """
        return self.file(canonical_file(precision))

    def executable(self, engine: Engine | Derived) -> Path:
        """The ONNX file of an engine, or of a target whose engine is built on the device.

        Raises:
            LzuError: see `file`.
        """
        return self.file(engine.file if isinstance(engine, Derived) else engine.onnx)

    @cached_property
    def warp(self) -> dict[str, NDArray[Any]]:
        """The arrays of its warp, by name.

        Raises:
            LzuError: the file is missing, damaged, was changed after the export, or holds no warp
                of the recipe's canvas.
        """
        path = self.file(WARP_FILE)
        arrays = read_npz(path, remedy=AGAIN)
        try:
            check_warp(arrays, self.recipe)
        except ValueError as error:
            raise LzuError(f"{path} holds no warp of this bundle: {error}; {AGAIN}") from error
        return arrays

    @property
    def zoom(self) -> Sampling:
        """The zoom's tables.

        Raises:
            LzuError: see `warp`.
        """
        return stored_zoom(self.warp)

    @cached_property
    def references(self) -> list[Reference]:
        """Frames, and PyTorch's values for them at every arrow that the manifest tells of.

        Raises:
            LzuError: the file is missing, damaged, was changed after the export, or lacks an arrow.
        """
        path = self.file(REFERENCE_FILE)
        references = read_reference(path)
        told = {name for drift in self.manifest.drift for name in drift.arrows}
        for name in sorted(told ^ set(references[0].arrows)) if told else []:
            raise LzuError(
                f"{path} and the manifest differ in the probe point {name[:80]}; {AGAIN}"
            )
        return references

    def batches(self) -> list[list[Shot]]:
        """The batches of frames that its reference holds, before a made-up camera.

        Raises:
            LzuError: see `references`.
        """
        camera = find_task(self.recipe.task).made_up_camera(self.recipe.source)
        return [[Shot(frame, camera) for frame in each.frames] for each in self.references]

    def check(self) -> tuple[str, ...]:
        """Check every file against its hash.

        Returns:
            Names in the folder that the manifest does not have. Nothing ever opens them.

        Raises:
            LzuError: a file is missing or was changed after the export.
        """
        return check_bundle(self.folder, self.manifest)

    def engine(self, target: str | None = None, precision: str | None = None) -> Engine:
        """The engine of a target, by default `onnxruntime`, which runs on any machine.

        Engines stand from the highest precision to the lowest; by default it is the highest.

        Raises:
            LzuError: there is none; tells what there is.
        """
        wanted = target or "onnxruntime"
        for engine in self.manifest.engines:
            if engine.target == wanted and precision in (None, engine.precision):
                return engine
        there = ", ".join(f"{each.target} {each.precision}" for each in self.manifest.engines)
        asked = f"{wanted} in {precision}" if precision else wanted
        raise LzuError(f"the bundle has no engine for {asked}; it has {there}")

    def here(self, engines: Sequence[Engine] | None = None) -> Here:
        """Find which of the bundle's engines, or of some of them, run on this machine.

        Raises:
            LzuError: there is no such CUDA back end as `LZU_CUDA` says.
        """
        return _here(self, self.manifest.engines if engines is None else engines)

    def session(
        self,
        target: str | None = None,
        precision: str | None = None,
        *,
        provider: str = "cpu",
        threads: int | None = None,
    ) -> Session:
        """Open an engine by target and precision, see `engine` and `open`.

        Raises:
            LzuError: there is none, or it does not open here.
        """
        return self.open(self.engine(target, precision), provider=provider, threads=threads)

    def open(
        self,
        engine: Engine,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        **on_device: Any,
    ) -> Session:
        """Open one of its engines, whose file's hash is checked.

        Args:
            engine: of the bundle; of a device's target one that `here` found.
            provider: of ONNX Runtime, see `load`.
            threads: of ONNX Runtime on the CPU.
            on_device: of TensorRT and TensorRT-RTX, see `targets.tensorrt.open.open_engine`.

        Raises:
            LzuError: the file was changed, it does not open, or the provider does not load.
        """
        path = self.file(engine.file)
        if engine.target not in DEVICE_TARGETS:
            return open_session(engine, path, threads, provider)
        from lzu_export.targets.cuda.interface import open_cuda
        from lzu_export.targets.tensorrt.open import open_engine

        options = {"cuda": None, "zoom": self.zoom, **on_device}
        cuda = options.pop("cuda") or open_cuda()
        return open_engine(self.manifest, engine, path, cuda, **options)

    def predictor(
        self, session: Session, *, fit: Fit = "exact", choice: Choice = NO_CHOICE
    ) -> Predictor:
        """The predictor of the bundle's task on an opened engine."""
        return make_predictor(self.recipe, session, self.warp, fit=fit, choice=choice)

    def rewrite(self, files: Sequence[str], changes: Mapping[str, Any]) -> "Bundle":
        """Write the manifest again after files were added, see `rewrite_manifest`.

        Returns:
            The bundle as it is now.

        Raises:
            OSError: it cannot be written.
        """
        rewrite_manifest(self.folder, self.manifest, files, changes)
        return Bundle(self.folder)


def _here(bundle: Bundle, engines: Sequence[Engine]) -> Here:
    manifest = bundle.manifest
    found: dict[tuple[str, str], Engine] = {}
    elsewhere: dict[str, str] = {}
    cuda: Any = None
    for engine in engines:
        key = (engine.target, engine.precision)
        name = f"{engine.target}/{engine.precision}"
        if key in found:
            continue
        if engine.target in DEVICE_TARGETS:
            from lzu_export.targets.cuda.interface import open_cuda
            from lzu_export.targets.tensorrt.open import refuse_elsewhere

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
            check_library(find_library(bundle=bundle.folder), manifest.plugins)
        except LzuError as error:
            for target, precision in on_tensorrt:
                del found[target, precision]
                elsewhere[f"{target}/{precision}"] = str(error)
    return Here(list(found.values()), elsewhere)


def _has_rtx(engines: Collection[tuple[str, str]]) -> bool:
    """Whether this process has TensorRT-RTX, or will have it once these engines are opened."""
    return "tensorrt_rtx" in sys.modules or any(target == "tensorrt-rtx" for target, _ in engines)


def open_session(
    engine: Engine,
    path: Path,
    threads: int | None = None,
    provider: str = "cpu",
) -> Session:
    """Open an engine file in ONNX Runtime, where it need not be in a bundle yet.

    Raises:
        LzuError: ONNX Runtime is missing, the engine is of a device's target, or the file has
            other tensors than its entry in the manifest says.
    """
    if engine.target == "onnxruntime":
        try:
            from lzu_export.targets.onnxruntime import OnnxRuntimeSession
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
