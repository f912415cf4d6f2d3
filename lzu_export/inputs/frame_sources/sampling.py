"""Sample frames from sequences: equal shares, evenly spread, seeded."""

from collections.abc import Sequence
from random import Random


def choose(lengths: Sequence[int], count: int, seed: int) -> list[tuple[int, int]]:
    """(sequence, frame) of at most `count` frames out of sequences of these lengths.

    Ascending, without repetition, the same for the same arguments on any machine. All frames where
    there are no more than `count`; where there are more sequences than that, one frame each of
    sequences spread evenly over the list.
    """
    random = Random(seed)
    chosen = []
    for sequence, share in enumerate(_shares(lengths, count, random)):
        chosen += [(sequence, i) for i in _spread(lengths[sequence], share, random)]
    return chosen


def _shares(lengths: Sequence[int], count: int, random: Random) -> list[int]:
    """Frames to take of each sequence: equal but for short sequences and one of a remainder."""
    level, above = 0, 0  # what all that are long enough give; the next one that short ones cannot
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
    """`share` indices below `length`, at equal distances from a random phase on.

    In integers, so that no rounding makes two of them one. Of Python's generator only `random()`
    is promised to stay the same from release to release.
    """
    phase = int(random.random() * length)
    return [(i * length + phase) // share for i in range(share)]
