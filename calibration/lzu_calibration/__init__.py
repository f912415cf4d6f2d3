"""Activation ranges for INT8 from frames: sources and samplers, methods, a versioned cache file.

Knows ONNX sessions and frames; tasks, recipes, graph passes and torch stay outside.
"""

from lzu_calibration.frames import FrameList, open_frames

__all__ = ["FrameList", "open_frames"]
