"""Choose and read frames of a source: a folder, a video, a data set or an installed source.

Pixels are read one frame at a time. This package imports no recipes, models or ranges.
"""

from lzu_export.inputs.frame_sources.choose import (
    FrameList,
    list_frames,
    named_frames,
    open_frames,
)

__all__ = ["FrameList", "list_frames", "named_frames", "open_frames"]
