"""`lzu-export inspect`: what a bundle holds."""

from lzu_export.cli.options import Bundle, Json
from lzu_export.support.terminal import Terminal, print_json


def inspect(bundle: Bundle, as_json: Json = False) -> None:
    """Show what a bundle holds, how its warps were lowered and how far it drifts."""
    from lzu_export.cli.tables import inspect_tables
    from lzu_export.manifest.schema import read_manifest

    manifest = read_manifest(bundle)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    console = Terminal()
    for table in inspect_tables(manifest):
        console.print(table)
