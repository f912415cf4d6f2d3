"""The steps of `docs/outputs.md` in plain NumPy, from a bundle's files alone.

It imports nothing of the package, so that it knows only what the page says.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DTYPES = {"F32": "<f4", "F64": "<f8"}


class Found(NamedTuple):
    """Detections, best first."""

    boxes: Array
    scores: Array
    labels: Array


class Plain:
    """A bundle, as a program reads it that has no part of the package."""

    def __init__(self, folder: Path) -> None:
        self.recipe = json.loads((folder / "manifest.json").read_text())["recipe"]
        content = (folder / "warp.safetensors").read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        notes = {name: text.split() for name, text in header.pop("__metadata__").items()}
        step = notes.pop("canvas_step")
        self.step = (float(step[0]), float(step[1]))
        self.sizes = {name: (int(y), int(x)) for name, (y, x) in notes.items()}
        self.arrays: dict[str, Array] = {}
        for name, each in header.items():
            first, last = each["data_offsets"]
            block = content[8 + length :][first:last]
            self.arrays[name] = np.frombuffer(block, DTYPES[each["dtype"]]).reshape(each["shape"])

    @property
    def view(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge of the view in the source."""
        (top, left), (height, width) = self.sizes["corner"], self.sizes["view"]
        return left, top, left + width, top + height

    def image(self, frame: Array) -> Array:
        """The input `image` of one frame, (1, 3, h, w)."""
        left, top, right, bottom = self.view
        reduce, norm = self.recipe["reduce"], self.recipe["normalisation"]
        picture = frame[top:bottom:reduce, left:right:reduce].astype(np.float32)
        coverage = np.ones((1, 1))
        if "zoom_rows" in self.arrays:
            canvas = picture
            for axis, name in enumerate(("zoom_rows", "zoom_cols")):
                weights = hat_weights(self.arrays[name], canvas.shape[axis])
                sums = weights.sum(axis=1)
                if np.abs(sums - 1).max() > 1e-6:
                    coverage = coverage * (sums[:, None] if axis == 0 else sums[None, :])
                canvas = weighted(canvas, weights.astype(np.float32), axis)
        else:
            canvas = self.on_plane(picture)
        if norm["order"] == "rgb":
            canvas = canvas[:, :, ::-1]
        result = np.zeros((1, 3, *self.sizes["network_input"]), np.float32)
        for channel in range(3):
            mean, std = norm["mean"][channel], norm["std"][channel]
            shift = (-mean / std * coverage).astype(np.float32)
            plane = canvas[:, :, channel] * np.float32(1 / std) + shift
            result[0, channel, : canvas.shape[0], : canvas.shape[1]] = plane
        return result

    def on_plane(self, picture: Array) -> Array:
        """The canvas of a warp that is not separable."""
        x, y = np.moveaxis(self.arrays["zoom_whole"].astype(int), -1, 0)
        u, v = np.moveaxis(self.arrays["zoom_fraction"], -1, 0)
        around = np.pad(picture, ((1, 2), (1, 2), (0, 0)))
        total = np.zeros((*x.shape, 3), np.float32)
        for down, share_y in ((0, 1 - v), (1, v)):
            for across, share_x in ((0, 1 - u), (1, u)):
                rows = np.clip(y + down + 1, 0, around.shape[0] - 1)
                columns = np.clip(x + across + 1, 0, around.shape[1] - 1)
                total += (share_y * share_x)[..., None] * around[rows, columns]
        return total

    def cameras(self, camera: Array) -> tuple[Array, Array]:
        """The inputs `cam2img` and `img2cam` of one frame, (4, 4)."""
        matrix = np.eye(4)
        matrix[: camera.shape[0], : camera.shape[1]] = camera
        for row, axis in ((0, 1), (1, 0)):
            corner, step = self.sizes["corner"][axis], self.step[axis]
            matrix[row] = (matrix[row] - corner * matrix[2]) * (1 / step)
        return matrix.astype(np.float32), np.linalg.inv(matrix).astype(np.float32)

    def detections(self, boxes: Array, scores: Array, labels: Array) -> Found:
        """The detections of a frame of task `det`, from its candidates."""
        kept = suppress(boxes, scores, labels, **self.thresholds)
        return kept._replace(boxes=self.clipped(kept.boxes))

    @property
    def thresholds(self) -> dict[str, Any]:
        names = ("score_threshold", "iou_threshold", "max_detections")
        return {name: self.recipe["postprocess"][name] for name in names}

    def clipped(self, boxes: Array) -> Array:
        """Boxes (n, 4) in the source, clipped to the view."""
        left, top, right, bottom = self.view
        return np.clip(boxes, [left, top] * 2, [right, bottom] * 2).astype(np.float32)

    def fed_back(self, found: Found) -> tuple[Array, Array]:
        """The next frame's inputs `prev_boxes` and `prev_valid` of one image."""
        warp = self.recipe["warp"]
        feedback, most = warp["feedback"], warp["boxes"]
        boxes, valid = np.zeros((1, most, 4), np.float32), np.zeros((1, most), np.float32)
        chosen = found.boxes[found.scores >= np.float32(feedback["score_threshold"])]
        chosen = chosen[: min(most, feedback["most"] or most)]
        boxes[0, : len(chosen)], valid[0, : len(chosen)] = chosen, 1
        return boxes, valid

    def label_map(self, labels: Array) -> Array:
        """The classes of all pixels of the source, from those of the view."""
        left, top, right, bottom = self.view
        whole = np.full(self.sizes["source"], 255, np.uint8)
        whole[top:bottom, left:right] = labels
        return whole


