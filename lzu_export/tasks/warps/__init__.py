"""Make the warps of recipes from sources of knots, one source per file.

`SOURCES` lists the sources of fixed knots. Only reading learned logits imports torch.
"""

from lzu_export.tasks.warps.labels import label_saliency
from lzu_export.tasks.warps.make import (
    SOURCES,
    fixed_source,
    make_warp,
    read_saliency,
    warp_geometry,
    warp_source,
)
from lzu_export.tasks.warps.notes import box_warp_note, trained_note, warp_note
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.warp import Warp

stored_warp = Warp.from_arrays

__all__ = [
    "SOURCES",
    "KnotSource",
    "Warp",
    "box_warp_note",
    "fixed_source",
    "label_saliency",
    "make_warp",
    "read_saliency",
    "stored_warp",
    "trained_note",
    "warp_geometry",
    "warp_note",
    "warp_source",
]
