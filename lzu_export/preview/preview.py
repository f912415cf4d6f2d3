"""Look at a warp: open it, measure it, propose settings, and draw it."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.preview import openers
from lzu_export.preview.frames import board, first_frame, fitted_frame
from lzu_export.preview.measure import Measured, as_json, measure, warnings
from lzu_export.preview.page import warp_page
from lzu_export.preview.picture import draw
from lzu_export.preview.propose import Proposal, propose
from lzu_export.preview.subject import Sizes, Subject
from lzu_export.recipes import Recipe
from lzu_export.support.files import replacing
from lzu_export.support.plots import check_matplotlib
from lzu_export.warp.box_saliency import boxes_in_view
from lzu_export.warp.fixed_warp import FixedWarp

SMALL = 16.0
"""Default size in canvas pixels below which a box counts as small."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".pdf", ".html")
"""Formats of the picture; the last is a page with the picture and its figures."""


@dataclass(frozen=True)
class Preview:
    """A warp with its figures and, if a magnification is wanted, settings that reach it."""

    subject: Subject
    measured: Measured
    proposals: list[Proposal]
    picture: Path
    """Path of the picture that was written."""

    @property
    def warnings(self) -> list[str]:
        """Sentences about a warp that hardly zooms, squeezes a region, or crops the frame."""
        return warnings(self.subject, self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **as_json(self.subject, self.measured),
            "proposals": [each._asdict() for each in self.proposals],
            "picture": str(self.picture),
        }


def preview(
    name: str,
    overrides: Mapping[str, Any],
    out: Path,
    *,
    frames: str | None = None,
    boxes: Path | None = None,
    magnification: float | None = None,
    small: float = SMALL,
    fit: str = "exact",
) -> Preview:
    """Measure a warp and draw it.

    Args:
        name: a recipe file, shipped recipe or task; a bundle's folder; a file of knots (.npz) or of
            a saliency (.npy, .pkl).
        overrides: recipe keys and values.
        out: file of the picture, in one of the formats in `SUFFIXES`.
        frames: source whose first frame is shown; by default a board of squares.
        boxes: annotations whose boxes are measured; by default the recipe's training boxes.
        magnification: wanted largest magnification along an axis, for which settings are proposed.
        small: size in canvas pixels, the root of the area, below which a box counts as small.
        fit: how a frame of another size is fitted to a recipe's source.

    Raises:
        LzuError: an input is missing or unfit, or matplotlib is not installed.
        OSError: the picture cannot be written.
    """
    _check_place(out)
    recipe = openers.opened_recipe(name, overrides)
    image, frame = (None, None) if frames is None else first_frame(frames)
    if frame is not None and recipe is not None:
        frame = fitted_frame(image or "the frame", frame, recipe, fit)
    subject = _opened(name, overrides, recipe, image, frame, boxes)
    return _seen(subject, frame, out, magnification, small)


def preview_warp(
    warp: FixedWarp,
    out: str | Path,
    *,
    frame: Frame | None = None,
    boxes: ArrayLike | None = None,
    small: float = SMALL,
) -> Preview:
    """Measure a warp that was made in Python and draw it.

    Args:
        warp: the warp.
        out: file of the picture, in one of the formats in `SUFFIXES`.
        frame: frame (H, W, 3) uint8, BGR, of the warp's source size; by default a board of squares.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the source, to be measured.
        small: size in canvas pixels, the root of the area, below which a box counts as small.

    Raises:
        LzuError: the frame has another size, boxes are not (n, 4), or matplotlib is not installed.
        OSError: the picture cannot be written.
    """
    _check_place(Path(out))
    sizes = Sizes.whole(warp.source, 1)._replace(canvas=warp.canvas)
    subject = Subject(warp.origin, sizes, warp.knots)
    if frame is not None:
        check_frame(frame, None)
        if frame.shape[:2] != warp.source:
            raise LzuError(
                f"the frame is {frame.shape[0]}x{frame.shape[1]} but the warp's source "
                f"{warp.source[0]}x{warp.source[1]}; give a frame of that size"
            )
    if boxes is not None:
        given = np.asarray(boxes, np.float64)
        if given.ndim != 2 or given.shape[1] != 4:
            raise LzuError(f"boxes have shape {given.shape}; give (n, 4) as x1, y1, x2, y2")
        subject = subject.with_boxes(boxes_in_view(given, sizes.corner, sizes.view))
    return _seen(subject, frame, Path(out), None, small)


def _check_place(out: Path) -> None:
    """Check, before any work, that a picture can be drawn and has a place.

    Raises:
        LzuError: matplotlib or the folder is missing, or the suffix is no picture's.
    """
    check_matplotlib()
    if out.suffix.lower() not in SUFFIXES:
        raise LzuError(f"--out {out} is no picture; give a name in {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise LzuError(f"--out {out} is in a folder that does not exist; make it")


def _seen(
    subject: Subject, frame: Frame | None, out: Path, magnification: float | None, small: float
) -> Preview:
    measured = measure(subject, small)
    proposals = [] if magnification is None else propose(subject, magnification, small)
    with replacing(out, named=True) as new:
        shown = board(subject.sizes.source) if frame is None else frame
        kind = out.suffix.lower().removeprefix(".")
        if kind == "html":
            stream = BytesIO()
            draw(subject, measured, shown, stream, "png")
            page = warp_page(subject, measured, proposals, stream.getvalue())
            new.write_text(page, encoding="utf-8")
        else:
            draw(subject, measured, shown, new, kind)
    return Preview(subject, measured, proposals, out)


def _opened(
    name: str,
    overrides: Mapping[str, Any],
    recipe: Recipe | None,
    image: str | None,
    frame: Frame | None,
    boxes: Path | None,
) -> Subject:
    if recipe is None:
        size = None if frame is None else (frame.shape[0], frame.shape[1])
        subject = openers.from_file(Path(name), size, overrides)
    elif Path(name).is_dir():
        subject = openers.from_bundle(Path(name))
    elif recipe.adapts and not recipe.takes_knots:
        return openers.from_frame_boxes(recipe, boxes, image)
    else:
        subject = openers.from_recipe(recipe)
    if boxes is None:
        return subject
    return subject.with_boxes(openers.measured_boxes(boxes, subject, recipe))
