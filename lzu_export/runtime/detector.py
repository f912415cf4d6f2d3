"""A detector made of a bundle: frames in, detections out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.engines.base import Session
from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.manifest import Engine, Manifest, check_file, read_manifest
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.preprocess import Frame, Taps, ZoomedInput, check_frame, taps
from lzu_export.warp.tables import TablePair

WARP_FILE = "warp.npz"
INPUT_NAMES = {"source": "frame", "zoomed": "image"}
"""Name of the engine's image input by the recipe's `input`."""


@dataclass(frozen=True)
class Detections:
    """What was found in one frame, best first."""

    boxes: NDArray[np.float32]
    """(n, 4) x1, y1, x2, y2 in pixels of the frame."""
    scores: NDArray[np.float32]
    """(n,) in 0..1."""
    labels: NDArray[np.int32]
    """(n,) indices into `classes`."""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of detections."""
        return len(self.scores)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results; category ids count the classes from 1."""
        return [
            {
                "image_id": image_id,
                "category_id": int(label) + 1,
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, label in zip(
                self.boxes, self.scores, self.labels, strict=True
            )
        ]


class Detector:
    """Runs one engine of a bundle on frames."""

    def __init__(
        self,
        recipe: Recipe,
        session: Session,
        warp: Mapping[str, NDArray[Any]],
        *,
        resize: bool = False,
    ) -> None:
        """Use `load` to make one from a bundle."""
        self.recipe, self.session = recipe, session
        self.warp, self.resize = warp, resize
        self._zoom: ZoomedInput | None = None  # where the engine does not zoom by itself
        if recipe.input == "zoomed":
            self._zoom = ZoomedInput(recipe, TablePair(warp["zoom_rows"], warp["zoom_cols"]))

    def __call__(self, frame: Frame) -> Detections:
        """Detect in one BGR frame (H x W x 3 uint8); for bundles of batch 1.

        Raises:
            LzuError: the frame is of another size, type or channel count.
        """
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect in as many frames as the bundle's batch."""
        if len(frames) != self.recipe.batch:
            raise LzuError(
                f"{len(frames)} frames were given but this bundle takes {self.recipe.batch} at "
                "once; give that many or export with another batch"
            )
        outputs = self.session.run(self.prepare(frames))
        return [
            self.finish({name: value[i] for name, value in outputs.items()}, frame.shape[:2])
            for i, frame in enumerate(frames)
        ]

    def prepare(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """The engine's inputs for these frames."""
        source = self.recipe.source
        for frame in frames:
            check_frame(frame, None if self.resize else source)
        if self.resize:
            frames = [fit(frame, source) for frame in frames]
        image = self._zoom(frames) if self._zoom is not None else np.stack(frames)
        return {INPUT_NAMES[self.recipe.input]: image}

    @cached_property
    def zoom_taps(self) -> tuple[Taps, Taps]:
        """Rows and columns of the zoom, for pictures of it: a video asks in every frame."""
        height, width = self.recipe.source
        return taps(self.warp["zoom_rows"], height), taps(self.warp["zoom_cols"], width)

    def finish(self, outputs: dict[str, NDArray[Any]], size: tuple[int, ...]) -> Detections:
        """Suppress one frame's candidates; `size` is the frame's, for those that were resized.

        Boxes are clipped to the frame: the canvas's far edge, to which candidates are clipped, lies
        up to a canvas pixel beyond it.
        """
        settings = self.recipe.postprocess
        boxes, scores, labels = suppress(
            outputs["boxes"],
            outputs["scores"],
            outputs["labels"],
            score_threshold=settings.score_threshold,
            iou_threshold=settings.iou_threshold,
            max_detections=settings.max_detections,
        )
        height, width = self.recipe.source
        factor = np.array([size[1] / width, size[0] / height] * 2, np.float32)
        edge = np.array([size[1], size[0]] * 2, np.float32)
        return Detections(
            np.clip(boxes * factor, 0, edge),
            scores.astype(np.float32),
            labels.astype(np.int32),
            self.recipe.classes,
        )


def fit(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at `size` (height, width), resized bilinearly if it has another."""
    if frame.shape[:2] == size:
        return frame
    return np.asarray(cv2.resize(frame, (size[1], size[0])), np.uint8)


def load(
    bundle: str | Path,
    *,
    target: str | None = None,
    precision: str = "fp32",
    resize: bool = False,
    threads: int | None = None,
    provider: str = "CPUExecutionProvider",
) -> Detector:
    """Open a bundle for inference; imports no torch.

    Args:
        bundle: folder that export made.
        target: engine to run; by default onnxruntime, which runs on any machine.
        precision: of the engine.
        resize: bring frames of another size to the source size instead of refusing them.
        threads: of ONNX Runtime on the CPU; all processors by default.
        provider: of ONNX Runtime, such as `CUDAExecutionProvider` (extra `gpu`); one that does not
            load is refused, never replaced by the CPU.

    Raises:
        LzuError: no such bundle or engine, a file changed after the export, or the target's
            libraries are missing.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    engine = pick_engine(manifest, target, precision)
    path = check_file(folder, engine.file, manifest)
    with np.load(check_file(folder, WARP_FILE, manifest)) as arrays:
        warp = dict(arrays)
    return Detector(
        manifest.recipe, open_session(engine, path, threads, provider), warp, resize=resize
    )


def pick_engine(manifest: Manifest, target: str | None, precision: str) -> Engine:
    """The bundle's engine for a target (by default one that runs on any machine)."""
    wanted = target or "onnxruntime"
    for engine in manifest.engines:
        if (engine.target, engine.precision) == (wanted, precision):
            return engine
    there = ", ".join(f"{engine.target} {engine.precision}" for engine in manifest.engines)
    raise LzuError(f"the bundle has no engine for {wanted} in {precision}; it has {there}")


def open_session(
    engine: Engine,
    path: Path,
    threads: int | None = None,
    provider: str = "CPUExecutionProvider",
) -> Session:
    """Open an engine file on its target."""
    if engine.target == "onnxruntime":
        try:
            from lzu_export.engines.onnxruntime import OnnxRuntimeSession
        except ImportError as error:
            raise LzuError(
                "ONNX Runtime is not installed; pip install 'lzu-export[runtime]'"
            ) from error
        return OnnxRuntimeSession(path, threads=threads, provider=provider)
    raise LzuError(
        f"{engine.target} engines run on their device only and this release has no session for "
        "them; choose onnxruntime"
    )
