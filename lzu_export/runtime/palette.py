"""Distinct colours for classes."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Blue, green and red, each 0 to 255."""

# Okabe and Ito's colours, which colour-blind readers can distinguish too. The first ones are the
# furthest apart: blue besides sky blue, and vermilion besides orange, come late.
PALETTE: tuple[Colour, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (167, 121, 204),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (200, 200, 200),
)


@lru_cache
def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Return `count` colours: `PALETTE`, then colours as far as possible from all before."""
    return further_colours(PALETTE, count) if count > len(PALETTE) else PALETTE[:count]


@lru_cache
def further_colours(given: tuple[Colour, ...], count: int) -> tuple[Colour, ...]:
    """Return the given colours (at least one), then others up to `count`, far from all before.

    Distances are Euclidean in CIELAB, in which equal steps look about equal [CIE 1976].
    """
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(candidates)
    seen = (lab[:, 0] > 25) & (lab[:, 0] < 93)  # neither black nor white
    candidates, lab = candidates[seen], lab[seen]
    chosen = np.array(given, np.uint8)
    apart = np.linalg.norm(lab[:, None] - _lab(chosen)[None], axis=2).min(axis=1)
    while len(chosen) < count:
        farthest = int(apart.argmax())
        chosen = np.vstack([chosen, candidates[farthest]])
        apart = np.minimum(apart, np.linalg.norm(lab - lab[farthest], axis=1))
    return tuple((int(b), int(g), int(r)) for b, g, r in chosen)


def _lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert colours (n, 3), BGR, to CIELAB (n, 3)."""
    unit = colours.astype(np.float32)[None] / 255
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_BGR2LAB)[0], np.float32)
