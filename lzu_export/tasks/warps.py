"""From a recipe's warp settings to knots and resample tables. No torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import WarpSettings
from lzu_export.warp.geometry import canvas_to_source
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import Array, box_saliency, load_saliency, uniform_saliency
from lzu_export.warp.tables import TablePair, unzoom_tables, zoom_tables


@dataclass(frozen=True)
class Warp:
    """A fixed warp, ready to be baked in."""

    saliency: Array
    """(h, w) on the lattice."""
    knots_x: Array
    knots_y: Array
    zoom: TablePair
    unzoom: list[list[TablePair]] | None
    """Per level the pairs that add up to its unzoom; None for the uniform variant."""

    def arrays(self) -> dict[str, Any]:
        """Everything by name, for `warp.npz`."""
        arrays: dict[str, Any] = {
            "saliency": self.saliency,
            "knots_x": self.knots_x,
            "knots_y": self.knots_y,
            "zoom_rows": self.zoom.rows,
            "zoom_cols": self.zoom.cols,
        }
        for level, pairs in enumerate(self.unzoom or []):
            for i, pair in enumerate(pairs):
                arrays[f"unzoom_{level}_{i}_rows"] = pair.rows
                arrays[f"unzoom_{level}_{i}_cols"] = pair.cols
        return arrays


def stored_warp(arrays: Mapping[str, Any]) -> Warp:
    """The warp that `Warp.arrays` stored."""
    levels: dict[int, dict[int, dict[str, Any]]] = {}
    for key, value in arrays.items():
        if key.startswith("unzoom_"):
            _, level, part, axis = key.split("_")
            levels.setdefault(int(level), {}).setdefault(int(part), {})[axis] = value
    unzoom = [
        [TablePair(**tables) for _, tables in sorted(parts.items())]
        for _, parts in sorted(levels.items())
    ]
    return Warp(
        arrays["saliency"],
        arrays["knots_x"],
        arrays["knots_y"],
        TablePair(arrays["zoom_rows"], arrays["zoom_cols"]),
        unzoom or None,
    )


def make_warp(recipe: Recipe) -> Warp:
    """Compute the recipe's warp: the identity for `uniform`, else from its saliency.

    Raises:
        LzuError: no saliency is given, or it cannot be read or does not fit.
    """
    settings = recipe.warp
    uniform = recipe.variant == "uniform"
    saliency = (
        uniform_saliency(settings.lattice) if uniform else read_saliency(settings, recipe.source)
    )
    knots_x, knots_y = separable_knots(saliency, settings.fwhm, anti_crop=settings.anti_crop)
    antialias = recipe.sampler == "antialiased"
    zoom = zoom_tables(knots_x, knots_y, recipe.source, recipe.canvas, antialias=antialias)
    unzoom = None
    if not uniform:
        unzoom = [
            unzoom_tables(
                knots_x,
                knots_y,
                level,
                recipe.canvas,
                geometry=settings.geometry,
                unfilled=settings.unfilled or (),
            )
            for level in recipe.levels
        ]
    return Warp(saliency, knots_x, knots_y, zoom, unzoom)


def read_saliency(settings: WarpSettings, source: tuple[int, int]) -> Array:
    """The recipe's saliency (h, w): a map, or made from the boxes of COCO annotations.

    Raises:
        LzuError: nothing is given, the file cannot be read, or the map is not of the lattice.
    """
    path = settings.saliency
    if path is None:
        raise LzuError(
            "the fixed warp needs a saliency: set warp.saliency (SALIENCY=file) to a .npy map or "
            "to the COCO annotations of the training boxes"
        )
    if path.suffix != ".json":
        return load_saliency(path, settings.lattice)
    boxes = _coco_boxes(path, source)
    return box_saliency(
        boxes, source, settings.lattice, amplitude=settings.amplitude, bandwidth=settings.bandwidth
    )


def warp_note(geometry: str, fwhm: float, saliency: Array) -> dict[str, str]:
    """What a checkpoint trained with a fixed warp should remember of it, in its `meta`."""
    return {
        "variant": "fixed",
        "geometry": geometry,
        "fwhm": f"{fwhm:g}",
        "saliency": hashlib.sha256(saliency.astype(np.float32).tobytes()).hexdigest(),
    }


def check_trained_warp(recipe: Recipe, saliency: Array, meta: Mapping[str, str], name: str) -> None:
    """Refuse weights that remember another warp than the recipe's.

    LZU adds no weights to a network, so only such a note can tell; where a checkpoint has none, as
    OpenMMLab's, the recipe is believed.

    Raises:
        LzuError: naming the first thing that differs.
    """
    settings = recipe.warp
    wanted = {"variant": "uniform"}
    if recipe.variant == "fixed":
        wanted = warp_note(settings.geometry, settings.fwhm, saliency)
    for key, value in meta.items():
        if key in wanted and value != wanted[key]:
            shown = [v[:12] for v in (value, wanted[key])]
            raise LzuError(
                f"checkpoint {name} was trained with {key} {shown[0]} but the recipe has "
                f"{shown[1]}; export it with the warp it was trained with"
            )


def box_scale(recipe: Recipe) -> tuple[float, float]:
    """(y, x) factors from canvas to source pixels, by the convention the model was trained in.

    The sampler maps the first and last pixel centres onto each other. OpenCV's resize, and the
    code that published the `published` geometry, scale by the ratio of sizes.
    """
    if recipe.sampler == "opencv" or recipe.warp.geometry == "published":
        return recipe.source[0] / recipe.canvas[0], recipe.source[1] / recipe.canvas[1]
    return canvas_to_source(recipe.canvas, recipe.source)


def _coco_boxes(path: Path, source: tuple[int, int]) -> Array:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
        rows = []
        for annotation in data["annotations"]:
            x, y, w, h = annotation["bbox"]
            height, width = images[annotation["image_id"]]
            if w > 0 and h > 0 and not annotation.get("iscrowd", 0):
                fy, fx = source[0] / height, source[1] / width
                rows.append((x * fx, y * fy, (x + w) * fx, (y + h) * fy))
    except OSError as error:
        raise LzuError(f"saliency {path} cannot be read ({error.strerror}); check it") from error
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise LzuError(f"saliency {path} is not COCO annotations; give images and boxes") from error
    if not rows:
        raise LzuError(f"saliency {path} holds no boxes; give the training annotations")
    return np.array(rows, np.float64)
