"""Cache of rendered, zoomed frames and their targets on disk, made once before training."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks import scenes
from lzu_benchmarks.demo.dataset import SPLITS
from lzu_benchmarks.harness.workers import run_jobs, workers
from lzu_benchmarks.scenes import LENGTH, Frame, render
from lzu_benchmarks.scenes import Sequence as FrameSequence
from lzu_benchmarks.train.assign import assign
from lzu_benchmarks.train.setup import Matrices, Setup, zoom
from lzu_benchmarks.train.windows import seen_in
from lzu_export.recipes import Recipe
from lzu_export.recipes.sections import Window
from lzu_export.runtime.preprocess import cut, sampler
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.box_saliency import box_saliency

EVERY = 10  # training frames are a second apart
CHUNK = 8  # sequences rendered by one job
JOB = 32  # frames rendered by one job
SALIENCY_SEQUENCES = 300  # enough for a smooth density

Key = tuple[int, int]
"""Seed of a sequence and index of a frame."""


class Targets(NamedTuple):
    """Targets of one image: positive anchors with labels and boxes, and ignored anchors.

    Boxes are in canvas pixels.
    """

    positive: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    ignored: NDArray[np.int64]


def keyed_folder(folder: str | Path, *key: bytes) -> Path:
    """Return the subfolder of `folder` for frames that depend on the key.

    Its name also depends on the renderer's sources; otherwise stale frames would be used silently.
    """
    sources = [p.read_bytes() for p in sorted(Path(scenes.__file__).parent.glob("*.py"))]
    return Path(folder) / sha256(b"".join([*key, *sources])).hexdigest()[:12]


class ZoomedFrames(ABC):
    """Frames as every variant samples them, made on first use and then memory-mapped.

    Args:
        folder: folder of all caches.
        recipes: recipe of each variant, all of the same source.
        keys: keys of the frames.
        processes: number of rendering processes.
    """

    DONE: ClassVar[str]
    """Name of the file that is written last and so marks a folder as complete."""
    MAPS: ClassVar[tuple[str, ...]] = ()
    """Attributes of a frame, (H, W) uint8 each, that are stored for every frame."""
    COLLECTED: ClassVar[tuple[str, ...]] = ()
    """Attributes of a frame that `_finish` receives."""

    def __init__(
        self,
        folder: str | Path,
        recipes: Mapping[str, Recipe],
        keys: list[Key],
        *,
        processes: int = 2,
    ) -> None:
        zooms: dict[str, Any] = {v: make_warp(recipe).zoom for v, recipe in recipes.items()}
        tables = [table.tobytes() for zoom in zooms.values() for table in zoom]
        seen = {variant: cut(recipe) for variant, recipe in recipes.items()}
        self.folder = keyed_folder(folder, repr((seen, keys)).encode(), *tables)
        self.keys = keys
        self.recipes = recipes
        if not (self.folder / self.DONE).exists():
            self._make(zooms, processes)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.keys)

    def images(self, variant: str) -> NDArray[np.uint8]:
        """(N, H_c, W_c, 3) zoomed frames, BGR, memory-mapped."""
        return self._open(variant)

    def _open(self, name: str) -> NDArray[np.uint8]:
        loaded: NDArray[np.uint8] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return loaded

    def _make(self, zooms: Mapping[str, Any], processes: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = {variant: (*recipe.canvas, 3) for variant, recipe in self.recipes.items()}
        source = next(iter(self.recipes.values())).source
        for name, shape in (shapes | dict.fromkeys(self.MAPS, source)).items():
            np.lib.format.open_memmap(
                self.folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(len(self), *shape)
            )
        samplers = {
            variant: (cut(recipe), sampler(zooms[variant], recipe.picture))
            for variant, recipe in self.recipes.items()
        }
        jobs = [
            (self.folder, samplers, self.MAPS, self.COLLECTED, start, keys)
            for start, keys in parts(self.keys)
        ]
        self._finish([each for part in run_jobs(_store, jobs, processes) for each in part])

    @abstractmethod
    def _finish(self, frames: list[dict[str, NDArray[Any]]]) -> None:
        """Write the file `DONE`, given the `COLLECTED` attributes of every frame."""


def parts(keys: list[Key]) -> list[tuple[int, list[Key]]]:
    """Split keys into those of each job, with the index of its first."""
    return [(start, keys[start : start + JOB]) for start in range(0, len(keys), JOB)]


def _store(
    folder: Path,
    samplers: Mapping[str, Any],
    maps: Sequence[str],
    collected: Sequence[str],
    start: int,
    keys: list[Key],
) -> list[dict[str, NDArray[Any]]]:
    """Render frames into the files from index `start` on; return their collected attributes."""
    files = {n: np.load(folder / f"{n}.npy", mmap_mode="r+") for n in (*samplers, *maps)}
    found = []
    for place, frame in enumerate(rendered(keys), start):
        for name in maps:
            files[name][place] = getattr(frame, name)
        for variant, (seen, sample) in samplers.items():
            zoomed = np.rint(sample(frame.image[seen]))
            files[variant][place] = zoomed.clip(0, 255).astype(np.uint8)
        found.append({name: getattr(frame, name) for name in collected})
    return found


def rendered(keys: list[Key]) -> Iterator[Frame]:
    """Draw the frames on one thread; consecutive keys of a sequence share its construction."""
    cv2.setNumThreads(1)
    current: FrameSequence | None = None
    for seed, index in keys:
        if current is None or current.seed != seed:
            current = FrameSequence(seed)
        yield render(current, index)


def training_boxes(sequences: int, processes: int) -> NDArray[np.float64]:
    """Return boxes (n, 4) of objects to learn in the first training sequences, source pixels."""
    first, _ = SPLITS["train"]
    with workers(processes) as pool:
        return np.concatenate(pool.map(_boxes, range(first, first + sequences), chunksize=CHUNK))


def _boxes(seed: int) -> NDArray[np.float64]:
    cv2.setNumThreads(1)
    sequence = FrameSequence(seed)
    frames = [render(sequence, index) for index in (0, LENGTH // 2)]
    return np.concatenate([frame.boxes[~frame.ignore] for frame in frames])


def fixed_saliency(setup: Setup, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the density (h, w) of training boxes, made symmetric for mirrored frames."""
    saliency = box_saliency(
        boxes, setup.source, setup.lattice, amplitude=setup.amplitude, bandwidth=setup.bandwidth
    )
    return (saliency + saliency[:, ::-1]) / 2


