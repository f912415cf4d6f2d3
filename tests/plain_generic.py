"""The steps of `docs/outputs.md` for networks of users' own, in plain NumPy.

It imports nothing of the package, so that it knows only what the page says. Arithmetic is in
float64 but for the suppression.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plain_runtime import Found, suppress

Array = NDArray[Any]
Pair = tuple[int, int]
Settings = Mapping[str, Any]


class Place(NamedTuple):
    """The place of a view, all (height, width) or (y, x)."""

    canvas: Pair
    network_input: Pair
    step: tuple[float, float]
    corner: Pair
    view: Pair

    def on_canvas(self, boxes: Array) -> Array:
        """Boxes clipped to the canvas."""
        return np.clip(boxes, 0, [*self.canvas[::-1]] * 2)

    def in_source(self, boxes: Array) -> Array:
        """Boxes on the canvas, in pixels of the source."""
        return (boxes - 0.5) * ([*self.step[::-1]] * 2) + 0.5 + [*self.corner[::-1]] * 2

    def clipped(self, boxes: Array) -> Array:
        """Boxes in the source, clipped to the view."""
        first = np.array([*self.corner[::-1]] * 2)
        return np.clip(boxes, first, first + [*self.view[::-1]] * 2)


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def corners(boxes: Array) -> Array:
    """Boxes x1, y1, x2, y2 of boxes centre x, centre y, width, height."""
    return np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])


def yolo(settings: Settings, outputs: Mapping[str, Array], place: Place) -> Found:
    (table,) = outputs.values()
    table = (table.T if settings["layout"] == "columns" else table).astype(float)
    first = 5 if settings["objectness"] else 4
    labels = table[:, first:].argmax(axis=1)
    activate = sigmoid if settings["activation"] == "sigmoid" else np.asarray
    scores = activate(table[np.arange(len(table)), first + labels])
    if settings["objectness"]:
        scores = scores * activate(table[:, 4])
    boxes = table[:, :4]
    return Found(corners(boxes) if settings["boxes"] == "center" else boxes, scores, labels)


def detr(settings: Settings, outputs: Mapping[str, Array], place: Place) -> Found:
    logits, boxes = (outputs[settings[key]].astype(float) for key in ("logits", "boxes"))
    found = []
    if settings["activation"] == "sigmoid":
        found = [(score, q, c) for (q, c), score in np.ndenumerate(sigmoid(logits))]
    else:
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        best = shares[:, :-1].argmax(axis=1)
        found = [(shares[q, c], q, c) for q, c in enumerate(best)]
    found.sort(key=lambda each: (-each[0], each[1], each[2]))
    found = found[: settings["candidates"]]
    height, width = place.canvas if settings["relative_to"] == "canvas" else place.network_input
    scaled = corners(boxes) * [width, height, width, height]
    queries = [q for _, q, _ in found]
    scores, labels = (np.array([each[i] for each in found]) for i in (0, 2))
    return Found(scaled[queries], scores, labels)


def anchors(settings: Settings, outputs: Mapping[str, Array], place: Place) -> Found:
    found: list[Found] = []
    for level, stride in enumerate(settings["strides"]):
        logits, deltas = (outputs[settings[key][level]] for key in ("scores", "boxes"))
        sizes = [
            (stride * q / np.sqrt(ratio), stride * q * np.sqrt(ratio))
            for ratio in settings["ratios"]
            for k in range(settings["scales_per_octave"])
            for q in [settings["octave_base_scale"] * 2 ** (k / settings["scales_per_octave"])]
        ]
        classes = len(logits) // len(sizes)
        scores = sigmoid(logits.astype(float))
        entries = [
            (scores[a * classes + c, i, j], i, j, a, c)
            for i in range(logits.shape[1])
            for j in range(logits.shape[2])
            for a in range(len(sizes))
            for c in range(classes)
            if scores[a * classes + c, i, j] > settings["score_threshold"]
        ]
        entries.sort(key=lambda each: (-each[0], *each[1:]))
        entries = entries[: settings["candidates_per_level"]]
        boxes = []
        for _, i, j, a, _ in entries:
            raw = deltas[4 * a : 4 * a + 4, i, j].astype(float)
            dx, dy, dw, dh = raw * settings["stds"] + settings["means"]
            dw, dh = np.clip([dw, dh], np.log(16 / 1000), -np.log(16 / 1000))
            width, height = sizes[a]
            centre = stride * j + width * dx, stride * i + height * dy
            boxes.append([*centre, width * np.exp(dw), height * np.exp(dh)])
        found.append(
            Found(
                place.on_canvas(corners(np.reshape(boxes, (-1, 4)))),
                np.array([each[0] for each in entries]),
                np.array([each[4] for each in entries], int),
            )
        )
    return Found(*(np.concatenate(each) for each in zip(*found, strict=True)))


KINDS: dict[str, Callable[[Settings, Mapping[str, Array], Place], Found]] = {
    "yolo": yolo,
    "detr": detr,
    "anchors": anchors,
}


def thresholds(settings: Settings) -> dict[str, Any]:
    found = {name: settings[name] for name in ("score_threshold", "max_detections")}
    overlap = settings["iou_threshold"]
    return {**found, "iou_threshold": np.inf if overlap is None else overlap}


def detections(settings: Settings, outputs: Mapping[str, Array], place: Place) -> Found:
    """Detections of one view, in pixels of the source."""
    boxes, scores, labels = KINDS[settings["kind"]](settings, outputs, place)
    boxes = place.in_source(boxes)
    shown = place.clipped(boxes)
    area = (shown[:, 2] > shown[:, 0]) & (shown[:, 3] > shown[:, 1])
    kept = suppress(boxes[area], scores[area], labels[area], **thresholds(settings))
    return kept._replace(boxes=place.clipped(kept.boxes))


def merged(
    settings: Settings, found: Sequence[Found], windows: Sequence[Place], source: Pair
) -> Found:
    """Detections of a frame from those of its views, the warp's first."""
    whole = [found[0]]
    for each, window in zip(found[1:], windows, strict=True):
        inside = []
        for i, box in enumerate(each.boxes):
            cut = False
            for axis in (0, 1):
                first, count = window.corner[1 - axis], window.view[1 - axis]
                near = max(2, 0.1 * (box[axis + 2] - box[axis]))
                cut |= first > 0 and box[axis] < first + near
                last = first + count
                cut |= last < source[1 - axis] and box[axis + 2] > last - near
            if not cut:
                inside.append(i)
        whole.append(Found(*(values[inside] for values in each)))
    together = Found(*(np.concatenate(each) for each in zip(*whole, strict=True)))
    return suppress(*together, **thresholds(settings))


def label_map(settings: Settings, values: Array, place: Place, stride: float) -> Array:
    """Labels of all pixels of a view, from a map of logits (classes, h, w) or labels (h, w)."""
    cells = []
    for axis, count in enumerate(values.shape[-2:]):
        pixel = np.arange(place.view[axis])
        if settings["upsampling"] == "in-phase":
            cell = pixel / place.step[axis] / stride
        else:
            cell = (pixel + 0.5) * place.canvas[axis] / place.view[axis] / stride - 0.5
        cells.append(cell.clip(0, count - 1))
    if values.ndim == 2:
        rows, columns = (np.floor(each + 0.5).astype(int) for each in cells)
        return values[rows[:, None], columns]
    wide = values.astype(float)
    for axis, cell in enumerate(cells, 1):
        lower = np.floor(cell).astype(int)
        upper = np.minimum(lower + 1, values.shape[axis] - 1)
        shares = (cell - lower).reshape([-1 if i == axis else 1 for i in range(3)])
        wide = wide.take(lower, axis) * (1 - shares) + wide.take(upper, axis) * shares
    return wide.argmax(axis=0)
