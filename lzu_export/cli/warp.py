"""`lzu-export warp`: see a warp before training with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lzu_export.cli.options import (
    Checkpoint,
    Fit,
    Json,
    Saliency,
    Scale,
    Settings,
    absolute,
    complete_recipe,
    key_values,
)
from lzu_export.support.terminal import print_json, say, show

Warp = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|WARP",
        help="Task, recipe, bundle, saliency (.npy, .pkl) or knots (.npz).",
        autocompletion=complete_recipe,
    ),
]
Frames = Annotated[
    str | None, typer.Option(help="Image, folder, video or demo, whose first frame is shown.")
]
Boxes = Annotated[
    Path | None,
    typer.Option(help="COCO annotations whose boxes are measured; default: the training boxes."),
]
Magnification = Annotated[
    float | None, typer.Option(help="Propose settings that magnify as much, such as 2.5.")
]


@dataclass(frozen=True)
class WarpChanges:
    """Recipe keys of a warp that are set on the command line."""

    variant: Annotated[
        str | None, typer.Option(help="fixed, adaptive, fovea, external, uniform.")
    ] = None
    scale: Scale = None
    saliency: Saliency = None
    checkpoint: Checkpoint = None
    set_: Settings = None

    def overrides(self, recipe: str) -> dict[str, Any]:
        """Return the values by recipe key; a checkpoint is that of the recipe's variant."""
        from lzu_export.recipes import load_recipe

        given = {
            "variant": self.variant,
            "scale": self.scale,
            "warp.saliency": absolute(self.saliency),
        }
        overrides = key_values(self.set_ or [])
        overrides |= {key: value for key, value in given.items() if value is not None}
        if self.checkpoint is not None:
            variant = self.variant or load_recipe(recipe, overrides).variant
            overrides["checkpoint"] = {variant: absolute(self.checkpoint)}
        return overrides


def warp(
    recipe: Warp,
    frames: Frames = None,
    boxes: Boxes = None,
    *,
    changes: WarpChanges,
    magnification: Magnification = None,
    small: Annotated[
        float, typer.Option(min=0, help="Boxes below so many canvas pixels count as small.")
    ] = 16.0,
    fit: Fit = None,
    out: Annotated[Path, typer.Option(help="File of the picture, or a page (.html).")] = Path(
        "warp.png"
    ),
    as_json: Json = False,
) -> None:
    """See a warp before training: its magnification, and how large it makes boxes."""
    from rich.text import Text

    from lzu_export.cli.tables.warp import warp_tables
    from lzu_export.preview.preview import preview
    from lzu_export.runtime.fitting import fit_of
    from lzu_export.support.progress import Reporter

    report = Reporter(quiet=as_json)
    with report.working("measure and draw the warp", brief=True):
        seen = preview(
            recipe,
            changes.overrides(recipe),
            out,
            frames=frames,
            boxes=boxes,
            magnification=magnification,
            small=small,
            fit=fit_of(fit, resize=False),
        )
    if as_json:
        print_json(seen.as_json())
        return
    for sentence in seen.warnings:
        report.note(Text.assemble(("warning:", "yellow"), f" {sentence}"))
    show(*warp_tables(seen))
    say(f"picture: {out}")
