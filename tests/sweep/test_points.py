"""Points of a sweep: the matrix's combinations, validated before any job."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from lzu_export.cli.options import key_values
from lzu_export.recipes import load_recipe
from lzu_export.sweep.points import Points, varied
from lzu_export.sweep.schema import read_sweep
from lzu_export.sweep.search import corners
from samples import refusal
from sweep_samples import write_sweep

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "sweep_warps.yaml"


def points_of(folder: Path, **keys: Any) -> Points:
    path = write_sweep(folder, **keys)
    return Points(read_sweep(path), path)


TWO = {"warp.fwhm": [4, 7], "scale": [0.5, 1]}


def test_a_matrix_is_all_combinations_but_the_excluded_ones(tmp_path: Path) -> None:
    made = points_of(
        tmp_path,
        matrix=TWO,
        exclude=[{"warp.fwhm": 7, "scale": 1}],
        include=[{"warp.fwhm": 9, "batch": 2}],
    )
    grid = made.grid()
    assert [each.name for each in grid] == [
        "warp.fwhm 4, scale 0.5", "warp.fwhm 4, scale 1", "warp.fwhm 7, scale 0.5",
        "warp.fwhm 9, batch 2",
    ]  # fmt: skip
    assert [each.recipe.warp.fwhm for each in grid] == [4, 4, 7, 9]
    assert [each.recipe.scale for each in grid] == [0.5, 1, 0.5, 0.5]
    assert varied(grid) == ["warp.fwhm", "scale", "batch"]
    assert len({each.folder for each in grid}) == 4


def test_a_fault_of_all_points_is_named_where_it_is(tmp_path: Path) -> None:
    """The baseline is the first point that is made, and has nothing to do with it."""
    made = points_of(tmp_path, set={"evaluation.fraems": 3})
    for make in (made.baseline, made.grid):
        assert f"sweep {made.path}, set: recipe " in refusal(make)
        assert "unknown key evaluation.fraems; did you mean frames?" in refusal(make)
    other = points_of(tmp_path, set={"evaluation.frames": 3}, baseline={"variant": "unifrom"})
    assert f"sweep {other.path}, baseline (which may be null, for none): " in refusal(
        other.baseline
    )


def test_values_are_those_of_the_recipe(tmp_path: Path) -> None:
    """Lists may be single values, and paths are relative to the sweep's file."""
    made = points_of(
        tmp_path / "of",
        matrix={"precision": ["fp32", "fp16"], "checkpoint": ["a.pth", "b.pth"]},
        set={"warp.saliency": "maps/mine.npy"},
    )
    first, *_, last = made.grid()
    assert (first.recipe.precision, last.recipe.precision) == (("fp32",), ("fp16",))
    assert first.recipe.checkpoint == {"fixed": tmp_path / "of" / "a.pth"}
    assert first.recipe.warp.saliency == tmp_path / "of" / "maps" / "mine.npy"
    assert made.recipe == str(tmp_path / "of" / "tiny.yaml")


def test_a_command_exports_the_very_recipe(tmp_path: Path) -> None:
    """What `lzu-export export` makes of its options is what was validated."""
    made = points_of(
        tmp_path,
        matrix={"warp.fwhm": [1e-05, 7], "scale": [0.25, 1]},
        set={"untrained": ["warp", "metric"], "warp.geometry": "consistent"},
        do=["time"],
    )
    for point in made.grid():
        command, recipe, *words, out, folder = made.command(point, tmp_path / "a b")
        assert (command, out, folder) == ("export", "--out", str(tmp_path / "a b"))
        options = list(zip(words[::2], words[1::2], strict=True))
        assert options[0] == ("--variant", "fixed")
        values = key_values([value for option, value in options if option == "--set"])
        assert load_recipe(recipe, {**values, "variant": "fixed"}) == point.recipe
        assert point.recipe.evaluation.dataset is None  # no accuracy was asked for
        assert shlex.split(shlex.join(words)) == words


