"""The demonstration scenes to calibrate on: the training split, never the held-out one."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from lzu_benchmarks import scenes
from lzu_benchmarks.datasets import open_demo
from lzu_calibration.candidates import Listing
from lzu_export.provenance import source_digest
from lzu_export.runtime.preprocess import Frame


class _Renderer:
    """Draws frames, and keeps the world of the last one's sequence."""

    def __init__(self) -> None:
        self._sequence: scenes.Sequence | None = None

    @cached_property
    def digest(self) -> str:
        """Hash of the source that makes the pixels, read once for all frames."""
        return source_digest(Path(scenes.__file__).parent)

    def frame(self, seed: int, index: int) -> Frame:
        if self._sequence is None or self._sequence.seed != seed:
            self._sequence = scenes.Sequence(seed)
        return np.asarray(scenes.render(self._sequence, index).image, np.uint8)


@dataclass(frozen=True)
class RenderedFrame:
    """A candidate that is drawn when it is read."""

    seed: int
    index: int
    renderer: _Renderer = field(repr=False)

    @property
    def key(self) -> str:
        """Seed of the sequence, and the frame's number in it."""
        return f"{self.seed}/{self.index}"

    def contents(self) -> str:
        """Hash of the renderer; the key says the rest."""
        return self.renderer.digest

    def read(self) -> Frame:
        """Render it."""
        return self.renderer.frame(self.seed, self.index)


def demo() -> Listing:
    """All frames of the training sequences, none rendered."""
    renderer = _Renderer()
    keys = open_demo("train").keys
    return Listing(
        "demo",
        [
            [RenderedFrame(*key, renderer) for key in group]
            for _, group in groupby(keys, key=lambda key: key[0])
        ],
    )
