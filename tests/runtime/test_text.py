"""Text on pictures: legible, inside, and in lines."""

import numpy as np
import pytest

from lzu_export.runtime.palette import PALETTE, distinct_colours
from lzu_export.runtime.text import legend_places, overlap, place, text_size, unit_of, write


@pytest.mark.parametrize("colour", distinct_colours(24))
def test_letters_stand_out_from_their_ground(colour: tuple[int, int, int]) -> None:
    """The luminance differs by at least a third."""
    picture = np.full((20, 60, 3), colour, np.uint8)
    write(picture, "car", (0, 0, 60, 16), colour, 1)
    luminance = picture @ np.array([0.114, 0.587, 0.299])
    assert np.abs(luminance - luminance[-1, -1]).max() > 85


def test_letters_are_black_on_the_boxes_palette_and_white_on_its_dark_blue() -> None:
    for colour in PALETTE:
        picture = np.full((20, 60, 3), colour, np.uint8)
        write(picture, "car", (0, 0, 60, 16), colour, 1)
        if colour == (178, 114, 0):
            assert picture.sum(axis=2).max() > 3 * 255 - 60
        else:
            assert picture.sum(axis=2).min() < 60


@pytest.mark.parametrize("corner", [(-50, -50), (500, 500), (20, 30)])
def test_text_is_placed_inside(corner: tuple[int, int]) -> None:
    x1, y1, x2, y2 = place(np.zeros((100, 200, 3), np.uint8), "car 0.9", corner, 1)
    assert 0 <= x1 < x2 <= 200
    assert 0 <= y1 < y2 <= 100


def test_lines_are_level_whatever_they_say() -> None:
    assert text_size("car", 2)[1] == text_size("by (g)", 2)[1]
    assert unit_of(np.zeros((1080, 1920, 3), np.uint8)) == 3
    assert unit_of(np.zeros((10, 10, 3), np.uint8)) == 1


def test_a_legend_breaks_into_lines() -> None:
    texts = ["car", "pedestrian", "construction vehicle", "bus"]
    areas, height = legend_places(texts, 150, 1)
    assert all(not overlap(a, b) for i, a in enumerate(areas) for b in areas[i + 1 :])
    assert all(area[2] <= 150 for area in areas)
    assert len({area[1] for area in areas}) > 1
    assert max(area[3] for area in areas) < height
    assert legend_places([], 150, 1) == ([], 0)
