"""Which results of PyTorch's functions are selections by rank."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lzu_export.wrapping.selections import Selections

SCORES = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])


def recorded(function: Callable[[Tensor], Any]) -> list[list[Any]]:
    with Selections() as selections:
        function(SCORES)
    return [each.tolist() for each in selections.indices]


@pytest.mark.parametrize(
    ("function", "indices"),
    [
        (lambda x: torch.topk(x, 2), [[0, 2], [1, 2]]),
        (lambda x: x.topk(1, dim=0), [[0, 1, 1]]),
        (lambda x: x.sort(1), [[1, 2, 0], [0, 2, 1]]),
        (lambda x: torch.argsort(x, 1, descending=True), [[0, 2, 1], [1, 2, 0]]),
        (lambda x: x.max(1, keepdim=True), [[0], [1]]),
        (lambda x: torch.min(x, 1, keepdim=True), [[1], [0]]),
        (lambda x: x.argmax(1, keepdim=True), [[0], [1]]),
        (lambda x: x.argmin(0, keepdim=True), [[1, 0, 0]]),
        (lambda x: x.argmax(1), [0, 1]),
        (lambda x: x[0].topk(2), [0, 2]),
    ],
)
def test_selected_indices_are_recorded(
    function: Callable[[Tensor], Any], indices: list[Any]
) -> None:
    assert recorded(function) == [indices]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.max(x, x + 1),
        lambda x: torch.max(x.long(), x.long()),
        lambda x: x.max(),
        lambda x: x.argmax(),
        lambda x: x.amax(1),
        lambda x: x.nonzero(),
        lambda x: x.long().gather(1, x.long() % 3),
    ],
)
def test_other_results_are_not(function: Callable[[Tensor], Any]) -> None:
    """Neither are values, nor maxima of two tensors, nor the index of a whole tensor."""
    assert recorded(function) == []


def test_selections_are_in_the_order_of_calls() -> None:
    first = [[0], [1]]
    assert recorded(lambda x: (x.topk(1), x.sort(1))) == [first, [[1, 2, 0], [0, 2, 1]]]
