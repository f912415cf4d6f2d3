"""The demonstration's calibration frames: its training split, never the held-out one."""

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from lzu_benchmarks import scenes
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.demo.frame_cache import frame
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.frame_sources.candidates import Listing
from lzu_export.support.provenance import source_digest


@dataclass(frozen=True)
class RenderedFrame:
    """A candidate that is drawn when it is read."""

    seed: int
    index: int
    digest: str = field(repr=False)
    """Hash of the source that makes the pixels."""

    @property
    def key(self) -> str:
        """Seed of the sequence, and the frame's number in it."""
        return f"{self.seed}/{self.index}"

    def contents(self) -> str:
        """Hash of the renderer; the key says the rest."""
        return self.digest

    def read(self) -> Frame:
        """Render it, if it was not before."""
        return np.asarray(frame(self.seed, self.index).image, np.uint8)


def demo() -> Listing:
    """All frames of the training sequences, none rendered."""
    digest = source_digest(Path(scenes.__file__).parent)
    keys = open_demo("train").keys
    return Listing(
        "demo",
        [
            [RenderedFrame(*key, digest) for key in group]
            for _, group in groupby(keys, key=lambda key: key[0])
        ],
    )
