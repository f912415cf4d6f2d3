"""Compare an export with the training that its checkpoint records.

LZU adds no weights to a network, and a network runs at every scale. Weights that get other pictures
than in training cause no error, but are less accurate. So a checkpoint records its training, and an
export compares. Settings that are not recorded are taken from the recipe. No torch.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.models.openmmlab import class_names, normalisation
from lzu_export.recipes import Recipe
from lzu_export.tasks.registry import find_task
from lzu_export.tasks.warps import trained_note
from lzu_export.warp.saliency import Array

log = logging.getLogger(__name__)

GROUPS: Mapping[str, str] = {
    "task": "task",
    "variant": "variant",
    "scale": "scale",
    "source": "source",
    "source_multiple": "source",
    "crop": "crop",
    "reduce": "reduce",
    "sampler": "sampler",
    "upsampling": "sampler",
    "order": "normalisation",
    "mean": "normalisation",
    "std": "normalisation",
    "classes": "classes",
    "geometry": "warp",
    "fwhm": "warp",
    "saliency": "warp",
    "lattice": "warp",
    "amplitude": "warp",
    "bandwidth": "warp",
    "anti_crop": "warp",
    "mix": "warp",
    "unfilled": "warp",
    "unzoom_scale": "warp",
}
"""Name in the recipe's `untrained` for each key of a record."""
LONGEST = 40
"""Largest number of characters of a value that are shown."""
SIZES = frozenset({"source", "crop", "lattice"})


class Difference(NamedTuple):
    """Difference between a setting of a checkpoint's training and of its export."""

    key: str
    """Key of the training record."""
    trained: str
    """Value in training."""
    exported: str
    """Value in the export."""

    def shown(self) -> dict[str, str]:
        """Return the fields, with values that are short enough to be shown."""
        return {**self._asdict(), "trained": short(self.trained), "exported": short(self.exported)}


def training_record(recipe: Recipe, saliency: Array) -> dict[str, str]:
    """Return the record of a recipe's training for a checkpoint's `meta`, see docs/checkpoint.md.

    Args:
        recipe: recipe of the training.
        saliency: (h, w) saliency of its warp.
    """
    norm, settings = recipe.normalisation, recipe.warp
    record = {
        "task": recipe.task,
        **trained_note(recipe, saliency),
        "source": _size(recipe.source),
        "crop": _crop(recipe),
        "source_multiple": str(recipe.source_multiple),
        "reduce": str(recipe.reduce),
        "scale": f"{recipe.scale:g}",
        "sampler": recipe.sampler,
        "order": norm.order,
        "mean": ",".join(f"{each:g}" for each in norm.mean),
        "std": ",".join(f"{each:g}" for each in norm.std),
        "classes": json.dumps(list(recipe.classes), ensure_ascii=False),
    }
    if recipe.variant != "uniform":
        record |= {"anti_crop": "true" if settings.anti_crop else "false"}
        record |= {"unfilled": ",".join(settings.unfilled or ())}
    if recipe.adapts and not recipe.takes_knots:
        record |= {"mix": f"{settings.mix:g}"}
    return record | find_task(recipe.task).training_notes(recipe)


def differences(recipe: Recipe, saliency: Array, meta: Mapping[str, Any]) -> list[Difference]:
    """Return where an export contradicts a checkpoint's `meta`, in the record's order.

    The function reads this package's record and OpenMMLab's entries: class names, and the
    normalisation of its config.
    """
    wanted = {"unzoom_scale": str(recipe.unzoom_scale), **training_record(recipe, saliency)}
    if recipe.takes_knots:
        del wanted["variant"]  # the host's knots may be those of any training
    found = []
    for key in GROUPS:
        # OpenMMLab's lists of names are compared below, by their order only.
        own = key in meta and not (key == "classes" and not isinstance(meta[key], str))
        if own and key in wanted:
            trained = _text(key, meta[key])
            if not _equal(key, trained, wanted[key]):
                found.append(Difference(key, trained, wanted[key]))
    said = {each.key for each in found}
    names = class_names(meta)
    if names and "classes" not in said and _other_order(names, recipe.classes):
        found.append(Difference("classes", _listed(names), _listed(recipe.classes)))
    stored = normalisation(meta)
    if stored is not None:
        values = {"order": stored.order, "mean": _numbers(stored.mean), "std": _numbers(stored.std)}
        for key, trained in values.items():
            if key not in said and key not in meta and not _equal(key, trained, wanted[key]):
                found.append(Difference(key, trained, wanted[key]))
    return found


