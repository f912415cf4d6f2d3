"""`lzu-export regress`: compare a bundle with an earlier state."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.checking import Against, check_bundle
from lzu_export.cli.options import Bundle, Json, Junit, Provider


def regress(
    bundle: Bundle,
    reference: Annotated[Path, typer.Option(help="File of the stored state.")],
    update: Annotated[
        bool, typer.Option("--update", help="Store the state in --reference instead.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(help="A bundle to time against, such as the uniform one."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="demo, COCO annotations, a data set's folder, or none."),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Evaluate at most this many frames.")] = None,
    provider: Provider = None,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's accuracy, parity and latency ratios with a stored state.

    The engines are compared with PyTorch first, as by verify. Exit status: 0 every check passed;
    1 an engine deviates from PyTorch; 2 an input is unfit; 3 a check regressed.
    """
    check_bundle(
        bundle,
        None,
        Against(reference, update, baseline, dataset, frames),
        provider=provider or "cpu",
        junit=junit,
        as_json=as_json,
    )
