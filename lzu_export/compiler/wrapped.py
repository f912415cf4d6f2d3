"""Export networks of users' own: what `lzu_export.export` and the command line have in common.

The weights and knots of a network that was built in a program are written as files first, so that
an export of it depends on files alone, as every other does, and can be repeated from its recipe.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lzu_export.compiler.defaults import for_this_machine, with_frames
from lzu_export.compiler.inputs import Inputs
from lzu_export.compiler.pipeline import Outcome, bundle_name
from lzu_export.compiler.pipeline import export as export_recipe
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import REGISTERED
from lzu_export.evaluation.own_metric import Metric, OwnMetricSet
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import Recipe
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.recipes.load import validate
from lzu_export.recipes.sections import Normalisation
from lzu_export.support.progress import Reporter
from lzu_export.tasks.custom import BuiltNetwork, register_model
from lzu_export.tasks.generic.parts import build_network
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.warp import knot_lattice
from lzu_export.wrapping.hooks import View, Wrapping, wrapping_of
from lzu_export.wrapping.learned import LearnedWarp, knot_names
from lzu_export.wrapping.wrap import wrap

log = logging.getLogger(__name__)

WEIGHTS, KNOTS = "weights.pth", "knots.npz"


def export_model(
    model: nn.Module,
    out: str | Path = "build",
    *,
    normalisation: Normalisation | Mapping[str, Any],
    frames: str | Path | None = None,
    name: str | None = None,
    targets: Sequence[str] | None = None,
    precision: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    outputs: Sequence[str] = (),
    postprocess: str | Mapping[str, Any] = "raw",
    dataset: str | Path | None = None,
    metric: Metric | None = None,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
    report: Reporter | None = None,
) -> Outcome:
    """Export a network that `lzu_export.wrap` wrapped, into the bundle `out`/generic/NAME-...

    Args:
        model: wrapped network with its trained weights, in eval mode.
        out: folder of all bundles.
        normalisation: `order` of the channels (`rgb` or `bgr`), and `mean` and `std` per channel,
            on the scale 0..255, by which the training loop normalises frames before the network.
        frames: training frames on which INT8 ranges are measured: a folder, a video, COCO
            annotations. Without them INT8 is left out.
        name: name of the recipe, by default that of the network's class.
        targets: targets to build for; by default those of a recipe that are installed.
        precision: precisions to export; by default all that are possible.
        classes: names of the classes in the order of the network's outputs.
        outputs: names of the outputs that engines return; all by default. Names are made of the
            keys, fields and positions in what the network returns.
        postprocess: what `load` makes of the outputs: a kind such as `raw`, `yolo`, `detr`,
            `anchors` or `labels`, or its settings with `kind`, see the recipe key `postprocess`.
        dataset: evaluation set on which accuracy is measured: for boxes and label maps a data set
            with its truth; with `metric` a folder of frames.
        metric: function from predictions by frame's name to a number, or numbers by name, more
            being better; in points where they are shares.
        settings: further recipe keys, dotted, such as `{"tolerances.metric.int8": 2}`.
        force: export again from the first stage, even if nothing changed.
        report: receiver of progress.

    Raises:
        LzuError: the network is not wrapped or in training mode, a setting is wrong, or the export
            is refused, see `pipeline.export`.
    """
    wrapping = _ready(model)
    data = _recipe_data(
        name=name or _folder_name(type(model).__name__),
        normalisation=normalisation,
        classes=classes,
        postprocess=postprocess,
        outputs=outputs,
    )
    data["evaluation"] = {"dataset": _dataset(dataset, metric)}
    data["calibration"] = {"frames": None if frames is None else _path(frames)}
    data |= {"targets": _listed(targets)} if targets is not None else {}
    data |= {"precision": _listed(precision)} if precision is not None else {}
    for key, value in (settings or {}).items():
        _set(data, key, value)
    with Inputs(Path(out)) as inputs:
        recipe: Recipe = built_recipe(model, wrapping, data, inputs)
        report = report or Reporter()
        recipe = recipe if targets is not None else for_this_machine(recipe, report)
        recipe = recipe if precision is not None else with_frames(recipe, report)
        return export_recipe(recipe, Path(out), force=force, report=report)


def _ready(model: nn.Module) -> Wrapping:
    """Return the wrapping of a network in eval mode.

    Raises:
        LzuError: the network is not wrapped, or it or a submodule is in training mode.
    """
    wrapping = wrapping_of(model)
    if wrapping is None:
        raise LzuError(
            f"{type(model).__name__} is not wrapped in a warp; call lzu_export.wrap before "
            "(FixedWarp.uniform is the warp that zooms nothing)"
        )
    if model.training:
        raise LzuError(
            f"{type(model).__name__} is in training mode; call model.eval() before the export"
        )
    for name, module in model.named_modules():
        if module.training:
            raise LzuError(
                f"submodule {name} of {type(model).__name__} is in training mode, so that the "
                "network computes other outputs than its engines; call model.eval() before the "
                "export"
            )
    return wrapping


def _recipe_data(
    *,
    name: str,
    normalisation: Normalisation | Mapping[str, Any],
    classes: Sequence[str],
    postprocess: str | Mapping[str, Any],
    outputs: Sequence[str],
) -> dict[str, Any]:
    """Return the keys of a recipe that describe a network, as plain data."""
    given = normalisation
    if isinstance(given, Normalisation):
        given = given.model_dump()
    if not isinstance(given, Mapping):
        raise LzuError(f"normalisation is {given!r}; give a mapping of order, mean and std")
    missing = [key for key in Normalisation.model_fields if key not in given]
    if missing:
        raise LzuError(
            f"normalisation has no {' and no '.join(missing)}; give order, mean and std as the "
            "training loop has them"
        )
    return {
        "name": name,
        "classes": _listed(classes),
        "normalisation": dict(given),
        "postprocess": {"kind": postprocess} if isinstance(postprocess, str) else dict(postprocess),
        "model": {"outputs": _listed(outputs)},
    }


def _dataset(dataset: str | Path | None, metric: Metric | None) -> str | None:
    """Return the name of the evaluation set, which is registered for a metric of the user's own.

    Raises:
        LzuError: a metric has no frames.
    """
    if metric is None:
        return None if dataset is None else _path(dataset)
    if dataset is None:
        raise LzuError("metric needs frames to be computed on; give dataset, a folder of frames")
    name = f"{_path(dataset)}:{getattr(metric, '__name__', 'metric')}"
    REGISTERED[name] = lambda frames, recipe: OwnMetricSet(dataset, metric, frames, recipe)
    return name


def built_recipe(
    model: nn.Module, wrapping: Wrapping, data: Mapping[str, Any], inputs: Inputs
) -> GenericRecipe:
    """Return the recipe of a wrapped network, whose weights and knots it writes as files.

    Args:
        model: the network.
        wrapping: its wrapping.
        data: further keys of the recipe as plain data.
        inputs: receiver of the files.

    Raises:
        LzuError: the network needs arguments besides the image, or a key is wrong.
    """
    if wrapping.call.args or wrapping.call.kwargs:
        raise LzuError(
            f"{type(model).__name__} takes other arguments besides its image; export a module "
            "that takes the image alone and fills in the others"
        )
    named = {**data, "custom_model": f"{type(model).__module__}:{type(model).__qualname__}"}
    described = f"of {type(model).__name__}"
    sizes = {"task": "generic", "source": list(wrapping.warp.source)}
    bare = _validated({**named, **sizes, **_canvas(wrapping, data.get("variant"))}, described)
    sections = _sections(wrapping, bare, inputs)
    sections["checkpoint"] = {sections["variant"]: _weights(model, bare, inputs)}
    register_model(named["custom_model"], BuiltNetwork(model))
    return _validated({**bare.model_dump(mode="json"), **sections}, described)


def _validated(data: Mapping[str, Any], described: str) -> GenericRecipe:
    recipe = validate(data, described)
    assert isinstance(recipe, GenericRecipe), "its task is generic"
    return recipe


def _canvas(wrapping: Wrapping, asked: str | None) -> dict[str, Any]:
    """Return the recipe's keys of variant and canvas, as plain data; `asked` is its variant."""
    warp = wrapping.warp
    return {
        "variant": _variant(warp, asked),
        "scale": round(warp.canvas[0] / warp.shown[3], 3),
        "size": list(warp.canvas),
        "views": [_window(each) for each in wrapping.views[1:]],
        "crop": None if warp.window is None else _window(warp),
    }


