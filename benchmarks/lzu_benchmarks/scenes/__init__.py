"""Demonstration street scenes: seeded sequences rendered with NumPy and OpenCV, with exact labels.

`Sequence(seed)` is a world in motion; `render(sequence, index)` draws one frame of it with boxes,
tracks, label map, depth and 3-D boxes. Nothing here knows of detectors, warps or torch.
"""

from lzu_benchmarks.scenes.categories import CLASSES, LABELS
from lzu_benchmarks.scenes.render import Frame, render
from lzu_benchmarks.scenes.world import LENGTH, Sequence

__all__ = ["CLASSES", "LABELS", "LENGTH", "Frame", "Sequence", "render"]