class TargetFile:
    """Targets of frames and of their mirror images in one file."""

    def __init__(self, path: str | Path) -> None:
        """Read a file that `write` wrote."""
        self._data = dict(np.load(path))

    def __call__(self, index: int, flipped: bool) -> Targets:
        """Return the targets of a frame or of its mirror image."""
        at = 2 * index + int(flipped)
        data = self._data
        a, b = data["positives"][at : at + 2]
        c, d = data["leave"][at : at + 2]
        return Targets(
            data["positive"][a:b], data["labels"][a:b], data["boxes"][a:b], data["ignored"][c:d]
        )

    @staticmethod
    def write(path: Path, made: list[Targets]) -> None:
        """Write targets atomically: for each frame the plain ones, then the mirrored ones."""
        part = path.with_name("part.npz")
        np.savez(
            part,
            positive=np.concatenate([t.positive for t in made]),
            labels=np.concatenate([t.labels for t in made]),
            boxes=np.concatenate([t.boxes for t in made]),
            ignored=np.concatenate([t.ignored for t in made]),
            positives=np.cumsum([0, *(len(t.positive) for t in made)]),
            leave=np.cumsum([0, *(len(t.ignored) for t in made)]),
        )
        os.replace(part, path)


def frame_targets(
    setup: Setup, anchors: list[NDArray[np.float32]], frame: Frame, window: Window | None = None
) -> tuple[Targets, Targets]:
    """Compute the targets of a frame, or of its window, and of its mirror image.

    Objects of which a window shows too little are neither learned nor background there.
    """
    found, classes, ignore = frame.boxes, frame.classes, frame.ignore
    if window is not None:
        seen = seen_in(found, window)
        found, classes = seen.boxes, classes[seen.objects]
        ignore = ignore[seen.objects] | seen.ignored
    plain, mirrored = (
        make_targets(setup, anchors, boxes / setup.label_scale, classes, ignore)
        for boxes in (found, mirror(found, setup.view[1]))
    )
    return plain, mirrored


