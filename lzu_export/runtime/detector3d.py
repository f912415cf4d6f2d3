"""Monocular 3-D detection: frames and their cameras in, boxes in space out."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.inputs.frame import Frame
from lzu_export.recipes.det3d import Det3dRecipe
from lzu_export.runtime.choice import missing_candidates
from lzu_export.runtime.postprocess3d import Detections3d, RigDetections, merge_cameras, suppress_3d
from lzu_export.runtime.predictor import CameraFrame, Predictor

log = logging.getLogger(__name__)

CAMERA_INPUTS = ("cam2img", "img2cam")
"""Names of the engine's camera inputs: the matrix for pixels of the canvas, and its inverse."""


class Detector3d(Predictor):
    """Finds boxes in space from frames of calibrated cameras."""

    recipe: Det3dRecipe
    needs_camera: ClassVar[bool] = True
    _told_missing = False

    def __call__(self, frame: Frame, cam2img: ArrayLike) -> Detections3d:
        """Detect in one BGR frame (H x W x 3 uint8); for bundles of batch 1.

        Args:
            frame: the camera's frame.
            cam2img: matrix (3, 3), (3, 4) or (4, 4) from the camera's frame to homogeneous pixels.

        Raises:
            LzuError: the frame has another size, type or channel count, or the matrix has another
                shape or is singular.
        """
        return self.batch([frame], [cam2img])[0]

    def batch(
        self, frames: Sequence[Frame], cam2img: Sequence[ArrayLike] | NDArray[Any]
    ) -> list[Detections3d]:
        """Detect in as many frames as the bundle's batch, each with its camera's matrix.

        Args:
            frames: (H, W, 3) uint8, BGR, or another pixel format of `load`.
            cam2img: one matrix per frame, as for a call.

        Raises:
            LzuError: frames and matrices differ in number or from the batch, a frame has another
                size, type or shape, or a matrix has another shape or is singular.
        """
        if len(frames) != len(cam2img):
            raise LzuError(
                f"{len(frames)} frames came with {len(cam2img)} camera matrices; give one each"
            )
        return self.run([CameraFrame(*pair) for pair in zip(frames, cam2img, strict=True)])

    def rig(
        self,
        frames: Sequence[Frame],
        cam2img: Sequence[ArrayLike],
        cam2ego: Sequence[ArrayLike],
    ) -> RigDetections:
        """Detect with all cameras of a rig and merge the detections that several of them share.

        Args:
            frames: one per camera; their number has to be a multiple of the bundle's batch.
            cam2img: one matrix per camera.
            cam2ego: one (4, 4) pose in the ego frame per camera.

        Raises:
            LzuError: frames, matrices and poses differ in number, the frames differ in size, or
                they do not fill the bundle's batches.
        """
        size = self.recipe.batch
        sizes = {np.shape(frame)[:2] for frame in frames}
        if len(sizes) > 1:
            listed = " and ".join(sorted("x".join(map(str, each)) for each in sizes))
            raise LzuError(
                f"the rig's frames are of sizes {listed}; bring them to one size, and their "
                "camera matrices with them"
            )
        if len(frames) % size:
            raise LzuError(
                f"the rig has {len(frames)} cameras, which batches of {size} do not fill; export "
                f"with batch {len(frames)} or 1"
            )
        found: list[Detections3d] = []
        for i in range(0, len(frames), size):
            found += self.batch(frames[i : i + size], cam2img[i : i + size])
        settings = self.recipe.postprocess
        return merge_cameras(
            found,
            cam2ego,
            score_threshold=settings.rig_score_threshold,
            iou_threshold=settings.rig_iou_threshold,
            max_detections=settings.rig_max_detections,
        )

    def other_inputs(self, camera_frames: Sequence[CameraFrame]) -> dict[str, NDArray[Any]]:
        """Return the cameras' matrices for pixels of the canvas, and their inverses."""
        pairs = []
        for i, camera_frame in enumerate(camera_frames):
            name = f"cam2img of frame {i}" if len(camera_frames) > 1 else "cam2img"
            if camera_frame.cam2img is None:
                raise LzuError(
                    f"{name} is missing: boxes in space need the camera's 3 x 3 matrix; give it"
                )
            size = self.frame_size(camera_frame)
            scale, corner = self._canvas_in(size)
            pairs.append(
                camera_matrices(
                    camera_frame.cam2img, 1, scale=scale, corner=corner, size=size, name=name
                )
            )
        stacked = (np.concatenate(each) for each in zip(*pairs, strict=True))
        return dict(zip(CAMERA_INPUTS, stacked, strict=True))

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Detections3d:
        """Suppress one frame's candidates."""
        settings = self.choice.settings(self.recipe)
        if self.choice.score_threshold is not None and not self._told_missing:
            best = outputs["scores"].max(axis=1)
            sentence = missing_candidates(self.recipe, best, settings["score_threshold"])
            if sentence is not None:
                self._told_missing = True
                log.warning(sentence)
        return suppress_3d(
            outputs["boxes"],
            outputs["scores"],
            outputs["attributes"],
            class_agnostic=self.choice.class_agnostic,
            wanted=self.choice.labels(self.recipe),
            **settings,
        )

    def to_prediction(self, kept: Detections3d, size: tuple[int, ...]) -> Detections3d:
        """Return the kept detections: boxes in space do not depend on the frame's size."""
        return replace(kept, classes=self.recipe.classes)

    def _canvas_in(self, size: tuple[int, ...]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return canvas pixels per frame pixel, and the frame pixel at canvas 0, both (y, x)."""
        scales, corners = [], []
        recipe, place = self.recipe, self.place_of(size)
        for fitted, offset, step, first in zip(
            place.scale, place.offset, recipe.canvas_step, recipe.corner, strict=True
        ):
            scales.append(fitted / step)  # frames of another size are resized edge on edge
            corners.append((first - offset - (fitted - 1) / 2) / fitted)
        return (scales[0], scales[1]), (corners[0], corners[1])
