"""Open a warp from a recipe, a bundle, or a file of knots or of a saliency."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.inputs.training_boxes import read_training_boxes
from lzu_export.preview.subject import Sizes, Subject
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.tasks.warps import fixed_source, read_saliency
from lzu_export.tasks.warps.boxes import recipe_box_saliency
from lzu_export.tasks.warps.knots_file import read_knots
from lzu_export.tasks.warps.make import UNIFORM, constant_knots
from lzu_export.tasks.warps.sources import Prepared, recipe_knots, refuse_flat
from lzu_export.warp.box_saliency import boxes_in_view
from lzu_export.warp.saliency import Array, mix, uniform_saliency
from lzu_export.warp.saliency_file import load_saliency
from lzu_export.warp.warp import Knots, saliency_knots

SALIENCY_FILES = frozenset({".npy", ".pkl"})
"""Suffixes of files that hold a saliency."""
KNOTS_FILE = ".npz"
"""Suffix of files that hold knots by name, such as a bundle's `warp.npz`."""
FILE_SETTINGS: dict[str, tuple[tuple[type, ...], Any]] = {
    "scale": ((int, float), 0.5),
    "warp.fwhm": ((int, float), 10.0),
    "warp.separable": ((bool,), True),
    "warp.anti_crop": ((bool,), True),
}
"""Recipe keys that a file of a saliency takes, with the types and defaults of their values."""