def mirror(boxes: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mirror boxes (n, 4) in an image of `width` columns."""
    return np.asarray(boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0] * 2)


def make_targets(
    setup: Setup,
    anchors: list[NDArray[np.float32]],
    boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    ignore: NDArray[np.bool_],
) -> Targets:
    """Compute the targets of objects with boxes (n, 4) in canvas pixels."""
    found = assign(boxes, ignore, anchors, setup.config.per_cell)
    return Targets(
        found.positive,
        classes[found.object],
        boxes[found.object].astype(np.float32),
        found.ignored,
    )


class Cache:
    """Training frames of the variants under a folder, made on first use and then memory-mapped.

    Args:
        folder: folder of all caches; a frame takes about 170 kB per variant and window.
        setup: settings of the detectors.
        saliency: saliency (h, w) of the fixed warp; None leaves this variant out.
        sequences: number of training sequences, of 4 frames each.
        processes: number of rendering processes.
        windows: windows of each frame, all of the setup's view size; None is the setup's own. Each
            is an image of its own.
    """

    def __init__(
        self,
        folder: str | Path,
        setup: Setup,
        saliency: NDArray[np.float64] | None,
        *,
        sequences: int,
        processes: int = 2,
        windows: Sequence[Window] | None = None,
    ) -> None:
        shown: Sequence[Window | None] = windows or [setup.window]
        map_key = b"" if saliency is None else saliency.tobytes()
        self.folder = keyed_folder(folder, repr((setup, sequences, shown)).encode(), map_key)
        self.count = sequences * len(range(0, LENGTH, EVERY)) * len(shown)
        if not (self.folder / "targets.npz").exists():
            self._make(setup, saliency, sequences, shown, processes)
        self.targets = TargetFile(self.folder / "targets.npz")

    def images(self, variant: str) -> NDArray[np.uint8]:
        """(N, H_c, W_c, 3) zoomed frames, memory-mapped."""
        loaded: NDArray[np.uint8] = np.load(self.folder / f"{variant}.npy", mmap_mode="r")
        return loaded

    def _make(
        self,
        setup: Setup,
        saliency: NDArray[np.float64] | None,
        sequences: int,
        windows: Sequence[Window | None],
        processes: int,
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (self.count, *setup.canvas, 3)
        zooms = {"uniform": setup.zoom_matrices(None)}
        if saliency is not None:
            zooms["fixed"] = setup.zoom_matrices(saliency)
        files = {str(self.folder / f"{variant}.npy"): each for variant, each in zooms.items()}
        for path in files:
            np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        first, available = SPLITS["train"]
        assert sequences <= available
        jobs = [
            (setup, files, windows, first, start, min(start + CHUNK, sequences))
            for start in range(0, sequences, CHUNK)
        ]
        made = [t for part in run_jobs(_fill, jobs, processes) for t in part]
        TargetFile.write(self.folder / "targets.npz", made)


def _fill(
    setup: Setup,
    zooms: dict[str, Matrices],
    windows: Sequence[Window | None],
    first: int,
    start: int,
    stop: int,
) -> list[Targets]:
    """Render sequences start..stop into files, each with its zoom; return targets.

    Windows of a frame follow each other, each with its plain targets, then the mirrored ones.
    """
    cv2.setNumThreads(1)
    files = [(np.load(path, mmap_mode="r+"), matrices) for path, matrices in zooms.items()]
    anchors = setup.anchors()
    indices = range(0, LENGTH, EVERY)
    targets: list[Targets] = []
    for number in range(start, stop):
        sequence = FrameSequence(first + number)
        frames = [render(sequence, index) for index in indices]
        place = number * len(indices) * len(windows)
        for frame, window in product(frames, windows):
            for file, matrices in files:
                file[place] = zoom(frame.image, matrices, window)
            targets += frame_targets(setup, anchors, frame, window)
            place += 1
    return targets


def describe(setup: Setup) -> dict[str, Any]:
    """Return the setup as plain data for checkpoints and reports."""
    plain = asdict(setup)
    plain["config"] = setup.config.model_dump()
    plain["window"] = setup.window and setup.window.model_dump()
    return plain
