"""What tests of runs share: a video of noise, and the type of the fixture `run`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from lzu_export.tasks.pytorch import noise_frame

Run = Callable[..., dict[str, Any]]
"""What the fixture `run` gives: `apply` of a source, with its options by name."""


def video(path: Path, frames: int) -> Path:
    """Write noise frames of the tiny bundle's size, 96 x 160, as a video of 12 frames a second.

    `path` ends in .mp4 or .avi (Motion JPEG), and is returned. Frame i is of seed i.
    """
    codec = {".mp4": "mp4v", ".avi": "MJPG"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 12, (160, 96))
    for i in range(frames):
        writer.write(noise_frame((96, 160), i))
    writer.release()
    return path