def check_training(
    recipe: Recipe, saliency: Array, meta: Mapping[str, Any], name: str
) -> tuple[Difference, ...]:
    """Refuse an export that contradicts its checkpoint's training, unless the recipe allows it.

    The separable and the non-separable warp of one saliency are similar: weights trained with one
    are accepted with the other, with a warning. So are weights of any warp if the host gives the
    knots and no file has constant ones.

    Args:
        recipe: recipe of the export; `untrained` names the settings that may differ.
        saliency: (h, w) saliency of its warp.
        meta: metadata stored beside the weights.
        name: name of the checkpoint in errors.

    Returns:
        Differences that are allowed.

    Raises:
        LzuError: a difference is not allowed; the message names it and the option that allows it.
    """
    found = differences(recipe, saliency, meta)
    refused = [each for each in found if GROUPS[each.key] not in recipe.untrained]
    if refused:
        first, *others = refused
        groups = dict.fromkeys([*recipe.untrained, *(GROUPS[each.key] for each in refused)])
        besides = "".join(f", {each.key} {short(each.trained)}" for each in others)
        instead = "".join(f", {short(each.exported)}" for each in others)
        consent = f"--set untrained=[{','.join(groups)}] exports it all the same and marks it"
        if "task" in groups:
            consent = "give one of this task"
        raise LzuError(
            f"checkpoint {name} was trained with {first.key} {short(first.trained)}{besides} but "
            f"the recipe has {short(first.exported)}{instead}; export it with what it was trained "
            f"with ({consent})"
        )
    constant = recipe.takes_knots and recipe.warp.knots is None
    if constant and meta.get("variant", "external") != "external":
        log.warning(
            "checkpoint %s was trained with variant %s: give its knots (warp.knots), or train with "
            "knots like those that the host will give",
            name,
            short(_text("variant", meta["variant"])),
        )
    separable = _text("separable", meta.get("separable", "true"))
    if "variant" in meta and (separable != "false") != recipe.separable:
        kinds = ("non-separable", "separable")
        log.warning(
            "checkpoint %s was trained with the %s warp of its saliency and is exported with the "
            "%s one: train it again for its best accuracy",
            name,
            kinds[not recipe.separable],
            kinds[recipe.separable],
        )
        found.append(Difference("separable", separable, "true" if recipe.separable else "false"))
    return tuple(found)


def _other_order(trained: Sequence[str], exported: Sequence[str]) -> bool:
    """Whether a name in both lists has different indices. Other names may be translations."""
    before = {_plain(name): i for i, name in enumerate(trained)}
    return any(before.get(_plain(name), i) != i for i, name in enumerate(exported))


def _plain(name: str) -> str:
    return "".join(each for each in name.casefold() if each.isalnum())


def _text(key: str, value: Any) -> str:
    """Convert a value to a record's text, since users' own loops may write numbers and lists."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.9g}"
    if isinstance(value, (list, tuple)) and key == "classes":
        return _listed(value)
    if isinstance(value, (list, tuple)):
        return ("x" if key in SIZES else ",").join(_text("", each) for each in value)
    return value if isinstance(value, str) else type(value).__name__


def _equal(key: str, trained: str, exported: str) -> bool:
    if key == "classes":
        try:
            names = json.loads(trained)
        except ValueError:
            return False
        if not isinstance(names, list):
            return False
        listed = [[_plain(str(each)) for each in group] for group in (names, json.loads(exported))]
        return listed[0] == listed[1]
    if trained == exported:
        return True
    separator = "x" if key in SIZES else ","
    try:
        pair = [[float(n) for n in text.split(separator)] for text in (trained, exported)]
    except ValueError:
        return False
    return len(pair[0]) == len(pair[1]) and bool(
        np.allclose(pair[0], pair[1], rtol=1e-4, atol=1e-6)
    )


def _listed(names: Sequence[Any]) -> str:
    return json.dumps([str(name) for name in names], ensure_ascii=False)


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{each:g}" for each in values)


def _crop(recipe: Recipe) -> str:
    """Return the size of the view, with its corner (x, y) if it is not centred."""
    if recipe.crop is None:
        return "none"
    (height, width), (top, left) = recipe.view, recipe.corner
    centred = ((recipe.source[0] - height) // 2, (recipe.source[1] - width) // 2)
    return f"{height}x{width}" + ("" if (top, left) == centred else f"+{left}+{top}")


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def short(text: str) -> str:
    """Shorten a record's value to be shown: lists without quotes, hashes and long texts cut."""
    try:
        names = json.loads(text) if text.startswith("[") else None
    except ValueError:
        names = None
    if isinstance(names, list):
        text = ", ".join(map(str, names))
    hashed = len(text) == 64 and all(each in "0123456789abcdef" for each in text)
    if hashed:
        return text[:12]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
