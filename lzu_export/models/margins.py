"""Margins of discrete choices: the relative change of the logits that would flip each of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def choice_margin(logits: Tensor, dim: int, largest: Tensor) -> Tensor:
    """Compute the relative deviation (max|a - b| / max|b|) of logits that would flip the choice.

    It is half the gap between the two best along `dim`, since both can deviate, divided by the
    largest magnitude of all the logits; infinite if there is only one option.

    Args:
        logits: logits of any shape.
        dim: axis of the options.
        largest: largest magnitude of all the logits, a scalar.

    Returns:
        Margins, float32, of the logits' shape without `dim`.
    """
    if logits.shape[dim] < 2:
        return torch.full_like(logits.select(dim, 0), torch.inf, dtype=torch.float32)
    best = logits.float().topk(2, dim=dim).values
    return (best.select(dim, 0) - best.select(dim, 1)) / 2 / positive(largest)


def magnitude(maps: Sequence[Tensor]) -> Tensor:
    """Compute the largest absolute value of all the maps, a scalar."""
    return torch.stack([each.float().abs().amax() for each in maps]).amax()


def positive(value: Tensor) -> Tensor:
    """Clamp a value above zero, so that it can be divided by."""
    return value.clamp_min(torch.finfo(torch.float32).tiny)
