"""Train a segmenter of the comparison at what it sees."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.rivals.networks import SEG, Network, chosen_band, overrides
from lzu_benchmarks.train import series
from lzu_benchmarks.train.command import schedule_of
from lzu_benchmarks.train.label_cache import LabelCache
from lzu_benchmarks.train.seg import SERIES
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import load_recipe
from lzu_export.runtime.preprocess import cut
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp


class SeenFrames:
    """Labelled frames as one network sees them, from a cache of all networks' frames."""

    def __init__(self, cache: LabelCache, name: str) -> None:
        """Show the frames of the network `name`."""
        self._cache, self._name = cache, name

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._cache)

    def images(self, variant: str) -> NDArray[np.uint8]:
        """(N, H_c, W_c, 3) zoomed frames, BGR, memory-mapped, whatever the network's variant."""
        return self._cache.images(self._name)

    def labels(self) -> NDArray[np.uint8]:
        """Return the label maps (N, H, W) of the network's view, memory-mapped."""
        rows, columns = cut(self._cache.recipes[self._name])
        return self._cache.labels()[:, rows, columns]


def frames_of(options: argparse.Namespace, processes: int = 1) -> LabelCache:
    """Open the training frames of all networks of the command; they are rendered on first use."""
    band = chosen_band(options.out)
    recipes: dict[str, Any] = {
        name: load_recipe(SEG.name, overrides(SEG.networks[name], band))
        for name in options.networks
    }
    keys = series.training_keys(options.sequences)
    return LabelCache(options.cache, recipes, keys, processes=processes)


def render(networks: Sequence[Network], options: argparse.Namespace) -> None:
    """Make the training frames ready, those of all networks together: they share the labels."""
    if networks:
        frames_of(options, options.processes)


def train(network: Network, seed: int, path: Path, options: argparse.Namespace) -> list[float]:
    """Train a network on one thread and write its checkpoint; return the loss of every step."""
    cache = frames_of(options)
    recipe = cache.recipes[network.name]
    schedule = schedule_of(options, path.stem, seed=seed, rate=SERIES.schedule.rate)
    segmenter, losses = series.train(SERIES, recipe, SeenFrames(cache, network.name), schedule)
    record = training_record(recipe, make_warp(recipe).saliency)
    save_checkpoint(path, segmenter.network.state_dict(), meta=record)
    return losses
