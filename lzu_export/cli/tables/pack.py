"""Output of `pack`: the files of the archive, and its size beside the bundle's."""

from rich.console import Group, RenderableType
from rich.text import Text

from lzu_export.packing.pack import Archive
from lzu_export.support.escaping import visible
from lzu_export.support.tables import Cell, Column, grid


def pack_table(packed: Archive) -> RenderableType:
    """Return the table of an archive's files with their sizes, and the line with its own size."""
    rows: list[list[Cell]] = [
        [f"  {visible(name)}", f"{size / 1e3:.1f}"] for name, size in packed.files.items()
    ]
    size, whole = packed.bytes / 1e6, packed.bundle_bytes / 1e6
    return Group(
        Text(visible(f"Archive {packed.path}"), "bold"),
        grid([Column("file"), Column("kB")], rows),
        Text(f"size: {size:.2f} MB; the whole bundle has {whole:.2f} MB"),
    )
