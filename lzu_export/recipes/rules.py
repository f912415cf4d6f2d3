"""Rules between the keys of a recipe, for all tasks."""

from typing import TYPE_CHECKING

from lzu_export.recipes.sections import Window, check_distinct
from lzu_export.recipes.targets import TARGETS, exported_targets

if TYPE_CHECKING:
    from lzu_export.recipes.recipe import Recipe


def check(recipe: "Recipe") -> None:
    """Refuse a recipe that contradicts itself.

    Raises:
        ValueError: keys contradict each other; the message names them and the remedy.
    """
    _check_adaptive(recipe)
    if recipe.model.num_classes not in (None, len(recipe.classes)):
        raise ValueError(
            f"classes lists {len(recipe.classes)} names but model.num_classes is "
            f"{recipe.model.num_classes}; make them equal"
        )
    check_distinct("classes", recipe.classes)
    if recipe.sampler == "opencv" and (recipe.variant, recipe.input) != ("uniform", "zoomed"):
        raise ValueError(
            "sampler opencv is OpenCV's resize in the runtime: it needs variant uniform and "
            "input zoomed"
        )
    if recipe.sampler == "opencv" and recipe.source_multiple > 1:
        raise ValueError(
            "sampler opencv is OpenCV's resize, which pads nothing: set source_multiple to 1"
        )
    if len(set(recipe.targets)) < len(recipe.targets):
        raise ValueError(f"targets lists {', '.join(recipe.targets)}; give each once")
    if len(set(recipe.precision)) < len(recipe.precision):
        raise ValueError(f"precision lists {', '.join(recipe.precision)}; give each once")
    _check_precision(recipe)
    if recipe.warp.saliency is not None and recipe.warp.logits is not None:
        raise ValueError(
            f"warp.saliency {recipe.warp.saliency.name} and warp.logits {recipe.warp.logits} are "
            "both given; keep the one that the model was trained with and set the other to null"
        )
    saliency = recipe.warp.saliency is not None or recipe.warp.logits is not None
    if recipe.warp.knots is not None and saliency and not recipe.takes_knots:
        raise ValueError(
            f"warp.knots {recipe.warp.knots.name} and a saliency are both given; keep the one that "
            "the model was trained with and set the other to null"
        )
    if recipe.warp.geometry == "published" and recipe.warp.unfilled is None:
        raise ValueError(
            "warp.geometry published needs warp.unfilled: [bottom] for the released nuScenes "
            "warp, [] where the training code filled every cell"
        )
    if recipe.warp.unfilled is not None and recipe.warp.geometry != "published":
        raise ValueError(
            "warp.unfilled belongs to the geometry published; set warp.geometry to published "
            "or remove warp.unfilled"
        )
    _check_plane(recipe)
    _check_sizes(recipe)


def _check_plane(recipe: "Recipe") -> None:
    """Refuse keys that a non-separable warp cannot have, or that need one."""
    lowerings = {"lowering.zoom": recipe.lowering.zoom, "lowering.unzoom": recipe.lowering.unzoom}
    if recipe.separable:
        for key, kind in lowerings.items():
            if kind == "gather":
                raise ValueError(
                    f"{key} gather needs warp.separable false; choose auto, matmul, "
                    "banded or gridsample"
                )
        return
    if recipe.variant == "fovea":
        raise ValueError(
            "variant fovea maps boxes back by two corners, which makes a box of them only "
            "where the warp is separable; set warp.separable to true, or variant to adaptive"
        )
    if recipe.warp.geometry == "published":
        raise ValueError(
            "warp.geometry published has no non-separable warps, whose released inverter has a "
            "sign error; set warp.geometry to consistent, or warp.separable to true"
        )
    if recipe.sampler == "antialiased":
        raise ValueError(
            "sampler antialiased widens the samples of rows and of columns, which needs a "
            "separable warp; set sampler to bilinear, or warp.separable to true"
        )
    for key, kind in lowerings.items():
        if kind in ("matmul", "banded"):
            raise ValueError(
                f"{key} {kind} is a product of matrices, one an axis, which a non-separable "
                "warp is not; choose auto, gridsample or gather"
            )


