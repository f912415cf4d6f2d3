"""How sure a choice is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.models.margins import choice_margin, magnitude, positive


@given(st.integers(0, 1000), st.integers(2, 6))
def test_a_deviation_below_the_margin_changes_nothing_and_one_above_can(
    seed: int, options: int
) -> None:
    logits = torch.randn(50, options, generator=torch.Generator().manual_seed(seed))
    largest = magnitude([logits])
    margin = choice_margin(logits, 1, largest)
    best, second = logits.topk(2, dim=1).indices.unbind(1)
    place = torch.arange(50)
    for factor, changes in ((0.99, False), (1.01, True)):
        parity = factor * margin * largest
        moved = logits.clone()
        moved[place, best] -= parity
        moved[place, second] += parity
        different = moved.argmax(dim=1) != best
        sure = margin * largest > 1e-4  # rounding decides the others
        assert (different == changes)[sure].all()


def test_nothing_to_choose_from_is_sure() -> None:
    assert (
        choice_margin(torch.zeros(3, 1, 2), 1, torch.tensor(1.0)).tolist()
        == [[float("inf")] * 2] * 3
    )


def test_no_magnitude_divides_by_no_zero() -> None:
    zeros = torch.zeros(2, 3)
    assert choice_margin(zeros, 1, magnitude([zeros])).tolist() == [0.0, 0.0]
    assert positive(torch.tensor(0.0)) > 0
    assert magnitude([zeros, torch.tensor([-4.0])]) == pytest.approx(4)
