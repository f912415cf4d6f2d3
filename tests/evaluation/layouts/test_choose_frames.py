"""Some of many frames: evenly, or in whole sequences where frames follow one another."""

from pathlib import Path

import pytest
from test_layout_boxes import argoverse

from lzu_benchmarks.demo.evaluation import coco, demo
from lzu_export.evaluation.layouts.choose import evenly, whole_sequences
from lzu_export.recipes import load_recipe

FILM = [(sequence, frame) for sequence in "abcde" for frame in range(4)]
UNEVEN = [
    (sequence, frame) for sequence, n in zip("abc", (2, 9, 3), strict=True) for frame in range(n)
]


def by_letter(item: tuple[str, int]) -> str:
    return item[0]


@pytest.mark.parametrize(
    ("most", "sequences"),
    [(None, "abcde"), (99, "abcde"), (20, "abcde"), (19, "abde"), (12, "ace"), (8, "ae"), (7, "a")],
)
def test_whole_sequences_are_evenly_taken(most: int | None, sequences: str) -> None:
    chosen = whole_sequences(FILM, most, by_letter)
    assert "".join(dict.fromkeys(sequence for sequence, _ in chosen)) == sequences
    assert len(chosen) == 4 * len(sequences)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(13, UNEVEN[:2] + UNEVEN[11:]), (5, UNEVEN[:2] + UNEVEN[11:]), (4, UNEVEN[:2])],
)
def test_sequences_of_different_lengths_stay_within_the_limit(
    most: int, expected: list[tuple[str, int]]
) -> None:
    assert whole_sequences(UNEVEN, most, by_letter) == expected


def test_of_one_that_is_too_long_the_beginning_is_taken() -> None:
    """Frames that follow one another, which frames from all over it would not."""
    assert whole_sequences(FILM[:4], 3, by_letter) == FILM[:3]
    assert whole_sequences(FILM, 1, by_letter) == FILM[:1]
    assert evenly(FILM[:4], 2) == [FILM[0], FILM[3]]


def test_the_demonstration_gives_followers_whole_sequences() -> None:
    """And other models frames of all sequences, as before."""
    adaptive, fixed = (load_recipe("det", {"variant": each}) for each in ("adaptive", "fixed"))
    followed = demo(task="det", frames=64, recipe=adaptive)
    assert (len(followed), followed.sequences) == (64, 8)
    spread = demo(task="det", frames=64, recipe=fixed)
    assert (len(spread), spread.sequences) == (64, 64)
    assert demo(task="det", frames=64).sequences == 64
    assert len(demo(task="det", frames=None, recipe=adaptive)) == 512


def test_annotations_give_followers_whole_sequences(tmp_path: Path) -> None:
    path = str(argoverse(tmp_path))
    settings = {"classes": list(load_recipe("argoverse-hd").classes)}
    adaptive, fixed = (
        load_recipe("argoverse-hd", {**settings, "variant": each}) for each in ("adaptive", "fixed")
    )
    followed = coco(path, task="det", frames=2, recipe=adaptive)
    assert followed.sequences == 1
    samples = list(followed.samples())
    assert len({sample.sequence for sample in samples}) == 1
    assert coco(path, task="det", frames=2, recipe=fixed).sequences == 2
