"""Tables of text: columns, headings, and a sentence at the end of a row."""

import pytest

from lzu_export.support.tables import WIDTH, Column, grid

SENTENCE = "the zoom reads whole rows, and every one of them is read once in order"
COLUMNS = [Column("place", left=True), Column("kind", left=True)]


def test_a_sentence_is_wrapped_beside_its_cells() -> None:
    lines = grid(COLUMNS, [["zoom", "banded", SENTENCE]], prose=True).plain.splitlines()
    assert lines[1].split()[:3] == ["zoom", "banded", "the"]
    words = " ".join(lines[1:]).split()
    assert words[2:] == SENTENCE.split()
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("width", [70, WIDTH, 10_000])
def test_a_sentence_that_has_no_room_beside_its_cells_is_below_them(width: int) -> None:
    """A name of any length is whole, so that it can be copied."""
    name = "x" * width
    lines = grid(COLUMNS, [["zoom", name, SENTENCE]], prose=True).plain.splitlines()
    assert lines[1].split() == ["zoom", name]
    assert " ".join(lines[2:]).split() == SENTENCE.split()
    assert max(map(len, lines[2:])) <= WIDTH
