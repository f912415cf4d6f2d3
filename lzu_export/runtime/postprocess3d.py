"""Turn FCOS3D's fixed-size candidates into 3-D detections of one camera or a rig. NumPy only.

A box has nine values: gravity centre x, y, z, length, height, width, yaw and the velocity along x
and z, in metres, radians and metres per second, in a camera's frame (x right, y down, z forward).
Its length lies along the heading (cos yaw, 0, -sin yaw). The ego frame has x, y in the ground plane
and z up; there a box is x, y, z of the gravity centre, length, width, height, yaw (heading (cos
yaw, sin yaw, 0)) and the velocity along x and y.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.runtime.postprocess import keep_greedily

BOX = 9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detections3d:
    """Boxes in space of one frame, best first."""

    boxes: NDArray[np.float32]
    """(n, 9) in the camera's frame (x right, y down, z forward): centre x, y, z, length, height and
    width in m, yaw in rad, velocity along x and z in m/s. The heading is (cos yaw, 0, -sin yaw)."""
    scores: NDArray[np.float32]
    """(n,) in 0..1."""
    labels: NDArray[np.int64]
    """(n,) indices into `classes`."""
    attributes: NDArray[np.int64]
    """(n,) indices into the recipe's attributes."""
    classes: tuple[str, ...] = ()
    """Names of the classes."""

    def __len__(self) -> int:
        """Number of detections."""
        return len(self.scores)

    def draw(
        self, frame: Frame, cam2img: ArrayLike, *, lowest: float = 0.0, from_above: bool = True
    ) -> Frame:
        """Draw boxes, class names and scores on a copy of the frame, and a view from above.

        Args:
            frame: (H, W, 3) uint8, BGR; the frame that the boxes were found in.
            cam2img: matrix (3, 3), (3, 4) or (4, 4) of the frame's camera, as the detector took it.
            lowest: lowest score that is drawn.
            from_above: add the view from above at the right of the frame, at the same height.

        Returns:
            (H, W, 3) uint8, BGR; wider by the view from above.

        Raises:
            LzuError: the frame is no picture of that shape and type, or the matrix is unfit.
        """
        from lzu_export.runtime.draw3d import draw_boxes_3d, draw_detections_3d

        shown = self.scores >= lowest
        draw = draw_detections_3d if from_above else draw_boxes_3d
        boxes, labels, scores = self.boxes[shown], self.labels[shown], self.scores[shown]
        return draw(frame, boxes, labels, self.classes, cam2img, scores=scores)


class RigDetections(NamedTuple):
    """Detections of a rig, best first, in their camera's frame and in the ego frame."""

    boxes: NDArray[np.float32]
    """(n, 9) in the frame of the camera that saw each, as in `Detections3d`."""
    ego_boxes: NDArray[np.float32]
    """(n, 9) in the ego frame, as `to_ego` returns them."""
    scores: NDArray[np.float32]
    """(n,) in 0..1."""
    labels: NDArray[np.int64]
    """(n,) indices of the classes."""
    attributes: NDArray[np.int64]
    """(n,) indices of the attributes, such as moving or parked."""
    cameras: NDArray[np.int64]
    """(n,) indices of the cameras."""
    classes: tuple[str, ...] = ()
    """Names of the classes."""

    def draw(
        self,
        frames: Sequence[Frame],
        cam2img: Sequence[ArrayLike],
        cam2ego: Sequence[ArrayLike],
        *,
        lowest: float = 0.0,
    ) -> Frame:
        """Draw each camera's boxes on its frame, and all boxes from above around the ego.

        Args:
            frames: (H, W, 3) uint8, BGR, one per camera, of one size, as `Detector3d.rig` took
                them.
            cam2img: one matrix (3, 3), (3, 4) or (4, 4) per camera.
            cam2ego: one (4, 4) pose in the ego frame per camera.
            lowest: lowest score that is drawn.

        Returns:
            uint8, BGR: the frames in rows of three, and the view from above at their right.

        Raises:
            LzuError: frames, matrices and poses differ in number, the frames differ in size, or one
                of them is unfit.
        """
        from lzu_export.runtime.draw3d import draw_rig

        return draw_rig(self, frames, cam2img, cam2ego, lowest=lowest)


