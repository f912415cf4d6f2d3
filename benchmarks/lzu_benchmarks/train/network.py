"""The networks in training: they take zoomed images, and unzoom the features by fixed matrices."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.zoom import LevelModel
from lzu_export.recipes import Recipe
from lzu_export.recipes.sections import Normalisation
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.tables import TablePair, table_matrix

Unzoom = list[tuple[Tensor, Tensor]]
"""Rows (N, H) and columns (M, W), float32, that resample the map of each level."""

BATCH = 8
"""Number of frames that are evaluated together."""


class Inputs(Protocol):
    """Sizes (height, width) and normalisation of a network's input: a recipe or a `Setup`."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Size of the zoomed image before padding."""

    @property
    def network_input(self) -> tuple[int, int]:
        """Size of the padded canvas."""

    @property
    def normalisation(self) -> Normalisation:
        """Order, mean and standard deviation of the channels."""


class ZoomedNetwork(torch.nn.Module):
    """A network from zoomed uint8 canvases to its head's outputs, in the frame of the labels."""

    network: Any

    def __init__(self, network: LevelModel, inputs: Inputs, unzoom: Unzoom | None) -> None:
        """Put the unzoom of the features, if there is one, before the network's head."""
        super().__init__()
        self.network = network
        norm = inputs.normalisation
        self.reverse = norm.order == "rgb"
        self.pad = [n - m for n, m in zip(inputs.network_input, inputs.canvas, strict=True)]
        self.mean = torch.tensor(norm.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(norm.std).view(1, 3, 1, 1)
        self.unzoom = unzoom

    def forward(self, canvases: Tensor) -> Any:
        """Map canvases (B, H_c, W_c, 3) BGR to the head's outputs per level."""
        levels = self.extract(canvases)
        if self.unzoom is not None:
            levels = [
                torch.matmul(torch.matmul(rows, level.contiguous()), columns.T).contiguous(
                    memory_format=torch.channels_last
                )
                for level, (rows, columns) in zip(levels, self.unzoom, strict=True)
            ]
        return self.network.head(levels)

    def save_and_load(self, path: Path, record: Mapping[str, str]) -> None:
        """Save weights and record, and load the stored weights, which are in half precision.

        An evaluation is then one of the shipped weights.
        """
        save_checkpoint(path, self.network.state_dict(), meta=record)
        load_into(self.network, load_state(path), name=str(path))

    def extract(self, canvases: Tensor) -> list[Tensor]:
        """Map canvases (B, H_c, W_c, 3) BGR to feature levels in the frame of the canvas."""
        image = canvases.permute(0, 3, 1, 2).float()
        image = ((image.flip(1) if self.reverse else image) - self.mean) / self.std
        image = torch.nn.functional.pad(image, (0, self.pad[1], 0, self.pad[0]))
        return list(self.network.extract(image.contiguous(memory_format=torch.channels_last)))


def fixed_unzoom(recipe: Recipe) -> Unzoom | None:
    """Return the matrices of the unzoom of a recipe's levels; None if it has no unzoom."""
    unzoom = make_warp(recipe).unzoom
    if unzoom is None:
        return None
    found = []
    for (pair,), level in zip(unzoom, recipe.levels, strict=True):
        # Only the `published` geometry has several pairs of tables per level.
        assert isinstance(pair, TablePair), "the demonstration's warps are separable"
        found.append(matrices(pair, level.size))
    return found


def matrices(pair: TablePair, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return rows (N, H) and columns (M, W), float32, that resample a map of `size` (H, W)."""
    rows, columns = (
        torch.from_numpy(table_matrix(table, n).astype(np.float32))
        for table, n in zip(pair, size, strict=True)
    )
    return rows, columns


def outputs_of(model: torch.nn.Module, images: NDArray[np.uint8]) -> Iterator[tuple[int, Any]]:
    """Yield the model's outputs for zoomed frames (N, H_c, W_c, 3), batch by batch.

    Each comes with the index of the batch's first frame.
    """
    for start in range(0, len(images), BATCH):
        with torch.inference_mode():
            outputs = model(torch.from_numpy(np.array(images[start : start + BATCH])))
        yield start, outputs
