"""`lzu-export regress`: compare a bundle with an earlier state."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.checking import Against, check_bundle
from lzu_export.cli.options import Bundle, Device, Json, Junit, Provider
from lzu_export.errors import LzuError


def regress(
    bundle: Bundle,
    against: Against,
    provider: Provider = None,
    device: Device = None,
    junit: Junit = None,
    out: Annotated[
        Path | None, typer.Option(help="Page to write (.html), with JSON; default: beside BUNDLE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's accuracy, parity and latency ratios with a stored state.

    The engines are compared with PyTorch first, as by verify. A page beside the bundle shows what
    changed. Exit status: 0 every check passed; 1 an engine deviates from PyTorch; 2 an input is
    unfit; 3 a check regressed.
    """
    from lzu_export.bundle.bundle import outside

    page = bundle.resolve().with_name(f"{bundle.resolve().name}.regression.html")
    if out is not None:
        page = outside(bundle, out)
    if page.suffix != ".html":
        raise LzuError(f"--out {page} is a page, with JSON beside; end it in .html")
    check_bundle(
        bundle,
        None,
        against,
        provider=provider or "cpu",
        device=device,
        junit=junit,
        as_json=as_json,
        page=page,
    )
