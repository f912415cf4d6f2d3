"""`lzu-export export`: export a recipe into verified bundles."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lzu_export.cli.cluster_options import SplitOptions
from lzu_export.cli.network import is_import_path, with_network
from lzu_export.cli.options import (
    Checkpoint,
    Dataset,
    Frames,
    Json,
    Ranges,
    Saliency,
    Scale,
    Settings,
    absolute,
    complete_recipe,
    dataset_name,
    frames_name,
    key_values,
)
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say, show

if TYPE_CHECKING:
    pass

VARIANTS = ("fixed", "uniform", "adaptive", "fovea", "external")
COMPARED = ("fixed", "uniform")


@dataclass(frozen=True)
class Changes:
    """Recipe keys that are set on the command line."""

    scale: Scale = None
    target: Annotated[
        str | None, typer.Option(help="Targets separated by spaces: onnxruntime tensorrt-rtx.")
    ] = None
    precision: Annotated[str | None, typer.Option(help="Precisions separated by spaces.")] = None
    checkpoint: Checkpoint = None
    saliency: Saliency = None
    dataset: Dataset = None
    frames: Frames = None
    frames_of: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            help="Training frames for INT8: folder, video, COCO, Cityscapes or nuScenes, or demo.",
        ),
    ] = None
    ranges: Ranges = None
    random_weights: Annotated[
        int | None, typer.Option(help="Seed of untrained weights, for timing only.")
    ] = None
    set_: Settings = None

    def overrides(self) -> dict[str, Any]:
        """Return the values by recipe key, without the checkpoint of a variant."""
        overrides = key_values(self.set_ or [])
        given = {
            "scale": self.scale,
            "targets": self.target.split() if self.target else None,
            "precision": self.precision.split() if self.precision else None,
            "warp.saliency": absolute(self.saliency),
            "evaluation.frames": self.frames,
            "calibration.frames": frames_name(self.frames_of) if self.frames_of else None,
            "calibration.cache": absolute(self.ranges),
            "random_weights": self.random_weights,
        }
        overrides |= {key: value for key, value in given.items() if value is not None}
        if self.dataset is not None:
            overrides["evaluation.dataset"] = dataset_name(self.dataset)
        if self.random_weights is not None:
            overrides["checkpoint"] = {}
        return overrides


def export(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Task (det, seg, det3d), shipped recipe, a file; or MODULE:FUNCTION that builds "
            "a network, with --recipe.",
            autocompletion=complete_recipe,
        ),
    ],
    *,
    of_network: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Recipe of the network MODULE:FUNCTION.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Separated by spaces: fixed uniform adaptive fovea external.")
    ] = None,
    changes: Changes,
    out: Annotated[Path, typer.Option(help="Folder of all bundles.")] = Path("build"),
    force: Annotated[bool, typer.Option(help="Export again even if nothing changed.")] = False,
    split: SplitOptions,
    as_json: Json = False,
) -> None:
    """Export a recipe into verified bundles, one for each variant, and print their results."""
    from lzu_export.cli.tables.export import export_table, next_commands
    from lzu_export.compiler.defaults import for_this_machine, with_frames
    from lzu_export.compiler.inputs import Inputs
    from lzu_export.compiler.pipeline import export_all
    from lzu_export.recipes import load_recipe
    from lzu_export.support.progress import Reporter

    overrides, checkpoint = changes.overrides(), changes.checkpoint
    network = recipe if is_import_path(recipe) else None
    recipe = _recipe_of(recipe, of_network)
    recipes = []
    for each in _variants(recipe, overrides, variant, checkpoint):
        mine = {**overrides, "variant": each}
        if checkpoint is not None:
            mine["checkpoint"] = {each: absolute(checkpoint)}
        recipes.append(load_recipe(recipe, mine))
    report = Reporter()
    with split.open_if_asked() as cluster, Inputs(out) as inputs:
        if network is not None:
            recipes = [with_network(each, network, inputs) for each in recipes]
        # What the user names is kept; of the default targets and precisions, those possible here.
        if "targets" not in overrides:
            recipes = [for_this_machine(each, report) for each in recipes]
        if "precision" not in overrides:
            recipes = [with_frames(each, report) for each in recipes]
        outcomes = export_all(recipes, out, force=force, report=report, cluster=cluster)
    if as_json:
        print_json(
            [
                {"bundle": str(o.folder), "status": o.status, **o.manifest.model_dump(mode="json")}
                for o in outcomes
            ]
        )
    else:
        show(export_table(outcomes))
        say("", "next:", *(f"  {line}" for line in next_commands(outcomes)))


def _recipe_of(what: str, of_network: str | None) -> str:
    """Return the recipe: the argument, or that of a network.

    Raises:
        LzuError: a network has no recipe, or two recipes are given.
    """
    if is_import_path(what) and of_network is None:
        raise LzuError(f"{what} is a network, which needs its recipe: add --recipe FILE")
    if not is_import_path(what) and of_network is not None:
        raise LzuError(
            f"--recipe {of_network} is the recipe of a network, but {what} is not MODULE:FUNCTION; "
            "give one of the two"
        )
    return of_network or what


def _variants(
    recipe: str, overrides: dict[str, Any], variant: str | None, checkpoint: Path | None
) -> list[str]:
    """Return the variants to export: the requested ones, else fixed and uniform, to compare them.

    If the recipe has weights for only one of these two, return that one; if for neither, the
    variants that it has weights for, or both where it has no weights at all.
    """
    from lzu_export.recipes import load_recipe

    if variant:
        wanted = list(dict.fromkeys(variant.split()))
        if checkpoint is not None and len(wanted) > 1:
            raise LzuError(
                f"--checkpoint {checkpoint} belongs to one variant, but --variant lists "
                f"{' and '.join(wanted)}; export one at a time"
            )
        return wanted
    base = load_recipe(recipe, overrides)
    if checkpoint is not None or "variant" in overrides or base.task == "generic":
        return [base.variant]
    there: list[str] = [each for each in VARIANTS if each in base.checkpoint]
    return [each for each in there if each in COMPARED] or there or list(COMPARED)
