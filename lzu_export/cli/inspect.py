"""`lzu-export inspect`: show the contents of a bundle."""

from typing import Annotated

import typer

from lzu_export.cli.options import Bundle, Json
from lzu_export.support.terminal import print_json, show


def inspect(
    bundle: Bundle,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also tensors, lowerings, precisions and deviation by probe point."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a bundle's accuracy, latency, status and targets, and what it was made of."""
    from lzu_export.cli.tables.inspect import inspect_tables
    from lzu_export.manifest.schema import read_manifest

    manifest = read_manifest(bundle)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    show(*inspect_tables(manifest, everything))