def camera_footprints(boxes: ArrayLike) -> Array:
    """Return camera boxes (N, 9) from above: (N, 5) centre x, z, length, width, angle, float64."""
    box = np.asarray(boxes, np.float64)
    return np.stack([box[:, 0], box[:, 2], box[:, 3], box[:, 5], -box[:, 6]], axis=1)


def ego_footprints(boxes: ArrayLike) -> Array:
    """Return ego boxes (N, 9) from above: (N, 5) centre x, y, length, width, angle, float64."""
    return np.asarray(boxes, np.float64)[:, [0, 1, 3, 4, 6]]


def to_ego(boxes: ArrayLike, cam2ego: ArrayLike, *, name: str = "cam2ego") -> Array:
    """Convert camera boxes (N, 9) to the ego frame, (N, 9) float64.

    The ego frame has x forward, y left and z up. There a box is its centre x, y, z, length, width
    and height in m, yaw in rad (heading (cos yaw, sin yaw, 0)), and the velocity along x and y in
    m/s. A box stays upright: a tilted camera's heading is projected into the ground plane.

    Args:
        boxes: (N, 9) in the camera's frame, as in `Detections3d`.
        cam2ego: (4, 4) pose of the camera in the ego frame, in m.
        name: name of the pose in an error's sentence.

    Raises:
        LzuError: cam2ego is not a 4 x 4 matrix of a rotation and a translation.
    """
    box = np.asarray(boxes, np.float64)
    rotation, translation = _pose(cam2ego, name)
    zero = np.zeros(len(box))
    heading = np.stack([np.cos(box[:, 6]), zero, -np.sin(box[:, 6])], axis=1) @ rotation.T
    velocity = np.stack([box[:, 7], zero, box[:, 8]], axis=1) @ rotation.T
    return np.column_stack(
        [
            box[:, :3] @ rotation.T + translation,
            box[:, [3, 5, 4]],
            np.arctan2(heading[:, 1], heading[:, 0]),
            velocity[:, :2],
        ]
    )


def to_camera(boxes: ArrayLike, cam2ego: ArrayLike, *, name: str = "cam2ego") -> Array:
    """Convert ego boxes (N, 9) to a camera's frame, (N, 9) float64: the reverse of `to_ego`.

    Raises:
        LzuError: cam2ego is not a 4 x 4 matrix of a rotation and a translation.
    """
    box = np.asarray(boxes, np.float64).reshape(-1, BOX)
    rotation, translation = _pose(cam2ego, name)
    zero = np.zeros(len(box))
    heading = np.stack([np.cos(box[:, 6]), np.sin(box[:, 6]), zero], axis=1) @ rotation
    velocity = np.column_stack([box[:, 7:9], zero]) @ rotation
    return np.column_stack(
        [
            (box[:, :3] - translation) @ rotation,
            box[:, [3, 5, 4]],
            np.arctan2(-heading[:, 2], heading[:, 0]),
            velocity[:, [0, 2]],
        ]
    )


def _pose(cam2ego: ArrayLike, name: str) -> tuple[Array, Array]:
    """Return the rotation (3, 3) and translation (3,) of a camera's pose after checking them."""
    pose = np.asarray(cam2ego, np.float64)
    sound = pose.shape == (4, 4) and bool(np.isfinite(pose).all())
    if not sound or np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
        raise LzuError(
            f"{name} is not a 4 x 4 matrix of a rotation and a translation; give the camera's pose "
            "in the ego frame"
        )
    return pose[:3, :3], pose[:3, 3]


