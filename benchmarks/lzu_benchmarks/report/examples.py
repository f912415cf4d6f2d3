"""Small objects that one bundle finds and another one misses: chosen by a rule, both ways round."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.report.pictures import write_jpeg
from lzu_benchmarks.report.schema import Crop, Examples
from lzu_benchmarks.report.small import PANEL, Kind, Small, Window, kind_of
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.coco import AREAS, COCO_AREAS
from lzu_export.inputs.frame import Frame
from lzu_export.runtime.text import caption, unit_of
from lzu_export.support.look.svg import plain

MOST = 4
"""Largest number of examples of each kind."""
GAP = 8
"""Gap between crops in pixels."""
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
        The examples; None where nothing in the truth is known to be small, or nothing is compared.

    Raises:
        LzuError: a file cannot be written.
    """
    base = next((each for each in bundles if each.manifest.variant == "uniform"), None)
    if base is None:
        return None
    recipe = base.manifest.recipe
    kind = kind_of(samples, recipe.classes, small_side(recipe.evaluation.dataset))
    if kind is None:
        return None
    objects = kind.objects(samples)
    others = [
        each for each in bundles if each is not base and each.manifest.recipe.scale == recipe.scale
    ]
    groups: dict[str, tuple[Crop, ...]] = {}
    by_base = found_by(kind, objects, predictions[base.folder.name])
    for other in others:
        by_other = found_by(kind, objects, predictions[other.folder.name])
        ours, theirs = np.flatnonzero(by_other & ~by_base), np.flatnonzero(by_base & ~by_other)
        count = min(MOST, max(len(ours), len(theirs)))
        seen = {
            "uniform": predictions[base.folder.name],
            other.manifest.variant: predictions[other.folder.name],
        }
        variants = tuple(seen)
        for (winner, loser), chosen in ((variants[::-1], ours), (variants, theirs)):
            heading = (
                f"{winner} finds, {loser} misses: {len(chosen)} of {len(objects)} {kind.things}"
            )
            groups[heading] = tuple(
                _crop(kind, objects[i], samples, seen, folder, f"{other.folder.name}-{winner}-{i}")
                for i in evenly(chosen, count)
            )
    small, found, drawn = kind.rule()
    rule = (
        f"Small: {small}. Found: {found}. Shown: of the {kind.things.removeprefix('small ')} in "
        f"the first {len(samples)} frames that one finds and the other misses, at most {MOST}, "
        "evenly spread over them in their order; and as many the other way round, where there are "
        f"as many. Drawn: {drawn}."
    )
    return Examples(rule=rule, groups=groups)


def small_side(dataset: str | None) -> float:
    """Return the side in pixels below whose square the metric of a data set calls objects small."""
    areas = AREAS if dataset == "demo" else COCO_AREAS
    return float(areas["small"][1]) ** 0.5


def found_by(kind: Kind, objects: Sequence[Small], predictions: Sequence[Any]) -> NDArray[np.bool_]:
    """Return whether each object is found by a model with these predictions by frame."""
    return np.array([kind.finds(each, predictions[each.frame]) for each in objects], bool)


def evenly(chosen: NDArray[np.intp], count: int) -> list[int]:
    """Return at most `count` of the indices, evenly spread over them."""
    if len(chosen) <= count:
        return [int(each) for each in chosen]
    return [int(chosen[(2 * i + 1) * len(chosen) // (2 * count)]) for i in range(count)]


def _crop(
    kind: Kind,
    each: Small,
    samples: Sequence[Sample],
    predictions: Mapping[str, Sequence[Any]],
    folder: Path,
    name: str,
) -> Crop:
    """Draw an object as the truth has it and as both bundles see it, side by side."""
    sample = samples[each.frame]
    window = _window(each, sample.camera_frame.frame)
    seen = {"truth": None, **{of: found[each.frame] for of, found in predictions.items()}}
    gap = np.full((PANEL, GAP, 3), 255, np.uint8)
    parts: list[Frame] = []
    for text, prediction in seen.items():
        drawn = kind.draw(each, sample, prediction, window)
        caption(drawn, text, 2 * unit_of(drawn))
        parts += [drawn, gap]
    width, height = each.box[2:] - each.box[:2]
    text = (
        f"{plain(kind.classes[each.label])}, {width:.0f}x{height:.0f} pixels, frame "
        f"{Path(sample.name or '').name or each.frame + 1}: {', '.join(seen)}"
    )
    return Crop(file=write_jpeg(folder, name, np.hstack(parts[:-1])), text=text)


def _window(each: Small, frame: Frame) -> Window:
    """Return a square around an object within the frame."""
    side = float(
        np.clip(AROUND * (each.box[2:] - each.box[:2]).max(), LEAST_SIDE, min(frame.shape[:2]))
    )
    limits = np.array([frame.shape[1], frame.shape[0]]) - side
    corner = np.clip((each.box[:2] + each.box[2:]) / 2 - side / 2, 0, limits)
    return Window(corner, PANEL / side)
