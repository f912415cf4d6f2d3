"""`lzu-export verify`: compare a bundle's engines with PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.checking import Against, Live, check_bundle
from lzu_export.cli.options import (
    Bundle,
    Cameras,
    Fit,
    Json,
    Junit,
    Provider,
    Resize,
    note_moved,
    renamed,
)
from lzu_export.errors import LzuError

_Moved = typer.Option(hidden=True)


def verify(
    bundle: Bundle,
    live: Annotated[
        Path | None,
        typer.Option(help="Run PyTorch on frames of your own: image, folder or video."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint the bundle was made from, for --live.")
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Number of batches to take of --live.")] = 2,
    resize: Resize = False,
    fit: Fit = None,
    cameras: Cameras = None,
    provider: Provider = None,
    junit: Junit = None,
    reference: Annotated[Path | None, _Moved] = None,
    update: Annotated[bool, typer.Option("--update", hidden=True)] = False,
    baseline: Annotated[Path | None, _Moved] = None,
    dataset: Annotated[str | None, _Moved] = None,
    frames: Annotated[int | None, _Moved] = None,
    limit: Annotated[str | None, renamed("--limit", "--batches")] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's engines with PyTorch at every probe point.

    Exit status: 0 every engine matches; 1 an engine deviates from PyTorch; 2 an input is unfit.
    """
    against = None
    if reference is not None:
        note_moved("verify --reference", "lzu-export regress --reference")
        against = Against(reference, update, baseline, dataset, frames)
    given = {"update": update or None, "baseline": baseline, "dataset": dataset, "frames": frames}

    def refuse_moved() -> None:
        for name, value in given.items():
            if reference is None and value is not None:
                raise LzuError(
                    f"--{name} belongs to lzu-export regress BUNDLE --reference FILE; use that, "
                    "or leave it out"
                )

    check_bundle(
        bundle,
        Live(live, checkpoint, batches, fit, resize, cameras) if live is not None else None,
        against,
        provider=provider or "cpu",
        junit=junit,
        as_json=as_json,
        first=refuse_moved,
    )
