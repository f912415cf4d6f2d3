"""Record which entries a network selects by rank, such as the queries of a DETR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

WITH_VALUES = ("topk", "sort", "max", "min")
"""Functions that return values and indices; of two tensors, `max` and `min` return one tensor."""
INDICES = ("argsort", "argmax", "argmin")
"""Functions that return indices only."""


class Selections(TorchFunctionMode):
    """Context that records the indices that PyTorch's functions select by rank, in call order.

    Rounding decides between nearly equal scores, so an engine may select other entries than PyTorch
    and be right all the same. See `verification.selections`.
    """

    def __init__(self) -> None:
        """Begin without indices."""
        super().__init__()
        self.indices: list[Tensor] = []
        """Selected indices, int64, of one or more axes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch; record the indices if it selects by rank."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        found: Any = None
        if name in INDICES:
            found = result
        elif name in WITH_VALUES and not isinstance(result, Tensor):
            found = result.indices
        if found is not None and found.ndim:  # one index of a whole tensor is of no image
            self.indices.append(found)
        return result
