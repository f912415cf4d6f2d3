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
    """A candidate frame that is rendered when it is read."""

    seed: int
    index: int
    digest: str = field(repr=False)
    """Hash of the source code that renders the pixels."""

    @property
    def key(self) -> str:
        """Seed of the sequence and index of the frame in it, joined by a slash."""
        return f"{self.seed}/{self.index}"

    def contents(self) -> str:
        """Return the hash of the renderer, which with the key determines the pixels."""
        return self.digest

    def read(self) -> Frame:
        """Return the frame's image, rendered unless the cache has it."""
        return np.asarray(frame(self.seed, self.index).image, np.uint8)


def demo() -> Listing:
    """List the frames of the training sequences without rendering any."""
    digest = source_digest(Path(scenes.__file__).parent)
    keys = open_demo("train").keys
    return Listing(
        "demo",
        [
            [RenderedFrame(*key, digest) for key in group]
            for _, group in groupby(keys, key=lambda key: key[0])
        ],
    )