def opened_recipe(name: str, overrides: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe of the argument of `lzu-export warp`; None if it names a file of a warp.

    Args:
        name: a recipe file, shipped recipe or task; a bundle's folder; or a file of knots (.npz) or
            of a saliency (.npy, .pkl).
        overrides: recipe keys and values, which a bundle does not take.

    Raises:
        LzuError: there is no such recipe or bundle.
    """
    if Path(name).suffix.lower() in {*SALIENCY_FILES, KNOTS_FILE}:
        return None
    if not Path(name).is_dir():
        return load_recipe(name, overrides)
    if overrides:
        raise LzuError(
            f"{name} is a bundle, whose warp is made already: {', '.join(sorted(overrides))} "
            "cannot be changed; give the recipe instead"
        )
    return Bundle(name).recipe


def from_bundle(folder: Path) -> Subject:
    """Open the warp that a bundle was exported with.

    Raises:
        LzuError: the folder is no bundle, it was changed, or its warp changes with each frame.
    """
    bundle = Bundle(folder)
    recipe = bundle.recipe
    if recipe.adapts and not recipe.takes_knots:
        raise LzuError(
            f"{folder} makes its warp from each frame; lzu-export run {folder} FRAMES --show-warp "
            "draws it"
        )
    knots = {name: value for name, value in bundle.warp.items() if name.startswith("knots")}
    return Subject(folder.name, Sizes.of(recipe), knots, recipe.sampler == "antialiased")


def from_recipe(recipe: Recipe) -> Subject:
    """Make the warp of a recipe, uniform or fixed, with the boxes that it is made from.

    The warp of a recipe of the variant `external` is the one that holds until the host gives knots.

    Raises:
        LzuError: the recipe has no saliency, or it cannot be read.
    """
    name = f"{recipe.name}, {recipe.variant}"
    sizes, antialias = Sizes.of(recipe), recipe.sampler == "antialiased"
    if recipe.takes_knots:
        return Subject(name, sizes, constant_knots(recipe), antialias)
    if recipe.variant == "uniform":
        knots = UNIFORM.knots(recipe, UNIFORM.saliency(recipe))
        return Subject(name, sizes, knots, antialias)
    source = fixed_source(recipe)
    prepared = source.prepared(recipe)
    if not source.has_saliency:
        knots = source.knots(recipe, prepared.saliency(recipe))
        return Subject(name, sizes, knots, antialias)
    refuse_flat(prepared.saliency(recipe), source.describe(recipe))
    keys = ("fwhm", *source.tuned)
    retuned = _retuned(recipe, keys[1:], prepared, source.knots)
    tunable = {f"warp.{key}": float(getattr(recipe.warp, key)) for key in keys}
    return Subject(name, sizes, retuned({}), antialias, prepared.boxes, tunable, retuned)


def from_frame_boxes(recipe: Recipe, annotations: Path | None, image: str | None) -> Subject:
    """Make the warp of a recipe that follows boxes, from the boxes annotated in one frame.

    Args:
        recipe: a recipe of the variant `adaptive` or `fovea`.
        annotations: COCO annotations of the frame.
        image: file name of the frame.

    Raises:
        LzuError: the recipe's warp is a network's; no annotations or no frame are given; or the
            boxes cannot be read.
    """
    if not recipe.follows_boxes:
        raise LzuError(
            f"recipe {recipe.name} makes its warp by a saliency network; export it, and "
            "lzu-export run BUNDLE FRAMES --show-warp draws it"
        )
    if annotations is None or image is None:
        raise LzuError(
            f"variant {recipe.variant} makes its warp from the boxes of a frame; give the frame "
            "(--frames) and its COCO annotations (--boxes), or --variant fixed"
        )
    settings = recipe.warp
    assert isinstance(settings, BoxWarpSettings), "it follows boxes"
    found = read_training_boxes(
        annotations, recipe.source, recipe.classes or None, called="--boxes", image=image
    )
    boxes = boxes_in_view(found, recipe.corner, recipe.view)
    fixed = uniform = uniform_saliency(settings.lattice)
    if settings.mix < 1:
        fixed = read_saliency(recipe)
    wide = _at_least(boxes, settings.min_side)

    def saliency(changed: Recipe) -> Array:
        found = recipe_box_saliency(changed, wide) if len(wide) else uniform
        return mix(fixed / fixed.sum(), found, settings.mix)

    retuned = _retuned(recipe, ("bandwidth",), Prepared(saliency), recipe_knots)
    tunable = {"warp.fwhm": settings.fwhm, "warp.bandwidth": settings.bandwidth}
    name = f"{recipe.name}, {recipe.variant}, boxes of {image}"
    return Subject(name, Sizes.of(recipe), retuned({}), False, boxes, tunable, retuned)


def from_file(path: Path, frame: tuple[int, int] | None, overrides: Mapping[str, Any]) -> Subject:
    """Open the warp of a file of knots or of a saliency, for frames of a size.

    Args:
        path: file of knots (.npz with `knots_x` and `knots_y`, or `knots`), or of a saliency (.npy,
            or the released .pkl).
        frame: (height, width) of the frame, which the file does not record.
        overrides: values of the keys of `FILE_SETTINGS`; knots take `scale` only.

    Raises:
        LzuError: no frame is given, the file cannot be read or holds no warp, or a key does not
            apply or has a value of another type.
    """
    if frame is None:
        raise LzuError(f"{path} does not record the size of its frames; give one by --frames")
    is_knots = path.suffix.lower() == KNOTS_FILE
    taken = ("scale",) if is_knots else tuple(FILE_SETTINGS)
    for key in overrides:
        if key not in taken:
            raise LzuError(f"{path} takes no {key} but {', '.join(taken)}; give a recipe for more")
    scale, fwhm, separable, anti_crop = (_setting(overrides, key) for key in FILE_SETTINGS)
    if not 0 < scale <= 8:
        raise LzuError(f"scale is {scale}; give a number above 0, at most 8")
    sizes = Sizes.whole(frame, scale)
    if is_knots:
        return Subject(path.name, sizes, read_knots(path))
    saliency = load_saliency(path)
    refuse_flat(saliency, str(path))

    def retuned(values: Mapping[str, float]) -> Knots:
        width = values.get("warp.fwhm", fwhm)
        return saliency_knots(saliency, width, separable=separable, anti_crop=anti_crop)

    return Subject(
        path.name, sizes, retuned({}), tunable={"warp.fwhm": float(fwhm)}, retuned=retuned
    )


def measured_boxes(annotations: Path, subject: Subject, recipe: Recipe | None) -> Array:
    """Read the boxes (n, 4) of annotations that reach into a warp's view, in its pixels.

    Raises:
        LzuError: annotations cannot be used, or hold no box in the view.
    """
    own = recipe is not None and isinstance(recipe.warp, BoxWarpSettings)
    classes = (recipe.classes or None) if recipe is not None and own else None
    sizes = subject.sizes
    found = read_training_boxes(annotations, sizes.source, classes, called="--boxes")
    boxes = boxes_in_view(found, sizes.corner, sizes.view)
    if not len(boxes):
        raise LzuError(
            f"--boxes {annotations} holds no boxes in the view; give annotations of such frames"
        )
    return boxes


def _retuned(
    recipe: Recipe,
    tuned: tuple[str, ...],
    prepared: Prepared,
    knots: Callable[[Recipe, Array], Knots],
) -> Callable[[Mapping[str, float]], Knots]:
    """Return the function from values of recipe keys to knots; one saliency is kept."""
    kept: dict[tuple[float, ...], Array] = {}

    def retuned(values: Mapping[str, float]) -> Knots:
        update = {key.removeprefix("warp."): value for key, value in values.items()}
        changed = recipe.model_copy(update={"warp": recipe.warp.model_copy(update=update)})
        key = tuple(float(getattr(changed.warp, name)) for name in tuned)
        if key not in kept:
            kept.clear()
            kept[key] = prepared.saliency(changed)
        return knots(changed, kept[key])

    return retuned


def _at_least(boxes: Array, side: float) -> Array:
    """Widen boxes (n, 4) around their centres to sides of at least this many pixels."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.maximum(half, side / 2)
    return np.hstack([centre - half, centre + half])


def _setting(overrides: Mapping[str, Any], key: str) -> Any:
    kinds, default = FILE_SETTINGS[key]
    value = overrides.get(key, default)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = "true or false" if bool in kinds else "a number"
        raise LzuError(f"{key} is {value!r} but must be {wanted}; change it")
    return value
