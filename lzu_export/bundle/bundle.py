"""A bundle on disk as one object: opened once, checked once, read when asked. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
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
from lzu_export.runtime.predictor import NO_CHOICE, CameraFrame, Predictor
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import Reference, read_reference
from lzu_export.support.files import read_npz
from lzu_export.support.session import Session
from lzu_export.targets.base import OpenOptions
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.registry import find_task
from lzu_export.warp.grids import Sampling, stored_zoom

WARP_FILE = "warp.npz"


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
        return self.file(engine.onnx)

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
        """Frames, and PyTorch's values for them at every probe point that the manifest tells of.

        Raises:
            LzuError: the file is missing, damaged, was changed after the export, or lacks a probe
                point.
        """
        path = self.file(REFERENCE_FILE)
        references = read_reference(path)
        told = {name for parity in self.manifest.parity for name in parity.probes}
        for name in sorted(told ^ set(references[0].probes)) if told else []:
            raise LzuError(
                f"{path} and the manifest differ in the probe point {name[:80]}; {AGAIN}"
            )
        return references

    def batches(self) -> list[list[CameraFrame]]:
        """The batches of frames that its reference holds, before a made-up camera.

        Raises:
            LzuError: see `references`.
        """
        camera = find_task(self.recipe.task).made_up_camera(self.recipe.source)
        return [[CameraFrame(frame, camera) for frame in each.frames] for each in self.references]

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
        return self.engines(target, precision)[0]

    def engines(self, target: str | None = None, precision: str | None = None) -> list[Engine]:
        """All engines of a target, such as for several devices, see `engine`; at least one.

        Raises:
            LzuError: there is none; tells what there is.
        """
        wanted = target or DEFAULT_TARGET
        found = [
            engine
            for engine in self.manifest.engines
            if engine.target == wanted and precision in (None, engine.precision)
        ]
        if found:
            return found
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
        **options: Any,
    ) -> Session:
        """Open an engine by target and precision, see `engine` and `open`.

        Raises:
            LzuError: there is none, or it does not open here.
        """
        return self.open(self.engine(target, precision), **options)

    def open(self, engine: Engine, **options: Any) -> Session:
        """Open one of its engines, whose file's hash is checked.

        Args:
            engine: of the bundle; of a device's target one that `here` found.
            options: fields of `targets.base.OpenOptions`; by default a device's session has the
                zoom's tables.

        Raises:
            LzuError: the file was changed, it does not open, or the provider does not load.
        """
        path, target = self.file(engine.file), find(engine.target)
        if target.on_device and "zoom" not in options:
            options["zoom"] = self.zoom
        return target.open(self.manifest, engine, path, replace(OpenOptions(), **options))

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
    found: dict[tuple[str, str], Engine] = {}
    elsewhere: dict[str, str] = {}

    @cache
    def device() -> Any:
        """The CUDA device, opened when a target first asks for it."""
        from lzu_export.targets.cuda.interface import open_cuda

        return open_cuda()

    for engine in engines:
        key = (engine.target, engine.precision)
        if key in found:
            continue
        try:
            find(engine.target).refuse_elsewhere(engine, device)
        except ElsewhereError as error:
            elsewhere[engine.name] = str(error)
            continue
        found[key] = engine
        elsewhere.pop(engine.name, None)  # of another device's
    targets = dict.fromkeys(target for target, _ in found)
    for target in targets:
        others = [each for each in targets if each != target]
        if why := find(target).refuse_beside(bundle.manifest, bundle.folder, others):
            for key in [key for key in found if key[0] == target]:
                del found[key]
                elsewhere["/".join(key)] = why
    return Here(list(found.values()), elsewhere)
