"""The file of a sweep is read, and every fault of it is one sentence."""

from pathlib import Path
from typing import Any

import pytest

from lzu_export.sweep.schema import Range, Rank, read_sweep, told
from samples import refusal
from sweep_samples import write_sweep


def test_defaults_are_all_work_and_a_pareto_front(tmp_path: Path) -> None:
    found = read_sweep(write_sweep(tmp_path))
    assert found.name == "warps"
    assert found.matrix == {"warp.fwhm": (4, 7, 10)}
    assert (found.scores, found.times) == (True, True)
    assert found.ranked == Rank(by="pareto")
    assert found.baseline == {"variant": "uniform"}


@pytest.mark.parametrize(
    ("do", "by"), [(["score"], "accuracy"), (["time"], "time"), (["export", "score"], "accuracy")]
)
def test_the_rank_follows_from_what_is_measured(tmp_path: Path, do: list[str], by: str) -> None:
    ranked = read_sweep(write_sweep(tmp_path, do=do)).ranked
    assert ranked is not None
    assert ranked.by == by


def test_nothing_is_ranked_where_nothing_is_measured(tmp_path: Path) -> None:
    assert read_sweep(write_sweep(tmp_path, do=["export"], baseline=None)).ranked is None


def test_a_range_is_of_integers_if_both_ends_are(tmp_path: Path) -> None:
    matrix = {"warp.boxes": {"low": 10, "high": 90}, "warp.fwhm": {"low": 1, "high": 9.5}}
    ranges = read_sweep(write_sweep(tmp_path, matrix=matrix)).ranges
    assert [each.integers for each in ranges.values()] == [True, False]
    assert isinstance(ranges["warp.boxes"], Range)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"matirx": {}}, "unknown key matirx; did you mean matrix?"),
    ({"matrix": {}}, "matrix has no keys and include no points; name a key to vary"),
    ({"matrix": {"warp.fwhm": []}}, "matrix warp.fwhm has no values; list some, or remove the key"),
    ({"matrix": {"warp.fwhm": [7, 7.0]}}, "matrix warp.fwhm lists 7 twice; keep one"),
    ({"matrix": {"warp.fwhm": 7}}, "matrix warp.fwhm is 7 but must be a list, or a range of low"),
    ({"matrix": [1]}, "matrix must be recipe keys with lists of values"),
    ({"matrix": {"warp.fwhm": {"low": 9, "high": 4}}}, "matrix warp.fwhm: low 9 must be below"),
    ({"matrix": {"warp.fwhm": {"low": 9, "high": 10, "hihg": 1}}}, "did you mean high?"),
    ({"matrix": {"warp.fwhm": {"low": 0, "high": 4, "log": True}}}, "must be above 0 with log"),
    ({"set": {"warp.fwhm": 4}}, "warp.fwhm is in matrix and in set; keep it in one of them"),
    ({"rank": "speed"}, "rank.by is 'speed' but must be 'accuracy', 'time' or 'pareto'"),
    ({"rank": "pareto", "do": ["score"]}, "rank is by pareto, which needs time; add it to do"),
    ({"rank": {"by": "time", "metric": "AP"}}, "rank.metric belongs to accuracy"),
    ({"rank": {"by": "time", "direction": "highest"}}, "would rank the slowest first"),
    ({"baseline": None}, "time is measured against the baseline, which is null; name one"),
    ({"do": []}, "do is [] but must be a list of at least 1"),
    ({"do": ["sore"]}, "do.0 is 'sore' but must be 'export', 'score' or 'time'"),
    ({"search": {"seed": -1}}, "search.seed is -1"),
    ({"recipe": "-"}, "the key recipe is missing; add it"),
]


@pytest.mark.parametrize(("keys", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_a_fault_is_one_sentence(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    path = write_sweep(tmp_path, **keys)
    said = refusal(lambda: read_sweep(path))
    assert said.startswith(f"sweep {path}: ")
    assert words in said


def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    assert refusal(lambda: read_sweep(path)) == (
        f"sweep file {path} does not exist; give a path that does"
    )
    path.write_text("- 1")
    assert refusal(lambda: read_sweep(path)) == (
        f"sweep {path} holds no keys; name a recipe and a matrix of its keys"
    )
    path.write_text("a: [")
    assert "is not valid YAML" in refusal(lambda: read_sweep(path))
    path.write_text("recipe: det\nrecipe: det\n")
    assert "gives the key recipe twice" in refusal(lambda: read_sweep(path))


def test_values_are_told_as_in_a_file() -> None:
    assert [told(each) for each in (7, 7.0, 0.25, True, None, "a", [1, 2])] == [
        "7", "7", "0.25", "true", "null", "a", "[1, 2]",
    ]  # fmt: skip
