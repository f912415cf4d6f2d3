"""Sources of frames (folders, videos, data sets, named ones), and which frames to take.

Pixels are read, one frame at a time; recipes, models and ranges stay outside.
"""

from lzu_export.inputs.frame_sources.choose import FrameList, named_frames, open_frames

__all__ = ["FrameList", "named_frames", "open_frames"]
