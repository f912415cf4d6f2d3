"""Published families of warps, each a function from its few arguments to knots.

What they return, `lzu_export.FixedWarp.from_knots` takes. A host can compute them for each frame.
No torch, and no saliency unless the family itself has one.
"""

from lzu_export.warp.families.attention import attention_knots
from lzu_export.warp.families.gaze import gaze_knots
from lzu_export.warp.families.radial import radial_knots
from lzu_export.warp.families.two_plane import two_plane_knots
from lzu_export.warp.families.zoomtrack import zoomtrack_knots

__all__ = [
    "attention_knots",
    "gaze_knots",
    "radial_knots",
    "two_plane_knots",
    "zoomtrack_knots",
]
