"""A user's choice of results when a bundle is opened."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import YoloPostprocess
from lzu_export.runtime import load
from lzu_export.runtime.choice import Choice, make_choice, missing_candidates
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.postprocess3d import suppress_3d
from lzu_export.runtime.predictor import NO_CHOICE
from lzu_export.tasks.pytorch import noise_frame
from samples import tiny_recipe

FRAME = noise_frame((96, 160), 7)


def test_the_choice_is_that_of_a_recipe(tiny_bundle: Path, tiny_recipe: dict[str, Any]) -> None:
    """A bundle opened with other thresholds detects as suppression with those thresholds does."""
    plain = load(tiny_bundle)
    outputs = plain.session.run({"frame": FRAME[None]})
    candidates = [outputs[name][0] for name in ("boxes", "scores", "labels")]
    settings = {"score_threshold": 0.35, "iou_threshold": 0.2, "max_detections": 7}
    found = load(tiny_bundle, **settings)(FRAME)
    _, scores, labels = suppress(*candidates, **settings)
    assert 0 < len(found) <= 7
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.labels, labels)
    assert len(plain(FRAME)) > len(found)
    assert plain.recipe == load(tiny_bundle, **settings).recipe


def test_classes_are_chosen_by_name(tiny_bundle: Path) -> None:
    """Choosing some of the classes does not change the class numbers."""
    every = load(tiny_bundle, max_detections=100)(FRAME)
    signs = load(tiny_bundle, classes=["sign"], max_detections=100)(FRAME)
    assert set(every.labels.tolist()) == {0, 1}
    assert set(signs.labels.tolist()) == {1}
    assert signs.classes == ("car", "sign")
    with pytest.raises(LzuError, match=r"the bundle has no class 'signs'; did you mean sign\?"):
        load(tiny_bundle, classes=["signs"])
    with pytest.raises(LzuError, match="no class 'tree'; it has car, sign"):
        load(tiny_bundle, classes=["tree"])
    with pytest.raises(LzuError, match="classes is the text 'sign'; give a list of names"):
        load(tiny_bundle, classes="sign")
    with pytest.raises(LzuError, match="classes is empty, so nothing could be found"):
        load(tiny_bundle, classes=[])


def test_classes_without_names_are_chosen_by_number() -> None:
    settings = YoloPostprocess(kind="yolo")
    recipe: Any = SimpleNamespace(classes=(), most_detections=9, postprocess=settings)
    assert make_choice(recipe, Choice(classes=["3"])).classes == ("3",)
    with pytest.raises(LzuError, match="no class 'car'; it has numbers instead of names, such as"):
        make_choice(recipe, Choice(classes=["car"]))


def test_classes_left_out_suppress_nothing_and_take_no_place() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [40, 0, 50, 9]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 1])
    settings = {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 1}
    wanted = np.array([False, True])
    _, found, _ = suppress(boxes, scores, labels, wanted=wanted, class_agnostic=True, **settings)
    np.testing.assert_array_equal(found, np.float32([0.8]))


def test_suppression_across_classes() -> None:
    """Of overlapping boxes only the best stays, whatever their classes."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [40, 0, 50, 9]], np.float32)
    scores, labels = np.array([0.8, 0.9, 0.7], np.float32), np.array([0, 1, 0])
    settings = {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 9}
    assert suppress(boxes, scores, labels, **settings)[2].tolist() == [1, 0, 0]
    assert suppress(boxes, scores, labels, class_agnostic=True, **settings)[2].tolist() == [1, 0]


def test_suppression_across_classes_in_space() -> None:
    """A candidate that scores in two classes is kept once when suppression is across classes."""
    boxes = np.zeros((2, 9), np.float32)
    boxes[:, 3:6], boxes[1, 2] = 4, 30
    scores = np.array([[0.9, 0.8], [0.2, 0.6]], np.float32)
    attributes = np.zeros(2, np.int32)
    assert suppress_3d(boxes, scores, attributes).labels.tolist() == [0, 1, 1, 0]
    assert suppress_3d(boxes, scores, attributes, class_agnostic=True).labels.tolist() == [0, 1]
    only = suppress_3d(boxes, scores, attributes, wanted=np.array([True, False]))
    np.testing.assert_allclose(only.scores, [0.9, 0.2])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"score_threshold": -0.1}, r"score_threshold is -0\.1; give a number in \[0, 1\)"),
        ({"score_threshold": 1.0}, r"score_threshold is 1\.0; give"),
        ({"score_threshold": float("nan")}, "score_threshold is nan; give"),
        ({"iou_threshold": 0.0}, r"iou_threshold is 0\.0; give a number in \(0, 1\]"),
        ({"iou_threshold": 1.5}, r"iou_threshold is 1\.5; give"),
        ({"max_detections": 0}, "max_detections is 0; give a positive whole number"),
        ({"max_detections": 10**6}, "the graph holds 150 candidates of a frame; lower it, or"),
    ],
)
def test_what_the_graph_cannot_serve_is_refused(
    given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path)
    words = words.replace("150", str(sum(recipe.candidates)))  # type: ignore[attr-defined]
    with pytest.raises(LzuError, match=words) as caught:
        make_choice(recipe, Choice(**given))
    assert "\n" not in str(caught.value)


def test_class_maps_have_no_choice(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "seg")
    assert not make_choice(recipe, NO_CHOICE)
    for given in ({"score_threshold": 0.2}, {"classes": ["near"]}, {"class_agnostic": True}):
        with pytest.raises(LzuError, match="does not apply to task seg, whose engine returns no"):
            make_choice(recipe, Choice(**given))


def test_a_choice_of_the_recipe_s_own_values_is_none(tmp_path: Path) -> None:
    """It counts as no choice, so that suppression stays on the device."""
    recipe: Any = tiny_recipe(tmp_path)
    own = recipe.postprocess
    same = Choice(
        score_threshold=own.score_threshold,
        iou_threshold=own.iou_threshold,
        max_detections=own.max_detections,
        classes=recipe.classes,
    )
    assert not make_choice(recipe, same)
    lower = Choice(score_threshold=0.0)
    assert make_choice(recipe, lower) == lower
    assert make_choice(recipe, Choice(class_agnostic=True))


def test_a_threshold_below_the_candidates_is_said_once(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says that no result is below the lowest score that the graph outputs."""
    with caplog.at_level(logging.WARNING, logger="lzu_export.runtime.detector"):
        load(tiny_bundle)(FRAME)
        assert caplog.messages == []
        detector = load(tiny_bundle, score_threshold=1e-6)
        detector(FRAME)
        detector(FRAME)
    (message,) = caplog.messages
    assert message.startswith("score_threshold 1e-06 is below what the graph holds: of level 0 it")
    assert "postprocess.candidates_per_level" in message


def test_missing_candidates_are_those_of_full_levels(tmp_path: Path) -> None:
    """A level that outputs all of its entries cannot lack a candidate."""
    recipe: Any = tiny_recipe(tmp_path)
    held, entries = recipe.candidates, recipe.entries
    assert held[0] < entries[0]
    scores = np.full(sum(held), 0.2, np.float32)
    assert missing_candidates(recipe, scores, 0.3) is None
    assert f"the best {held[0]} of {entries[0]} entries, down to a score of 0.2" in str(
        missing_candidates(recipe, scores, 0.1)
    )
    first = 0
    for many, of in zip(held, entries, strict=True):
        if many < of:
            scores[first + many - 1] = 0.05
        first += many
    assert missing_candidates(recipe, scores, 0.1) is None
