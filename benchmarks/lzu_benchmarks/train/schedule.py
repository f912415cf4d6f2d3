"""How the demonstration models are optimised: the same for every task."""

import numpy as np
import torch
from numpy.typing import NDArray


def channels_last(model: torch.nn.Module) -> None:
    """Lay out the kernels so that convolutions work on channels-last maps."""
    for parameter in model.parameters():  # convolutions follow the layout of their weights
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def optimiser(
    model: torch.nn.Module, rate: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW, whose weight decay spares biases and normalisation, under one cycle of `steps`."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    chosen = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        chosen, rate, total_steps=steps, pct_start=0.2, div_factor=20, final_div_factor=100
    )
    return chosen, schedule


def sampling_order(
    count: int, epochs: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which of `count` frames are shown one after another, at least `epochs` times, and which of
    these are mirrored. Equal seeds give all variants the same.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    order = np.concatenate([random.permutation(count) for _ in range(int(np.ceil(epochs)) + 1)])
    return order, random.random(len(order)) < 0.5