def _variant(warp: View, asked: str | None) -> str:
    """Return the recipe's variant of a warp; a window is sampled evenly, as a uniform frame is.

    A recipe that asks for `external` gets it, since the host's knots replace those of any warp.
    """
    if asked == "external" and warp.window is None:
        return asked
    if isinstance(warp, LearnedWarp):
        return "adaptive"
    return "uniform" if warp.is_identity or warp.window is not None else "fixed"


def _window(warp: View) -> dict[str, int]:
    """Return the window of a view as a recipe's."""
    return dict(zip(("x", "y", "width", "height"), warp.shown, strict=True))


def _weights(network: nn.Module, recipe: GenericRecipe, inputs: Inputs) -> str:
    """Write a network's weights to a file; return its path."""

    def write(path: Path) -> None:
        save_checkpoint(path, network.state_dict(), half=False)

    return str(inputs.write(bundle_name(recipe), WEIGHTS, write))


def _sections(wrapping: Wrapping, recipe: GenericRecipe, inputs: Inputs) -> dict[str, Any]:
    """Return the recipe's keys that follow from a wrapping, whose knots are written to a file."""
    warp = wrapping.warp
    keys = {**_canvas(wrapping, recipe.variant), "model": network_section(wrapping, recipe)}
    if isinstance(warp, LearnedWarp):
        example = warp.example_knots(wrapping.channels)
        named = {
            name: each[0].numpy() for name, each in zip(knot_names(example), example, strict=True)
        }
        _refuse_knots(warp, named)
        separable = len(named) == len(AXIS_KNOTS)
        lattice = {"separable": separable, "lattice": list(knot_lattice(named))}
        keys["warp"] = {**recipe.warp.model_dump(mode="json"), **lattice}
    elif keys["variant"] in ("fixed", "external"):
        arrays: dict[str, Any] = dict(warp.knots)
        path = inputs.write(bundle_name(recipe), KNOTS, lambda file: np.savez(file, **arrays))
        knots = {"knots": str(path), "separable": warp.is_separable, "saliency": None}
        knots |= {"lattice": list(knot_lattice(warp.knots))}
        keys["warp"] = {**recipe.warp.model_dump(mode="json"), **knots}
    return keys


