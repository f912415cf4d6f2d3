"""How candidates of a 2-D detector are held against PyTorch's, and what counts as rounding."""

from typing import Any

import numpy as np
import pytest

from lzu_export.tasks.candidates import Cut
from lzu_export.tasks.det.deviation import candidate_difference

INFINITE = {"boxes": np.inf, "scores": np.inf, "labels": np.inf}
LEVELS = (Cut(3, 30), Cut(2, 20))


def candidates() -> dict[str, Any]:
    """Two levels, best first in each."""
    boxes = np.array(
        [[0, 0, 10, 10], [20, 20, 40, 60], [5, 5, 9, 9], [50, 0, 100, 80], [0, 0, 1, 1]],
        np.float32,
    )
    scores = np.array([0.9, 0.5, 0.01, 0.8, 0.02], np.float32)
    return {"boxes": boxes, "scores": scores, "labels": np.array([0, 1, 0, 1, 1], np.int32)}


def difference(
    value: dict[str, Any], reference: dict[str, Any], **changes: Any
) -> dict[str, float]:
    return candidate_difference(value, reference, **{"levels": LEVELS, "floor": 0.05, **changes})


def test_equal_candidates_do_not_differ() -> None:
    """All differences are zero."""
    assert difference(candidates(), candidates()) == {"boxes": 0, "scores": 0, "labels": 0}


def test_differences_are_relative_to_the_largest_that_matters() -> None:
    """Box sides are relative to the largest coordinate, scores to the highest score."""
    value = candidates()
    value["boxes"][1, 3] += 0.5
    value["scores"][0] -= 9e-5
    got = difference(value, candidates())
    assert got["boxes"] == pytest.approx(0.5 / 100)
    assert got["scores"] == pytest.approx(9e-5 / 0.9, rel=1e-2)
    assert got["labels"] == 0


def test_swapped_ties_are_no_difference() -> None:
    """Two candidates of a level with nearly equal scores may change places."""
    reference = candidates()
    reference["scores"][1] = reference["scores"][0] - 5e-5
    value = {name: array.copy() for name, array in reference.items()}
    for array in value.values():
        array[[0, 1]] = array[[1, 0]]
    got = difference(value, reference)
    assert got["boxes"] == 0
    assert got["labels"] == 0


def test_candidates_of_another_level_are_no_partners() -> None:
    """A candidate that moved to another level counts as missing."""
    value = candidates()
    for array in value.values():
        array[[1, 3]] = array[[3, 1]]
    assert difference(value, candidates()) == INFINITE


def test_another_label_or_score_is_an_infinite_difference() -> None:
    """This holds for candidates above the floor."""
    value = candidates()
    value["labels"][0] = 1
    assert difference(value, candidates()) == INFINITE
    value = candidates()
    value["scores"][3] = 0.79
    assert difference(value, candidates()) == INFINITE


def test_an_invented_candidate_is_an_infinite_difference() -> None:
    """A candidate that PyTorch lacks has replaced one below the floor."""
    value = candidates()
    value["scores"][4] = 0.7
    value["boxes"][4] = [30, 30, 60, 60]
    assert difference(value, candidates()) == INFINITE


def test_candidates_below_the_floor_do_not_matter() -> None:
    """Their scores are too low to become detections."""
    value = candidates()
    value["boxes"][2] += 3
    value["labels"][2] = 1
    value["scores"][2] = 0.03
    assert difference(value, candidates()) == {"boxes": 0, "scores": 0, "labels": 0}
    assert difference(value, candidates(), floor=0.001) == INFINITE


def test_nothing_above_the_floor_on_either_side() -> None:
    """Without candidates there is no difference."""
    got = difference(candidates(), candidates(), floor=0.95)
    assert got == {"boxes": 0, "scores": 0, "labels": 0}


def tied_at_the_cut() -> tuple[dict[str, Any], dict[str, Any]]:
    """Candidates and their reference whose last entries are other boxes of nearly equal scores."""
    reference, value = candidates(), candidates()
    reference["scores"][4] = 0.6
    value["scores"][4] = 0.60005
    value["boxes"][4] = [30, 30, 60, 60]
    return value, reference


def test_another_one_may_come_in_at_the_cut() -> None:
    """The last entry of a level may be replaced by one of nearly the same score."""
    value, reference = tied_at_the_cut()
    got = difference(value, reference)
    assert got["boxes"] == 0
    value["scores"][4] = 0.61  # not tied any more
    assert difference(value, reference) == INFINITE


def test_a_level_that_was_not_cut_excuses_nobody() -> None:
    """Both sides list all entries of the level, so none can have come in from below the cut."""
    value, reference = tied_at_the_cut()
    whole = (Cut(3, 3), Cut(2, 2))
    assert difference(value, reference, levels=whole)["boxes"] > 0.1


def test_flat_scores_do_not_excuse_a_wrong_engine() -> None:
    """If any candidate could have come in at the cut, nothing was compared, and that fails."""
    boxes = np.tile(np.float32([10, 10, 20, 20]), (5, 1))
    scores = np.full(5, 0.3, np.float32)
    reference = {"boxes": boxes, "scores": scores, "labels": np.zeros(5, np.int32)}
    value = {"boxes": boxes + 500, "scores": scores, "labels": np.ones(5, np.int32)}
    assert difference(value, reference, levels=[Cut(5, 50)]) == INFINITE


@pytest.mark.parametrize("name", ["boxes", "scores"])
@pytest.mark.parametrize("side", ["value", "reference"])
def test_nan_candidates_never_pass(name: str, side: str) -> None:
    """A NaN in boxes or scores of either side is an infinite difference."""
    sides = {"value": candidates(), "reference": candidates()}
    sides[side][name][0] = np.nan
    assert difference(**sides) == INFINITE


def test_another_number_of_candidates_never_passes() -> None:
    """The engine gives fewer candidates than PyTorch."""
    value = {name: array[:4] for name, array in candidates().items()}
    assert difference(value, candidates()) == INFINITE
