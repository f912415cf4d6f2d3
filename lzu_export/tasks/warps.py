"""From a recipe's warp settings to knots and resample tables. No torch but for learned logits."""

import difflib
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.coco import CocoData, check_frame_size, read_coco
from lzu_export.inputs.images import read_image
from lzu_export.inputs.label_sets import without_information
from lzu_export.inputs.nuscenes import is_nuscenes
from lzu_export.inputs.nuscenes import training_boxes as nuscenes_boxes
from lzu_export.inputs.training import training_boxes, training_maps
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings, LabelWarpSettings
from lzu_export.support.limits import IGNORED
from lzu_export.warp.grids import (
    AXIS_KNOTS,
    PLANE_KNOTS,
    Sampling,
    stored_zoom,
    unzoom_grid,
    zoom_arrays,
    zoom_at,
)
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.saliency import (
    Array,
    boundary_saliency,
    box_saliency,
    load_saliency,
    mix,
    softmax_saliency,
    uniform_saliency,
)
from lzu_export.warp.tables import unzoom_tables

log = logging.getLogger(__name__)

FLAT = 1e-9
"""Relative spread of a saliency below which it is the same everywhere but for roundings."""
MANY_BOXES, QUARTER = 50, 0.52
"""So many boxes reach beyond this share of a frame somewhere, unless their scale is wrong."""
FRAMES_TRIED = 16
"""Images of a saliency's annotations whose size is looked at, where the files are there."""


@dataclass(frozen=True)
class Warp:
    """A fixed warp, ready to be baked in."""

    saliency: Array
    """(h, w) on the lattice."""
    knots: Mapping[str, Array]
    """`knots_x` and `knots_y` by name, or the `knots` (h, w, 2) of a non-separable warp."""
    zoom: Sampling
    unzoom: Sequence[Sequence[Sampling]] | None
    """Per level the tables whose samples add up to its unzoom; None where the levels stay."""

    @property
    def knots_x(self) -> Array:
        """(w,) of a separable warp."""
        return self.knots["knots_x"]

    @property
    def knots_y(self) -> Array:
        """(h,) of a separable warp."""
        return self.knots["knots_y"]

    def arrays(self) -> dict[str, Any]:
        """Everything by name, for `warp.npz`."""
        arrays: dict[str, Any] = {"saliency": self.saliency, **self.knots, **zoom_arrays(self.zoom)}
        for level, parts in enumerate(self.unzoom or []):
            for i, part in enumerate(parts):
                for name, value in part._asdict().items():
                    arrays[f"unzoom_{level}_{i}_{name}"] = value
        return arrays


def stored_warp(arrays: Mapping[str, Any]) -> Warp:
    """The warp that `Warp.arrays` stored."""
    levels: dict[int, dict[int, dict[str, Any]]] = {}
    for key, value in arrays.items():
        if key.startswith("unzoom_"):
            _, level, part, field = key.split("_")
            levels.setdefault(int(level), {}).setdefault(int(part), {})[field] = value
    zoom = stored_zoom(arrays)
    unzoom: list[list[Sampling]] = [
        [type(zoom)(**tables) for _, tables in sorted(parts.items())]
        for _, parts in sorted(levels.items())
    ]
    knots = {name: value for name, value in arrays.items() if name.startswith("knots")}
    return Warp(arrays["saliency"], knots, zoom, unzoom or None)


def make_warp(recipe: Recipe) -> Warp:
    """Compute the recipe's warp: the identity for `uniform`, else from its saliency.

    The uniform variant has an unzoom too where the recipe asks for a finer map than the level's.

    Raises:
        LzuError: no saliency is given, or it cannot be read or does not fit.
    """
    if recipe.adapts:
        return _adaptive_warp(recipe)
    settings = recipe.warp
    uniform = recipe.variant == "uniform"
    saliency = uniform_saliency(settings.lattice) if uniform else read_saliency(recipe)
    knots = _named_knots(recipe, saliency)
    antialias = recipe.sampler == "antialiased"
    zoom = zoom_at(knots, recipe.span, recipe.canvas, antialias=antialias)
    return Warp(saliency, knots, zoom, _unzoom(recipe, knots))


