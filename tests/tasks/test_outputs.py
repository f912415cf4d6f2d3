"""What counts as deviation of final outputs: numbers by size, choices by their margins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.runtime.compare import choice_difference
from lzu_export.tasks.candidates import Cut
from lzu_export.tasks.det3d.deviation import difference_3d
from lzu_export.tasks.outputs import compare_outputs
from samples import tiny_recipe

LEVELS = (Cut(4, 4), Cut(3, 9))
OUTPUTS = ("boxes", "scores", "attributes")


def candidates(seed: int = 0) -> dict[str, Any]:
    """Seven sure candidates in space on two levels, best first in each."""
    generator = np.random.default_rng(seed)
    boxes = generator.uniform(-20, 40, (7, 9)).astype(np.float32)
    boxes[:, 3:6] = generator.uniform(1, 5, (7, 3))
    scores = generator.uniform(0, 0.3, (7, 2)).astype(np.float32)
    scores[:, 0] = [0.9, 0.8, 0.7, 0.6, 0.85, 0.75, 0.65]
    attributes = generator.integers(0, 3, 7).astype(np.int32)
    return {
        "boxes": boxes,
        "scores": scores,
        "attributes": attributes,
        "margins": np.full((7, 2), 0.2, np.float32),
    }


def difference(value: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    mine = {name: value[name] for name in OUTPUTS}
    return difference_3d(mine, reference, LEVELS, floor=0.05)


def changed(name: str, place: Any, value: Any) -> dict[str, Any]:
    made = candidates()
    made[name][place] = value
    return made


def test_equal_candidates_do_not_differ_in_any_order() -> None:
    reference = candidates()
    assert difference(candidates(), reference) == dict.fromkeys(OUTPUTS, 0.0)
    # The first level is not cut: its candidates keep the order of cells, whatever their scores.
    shuffled = candidates()
    order = [0, 1, 2, 3, 5, 4, 6]
    for name in OUTPUTS:
        shuffled[name] = shuffled[name][order]
    assert difference(shuffled, reference) == dict.fromkeys(OUTPUTS, 0.0)


@pytest.mark.parametrize(("column", "part"), [(0, slice(0, 3)), (4, slice(3, 6)), (7, slice(7, 9))])
def test_each_kind_of_value_is_relative_to_its_own(column: int, part: slice) -> None:
    """A position in metres is not measured by the size of a velocity."""
    reference = candidates()
    largest = np.abs(reference["boxes"][:, part]).max()
    moved = changed("boxes", (2, column), reference["boxes"][2, column] + 1e-4 * largest)
    found = difference(moved, reference)
    assert found["boxes"] == pytest.approx(1e-4, rel=0.05)
    assert found["scores"] == found["attributes"] == 0


def test_whole_turns_are_no_difference_and_half_turns_cost_their_margin() -> None:
    reference = candidates()
    yaw = reference["boxes"][1, 6]
    assert difference(changed("boxes", (1, 6), yaw + 2 * np.pi), reference)["boxes"] < 1e-6
    assert difference(changed("boxes", (1, 6), yaw + np.pi), reference)["boxes"] == pytest.approx(
        0.2
    )
    unsure = candidates()
    unsure["margins"][1, 1] = 1e-6
    assert difference(changed("boxes", (1, 6), yaw - np.pi), unsure)["boxes"] < 2e-6
    assert difference(changed("boxes", (1, 6), yaw + 0.01), reference)["boxes"] == pytest.approx(
        0.01 / np.pi, rel=1e-3
    )


def test_another_attribute_costs_its_margin() -> None:
    reference = candidates()
    other = (reference["attributes"][3] + 1) % 3
    assert difference(changed("attributes", 3, other), reference)["attributes"] == pytest.approx(
        0.2
    )
    unsure = candidates()
    unsure["margins"][3, 0] = 1e-7
    assert difference(changed("attributes", 3, other), unsure)["attributes"] == pytest.approx(1e-7)


@pytest.mark.parametrize("name", ["boxes", "scores"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(name: str, bad: float) -> None:
    found = difference(changed(name, (0, 0), bad), candidates())
    assert found[name] == np.inf


def test_a_lost_candidate_and_another_shape_never_pass() -> None:
    reference = candidates()
    lost = changed("scores", (5, slice(None)), 0.0)
    assert difference(lost, reference)["boxes"] == np.inf
    short = {name: value[:6] for name, value in candidates().items()}
    assert difference(short, reference)["scores"] == np.inf


@given(st.integers(0, 10_000))
def test_a_choice_counts_by_the_largest_margin_that_was_passed(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reference = generator.integers(0, 4, (5, 6))
    value = generator.integers(0, 4, (5, 6))
    margins = generator.random((5, 6))
    expected = max([0.0, *margins[value != reference]])
    assert choice_difference(value, reference, margins) == expected
    assert choice_difference(reference, reference, margins) == 0
    assert choice_difference(value[:4], reference, margins) == np.inf


def test_a_class_map_is_compared_by_its_margins(tmp_path: Path) -> None:
    """The comparison covers the whole batch."""
    recipe = tiny_recipe(tmp_path, "seg", batch=2)
    generator = np.random.default_rng(0)
    reference = {
        "labels": generator.integers(0, 2, (2, 96, 160)).astype(np.int32),
        "margins": np.full((2, 96, 160), 0.5, np.float32),
    }
    value = {"labels": reference["labels"].copy()}
    assert compare_outputs(recipe, value, reference) == {"labels": 0.0}
    value["labels"][1, 3, 4] ^= 1
    assert compare_outputs(recipe, value, reference) == {"labels": 0.5}
    reference["margins"][1, 3, 4] = 3e-6
    assert compare_outputs(recipe, value, reference)["labels"] == pytest.approx(3e-6)


def test_logits_are_compared_where_they_are_an_output(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "seg", postprocess={"logits": True})
    reference = {
        "labels": np.zeros((1, 96, 160), np.int32),
        "logits": np.ones((1, 2, 96, 160), np.float32),
        "margins": np.ones((1, 96, 160), np.float32),
    }
    value = {**reference, "logits": reference["logits"] + np.float32(0.01)}
    found = compare_outputs(recipe, value, reference)
    assert found == {"labels": 0.0, "logits": pytest.approx(0.01, rel=1e-3)}


@given(st.integers(0, 10_000))
def test_ties_are_excused_and_nothing_else(seed: int) -> None:
    """A changed attribute or heading counts as the largest of the changed margins."""
    generator = np.random.default_rng(seed)
    reference = candidates(seed)
    reference["margins"] = np.float32(generator.choice([1e-7, 1e-5, 0.3], (7, 2)))
    other, turned = generator.random((2, 7)) < 0.4
    value = {name: reference[name].copy() for name in OUTPUTS}
    value["attributes"][other] = (value["attributes"][other] + 1) % 3
    value["boxes"][turned, 6] += generator.choice([-1, 1, 3]) * np.float32(np.pi)
    found = difference(value, reference)
    assert found["scores"] == 0
    assert found["attributes"] == max([0.0, *reference["margins"][other, 0]])
    headings = max([0.0, *reference["margins"][turned, 1]])
    assert found["boxes"] == pytest.approx(headings, abs=5e-6)


def test_margins_that_are_not_numbers_excuse_nothing(tmp_path: Path) -> None:
    """Such margins come from outputs that are not finite."""
    assert choice_difference(np.array([1]), np.array([0]), np.array([np.nan])) == np.inf
    recipe = tiny_recipe(tmp_path, "seg")
    reference = {
        "labels": np.zeros((1, 96, 160), np.int32),
        "margins": np.full((1, 96, 160), np.nan, np.float32),
    }
    assert compare_outputs(recipe, {"labels": reference["labels"] + 1}, reference) == {
        "labels": np.inf
    }
    for column, name in ((0, "attributes"), (1, "boxes")):
        unknown = candidates()
        unknown["margins"][2, column] = np.nan
        value = candidates()
        value["attributes"][2] = (value["attributes"][2] + 1) % 3
        value["boxes"][2, 6] += np.pi
        assert difference(value, unknown)[name] == np.inf
