"""Weights behind the golden outputs of OpenMMLab's networks, generated from parameter names."""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def golden_weight(name: str, shape: tuple[int, ...], salt: int) -> Tensor:
    """Generate a parameter or buffer of a network, float32, from its name and a salt."""
    rng = np.random.default_rng(zlib.crc32(name.encode()) + salt)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif "conv_offset" in name:
        values = 0.02 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 0.7 * rng.uniform(0.5, 1.0, shape)
    elif name.endswith(".scale"):
        values = rng.uniform(0.8, 1.2, shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def load_golden(net: nn.Module, file: Path, *, ignored: tuple[str, ...] = ()) -> None:
    """Check that a network's names and shapes equal a golden file's, then load its weights.

    Names in the file that start with one of `ignored` are not compared.
    """
    data = np.load(file)
    expected = {
        name: shape
        for name, shape in zip(data["keys"].tolist(), data["shapes"].tolist(), strict=True)
        if not name.endswith("num_batches_tracked") and not name.startswith(ignored)
    }
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {name: ",".join(map(str, value.shape)) for name, value in state.items()} == expected
    salt = int(data["salt"])
    weights = {name: golden_weight(name, tuple(v.shape), salt) for name, v in state.items()}
    net.load_state_dict(weights, strict=False)