def _named_knots(recipe: Recipe, saliency: Array) -> dict[str, Array]:
    """A saliency's knots by name, of the recipe's kind of warp."""
    settings = recipe.warp
    if recipe.separable:
        found = separable_knots(saliency, settings.fwhm, anti_crop=settings.anti_crop)
        return dict(zip(AXIS_KNOTS, found, strict=True))
    plane = nonseparable_knots(saliency, settings.fwhm, anti_crop=settings.anti_crop)
    return dict(zip(PLANE_KNOTS, (plane,), strict=True))


def _unzoom(recipe: Recipe, knots: Mapping[str, Array]) -> Sequence[Sequence[Sampling]] | None:
    """Of a fixed warp, per level; None where the levels stay."""
    settings, canvas, scale = recipe.warp, recipe.canvas, recipe.unzoom_scale
    if not recipe.separable:
        (plane,) = (knots[name] for name in PLANE_KNOTS)
        return [[unzoom_grid(plane, level, canvas, scale=scale)] for level in recipe.levels]
    uniform = recipe.variant == "uniform"
    if uniform and scale == 1:
        return None
    knots_x, knots_y = (knots[name] for name in AXIS_KNOTS)
    return [
        unzoom_tables(
            knots_x,
            knots_y,
            level,
            canvas,
            geometry=settings.geometry,
            unfilled=() if uniform else settings.unfilled or (),
            scale=scale,
        )
        for level in recipe.levels
    ]


def _adaptive_warp(recipe: Recipe) -> Warp:
    """What an adaptive warp is without boxes, and the fixed saliency that is mixed in."""
    settings = recipe.warp
    fixed = settings.mix < 1
    saliency = read_saliency(recipe) if fixed else uniform_saliency(settings.lattice)
    uniform = uniform_saliency(settings.lattice)
    start = mix(saliency / saliency.sum(), uniform / uniform.sum(), settings.mix)
    knots = _named_knots(recipe, start)
    return Warp(saliency, knots, zoom_at(knots, recipe.span, recipe.canvas), None)


def read_saliency(recipe: Recipe) -> Array:
    """The recipe's saliency (h, w): a map, made from boxes or label maps, or of learned logits.

    Logits are in the checkpoint: where the recipe names them this imports torch.

    Raises:
        LzuError: nothing is given, the file or tensor cannot be read, the map is not of the
            lattice, or it is the same everywhere.
    """
    saliency = _read_saliency(recipe)
    if np.ptp(saliency) <= FLAT * saliency.max():
        raise LzuError(
            f"{_fixed_source(recipe)} is the same everywhere, so that nothing is zoomed; give the "
            "one that the model was trained with, or export variant uniform"
        )
    return saliency


def _read_saliency(recipe: Recipe) -> Array:
    settings = recipe.warp
    if settings.logits is not None:
        return _learned_saliency(recipe, settings.logits)
    path = settings.saliency
    boxes = None
    if isinstance(settings, BoxWarpSettings) and path is not None:
        boxes = _training_boxes(path, recipe)
    if isinstance(settings, BoxWarpSettings) and boxes is not None:
        return box_saliency(
            boxes,
            recipe.view,
            settings.lattice,
            amplitude=settings.amplitude,
            bandwidth=settings.bandwidth,
        )
    if isinstance(settings, LabelWarpSettings) and path is not None and path.is_dir():
        return label_saliency(path, recipe, settings)
    if path is None:
        made_from = {
            BoxWarpSettings: "the COCO annotations of the training boxes",
            LabelWarpSettings: "the folder of the training label maps",
        }[type(settings)]
        raise LzuError(
            "the fixed warp needs a saliency: set warp.saliency (SALIENCY=file) to a .npy map or "
            f"to {made_from}, or warp.logits to the name of learned ones in the checkpoint"
        )
    return load_saliency(path, settings.lattice)