def _refuse_knots(warp: LearnedWarp, named: Mapping[str, Any]) -> None:
    """Refuse a learned warp whose knots are no warp, which no comparison of engines would show.

    Raises:
        LzuError: the knots of an example image are not finite, or do not increase.
    """
    try:
        FixedWarp(dict(named), warp.source, warp.canvas)
    except LzuError as error:
        raise LzuError(f"the module of the learned warp is no warp: {error}") from error


def measured_recipe(recipe: GenericRecipe, inputs: Inputs) -> GenericRecipe:
    """Return a recipe with the measured places of its network's cells, and with weights.

    The network is built by the function that the recipe names. If that has not wrapped it, it is
    wrapped as the recipe says. Without a checkpoint or a seed, its own weights are stored.

    Args:
        recipe: recipe whose `custom_model` is registered.
        inputs: receiver of the files of weights and knots.

    Raises:
        LzuError: the network cannot be built, the recipe's submodules are unknown or no cut, or the
            warp cannot be made.
    """
    network = build_network(recipe)
    wrapping = wrapping_of(network)
    if wrapping is None:
        wrapping = _wrapped_by(recipe, network)
        update: dict[str, Any] = {"model": network_section(wrapping, recipe)}
    else:
        update = _sections(wrapping, recipe, inputs)
    if recipe.variant not in recipe.checkpoint and recipe.random_weights is None:
        variant = update.get("variant", recipe.variant)
        update["checkpoint"] = {variant: _weights(network, recipe, inputs)}
    return _validated({**recipe.model_dump(mode="json"), **update}, recipe.name)


def _wrapped_by(recipe: GenericRecipe, network: nn.Module) -> Wrapping:
    bare = recipe.model_copy(update={"model": recipe.model.model_copy(update={"unzoom": {}})})
    warp = FixedWarp(make_warp(bare).knots, recipe.span, recipe.canvas)
    phases = {
        name: [each.phase for each in found] for name, found in recipe.model.unzoom.items() if found
    }
    wrap(
        network,
        warp,
        list(recipe.model.unzoom),
        image=recipe.model.image,
        multiple=recipe.model.multiple,
        channels=recipe.model.channels,
        phase=phases,
    )
    wrapping = wrapping_of(network)
    assert wrapping is not None, "it was wrapped just now"
    return wrapping


def network_section(wrapping: Wrapping, recipe: GenericRecipe) -> dict[str, Any]:
    """Return the recipe's section `model` with the places of a wrapping, as plain data."""
    levels = wrapping.levels
    return {
        **recipe.model.model_dump(mode="json"),
        "image": wrapping.call.image,
        "channels": wrapping.channels,
        "multiple": wrapping.multiple,
        "unzoom": {name: [_places(each) for each in found] for name, found in levels.items()},
    }


def _places(level: Level) -> dict[str, Any]:
    return {"stride": level.stride, "size": list(level.size), "phase": list(level.phase)}


def _folder_name(name: str) -> str:
    """Return a class's name as a folder's: `YoloxModule` becomes `yolox-module`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _path(name: str | Path) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else str(name)


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key of nested data.

    Raises:
        LzuError: a key on the way holds a value of its own.
    """
    *parents, leaf = dotted.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise LzuError(f"{parent} of settings key {dotted} has no keys below it; name another")
    data[leaf] = value


def _listed(values: Sequence[str]) -> list[str]:
    """Return names as a list; a single one may be given as it is."""
    return [values] if isinstance(values, str) else list(values)
