"""Optuna chooses points within the matrix, reproducibly, and never an excluded one."""

from typing import Any

import pytest

from lzu_export.support.ratio import Ratio
from lzu_export.sweep.results import Row
from lzu_export.sweep.schema import By, Rank, Sweep
from lzu_export.sweep.search import Searcher, corners
from samples import refusal

pytest.importorskip("optuna", reason="the search needs the extra search")

MATRIX: dict[str, Any] = {
    "warp.fwhm": {"low": 2.0, "high": 20.0, "log": True},
    "warp.boxes": {"low": 10, "high": 90},
    "variant": ["fixed", "fovea"],
    "crop": [[96, 160], [48, 80]],
}


def search(by: By, seed: int = 0) -> list[dict[str, Any]]:
    """Choose 20 points; few boxes are fast, a large fwhm is accurate, and fovea is better.

    Excluded is what is best, so that it is asked for again and again.
    """
    sweep = Sweep.model_validate({"recipe": "det", "matrix": MATRIX, "search": {"seed": seed}})
    searcher, chosen = Searcher(sweep, Rank(by=by)), []
    for _ in range(5):
        for trial, settings in searcher.ask(4, excluded):
            boxes, bonus = settings["warp.boxes"], settings["variant"] == "fovea"
            ratio = Ratio(value=boxes / 90, low=0, high=1, rounds=3)
            metric = settings["warp.fwhm"] + bonus
            failed = len(chosen) == 3
            row = Row(
                name="",
                settings=settings,
                status="failed" if failed else "done",
                metric=None if failed else metric,
                ratio=None if failed else ratio,
            )
            searcher.tell(trial, row)
            chosen.append(settings)
    return chosen


def excluded(settings: dict[str, Any]) -> bool:
    """Leave out most of what a search likes best."""
    return bool(settings["warp.boxes"] < 40 or settings["warp.fwhm"] > 12)


@pytest.mark.parametrize("by", ["accuracy", "time", "pareto"])
def test_a_search_stays_in_the_matrix_and_is_the_same_again(by: By) -> None:
    chosen = search(by)
    assert len(chosen) == 20
    assert not any(map(excluded, chosen))
    for each in chosen:
        assert list(each) == list(MATRIX)
        assert 2 <= each["warp.fwhm"] <= 12
        assert each["warp.fwhm"] == float(f"{each['warp.fwhm']:.4g}")
        assert isinstance(each["warp.boxes"], int)
        assert each["crop"] in MATRIX["crop"]
    assert chosen == search(by)
    assert chosen != search(by, seed=1)


def test_exclusions_of_everything_are_refused() -> None:
    sweep = Sweep.model_validate({"recipe": "det", "matrix": MATRIX})
    searcher = Searcher(sweep, Rank(by="time"))
    assert refusal(lambda: searcher.ask(1, lambda _: True)) == (
        "exclude leaves too little of the matrix to search; remove some"
    )


def test_corners_have_every_value_and_both_ends() -> None:
    sweep = Sweep.model_validate({"recipe": "det", "matrix": MATRIX})
    found = list(corners(sweep))
    assert len(found) == 5
    for key, values in (("warp.fwhm", {2.0, 20.0}), ("variant", {"fixed", "fovea"})):
        assert {each[key] for each in found} == values