def _check_adaptive(recipe: "Recipe") -> None:
    if recipe.warp.network is not None and recipe.variant == "fixed":
        raise ValueError(
            "warp.network looks at every frame, which variant fixed does not; choose adaptive, "
            "or remove warp.network"
        )
    if not recipe.adapts:
        return
    if recipe.takes_knots and recipe.warp.network is not None:
        raise ValueError(
            "variant external takes its knots from the host, not from warp.network; choose "
            "adaptive, or remove warp.network"
        )
    if recipe.variant == "fovea" and not recipe.zooms_by_boxes:
        raise ValueError(
            f"variant fovea maps boxes back, so it needs task det, not {recipe.task}; choose "
            "adaptive with warp.network, fixed or uniform"
        )
    if recipe.follows_boxes and not recipe.zooms_by_boxes:
        raise ValueError(
            f"variant {recipe.variant} by boxes needs task det, not {recipe.task}; set "
            "warp.network, or choose fixed or uniform"
        )
    for key, value, wanted in (
        ("input", recipe.input, "source"),
        ("sampler", recipe.sampler, "bilinear"),
        ("warp.geometry", recipe.warp.geometry, "consistent"),
        ("warp.anti_crop", recipe.warp.anti_crop, True),
        ("source_multiple", recipe.source_multiple, 1),
        ("reduce", recipe.reduce, 1),
    ):
        if value != wanted:
            raise ValueError(
                f"variant {recipe.variant} computes its warp in the graph, which needs "
                f"{key} {wanted}, not {value}; change it"
            )
    if recipe.takes_knots:
        return  # no saliency is mixed in
    if recipe.warp.mix < 1 and recipe.warp.saliency is None and recipe.warp.logits is None:
        mixed = "boxes" if recipe.follows_boxes else "what the network sees"
        raise ValueError(
            f"warp.mix {recipe.warp.mix:g} mixes {mixed} with a fixed saliency; set "
            "warp.saliency or warp.logits, or warp.mix to 1"
        )


def _check_sizes(recipe: "Recipe") -> None:
    ends = [first + many for first, many in zip(recipe.corner, recipe.view, strict=True)]
    if isinstance(recipe.crop, Window) and (
        ends[0] > recipe.source[0] or ends[1] > recipe.source[1]
    ):
        raise ValueError(
            f"crop ends at x {ends[1]}, y {ends[0]}, beyond the source of "
            f"{recipe.source[0]}x{recipe.source[1]}; move it or make it smaller"
        )
    if recipe.view[0] > recipe.source[0] or recipe.view[1] > recipe.source[1]:
        raise ValueError(
            f"crop {recipe.view[0]}x{recipe.view[1]} is larger than the source "
            f"{recipe.source[0]}x{recipe.source[1]}; lower it"
        )
    if recipe.reduce > min(recipe.view):
        raise ValueError(
            f"reduce {recipe.reduce} leaves one row or column of "
            f"{recipe.view[0]}x{recipe.view[1]}; lower it"
        )
    height, width = recipe.canvas
    if height < 1 or width < 1:
        raise ValueError(f"scale {recipe.scale} makes the canvas {height}x{width}; raise the scale")
    smallest = max(recipe.model.strides)
    if min(height, width) < smallest / 2:
        raise ValueError(
            f"scale {recipe.scale} makes a {height}x{width} canvas, less than half a cell of "
            f"the stride-{smallest} level; raise the scale or drop levels"
        )


def _check_precision(recipe: "Recipe") -> None:
    """Refuse a recipe whose precisions suit none of its targets."""

    def taken(target: str) -> list[str]:
        return [each for each in recipe.precision if each in TARGETS.find(target).precisions]

    if any(taken(target) for target in recipe.targets):
        return
    others = [each for each in exported_targets() if taken(each)]
    lacking = " and ".join(TARGETS.find(each).title for each in recipe.targets)
    raise ValueError(
        f"precision {', '.join(recipe.precision)} is for {' or '.join(others)}: {lacking} has no "
        "kernels for it here; add that target, or choose fp32"
    )