def intersection_areas(first: ArrayLike, second: ArrayLike) -> Array:
    """Compute the shared areas of pairs of rotated rectangles, exact up to rounding in float64.

    In the second rectangle's own frame the shared area is the integral, around the first one, of
    its edges' height clamped to the second's sides (Green's theorem; edges outside the second's
    ends do not count). Clamping leaves at most three straight pieces of an edge, so the sum of
    their trapezoids is the area itself, for touching, nested and coinciding rectangles too.

    Args:
        first: (..., 5) centre (two values), length, width, angle in radians.
        second: (..., 5), broadcast against the first.

    Returns:
        (...) float64.
    """
    a, b = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    # Corners of the first rectangle, in order, in the second one's frame.
    turn = a[..., 4] - b[..., 4]
    cos, sin = np.cos(turn)[..., None], np.sin(turn)[..., None]
    back_cos, back_sin = np.cos(b[..., 4]), np.sin(b[..., 4])
    dx, dy = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    along = a[..., 2, None] / 2 * np.array([1.0, -1, -1, 1])
    across = a[..., 3, None] / 2 * np.array([1.0, 1, -1, -1])
    x = (back_cos * dx + back_sin * dy)[..., None] + cos * along - sin * across
    y = (back_cos * dy - back_sin * dx)[..., None] + sin * along + cos * across
    half_x, half_y = b[..., 2, None] / 2, b[..., 3, None] / 2

    run, rise = np.roll(x, -1, axis=-1) - x, np.roll(y, -1, axis=-1) - y

    def crossings(start: Array, step: Array, half: Array) -> tuple[Array, Array]:
        """Return where along the edge, in [0, 1], a coordinate enters and leaves [-half, half]."""
        flat = step == 0
        step = np.where(flat, 1.0, step)
        one, other = (-half - start) / step, (half - start) / step
        enter, leave = np.minimum(one, other), np.maximum(one, other)
        inside = np.abs(start) <= half
        enter = np.where(flat, np.where(inside, 0.0, 1.0), enter)
        leave = np.where(flat, 1.0, leave)
        return np.clip(enter, 0, 1), np.clip(leave, 0, 1)

    begin, end = crossings(x, run, half_x)
    end = np.maximum(begin, end)
    low, high = (np.clip(each, begin, end) for each in crossings(y, rise, half_y))
    parts = np.stack([begin, low, high, end])
    heights = np.clip(y + parts * rise, -half_y, half_y)
    trapezoids = (np.diff(parts, axis=0) * (heights[1:] + heights[:-1]) / 2).sum(axis=0)
    areas: Array = np.maximum(-(trapezoids * run).sum(axis=-1), 0.0)
    return areas


