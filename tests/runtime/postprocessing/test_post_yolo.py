"""The post-processing `yolo` against a loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.runtime.choice import Choice
from postprocess_samples import framed, overlap, process


def table(seed: int, count: int = 40, columns: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre, side = rng.uniform(0, [100, 60], (count, 2)), rng.uniform(2, 40, (count, 2))
    scores = rng.uniform(0, 1, (count, columns - 4))
    return np.concatenate([centre, side, scores], axis=1).astype(np.float32)


def naive(rows: np.ndarray, score: float, iou: float, most: int) -> list[tuple[Any, ...]]:
    """Make the detections of rows cx, cy, w, h, objectness, scores, without clipping."""
    candidates = []
    for row in rows.astype(np.float64):
        label = int(np.argmax(row[5:]))
        half = row[2:4] / 2
        box = framed(np.concatenate([row[:2] - half, row[:2] + half])[None])[0]
        candidates.append((float(row[4] * row[5 + label]), label, box))
    kept: list[tuple[Any, ...]] = []
    for value, label, box in sorted(candidates, key=lambda each: -each[0]):
        alone = all(other != label or overlap(box, held) <= iou for _, other, held in kept)
        if value > score and alone and len(kept) < most:
            kept.append((value, label, box))
    return kept


@given(st.integers(0, 2**32), st.sampled_from([0.01, 0.3]), st.sampled_from([0.2, 0.65]))
def test_detections_are_those_of_a_loop(seed: int, score: float, iou: float) -> None:
    rows = table(seed)
    section = {"kind": "yolo", "score_threshold": score, "iou_threshold": iou, "max_detections": 9}
    found = process(section, {"out": rows})
    wanted = naive(rows, score, iou, 9)
    assert len(found.scores) == len(wanted) > 0
    np.testing.assert_allclose(found.scores, [each[0] for each in wanted], rtol=1e-6)
    assert found.labels.tolist() == [each[1] for each in wanted]
    boxes = np.array([each[2] for each in wanted]).clip([4, 10, 4, 10], [204, 130, 204, 130])
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    assert [each.dtype for each in found[:2]] == [np.float32, np.float32]


def test_layouts_activations_and_forms_of_boxes_give_the_same() -> None:
    rows = table(3)
    section = {"kind": "yolo", "score_threshold": 0.2}
    wanted = process(section, {"out": rows})
    logits = rows.copy()
    logits[:, 4:] = np.log(rows[:, 4:].astype(np.float64) / (1 - rows[:, 4:].astype(np.float64)))
    edged = rows.copy()
    edged[:, :2], edged[:, 2:4] = rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2
    multiplied = np.delete(rows, 4, axis=1)
    multiplied[:, 4:] *= rows[:, 4:5]
    for changes, out in (
        ({"layout": "columns"}, rows.T),
        ({"activation": "sigmoid"}, logits),
        ({"boxes": "corners"}, edged),
        ({"objectness": False}, multiplied),
        ({"objectness": False, "layout": "columns"}, multiplied.T),
    ):
        found = process({**section, **changes}, {"out": out})
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5)
        np.testing.assert_array_equal(found.labels, wanted.labels)


def test_a_choice_of_results_replaces_the_recipe_s() -> None:
    rows = table(4)
    section = {"kind": "yolo", "score_threshold": 0.2}
    everything = process(section, {"out": rows})
    fewer = process(section, {"out": rows}, Choice(score_threshold=0.5, max_detections=3))
    assert len(fewer.scores) == 3 < len(everything.scores)
    assert fewer.scores.min() > 0.5
    far = process(section, {"out": rows}, Choice(classes=("far",)))
    assert set(far.labels.tolist()) == {1}
    np.testing.assert_array_equal(far.boxes, everything.boxes[everything.labels == 1])
    agnostic = process(section, {"out": rows}, Choice(class_agnostic=True, iou_threshold=0.1))
    pairs = [(a, b) for i, a in enumerate(agnostic.boxes) for b in agnostic.boxes[:i]]
    assert pairs
    assert max(overlap(a, b) for a, b in pairs) < 0.15  # boxes are clipped after suppression


def test_classes_without_names_are_numbers() -> None:
    rows = table(5, columns=5 + 12)
    found = process({"kind": "yolo"}, {"out": rows}, classes=())
    assert found.labels.max() > 2
    only = process({"kind": "yolo"}, {"out": rows}, Choice(classes=("11",)), classes=())
    assert set(only.labels.tolist()) == {11}


def test_candidates_that_overflowed_or_lie_in_the_padding_are_dropped() -> None:
    good = [50, 30, 10, 10, 1, 0.9, 0, 0]
    padding = [115, 30, 10, 10, 1, 0.9, 0, 0]
    rows = np.array([[np.inf, 30, np.inf, 10, 1, 0.9, 0, 0], good, padding], np.float32)
    found = process({"kind": "yolo"}, {"out": rows})
    np.testing.assert_allclose(found.scores, [0.9])
    none = process({"kind": "yolo"}, {"out": rows[:0]})
    assert (none.boxes.shape, none.labels.shape) == ((0, 4), (0,))


NAN = table(0)
NAN[3, 6] = np.nan


@pytest.mark.parametrize(
    ("section", "outputs", "message"),
    [
        ({}, {"a": table(0), "b": table(0)}, "returns a, b; name one output in postprocess.output"),
        ({}, {}, "the network returns nothing; name one"),
        ({"output": "boxs"}, {"boxes": table(0)}, "names boxs, .* boxes; did you mean boxes?"),
        ({"output": "zzz"}, {"boxes": table(0)}, "names zzz, .* boxes; name one of these"),
        ({}, {"out": table(0)[None]}, r"float32 of shape \(1, 40, 8\) per frame, but"),
        ({}, {"out": table(0) > 0}, "out is bool of shape"),
        ({}, {"out": NAN}, r"out has values that are not a number \(NaN\)"),
        ({}, {"out": table(0).T}, "has 35 classes but the recipe names 3; correct"),
        ({"objectness": False}, {"out": table(0)}, "has 4 classes but the recipe names 3"),
        ({}, {"out": 9 * table(0)}, "gives a score of .*, but scores are at most 1; set"),
    ],
)
def test_unfit_outputs_are_refused(
    section: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(LzuError, match=message):
        process({"kind": "yolo", **section}, outputs)


def test_knots_are_not_taken_for_the_only_output() -> None:
    rows, knots = table(1), np.zeros(51, np.float32)
    found = process({"kind": "yolo"}, {"knots_x": knots, "out": rows, "knots_y": knots})
    np.testing.assert_array_equal(found.boxes, process({"kind": "yolo"}, {"out": rows}).boxes)


def test_an_output_without_a_class_is_refused_even_without_names() -> None:
    with pytest.raises(LzuError, match="has 0 classes but at least 1 is needed"):
        process({"kind": "yolo"}, {"out": table(0, columns=4)}, classes=())
