"""Small objects that one bundle finds and another one misses: chosen by a rule, both ways round."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.report.pictures import LOWEST, true_boxes, write_jpeg
from lzu_benchmarks.report.schema import Crop, Examples
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.coco import AREAS, COCO_AREAS
from lzu_export.evaluation.metrics.scorers import BoxTruth
from lzu_export.inputs.frame import Frame
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.draw_boxes import draw_detections
from lzu_export.runtime.text import caption, unit_of
from lzu_export.support.look.svg import plain
from lzu_export.tasks.partners import overlaps

OVERLAP = 0.5
"""Intersection over union from which a detection finds an object."""
MOST = 4
"""Largest number of examples of each kind."""
PANEL, GAP = 320, 8
"""Side of a crop and the gap between crops, in pixels."""
AROUND, LEAST_SIDE = 4.0, 40.0
"""Side of the cropped square relative to the object's longer side, and its least side in pixels."""


class Compared(Protocol):
    """A bundle whose predictions are compared."""

    @property
    def folder(self) -> Path:
        """Folder of the bundle."""

    @property
    def manifest(self) -> Any:
        """Manifest of the bundle."""


class Small(NamedTuple):
    """A small object of the truth."""

    frame: int
    """Index of its frame."""
    box: NDArray[np.float32]
    """(4,) x1, y1, x2, y2 in pixels of the frame."""
    label: int


def draw_examples(
    bundles: Sequence[Compared],
    samples: Sequence[Sample],
    predictions: Mapping[str, Sequence[Any]],
    folder: Path,
) -> Examples | None:
    """Draw objects that tell uniform from each other warp of its scale, and write down the rule.

    Args:
        bundles: compared bundles.
        samples: frames with their truth.
        predictions: the predictions in these frames, by the bundle's name.
        folder: folder of the pictures.

    Returns:
        The examples; None where the truth has no boxes, or nothing is compared.

    Raises:
        LzuError: a file cannot be written.
    """
    if not samples or not all(isinstance(each.truth, BoxTruth) for each in samples):
        return None
    base = next((each for each in bundles if each.manifest.variant == "uniform"), None)
    if base is None:
        return None
    recipe = base.manifest.recipe
    side = small_side(recipe.evaluation.dataset)
    objects = small_objects(samples, recipe.classes, side**2)
    others = [
        each for each in bundles if each is not base and each.manifest.recipe.scale == recipe.scale
    ]
    groups: dict[str, tuple[Crop, ...]] = {}
    by_base = found_by(objects, predictions[base.folder.name])
    for other in others:
        by_other = found_by(objects, predictions[other.folder.name])
        ours, theirs = np.flatnonzero(by_other & ~by_base), np.flatnonzero(by_base & ~by_other)
        count = min(MOST, max(len(ours), len(theirs)))
        pair = (base.folder.name, other.folder.name)
        variants = ("uniform", other.manifest.variant)
        for (winner, loser), chosen in ((variants[::-1], ours), (variants, theirs)):
            heading = (
                f"{winner} finds, {loser} misses: {len(chosen)} of {len(objects)} small objects"
            )
            groups[heading] = tuple(
                _crop(objects[i], samples, predictions, pair, variants, folder,
                      f"{pair[1]}-{winner}-{i}")
                for i in evenly(chosen, count)
            )  # fmt: skip
    rule = (
        f"Small: an area below {side:g}x{side:g} pixels of the frame. Found: a detection of the "
        f"object's class that scores at least {LOWEST:g} and overlaps it by at least {OVERLAP:g} "
        f"(intersection over union). Shown: of the objects in the first {len(samples)} frames that "
        f"one finds and the other misses, at most {MOST}, evenly spread over them in their order; "
        "and as many the other way round, where there are as many. Drawn: boxes of its class."
    )
    return Examples(rule=rule, groups=groups)


def small_side(dataset: str | None) -> float:
    """Return the side in pixels below whose square the metric of a data set calls objects small."""
    areas = AREAS if dataset == "demo" else COCO_AREAS
    return float(areas["small"][1]) ** 0.5


