"""Gradients by running an operator's definition again, so that none is written down twice."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def gradients(
    definition: Callable[..., Tensor | Sequence[Tensor]],
    tensors: Sequence[Tensor],
    settings: Sequence[Any],
    wanted: Sequence[bool],
    outer: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients of an operator's inputs from those of its outputs.

    Args:
        definition: takes tensors, then settings; differentiable.
        tensors: inputs that can have gradients.
        settings: the other inputs.
        wanted: whether each tensor's gradient is needed.
        outer: gradients of the outputs.
    """
    with torch.enable_grad():
        inner = [
            each.detach().requires_grad_(need) for each, need in zip(tensors, wanted, strict=True)
        ]
        results = definition(*inner, *settings)
    listed = [results] if isinstance(results, Tensor) else list(results)
    sources = [each for each, need in zip(inner, wanted, strict=True) if need]
    weights = [each.to(result.dtype) for each, result in zip(outer, listed, strict=True)]
    found = iter(torch.autograd.grad(listed, sources, weights, allow_unused=True))
    return [next(found) if need else None for need in wanted]
