"""The choice of frames: equal shares, evenly spread, by a seed, none twice."""

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.inputs.frame_sources.sampling import choose

lengths = st.lists(st.integers(0, 60), max_size=25)
counts = st.integers(1, 120)
seeds = st.integers(0, 2**32)


@settings(deadline=None)
@given(lengths, counts, seeds)
def test_frames_come_in_order_once_and_as_many_as_there_are(
    lengths: list[int], count: int, seed: int
) -> None:
    """Ascending pairs within the sequences; the same again."""
    chosen = choose(lengths, count, seed)
    assert len(chosen) == min(count, sum(lengths))
    assert chosen == sorted(set(chosen))
    assert all(0 <= i < lengths[sequence] for sequence, i in chosen)
    assert choose(lengths, count, seed) == chosen


@settings(deadline=None)
@given(lengths, counts, seeds)
def test_shares_are_equal_but_for_short_sequences(
    lengths: list[int], count: int, seed: int
) -> None:
    """No sequence gives two frames more than one that has some left."""
    shares = Counter(sequence for sequence, _ in choose(lengths, count, seed))
    most = max(shares.values(), default=0)
    assert all(
        shares[sequence] >= most - 1
        for sequence, length in enumerate(lengths)
        if shares[sequence] < length
    )


@settings(deadline=None)
@given(st.integers(1, 500), counts, seeds)
def test_frames_of_a_sequence_are_evenly_spread(length: int, count: int, seed: int) -> None:
    """Distances differ by at most one frame, also from the last to the first of the next round."""
    chosen = [i for _, i in choose([length], count, seed)]
    gaps = {b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + length], strict=True)}
    assert max(gaps) - min(gaps) <= 1


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), seeds)
def test_of_too_many_sequences_some_are_chosen_evenly(extra: int, count: int, seed: int) -> None:
    """One frame of each."""
    number = count + extra
    sequences = [sequence for sequence, _ in choose([7] * number, count, seed)]
    assert len(set(sequences)) == count
    gaps = {b - a for a, b in pairwise(sequences)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_seed_changes_the_choice() -> None:
    """The phase within a sequence and the sequences themselves; what it is may never change."""
    assert len({tuple(choose([100], 4, seed)) for seed in range(20)}) > 5
    assert len({tuple(choose([1] * 100, 4, seed)) for seed in range(20)}) > 5
    expected = [(0, 3), (0, 8), (1, 0), (1, 1), (1, 2), (2, 0), (2, 4), (2, 7)]
    assert choose([10, 3, 10], 8, 0) == expected
