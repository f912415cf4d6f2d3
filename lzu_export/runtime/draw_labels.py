"""Draw label maps: class colours over the frame, with a legend below."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.runtime.palette import Colour, distinct_colours, further_colours
from lzu_export.runtime.text import legend, legend_places, unit_of
from lzu_export.support.limits import IGNORED

# Cityscapes' own colours of its 19 evaluated classes; blue, green, red.
CITYSCAPES: dict[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (232, 35, 244),
    "building": (70, 70, 70),
    "wall": (156, 102, 102),
    "fence": (153, 153, 190),
    "pole": (153, 153, 153),
    "traffic light": (30, 170, 250),
    "traffic sign": (0, 220, 220),
    "vegetation": (35, 142, 107),
    "terrain": (152, 251, 152),
    "sky": (180, 130, 70),
    "person": (60, 20, 220),
    "rider": (0, 0, 255),
    "car": (142, 0, 0),
    "truck": (70, 0, 0),
    "bus": (100, 60, 0),
    "train": (100, 80, 0),
    "motorcycle": (230, 0, 0),
    "bicycle": (32, 11, 119),
}
ALIASES = {
    "pedestrian": "person",
    "bicyclist": "rider",
    "pavement": "sidewalk",
    "sign": "traffic sign",
    "tree": "vegetation",
}
"""Cityscapes' class by the name that other data sets give it."""


def draw_labels(
    frame: Frame,
    labels: NDArray[np.integer],
    classes: Sequence[str],
    *,
    opacity: float = 0.5,
    outlined: bool = False,
    named: bool = True,
) -> Frame:
    """Draw class colours over the frame, and below it a legend of the classes that occur.

    The legend is high enough for all classes, so that all pictures of a video have one size.
    Ignored pixels keep the frame's own colours.

    Args:
        frame: (H, W, 3) uint8, BGR.
        labels: (H, W) indices into `classes`, or `IGNORED`.
        classes: names of the classes.
        opacity: share of the class's colour, 0 to 1.
        outlined: draw a white line between classes.
        named: add the legend.

    Returns:
        (H + legend, W, 3) uint8.

    Raises:
        LzuError: the sizes differ, a label has no class, or the opacity is outside of 0 to 1.
    """
    check_frame(frame, None, "the frame")
    _check(frame, labels, classes, opacity)
    colours = label_colours(classes)
    table = np.zeros((IGNORED + 1, 3), np.uint8)
    table[: len(classes)] = colours
    known = labels != IGNORED
    painted = table[np.where(known, labels, IGNORED)]
    mixed = np.rint(frame * (1 - opacity) + painted * opacity).astype(np.uint8)
    picture = np.where(known[..., None], mixed, frame)
    unit = unit_of(frame)
    if outlined:
        picture[borders(labels, unit)] = 255
    if not named:
        return picture
    names = [each.replace("_", " ") for each in classes]
    strip = np.full((legend_places(names, frame.shape[1], unit)[1], frame.shape[1], 3), 255)
    occurring = np.unique(labels[known]).tolist()
    picture = np.vstack([picture, strip.astype(np.uint8)])
    legend(picture, [(names[i], colours[i]) for i in occurring], frame.shape[0], unit)
    return picture


def borders(labels: NDArray[np.integer], width: int = 1) -> NDArray[np.bool_]:
    """Return the mask (H, W) of lines between classes, at the left and upper side of changes."""
    line = np.zeros(labels.shape, np.uint8)
    line[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    line[:-1] |= labels[:-1] != labels[1:]
    if width > 1:
        line = np.asarray(cv2.dilate(line, np.ones((width, width), np.uint8)), np.uint8)
    return line.astype(bool)


def label_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """Return a colour for each class: Cityscapes' for its names, distinct ones for others."""
    names = [name.lower().replace("_", " ") for name in classes]
    known = [CITYSCAPES.get(ALIASES.get(name, name)) for name in names]
    given = tuple(dict.fromkeys(colour for colour in known if colour is not None))
    if not given:
        return distinct_colours(len(classes))
    fresh = iter(further_colours(given, len(given) + known.count(None))[len(given) :])
    return tuple(next(fresh) if colour is None else colour for colour in known)


def _check(
    frame: Frame, labels: NDArray[np.integer], classes: Sequence[str], opacity: float
) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise LzuError(f"the label map has type {kind}; give an array of integers")
    if labels.shape != frame.shape[:2]:
        raise LzuError(
            f"the label map has shape {labels.shape} and the frame {frame.shape[:2]}; give both at "
            "one size"
        )
    unknown = labels[((labels < 0) | (labels >= len(classes))) & (labels != IGNORED)]
    if unknown.size:
        raise LzuError(
            f"the label map holds {unknown[0]}, which is none of the {len(classes)} classes and "
            f"not the ignored {IGNORED}; name all classes"
        )
    if not 0 <= opacity <= 1:
        raise LzuError(f"opacity is {opacity}; give a share from 0 to 1")
