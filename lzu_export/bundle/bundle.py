"""A bundle on disk as one object: opened and checked once, read on demand. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.inputs.pixel_formats import PixelFormat
from lzu_export.manifest.schema import (
    AGAIN,
    Derived,
    Engine,
    Manifest,
    canonical_file,
    check_file,
    read_manifest,
    rewrite_manifest,
)
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
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
WARP_TENSORS = "warp.safetensors"
"""The arrays of `WARP_FILE` for programs without NumPy. Bundles of earlier releases lack it."""


class Here(NamedTuple):
    """The engines of a bundle that run on this machine."""

    engines: list[Engine]
    """The engines that `load` opens: at most one per target and precision."""
    elsewhere: dict[str, str]
    """Reasons why other engines do not run here, by `target/precision`."""


class Bundle:
    """A folder that export made. Small files are checked at opening, others when they are read.

    Attributes:
        folder: path of the bundle.
        manifest: contents of the bundle's manifest.
    """

    def __init__(self, folder: str | Path, manifest: Manifest | None = None) -> None:
        """Open a bundle.

        Args:
            folder: folder that export made.
            manifest: its manifest where it was read before; by default it is read and checked.

        Raises:
            LzuError: the folder is no bundle, or its manifest or a small file was changed.
        """
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder) if manifest is None else manifest
        self._checked: dict[str, Path] = {}

    @property
    def recipe(self) -> Recipe:
        """Recipe of the export, without paths of the exporting machine."""
        return self.manifest.recipe

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files, whose hash is checked once.

        Raises:
            LzuError: the file is missing or was changed after the export.
        """
        if name not in self._checked:
            self._checked[name] = check_file(self.folder, name, self.manifest)
        return self._checked[name]

    def canonical(self, precision: str) -> Path:
        """Return the path of the canonical graph of a precision.

        Raises:
            LzuError: see `file`.
        """
        return self.file(canonical_file(precision))

    def executable(self, engine: Engine | Derived) -> Path:
        """Return the path of an engine's ONNX file, or of one whose engine is built on the device.

        Raises:
            LzuError: see `file`.
        """
        return self.file(engine.onnx)

    @cached_property
    def warp(self) -> dict[str, NDArray[Any]]:
        """Arrays of the bundle's warp, by name.

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
        """Tables of the bundle's zoom.

        Raises:
            LzuError: see `warp`.
        """
        return stored_zoom(self.warp)

    @cached_property
    def references(self) -> list[Reference]:
        """Frames, and PyTorch's values for them at every probe point that the manifest lists.

        Raises:
            LzuError: the file is missing, damaged, was changed after the export, or lacks a probe
                point.
        """
        path = self.file(REFERENCE_FILE)
        references = read_reference(path)
        told = {name for parity in self.manifest.parity for name in parity.probes}
        told -= set(references[0].selections)  # of which only those that an output needs are told
        for name in sorted(told ^ set(references[0].probes)) if told else []:
            raise LzuError(
                f"{path} and the manifest differ in the probe point {name[:80]}; {AGAIN}"
            )
        return references

    def batches(self) -> list[list[CameraFrame]]:
        """Return the batches of frames that the reference holds, each with a made-up camera.

        Raises:
            LzuError: see `references`.
        """
        camera = find_task(self.recipe.task).made_up_camera(self.recipe.source)
        return [[CameraFrame(frame, camera) for frame in each.frames] for each in self.references]

    def check(self) -> tuple[str, ...]:
        """Check every file against its hash; a later `file` does not check it again.

        Files that `lzu-export pack` left out are checked only where they are there.

        Returns:
            Names in the folder that the manifest does not list. Nothing ever opens them.

        Raises:
            LzuError: a file is missing or was changed after the export.
        """
        for name in self.manifest.files:
            if name not in self.manifest.left_out or (self.folder / name).exists():
                self.file(name)
        there = {each.name for each in self.folder.iterdir()}
        return tuple(sorted(there - {MANIFEST_FILE, *self.manifest.files}))

    def engine(self, target: str | None = None, precision: str | None = None) -> Engine:
        """Return the engine of a target, by default `onnxruntime`, which runs on any machine.

        Engines are listed from the highest precision to the lowest; the default is the highest.

        Raises:
            LzuError: there is none; the message lists the engines that exist.
        """
        return self.engines(target, precision)[0]

    def engines(self, target: str | None = None, precision: str | None = None) -> list[Engine]:
        """Return all engines of a target (say, one per device), at least one; see `engine`.

        Raises:
            LzuError: there is none; the message lists the engines that exist.
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
        raise LzuError(f"the bundle has no engine for {asked}; it has {there or 'none'}")

    def here(self, engines: Sequence[Engine] | None = None) -> Here:
        """Find which engines run on this machine, of all in the bundle or of those given.

        Raises:
            LzuError: `LZU_CUDA` names a CUDA back end that does not exist.
        """
        return _here(self, self.manifest.engines if engines is None else engines)

    def session(
        self,
        target: str | None = None,
        precision: str | None = None,
        **options: Any,
    ) -> Session:
        """Open an engine by its target and precision, see `engine` and `open`.

        Raises:
            LzuError: there is none, or it does not open here.
        """
        return self.open(self.engine(target, precision), **options)

    def open(self, engine: Engine, **options: Any) -> Session:
        """Open one of the bundle's engines after checking its file's hash.

        Args:
            engine: an engine of the bundle; for a device's target, one that `here` found.
            options: fields of `targets.base.OpenOptions`; by default a device's session gets the
                zoom's tables.

        Raises:
            LzuError: the file was changed or does not open, or the provider does not load.
        """
        path, target = self.file(engine.file), find(engine.target)
        if target.on_device and "zoom" not in options:
            options["zoom"] = self.zoom
        return target.open(self.manifest, engine, path, replace(OpenOptions(), **options))

    def predictor(
        self,
        session: Session,
        *,
        fit: Fit = "exact",
        choice: Choice = NO_CHOICE,
        pixel_format: PixelFormat = "bgr",
    ) -> Predictor:
        """Make the predictor of the bundle's task on an opened engine."""
        settings = {"fit": fit, "choice": choice, "pixel_format": pixel_format}
        return make_predictor(self.recipe, session, self.warp, **settings)

    def rewrite(self, files: Sequence[str], changes: Mapping[str, Any]) -> "Bundle":
        """Write the manifest again after files were added, see `rewrite_manifest`.

        Returns:
            The bundle with its new manifest.

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
        """Open the CUDA device when a target first asks for it."""
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
        elsewhere.pop(engine.name, None)  # the reason was another device's engine of that name
    targets = dict.fromkeys(target for target, _ in found)
    for target in targets:
        others = [each for each in targets if each != target]
        if why := find(target).refuse_beside(bundle.manifest, bundle.folder, others):
            for key in [key for key in found if key[0] == target]:
                del found[key]
                elsewhere["/".join(key)] = why
    return Here(list(found.values()), elsewhere)


def outside(bundle: Path, path: Path) -> Path:
    """Return an output path after checking that it is no folder and not in the bundle."""
    if bundle.resolve() in path.resolve().parents:
        raise LzuError(
            f"{path} lies in the bundle, which stays as it was verified; write it beside"
        )
    if path.is_dir():
        raise LzuError(f"{path} is a folder; name a file in it (--out)")
    if not path.resolve().parent.is_dir():
        raise LzuError(f"the folder of {path} does not exist; make it, or name another (--out)")
    return path