def hat_weights(table: Array, count: int) -> Array:
    """Weights (n, count) of a table (4, n), float64."""
    whole, fraction, half, factor = table.astype(np.float64)[:, :, None]
    return factor * np.maximum(0, 1 - np.abs(whole + fraction - np.arange(count)) / half)


def weighted(image: Array, weights: Array, axis: int) -> Array:
    """Weighted sums of an image's lines along an axis, in their order, float32."""
    lines = np.moveaxis(image, axis, 0)
    total = np.zeros((len(weights), *lines.shape[1:]), np.float32)
    for number, line in enumerate(lines):
        total += weights[:, number, None, None] * line
    return np.moveaxis(total, 0, axis)


def suppress(
    boxes: Array,
    scores: Array,
    labels: Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> Found:
    """Suppression of boxes, one candidate after the other."""
    box, score = boxes.astype(np.float32), scores.astype(np.float32)
    sound = [
        i
        for i in range(len(score))
        if np.isfinite(score[i])
        and score[i] > np.float32(score_threshold)
        and np.isfinite(box[i]).all()
        and box[i, 2] > box[i, 0]
        and box[i, 3] > box[i, 1]
    ]
    kept: list[int] = []
    for i in sorted(sound, key=lambda i: (-score[i], i)):
        if len(kept) == max_detections:
            break
        rivals = [k for k in kept if labels[k] == labels[i]]
        if not any(overlaps(box[k], box[i], np.float32(iou_threshold)) for k in rivals):
            kept.append(i)
    return Found(box[kept], score[kept], np.asarray(labels)[kept])


def overlaps(a: Array, b: Array, threshold: np.float32) -> bool:
    """Whether a kept box overlaps another one by more than the threshold, float32."""
    nought = np.float32(0)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), nought)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), nought)
    shared = width * height
    first, second = ((each[2] - each[0]) * (each[3] - each[1]) for each in (a, b))
    return bool(shared > threshold * (first + second - shared))


def suppress_in_space(
    boxes: Array,
    scores: Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> list[tuple[int, int]]:
    """Suppression in space; returns the kept (candidate, class) pairs, best first."""
    found: list[tuple[int, int]] = []
    sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 3] > 0) & (boxes[:, 5] > 0)
    corners = [rectangle(*each[[0, 2, 3, 5, 6]].astype(float)) for each in boxes]
    for label in range(scores.shape[1]):
        score = scores[:, label]
        entries = [
            i
            for i in range(len(boxes))
            if sound[i] and np.isfinite(score[i]) and score[i] > np.float32(score_threshold)
        ]
        kept: list[int] = []
        for i in sorted(entries, key=lambda i: (-score[i], i)):
            if len(kept) == max_detections:
                break
            if not any(share(corners[k], corners[i]) > iou_threshold for k in kept):
                kept.append(i)
        found += [(i, label) for i in kept]
    found.sort(key=lambda pair: (-scores[pair], pair[1], pair[0]))
    return found[:max_detections]


def rectangle(x: float, z: float, length: float, width: float, yaw: float) -> list[complex]:
    """Corners of a box seen from above, counter-clockwise, as x + i z."""
    turn = complex(math.cos(-yaw), math.sin(-yaw))
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return [complex(x, z) + turn * complex(a * length / 2, b * width / 2) for a, b in signs]


def share(one: list[complex], other: list[complex]) -> float:
    """Intersection over union of two convex polygons, by clipping one at the other's sides."""
    rest = one
    for start, end in zip(other, other[1:] + other[:1], strict=True):
        side = end - start
        heights = [(side.conjugate() * (point - start)).imag for point in rest]
        clipped: list[complex] = []
        for i, (point, height) in enumerate(zip(rest, heights, strict=True)):
            before, lower = rest[i - 1], heights[i - 1]
            if (height >= 0) != (lower >= 0):
                clipped.append(before + (point - before) * (lower / (lower - height)))
            if height >= 0:
                clipped.append(point)
        rest = clipped
    shared = area(rest)
    return shared / (area(one) + area(other) - shared)


def area(polygon: list[complex]) -> float:
    """Area of a polygon whose corners are given counter-clockwise."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum((a.conjugate() * b).imag for a, b in pairs) / 2
