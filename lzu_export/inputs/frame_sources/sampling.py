"""Sample frames from sequences: equal shares, evenly spread, seeded."""

from collections.abc import Sequence
from random import Random


def choose(lengths: Sequence[int], count: int, seed: int) -> list[tuple[int, int]]:
    """Choose at most `count` frames of sequences of these lengths, as (sequence, frame) indices.

    Indices are ascending and without repetition; equal arguments give the same on any machine.
    If there are no more than `count` frames, all are chosen. If there are more than `count`
    sequences, one frame each is chosen from sequences spread evenly over the list.
    """
    random = Random(seed)
    chosen = []
    for sequence, share in enumerate(_shares(lengths, count, random)):
        chosen += [(sequence, i) for i in _spread(lengths[sequence], share, random)]
    return chosen


def _shares(lengths: Sequence[int], count: int, random: Random) -> list[int]:
    """Number of frames to take of each sequence.

    Shares are equal, except that short sequences give all they have, and some others give one more
    for the remainder.
    """
    level, above = 0, 0  # share of sequences that are long enough; number of sequences that are
    left = min(count, sum(lengths))
    for rank, length in enumerate(sorted(lengths)):
        above = len(lengths) - rank
        if level + left // above < length:
            break
        left -= (length - level) * above
        level = length
    level, left = (level + left // above, left % above) if left else (level, 0)
    shares = [min(length, level) for length in lengths]
    longer = [sequence for sequence, length in enumerate(lengths) if length > level]
    for i in _spread(len(longer), left, random):
        shares[longer[i]] += 1
    return shares


def _spread(length: int, share: int, random: Random) -> list[int]:
    """Return `share` indices below `length`, at equal distances from a random phase on.

    Integers are used, so that no rounding repeats an index. Of Python's generator, only `random()`
    is guaranteed to stay the same from release to release.
    """
    phase = int(random.random() * length)
    return [(i * length + phase) // share for i in range(share)]
