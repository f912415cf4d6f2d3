"""Train a detector of the comparison at what it sees."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.rivals.networks import Network, chosen_band
from lzu_benchmarks.train import adaptive, det
from lzu_benchmarks.train.adaptive_detectors import FoveaDetector
from lzu_benchmarks.train.cache import Cache
from lzu_benchmarks.train.command import schedule_of
from lzu_benchmarks.train.film import Film
from lzu_benchmarks.train.setup import Setup
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import load_recipe
from lzu_export.warp.saliency_file import load_saliency


def saliency_of(network: Network) -> NDArray[np.float64] | None:
    """Return the shipped saliency (h, w) for the fixed warp; None for other networks."""
    if network.variant != "fixed":
        return None
    path = load_recipe("det").warp.saliency
    assert path is not None, "the recipe ships with its saliency"
    return load_saliency(path, Setup.lattice)


def frames_of(network: Network, options: argparse.Namespace, processes: int = 1) -> Cache | Film:
    """Open the training frames as a network sees them; they are rendered on first use."""
    setup, windows = network.views(chosen_band(options.out))
    many = options.sequences
    if network.variant == "fovea":
        return Film(options.cache, setup, sequences=many, processes=processes)
    return Cache(
        options.cache,
        setup,
        saliency_of(network),
        windows=windows,
        sequences=many,
        processes=processes,
    )


def render(networks: Sequence[Network], options: argparse.Namespace) -> None:
    """Make the training frames of some networks ready."""
    for network in networks:
        frames_of(network, options, options.processes)


def train(network: Network, seed: int, path: Path, options: argparse.Namespace) -> list[float]:
    """Train a network on one thread and write its checkpoint; return the loss of every step."""
    setup, windows = network.views(chosen_band(options.out))
    frames, saliency = frames_of(network, options), saliency_of(network)
    schedule = det.schedule_over(windows, schedule_of(options, path.stem, seed=seed))
    detector: det.Detector
    if isinstance(frames, Film):
        torch.manual_seed(seed)
        detector = FoveaDetector(setup)
        losses = adaptive.train(detector, frames, schedule)
    else:
        detector, losses = det.train(setup, saliency, frames, schedule)
    record = setup.record(network.variant, saliency)
    save_checkpoint(path, detector.network.state_dict(), meta=record)
    return losses