def small_objects(samples: Sequence[Sample], classes: tuple[str, ...], area: float) -> list[Small]:
    """Return the objects below an area in square pixels that count, in the order of the frames."""
    found = []
    for i, sample in enumerate(samples):
        boxes = true_boxes(sample.truth, classes)
        sizes = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).prod(axis=1)
        for box, label, size in zip(boxes.boxes, boxes.labels, sizes, strict=True):
            if 0 < size < area:
                found.append(Small(i, box, int(label)))
    return found


def found_by(objects: Sequence[Small], predictions: Sequence[Detections]) -> NDArray[np.bool_]:
    """Return whether each object is found by a model with these predictions by frame."""
    found = np.zeros(len(objects), bool)
    for i, each in enumerate(objects):
        seen = predictions[each.frame]
        able = (seen.labels == each.label) & (seen.scores >= LOWEST)
        if able.any():
            boxes = np.asarray(seen.boxes[able], np.float64)
            best = overlaps(np.asarray(each.box, np.float64)[None], boxes).max()
            found[i] = best >= OVERLAP
    return found


def evenly(chosen: NDArray[np.intp], count: int) -> list[int]:
    """Return at most `count` of the indices, evenly spread over them."""
    if len(chosen) <= count:
        return [int(each) for each in chosen]
    return [int(chosen[(2 * i + 1) * len(chosen) // (2 * count)]) for i in range(count)]


def _crop(
    each: Small,
    samples: Sequence[Sample],
    predictions: Mapping[str, Sequence[Detections]],
    pair: tuple[str, str],
    variants: tuple[str, str],
    folder: Path,
    name: str,
) -> Crop:
    """Draw an object as the truth has it and as both bundles see it, side by side."""
    sample = samples[each.frame]
    frame = sample.camera_frame.frame
    classes = predictions[pair[0]][each.frame].classes
    truth = Detections(
        each.box[None], np.ones(1, np.float32), np.array([each.label], np.int32), classes
    )
    seen = [truth, *(_of_class(predictions[bundle][each.frame], each.label) for bundle in pair)]
    panels = [
        _panel(frame, each.box, found, text)
        for found, text in zip(seen, ("truth", *variants), strict=True)
    ]
    gap = np.full((PANEL, GAP, 3), 255, np.uint8)
    picture = np.hstack([panels[0], gap, panels[1], gap, panels[2]])
    width, height = each.box[2:] - each.box[:2]
    text = (
        f"{plain(classes[each.label])}, {width:.0f}x{height:.0f} pixels, frame "
        f"{sample.name or each.frame + 1}: truth, {variants[0]}, {variants[1]}"
    )
    return Crop(file=write_jpeg(folder, name, picture), text=text)


def _of_class(found: Detections, label: int) -> Detections:
    """Return the detections of one class; those of others would hide small ones."""
    mine = found.labels == label
    return Detections(found.boxes[mine], found.scores[mine], found.labels[mine], found.classes)


def _panel(frame: Frame, box: NDArray[np.float32], found: Detections, text: str) -> Frame:
    """Cut a square around a box out of a frame, enlarge it, and draw detections on it."""
    side = float(np.clip(AROUND * (box[2:] - box[:2]).max(), LEAST_SIDE, min(frame.shape[:2])))
    limits = np.array([frame.shape[1], frame.shape[0]]) - side
    corner = np.clip((box[:2] + box[2:]) / 2 - side / 2, 0, limits)
    factor = PANEL / side
    matrix = np.array([[factor, 0, -factor * corner[0]], [0, factor, -factor * corner[1]]])
    picture = cv2.warpAffine(frame, matrix, (PANEL, PANEL), flags=cv2.INTER_LINEAR)
    moved = (found.boxes - np.tile(corner, 2)) * factor
    shown = Detections(moved.astype(np.float32), found.scores, found.labels, found.classes)
    drawn = draw_detections(np.asarray(picture, np.uint8), shown, lowest=LOWEST, named=False)
    caption(drawn, text, 2 * unit_of(drawn))
    return drawn
