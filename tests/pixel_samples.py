"""Frames in every pixel format, and the BGR frames that they stand for."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FORMATS = ("bgr", "rgb", "nv12", "gray")


def pixels_of(pixel_format: str, size: tuple[int, int], seed: int = 0) -> tuple[Array, Array]:
    """Return random bytes of this format, and the same picture in BGR by another way."""
    rng = np.random.default_rng(seed)
    if pixel_format == "gray":
        raw = rng.integers(0, 256, size, np.uint8)
        return raw, np.stack([raw] * 3, axis=-1)
    if pixel_format == "nv12":
        raw = rng.integers(0, 256, (size[0] * 3 // 2, size[1]), np.uint8)
        chroma = raw[size[0] :].reshape(size[0] // 2, size[1] // 2, 2).astype(int) - 128
        u, v = chroma.repeat(2, axis=0).repeat(2, axis=1).transpose(2, 0, 1)
        y = np.maximum(raw[: size[0]].astype(int) - 16, 0) * 1220542 + (1 << 19)
        bgr = (y + 2116026 * u, y - 409993 * u - 852492 * v, y + 1673527 * v)
        return raw, np.clip(np.stack(bgr, axis=-1) >> 20, 0, 255).astype(np.uint8)
    raw = rng.integers(0, 256, (*size, 3), np.uint8)
    return raw, raw if pixel_format == "bgr" else cv2.merge(cv2.split(raw)[::-1])
