"""What the demonstration detector sees of a frame: all of it, a window, or tiles."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.windows import parse_tiles, parse_window, tiles
from lzu_export.errors import LzuError
from lzu_export.recipes.sections import Window
from lzu_export.warp.geometry import padded_size


class Views(NamedTuple):
    """A detector's setup, and the windows of a frame that it sees one after the other.

    Attributes:
        setup: settings of the detector.
        windows: tiles, each of the size of the setup's source; None if it sees one view, which the
            setup describes.
    """

    setup: Setup
    windows: list[Window] | None = None


def views_of(setup: Setup, window: Sequence[int] | None = None, counts: str | None = None) -> Views:
    """Return the views of a setup of whole frames, of a window of them, or of their tiles.

    Args:
        setup: setup of whole frames.
        window: x, y, width and height of a window; the setup's scale is that of its canvas.
        counts: rows and columns of tiles, such as `2x2`. Their canvas is about as large as the
            whole frame's, and the network's input no larger.

    Raises:
        LzuError: the window or the tiles do not fit the frame.
    """
    if window is not None:
        return Views(replace(setup, window=parse_window(window, setup.source)))
    if counts is None:
        return Views(setup)
    windows = tiles(setup.source, parse_tiles(counts))
    size = (windows[0].height, windows[0].width)
    for percent in range(100 * max(setup.network_input) // min(size), 0, -1):
        tiled = replace(setup, source=size, scale=percent / 100)
        if all(a <= b for a, b in zip(padded_size(tiled.canvas), setup.network_input, strict=True)):
            return Views(tiled, windows)
    raise LzuError(f"{counts} tiles of {size[1]}x{size[0]} are too large; give more of them")
