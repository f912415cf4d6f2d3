"""How sure an engine is of what a reference finds: partners, ratios, and what never passes."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.agreement import Agreements, Tally
from lzu_export.tasks.partners import overlaps, partners
from samples import tiny_recipe

BOXES = np.array([[0, 0, 10, 10], [20, 0, 40, 20], [50, 50, 60, 90]], np.float32)
SCORES = np.array([0.9, 0.6, 0.3], np.float32)


def found(
    boxes: NDArray[np.float32] = BOXES,
    scores: NDArray[np.float32] = SCORES,
    labels: tuple[int, ...] = (0, 1, 1),
) -> Detections:
    return Detections(boxes, scores, np.array(labels[: len(scores)], np.int32), ("a", "b"))


def agreement(mine: object, theirs: object, task: str = "det") -> Agreement:
    tally = Tally(task)
    tally.add(mine, theirs)
    return tally.result()


def test_equal_detections_agree_in_any_order() -> None:
    back = slice(None, None, -1)
    mine = found(BOXES[back], SCORES[back], (1, 1, 0))
    same = Agreement(scores=1.0, matched=1.0, count=3, spread=(1.0, 1.0))
    assert agreement(mine, found()) == same


def test_confidences_that_fall_alike_are_seen_though_the_order_stays() -> None:
    got = agreement(found(scores=SCORES * np.float32(0.54)), found())
    assert got.scores == pytest.approx(0.54)
    assert got.matched == pytest.approx(1.0)


def test_a_mean_of_one_does_not_hide_scores_that_rise_and_fall() -> None:
    """The spread holds 90 % of the matched scores, by the reference's; 0.9 of 1.8 rose here."""
    factors = np.array([1.2, 0.7, 1.0], np.float32)
    got = agreement(found(scores=SCORES * factors), found())
    assert got.scores == pytest.approx(1.0)
    assert got.spread == (0.7, 1.2)
    assert str(got) == "1.000 [0.70, 1.20]"
    rare = np.full(200, 0.5, np.float32)
    boxes = (np.arange(200)[:, None] * 30 + [0, 0, 10, 10]).astype(np.float32)
    mine, theirs = rare.copy(), found(boxes, rare, (0,) * 200)
    mine[:4] = 0.1  # 2 % of the weight are outside
    assert agreement(found(boxes, mine, (0,) * 200), theirs).spread == (1.0, 1.0)
    mine[:60] *= 3
    assert agreement(found(boxes, mine, (0,) * 200), theirs).spread == (1.0, 2.0), "no larger bin"
    assert str(Agreement(scores=0.75, matched=1.0, count=20, compared="pixels")) == "0.750"


def test_the_sure_ones_weigh_most() -> None:
    mine = found(scores=np.array([0.9, 0.6, 0.0], np.float32))
    assert agreement(mine, found()).scores == pytest.approx(1.5 / 1.8)


def test_what_has_no_partner_counts_as_unmatched_only() -> None:
    """Predictions of another class or place are unmatched; two cannot share a partner."""
    other = found(labels=(1, 1, 1))
    got = agreement(other, found())
    assert got.scores == pytest.approx(1.0)
    assert got.matched == pytest.approx(0.9 / 1.8)
    twice = found(BOXES[[0, 0]], SCORES[:2], (0, 0))
    got = agreement(found(BOXES[:1], SCORES[:1]), twice)
    assert got.matched == pytest.approx(0.9 / 1.5)


def test_where_nothing_is_matched_nothing_passes() -> None:
    got = agreement(found(BOXES + 500), found())
    assert (got.scores, got.matched) == (0.0, 0.0)
    assert got.first(0.5) is not None


def test_where_the_reference_finds_nothing_there_is_nothing_to_hold() -> None:
    nothing = found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    got = agreement(found(), nothing)
    assert got.count == 0
    assert got.first(0.01) is None


@pytest.mark.parametrize(("ratio", "held"), [(0.97, True), (0.969, False), (1.031, False)])
def test_limits_hold_on_both_sides(ratio: float, held: bool) -> None:
    assert (Agreement(scores=ratio, matched=1, count=9).first(0.03 + 1e-9) is None) == held


def test_not_a_number_never_passes() -> None:
    assert Agreement(scores=math.nan, matched=1, count=9).first(100) is not None
    bad = found(scores=np.array([0.9, math.nan, 0.3], np.float32))
    assert agreement(bad, found()).first(100) is not None