def _learned_saliency(recipe: Recipe, name: str) -> Array:
    """The softmax of the checkpoint's logits of this name."""
    path = recipe.checkpoint.get(recipe.variant)
    if path is None:
        raise LzuError(
            f"warp.logits {name} is a tensor of the checkpoint, but variant {recipe.variant} has "
            "none; give one (CHECKPOINT=file), or set warp.saliency instead"
        )
    from lzu_export.models.checkpoint import load_state

    state = load_state(path)
    if name not in state:
        close = difflib.get_close_matches(name, state, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; name the tensor that holds the logits"
        raise LzuError(f"checkpoint {path} has no tensor {name}, which warp.logits names{hint}")
    return softmax_saliency(
        state[name].double().numpy(),
        lattice=recipe.warp.lattice,
        name=f"the tensor {name} of checkpoint {path}",
    )


def warp_source(recipe: Recipe) -> str:
    """What the warp is made of, in words, for a manifest."""
    settings = recipe.warp
    fixed = _fixed_source(recipe)
    if not recipe.adapts:
        return "nothing: every place alike" if recipe.variant == "uniform" else fixed
    looks = "boxes of the frame before"
    if settings.network is not None:
        looks = f"saliency network, ResNet-{settings.network.depth}, on each frame"
    return looks if settings.mix == 1 else f"{looks} (share {settings.mix:g}) and {fixed}"


def _fixed_source(recipe: Recipe) -> str:
    """What the fixed saliency is made of, in words."""
    settings = recipe.warp
    if settings.logits is not None:
        return f"learned logits {settings.logits}"
    if settings.saliency is not None:
        return f"saliency {settings.saliency.name}"
    return "nothing: every place alike"


def label_saliency(folder: Path, recipe: Recipe, settings: LabelWarpSettings) -> Array:
    """The mean boundary saliency (h, w) of the label maps of a folder, see `training_maps`.

    Raises:
        LzuError: there are none; one is unreadable, of another size or holds unknown labels; or no
            two classes meet in any of them.
    """
    found = training_maps(folder, recipe.classes)
    top, left = recipe.corner
    height, width = recipe.view
    total = np.zeros(settings.lattice)
    seen: set[int] = set()
    for path in found.files:
        labels = found.read(path)
        if labels.shape != recipe.source:
            raise LzuError(
                f"label map {path} is {labels.shape[0]}x{labels.shape[1]} but the recipe's source "
                f"{recipe.source[0]}x{recipe.source[1]}; make them equal"
            )
        view = labels[top : top + height, left : left + width]
        seen |= set(np.unique(view).tolist())
        total += boundary_saliency(
            view,
            settings.lattice,
            boundary=settings.boundary,
            background=settings.background,
            ignore=IGNORED,
        )
    if np.ptp(total) <= FLAT * total.max() and settings.boundary != settings.background:
        if len(seen - {IGNORED}) < 2:
            raise LzuError(f"saliency {folder} {without_information(seen, recipe.classes)}")
        raise LzuError(
            f"saliency {folder} holds one class in each of its label maps, so that no two meet; "
            "give maps with boundaries between classes"
        )
    return np.asarray(total / len(found.files))


def warp_note(geometry: str, fwhm: float, saliency: Array) -> dict[str, str]:
    """What a checkpoint trained with a fixed warp should remember of it, in its `meta`."""
    return {
        "variant": "fixed",
        "geometry": geometry,
        "fwhm": f"{fwhm:g}",
        "saliency": hashlib.sha256(saliency.astype(np.float32).tobytes()).hexdigest(),
    }


def box_warp_note(
    variant: str, lattice: tuple[int, int], fwhm: float, amplitude: float, bandwidth: float
) -> dict[str, str]:
    """What a checkpoint trained with a warp of the boxes before should remember of it."""
    return {
        "variant": variant,
        "geometry": "consistent",
        "lattice": "x".join(map(str, lattice)),
        "fwhm": f"{fwhm:g}",
        "amplitude": f"{amplitude:g}",
        "bandwidth": f"{bandwidth:g}",
    }


def trained_note(recipe: Recipe, saliency: Array) -> dict[str, str]:
    """What a checkpoint trained by a recipe should remember of its warp, in its `meta`."""
    settings = recipe.warp
    note: dict[str, str] = {"variant": recipe.variant}
    if settings.network is not None and recipe.adapts:
        note |= {"geometry": settings.geometry, "fwhm": f"{settings.fwhm:g}"}
    elif recipe.follows_boxes and isinstance(settings, BoxWarpSettings):
        note = box_warp_note(
            recipe.variant,
            settings.lattice,
            settings.fwhm,
            settings.amplitude,
            settings.bandwidth,
        )
    if recipe.variant == "fixed":
        note = warp_note(settings.geometry, settings.fwhm, saliency)
    if not recipe.separable:
        note["separable"] = "false"
    if recipe.unzoom_scale > 1:
        note["unzoom_scale"] = str(recipe.unzoom_scale)
    return note


def _training_boxes(path: Path, recipe: Recipe) -> Array | None:
    """Boxes (n, 4) of the recipe's classes, x1, y1, x2, y2 in pixels of its view.

    Crowds, and boxes outside of the view, are left out: each box has the same mass, so that one
    outside would draw the zoom to the nearest edge. None where a path holds no annotations, but
    perhaps a map.

    Raises:
        LzuError: annotations cannot be used, or a folder holds none.
    """
    annotations = training_boxes(path)
    if annotations is not None:
        boxes = _coco_boxes(annotations, recipe)
    elif path.is_dir() and is_nuscenes(path):
        found = nuscenes_boxes(path, recipe.classes, f"the saliency {path}")
        steps = ((recipe.source[0] / size[0], recipe.source[1] / size[1], b) for size, b in found)
        boxes = np.concatenate([b * [across, down, across, down] for down, across, b in steps])
    elif path.is_dir():
        raise LzuError(
            f"saliency {path} is a folder without training boxes; give COCO annotations (.json), "
            "the folder of Argoverse-HD or nuScenes, or a map (.npy)"
        )
    else:
        return None
    top, left = recipe.corner
    height, width = recipe.view
    boxes = boxes - [left, top, left, top]
    boxes = boxes[((boxes[:, :2] < [width, height]) & (boxes[:, 2:] > 0)).all(axis=1)]
    if not len(boxes):
        seen = "" if recipe.crop is None else " within the recipe's crop"
        raise LzuError(f"saliency {path} holds no boxes{seen}; give the training annotations")
    return np.asarray(boxes)


def _coco_boxes(path: Path, recipe: Recipe) -> Array:
    """Boxes (n, 4) that are no crowds, in pixels of the recipe's source."""
    data = read_coco(path, recipe.classes, f"the saliency {path}")
    steps = {}
    for image in data.images:
        if image.size is None:
            raise LzuError(
                f"saliency {path} has no height and width for {image.key}; give them, so that its "
                "boxes can be scaled to the recipe's source"
            )
        steps[image.id] = recipe.source[1] / image.size[1], recipe.source[0] / image.size[0]
    _check_frames(data, recipe)
    rows = [
        (x * across, y * down, (x + width) * across, (y + height) * down)
        for each in data.objects
        if not each.crowd and not each.is_empty
        for x, y, width, height in [each.box]
        for across, down in [steps[each.image]]
    ]
    return np.array(rows, np.float64).reshape(-1, 4)


def _check_frames(data: CocoData, recipe: Recipe) -> None:
    """Hold the sizes that annotations give against the source, and against files that are there.

    Raises:
        LzuError: height and width are exchanged, or a file has another size.
    """
    sizes = {image.size for image in data.images if image.size is not None}
    if sizes == {recipe.source[::-1]} and recipe.source[0] != recipe.source[1]:
        raise LzuError(
            f"saliency {data.path} says that its images are {recipe.source[0]} wide and "
            f"{recipe.source[1]} high, where the recipe's source is {recipe.source[1]} wide and "
            f"{recipe.source[0]} high; exchange them where they are wrong"
        )
    for height, width in sorted(sizes):
        if not math.isclose(height * recipe.source[1], width * recipe.source[0], rel_tol=0.02):
            log.warning(
                "saliency %s has images %d wide and %d high, of another shape than the recipe's "
                "source, %d wide and %d high: their boxes are stretched to it",
                data.path, width, height, recipe.source[1], recipe.source[0],
            )  # fmt: skip
            break
    there = [
        (image, place)
        for image in data.images[:: max(1, len(data.images) // FRAMES_TRIED)]
        for place in image.places
        if place.is_file()
    ]
    for image, place in there[:FRAMES_TRIED]:
        height, width = read_image(place).shape[:2]
        check_frame_size(data.path, image, (), (height, width))
    if not there:
        _check_reach(data)


def _check_reach(data: CocoData) -> None:
    """Warn of boxes that all lie in the upper left quarter, as where the sizes are too large."""
    size_of = {image.id: image.size for image in data.images}
    ends = [
        max((each.box[0] + each.box[2]) / size[1], (each.box[1] + each.box[3]) / size[0])
        for each in data.objects
        for size in [size_of[each.image]]
        if size is not None
    ]
    if len(ends) >= MANY_BOXES and max(ends) <= QUARTER:
        log.warning(
            "saliency %s: none of its %d boxes reaches the right or the lower half of the images; "
            "check that their height and width are those of the images that were annotated",
            data.path, len(ends),
        )  # fmt: skip
