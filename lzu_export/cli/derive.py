"""`lzu-export derive`: write a bundle's ONNX file for TensorRT."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.options import Bundle, Json
from lzu_export.support.terminal import print_json, say


def derive(
    bundle: Bundle,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or int8; default: all in the bundle.")
    ] = None,
    plugins: Annotated[
        Path | None,
        typer.Option(help="Plugin library of the device; default: build/plugins, if there is one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a bundle's ONNX file for TensorRT, whose engine is built on the device."""
    from lzu_export.compiler.derive import derive as derive_graphs

    made = derive_graphs(bundle, precision=precision, plugins=plugins)
    if as_json:
        print_json(made)
        return
    for each in made:
        calls = ", ".join(each["plugins"])
        needs = (
            f"calls {calls}; library {each['library'] or 'not recorded'}"
            if calls
            else ("needs no plugins")
        )
        say(f"{each['file']}: {each['status']}, {needs}")