def test_partners_in_space_are_near_on_the_ground() -> None:
    """Partners are of one class and at most two metres apart on the ground, at any height."""
    boxes = np.zeros((3, 9), np.float32)
    boxes[:, 0] = [0, 10, 20]
    labels, attributes = np.array([0, 1, 1]), np.zeros(3, np.int64)
    theirs = Detections3d(boxes, SCORES, labels, attributes)
    moved = boxes.copy()
    moved[:, :3] += [[1.2, 50, 1.2], [2.1, 0, 0], [0, 0, 0]]
    mine = Detections3d(moved, SCORES * np.float32(0.5), labels, attributes)
    got = agreement(mine, theirs, "det3d")
    assert got.scores == pytest.approx(0.5)
    assert got.matched == pytest.approx((0.9 + 0.3) / 1.8)


def test_segmentation_agrees_by_pixels_of_the_crop() -> None:
    theirs = np.full((4, 10), IGNORED, np.uint8)
    theirs[1:3] = 3
    mine = theirs.copy()
    mine[1, :5] = 4
    mine[0] = 4  # outside the crop
    names = tuple("abcde")
    got = agreement(Segmentation(mine, names), Segmentation(theirs, names), "seg")
    assert got == Agreement(scores=0.75, matched=1.0, count=20, compared="pixels")


def test_overlaps_and_partners() -> None:
    values = overlaps(BOXES.astype(float), np.array([[0, 0, 10, 5], [0.0, 0, 10, 10]]))
    np.testing.assert_allclose(values, [[0.5, 1], [0, 0], [0, 0]])
    nearness = np.array([[0.9, 0.8], [0.95, -np.inf], [-np.inf, 0.7]])
    np.testing.assert_array_equal(partners(nearness), [0, -1, 1])
    np.testing.assert_array_equal(partners(np.zeros((2, 0))), [-1, -1])


def test_agreements_follow_an_evaluation_and_go_on(tmp_path: object) -> None:
    recipe = tiny_recipe(tmp_path)  # type: ignore[arg-type]
    first, again = (Agreements(recipe, "pytorch", ["pytorch", "low"]) for _ in range(2))
    low = found(scores=SCORES * np.float32(0.8))
    first.add("pytorch", [found(), found()])
    first.add("low", [low, found()])
    again.restore(first.state())
    again.add("pytorch", [found()])
    again.add("low", [found()])
    assert again.result()["low"].scores == pytest.approx((0.8 + 1 + 1) / 3)
    assert again.result()["low"].count == 9
    assert again.result()["low"].spread == (0.8, 1.0)
    assert list(first.result()) == ["low"]


def test_the_reference_comes_first(tmp_path: object) -> None:
    agreements = Agreements(tiny_recipe(tmp_path), "pytorch", ["low"])  # type: ignore[arg-type]
    with pytest.raises(LzuError, match="pytorch is to be evaluated before low"):
        agreements.add("low", [found()])


@pytest.mark.parametrize(("weight", "scores", "matched"), [(1.0, 0.5, 1.0), (0.2, 0.9, 1.0)])
def test_a_difference_on_a_faint_frame_counts_less(
    weight: float, scores: float, matched: float
) -> None:
    tally = Tally("det")
    tally.add(found(scores=SCORES / 2), found(), weight)
    assert tally.result().scores == pytest.approx(scores)
    assert tally.result().matched == pytest.approx(matched)


def test_what_is_not_found_on_a_faint_frame_counts_less() -> None:
    tally = Tally("det")
    tally.add(found(BOXES[:1], SCORES[:1], (0,)), found(), 0.5)
    # 0.9 is found; of the other 0.9 half counts.
    assert tally.result().matched == pytest.approx(0.9 / 1.35)
    assert tally.result().scores == pytest.approx(1.0)


@settings(max_examples=8)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.floats(0.25, 1.5, width=32)), max_size=9),
    st.integers(1, 4),
    st.randoms(),
)
def test_agreement_in_parts_and_any_order_is_that_of_the_whole(
    frames: list[tuple[int, float]], parts: int, random: Any
) -> None:
    """To the bit, although scores are no round numbers."""
    shown = []
    for seed, factor in frames:
        scores = np.random.default_rng(seed).random(3).astype(np.float32)
        shown.append((found(scores=scores * np.float32(factor)), found(scores=scores)))
    whole = Tally("det")
    for mine, theirs in shown:
        whole.add(mine, theirs)
    random.shuffle(shown)
    merged = Tally("det")
    for i in range(parts):
        part = Tally("det")
        for mine, theirs in shown[i::parts]:
            part.add(mine, theirs)
        merged.merge(part.state())
    assert merged.state().tolist() == whole.state().tolist()
    assert merged.result() == whole.result()
