"""`lzu-export pack`: write an archive with only the files that a device needs."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.options import Bundle, Json
from lzu_export.support.terminal import note, print_json, show


def pack(
    bundle: Bundle,
    *,
    target: Annotated[
        str | None,
        typer.Option(help="Target of the device, such as tensorrt; default: onnxruntime."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option("--format", help="bundle; triton, a model repository; or deepstream."),
    ] = "bundle",
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or int8; default: all of the target.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Archive to write (.tar); default: beside the bundle.")
    ] = None,
    plugins: Annotated[
        Path | None, typer.Option(help="Plugin library of the device, to be packed, too.")
    ] = None,
    verifiable: Annotated[
        bool, typer.Option("--verifiable", help="Also what verify needs: reference and graphs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write an archive with only the files of a bundle that a device needs."""
    from lzu_export.cli.tables.pack import pack_table
    from lzu_export.packing.pack import pack as pack_bundle

    packed = pack_bundle(
        bundle,
        target,
        layout=layout,
        precision=precision,
        out=out,
        plugins=plugins,
        verifiable=verifiable,
    )
    if as_json:
        print_json(packed.as_dict())
        return
    show(pack_table(packed))
    for each in packed.notes:
        note(each)