def test_the_baseline_is_uniform_unless_another_is_named(tmp_path: Path) -> None:
    base = points_of(tmp_path).baseline()
    assert base is not None
    assert base.recipe.variant == "uniform"
    made = points_of(tmp_path, baseline={"scale": 1}, set={"batch": 2})
    base = made.baseline()
    assert base is not None
    assert (base.recipe.variant, base.recipe.scale, base.recipe.batch) == ("fixed", 1, 2)
    assert points_of(tmp_path, baseline=None, do=["score"]).baseline() is None


BAD: list[tuple[dict[str, Any], str]] = [
    ({"matrix": {"warp.fhwm": [4]}}, "unknown key warp.fhwm; did you mean fwhm?"),
    ({"matrix": {"warp.fwhm": [4, 0]}}, "warp.fwhm 0: recipe "),
    ({"matrix": {"scale": [0.5, 99]}}, "scale 99: recipe "),
    ({"exclude": [{"warp.fwmh": 4}]}, "which is not in matrix; did you mean warp.fwhm?"),
    ({"exclude": [{"scale": 1}]}, "exclude names scale, which is not in matrix; add it there"),
    ({"exclude": [{"warp.fwhm": 5}]}, "exclude warp.fwhm 5 fits no point; remove it"),
    ({"exclude": [{}]}, "exclude has an empty entry; remove it"),
    (
        {"exclude": [{"warp.fwhm": 4}, {"warp.fwhm": 7}, {"warp.fwhm": 10}]},
        "exclude leaves no point; remove an exclusion",
    ),
    ({"include": [{"warp.fwhm": 7.0}]}, "the points warp.fwhm 7 and warp.fwhm 7 are the same"),
    ({"matrix": {"precision": ["fp32", ["fp32"]]}}, "are the same export; remove one"),
    ({"matrix": {"warp.fwhm": {"low": 4, "high": 9}}}, "a range from 4 to 9, which only a search"),
    ({"set": {"random_weights": None}}, "has no checkpoint for the variant fixed"),
    ({"set": {"scale.x": 1}}, "recipe key scale.x cannot be set: scale is not a section"),
]


@pytest.mark.parametrize(("keys", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_a_fault_is_one_sentence(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    made = points_of(tmp_path, **keys)
    said = refusal(made.grid)
    assert said.startswith(f"sweep {tmp_path / 'warps.yaml'}")
    assert words in said


def test_a_baseline_that_the_recipe_refuses_is_named(tmp_path: Path) -> None:
    made = points_of(tmp_path, baseline={"scale": -1})
    assert "baseline (which may be null, for none): recipe " in refusal(made.baseline)


def test_the_example_of_the_guide_is_24_warps() -> None:
    """With the keys that the guide names, and a baseline that the demonstration has weights for."""
    found = read_sweep(EXAMPLE)
    made = Points(found, EXAMPLE)
    grid = made.grid()
    assert len(grid) == 24
    assert {each.recipe.variant for each in grid} == {"adaptive"}
    assert len({each.recipe.model_dump_json() for each in grid}) == 24
    base = made.baseline()
    assert base is not None
    assert base.recipe.variant == "uniform"
    assert yaml.safe_load(EXAMPLE.read_text())["set"]["untrained"] == ["warp", "metric"]


def test_sweeps_of_the_guide_are_valid(tmp_path: Path) -> None:
    """Grids and searches alike; the demonstration has weights for all of their points."""
    guide = (EXAMPLE.parents[1] / "scale.md").read_text(encoding="utf-8")
    found = re.findall(r"```yaml\n(recipe:.*?)```", guide, flags=re.DOTALL)
    assert len(found) == 2
    counts = []
    for i, text in enumerate(found):
        path = tmp_path / f"{i}.yaml"
        path.write_text(text)
        made = Points(read_sweep(path), path)
        assert made.baseline() is not None
        if made.sweep.ranges:
            counts.append(len([made.point(each) for each in corners(made.sweep)]))
        else:
            counts.append(len(made.grid()))
    assert counts == [15, 5]