def rotated_iou(first: ArrayLike, second: ArrayLike) -> Array:
    """Compute the intersection over union of pairs of rectangles, see `intersection_areas`.

    It is 0 for rectangles without area.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    shared = intersection_areas(a, b)
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def suppress_3d(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    attributes: NDArray[np.integer],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.8,
    max_detections: int = 200,
    class_agnostic: bool = False,
    wanted: NDArray[np.bool_] | None = None,
) -> Detections3d:
    """Suppress one camera's candidates greedily, per class, by their rotated footprints.

    Each candidate enters every class whose score is above score_threshold. Within a class they are
    visited in descending order of score, equal scores by lower index first, and one is kept unless
    a kept one overlaps it, seen from above, with an intersection over union strictly above
    iou_threshold. The best max_detections of all classes stay, best first; equal scores by
    lower class, then by lower index. Candidates with a non-finite value or without area are dropped
    beforehand, since an overflow must not suppress sound boxes.

    Args:
        boxes: (K, 9) boxes in the camera's frame.
        scores: (K, classes) scores.
        attributes: (K,) attributes.
        score_threshold: lowest score, exclusive.
        iou_threshold: highest overlap of two kept boxes of one class, inclusive.
        max_detections: greatest number of boxes kept over all classes.
        class_agnostic: let a box suppress boxes of other classes, too.
        wanted: mask (classes,) of the classes that count; others are dropped beforehand. None for
            all.

    Raises:
        LzuError: the arrays' shapes do not fit together.
    """
    box, score = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    attribute = np.asarray(attributes, np.int64)
    count = len(box) if box.ndim == 2 else -1
    if score.ndim != 2 or box.shape != (count, BOX) or len(score) != count:
        count = -1
    if attribute.shape != (count,):
        raise LzuError(
            f"boxes {box.shape}, scores {score.shape} and attributes {attribute.shape} do not fit "
            f"together; pass (K, {BOX}), (K, classes) and (K,) of one image"
        )
    above = score > np.float32(score_threshold)
    if wanted is not None:
        above &= wanted
    candidate, label = np.nonzero(above)
    sound = np.asarray(np.isfinite(box).all(axis=1))
    kept = _keep(
        camera_footprints(box)[candidate],
        score[candidate, label],
        np.zeros_like(label) if class_agnostic else label,
        sound[candidate],
        iou_threshold,
        max_detections,
    )
    candidate, label = candidate[kept], label[kept]
    return Detections3d(box[candidate], score[candidate, label], label, attribute[candidate])


def merge_cameras(
    detections: Sequence[Detections3d],
    cam2ego: Sequence[ArrayLike],
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.05,
    max_detections: int = 500,
) -> RigDetections:
    """Merge the detections of a rig's cameras, keeping an object that several see once.

    Suppression is as in `suppress_3d`, on the footprints in the ego frame; equal scores by lower
    class, then by earlier camera.

    Args:
        detections: detections of every camera, in its own frame.
        cam2ego: (4, 4) pose of every camera in the ego frame.
        score_threshold: lowest score, exclusive.
        iou_threshold: highest overlap of two kept boxes of one class, inclusive.
        max_detections: greatest number of boxes kept over all classes and cameras.

    Raises:
        LzuError: poses and cameras differ in number, there is none, or a pose is invalid.
    """
    if len(detections) != len(cam2ego) or not detections:
        raise LzuError(
            f"the rig has detections of {len(detections)} cameras and {len(cam2ego)} poses; give "
            "one cam2ego for each of at least one camera"
        )
    ego = [
        to_ego(each.boxes, pose, name=f"cam2ego of camera {i}")
        for i, (each, pose) in enumerate(zip(detections, cam2ego, strict=True))
    ]
    ego_boxes = np.concatenate(ego)
    boxes, scores, labels, attributes = (
        np.concatenate([getattr(each, name) for each in detections])
        for name in ("boxes", "scores", "labels", "attributes")
    )
    cameras = np.repeat(np.arange(len(detections)), [len(each.boxes) for each in detections])
    kept = _keep(
        ego_footprints(ego_boxes),
        scores,
        labels,
        np.isfinite(ego_boxes).all(axis=1) & (scores > np.float32(score_threshold)),
        iou_threshold,
        max_detections,
    )
    return RigDetections(
        boxes[kept],
        ego_boxes[kept].astype(np.float32),
        scores[kept],
        labels[kept],
        attributes[kept],
        cameras[kept],
        detections[0].classes,
    )


def _keep(
    footprints: Array,
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    sound: NDArray[np.bool_],
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.int64]:
    """Return the indices of the candidates that stay, best first."""
    sound = sound & np.isfinite(scores) & (footprints[:, 2] > 0) & (footprints[:, 3] > 0)
    found: list[NDArray[np.int64]] = []
    for label in np.unique(labels[sound]):
        of_class = np.flatnonzero(sound & (labels == label))
        order = of_class[np.argsort(-scores[of_class], kind="stable")]
        found.append(order[_greedy(footprints[order], iou_threshold, max_detections)])
    kept = np.concatenate(found) if found else np.empty(0, np.int64)
    best: NDArray[np.int64] = kept[np.argsort(-scores[kept], kind="stable")][:max_detections]
    return best


def _greedy(footprints: Array, iou_threshold: float, limit: int) -> NDArray[np.int64]:
    """Return the positions kept among footprints in order of preference."""

    def above(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _overlaps(footprints[first], footprints[second], iou_threshold)

    return keep_greedily(len(footprints), limit, above)


def _overlaps(first: Array, second: Array, iou_threshold: float) -> NDArray[np.bool_]:
    """Return (len(first), len(second)) whether rectangles overlap above the threshold."""
    # Most pairs are far apart: the overlap is computed only where circumscribed circles meet.
    reach = [np.hypot(each[:, 2], each[:, 3]) / 2 for each in (first, second)]
    apart = np.hypot(first[:, None, 0] - second[None, :, 0], first[:, None, 1] - second[None, :, 1])
    above: NDArray[np.bool_] = apart < reach[0][:, None] + reach[1]
    i, j = np.nonzero(above)
    above[i, j] = rotated_iou(first[i], second[j]) > iou_threshold
    return above
