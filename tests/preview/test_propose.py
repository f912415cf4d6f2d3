"""Proposed settings make the warp that they promise."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.preview.measure import measure
from lzu_export.preview.openers import from_recipe
from lzu_export.preview.propose import CLOSE, propose
from lzu_export.preview.subject import IDENTITY, Sizes, Subject
from lzu_export.recipes import Recipe
from preview_samples import coco
from samples import tiny_recipe

BOXES = [[70.0, 40, 90, 52], [80, 44, 88, 50], [60, 42, 66, 46], [100, 40, 112, 48]]


def by_boxes(folder: Path) -> Recipe:
    warp = {"saliency": str(coco(folder, BOXES)), "lattice": [15, 25], "bandwidth": 200}
    return tiny_recipe(folder, warp=warp)


def by_labels(folder: Path) -> Recipe:
    """A street whose labels meet in the middle rows."""
    maps = folder / "maps"
    maps.mkdir()
    for i in range(2):
        labels = np.zeros((96, 160), np.uint8)
        labels[40 + 3 * i :] = 1
        labels[40:50, ::12] = 0
        cv2.imwrite(str(maps / f"{i}.png"), labels)
    return tiny_recipe(folder, "seg", warp={"saliency": str(maps), "lattice": [15, 25]})


@pytest.mark.parametrize("made", [by_boxes, by_labels])
def test_each_proposal_has_the_magnification_that_it_promises(
    made: Callable[[Path], Recipe], tmp_path: Path
) -> None:
    recipe = made(tmp_path)
    subject = from_recipe(recipe)
    found = propose(subject, 1.6, 16)
    assert [list(each.values) for each in found][: len(subject.tunable)] == [
        [key] for key in subject.tunable
    ]
    assert any(each.reaches for each in found)
    for each in found:
        update = {key.removeprefix("warp."): value for key, value in each.values.items()}
        changed = recipe.model_copy(update={"warp": recipe.warp.model_copy(update=update)})
        measured = measure(from_recipe(changed), 16)
        assert measured.largest == pytest.approx(each.largest)
        assert measured.smallest == pytest.approx(each.smallest)
        assert each.reaches == (abs(measured.largest / 1.6 - 1) <= CLOSE)
        boxes = measured.boxes
        assert each.small == (None if boxes is None else boxes.small_shares[1])


def test_the_nearest_value_is_taken_where_several_do(tmp_path: Path) -> None:
    """A warp that has the magnification already keeps its present values."""
    subject = from_recipe(by_boxes(tmp_path))
    now = measure(subject, 16).largest
    for each in propose(subject, now, 16):
        (key,) = each.values
        assert each.values[key] == pytest.approx(subject.tunable[key], rel=0.05)


def test_settings_that_do_not_reach_it_are_joined_and_said_to_be_near(tmp_path: Path) -> None:
    subject = from_recipe(by_labels(tmp_path))
    found = propose(subject, 50, 16)
    assert not any(each.reaches for each in found)
    assert list(found[-1].values) == ["warp.background", "warp.fwhm"]
    assert found[-1].largest >= max(each.largest for each in found[:-1]) * (1 - 2 * CLOSE)


@pytest.mark.parametrize("wanted", [1, 0.5, -2, float("nan"), float("inf")])
def test_a_magnification_that_is_none_is_refused(wanted: float, tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"--magnification is .*; give a number above 1"):
        propose(from_recipe(tiny_recipe(tmp_path)), wanted, 16)


def test_a_warp_without_settings_has_no_proposals() -> None:
    subject = Subject("mine.npz", Sizes.whole((96, 160), 0.5), IDENTITY)
    with pytest.raises(LzuError, match=r"the warp of mine\.npz has no settings to propose"):
        propose(subject, 2, 16)
