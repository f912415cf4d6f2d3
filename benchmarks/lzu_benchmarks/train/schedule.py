"""The optimiser and schedule of the demonstration models, the same for every task."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLIP = 10.0
"""Largest norm of the gradient."""
LOG_EVERY = 50
"""Number of steps between two lines of a log; each line has the mean loss over them."""


@dataclass(frozen=True)
class Schedule:
    """Length, order and rate of a training.

    Attributes:
        epochs: number of times that each frame is shown.
        seed: random seed of the first weights, and of the order and flips of the frames.
        batch: number of frames per step.
        rate: highest learning rate.
        log: file to append to.
    """

    epochs: float
    seed: int = 0
    batch: int = 8
    rate: float = 2e-3
    log: Path | None = None

    def steps(self, frames: int) -> int:
        """Return the number of steps that show `frames` frames `epochs` times, at least 2."""
        return max(2, round(self.epochs * frames / self.batch))


class Picks(NamedTuple):
    """Frames of one step.

    Attributes:
        places: (B,) indices of the frames.
        flips: (B,) whether each frame is mirrored.
    """

    places: NDArray[np.int64]
    flips: NDArray[np.bool_]

    @property
    def pairs(self) -> list[tuple[int, bool]]:
        """Index of each frame, and whether it is mirrored."""
        return list(zip(self.places.tolist(), self.flips.tolist(), strict=True))

    def of(self, images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return these frames of images (N, H, W, ...), mirrored where `flips` is set."""
        return [images[i][:, ::-1] if flip else images[i] for i, flip in self.pairs]


def channels_last(model: torch.nn.Module) -> None:
    """Lay out the convolution kernels channels-last, so that convolutions work on such maps."""
    for parameter in model.parameters():  # convolutions follow the layout of their weights
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def optimiser(
    model: torch.nn.Module, rate: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """Make AdamW without weight decay of biases and normalisation, and a one-cycle schedule."""
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
    """Draw the order of frames, and which of them are mirrored.

    Each of `count` frames is shown at least `epochs` times. Equal seeds give the same order for all
    variants.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    order = np.concatenate([random.permutation(count) for _ in range(int(np.ceil(epochs)) + 1)])
    return order, random.random(len(order)) < 0.5


def learn(
    model: torch.nn.Module,
    losses_of: Callable[[int, Picks], Tensor],
    frames: int,
    schedule: Schedule,
) -> list[float]:
    """Train a model on one thread from its current weights, and set it to evaluation mode.

    Args:
        model: model to train.
        losses_of: function that computes the losses (k,) of a step from its number and its frames;
            their sum is minimised.
        frames: number of frames to train on.
        schedule: length, order and rate of the training.

    Returns:
        The sum of the losses of every step.
    """
    torch.set_num_threads(1)
    model.train()
    channels_last(model)
    steps, batch, log = schedule.steps(frames), schedule.batch, schedule.log
    order, flips = sampling_order(frames, schedule.epochs, schedule.seed)
    optimizer, rates = optimiser(model, schedule.rate, steps)
    history: list[NDArray[np.float32]] = []
    began = time.time()
    for step in range(steps):
        window = slice(step * batch, (step + 1) * batch)
        losses = losses_of(step, Picks(order[window], flips[window]))
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        rates.step()
        history.append(losses.detach().numpy())
        if log is not None and (step % LOG_EVERY == 0 or step == steps - 1):
            recent = " ".join(f"{each:.4f}" for each in np.mean(history[-LOG_EVERY:], axis=0))
            with log.open("a") as file:
                file.write(f"step {step}/{steps} loss {recent} {time.time() - began:.0f} s\n")
    model.eval()
    return [float(each.sum()) for each in history]
