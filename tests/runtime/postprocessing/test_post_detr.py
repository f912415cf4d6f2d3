"""The post-processing `detr` against PyTorch's formulas."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.runtime.choice import Choice
from postprocess_samples import framed, overlap, process

VIEW = ([4, 10, 4, 10], [204, 130, 204, 130])


def queries(seed: int, classes: int = 3, count: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate(
        [rng.uniform(0.1, 0.6, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))], axis=1
    )
    logits = rng.normal(0, 2, (count, classes))
    return {"logits": logits.astype(np.float32), "boxes": boxes.astype(np.float32)}


def edges(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    x, y, w, h = boxes.astype(np.float64).T
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    return framed(corners * [width, height, width, height]).clip(*VIEW)


@given(st.integers(0, 2**32), st.sampled_from([5, 300]), st.sampled_from(["input", "canvas"]))
def test_sigmoid_takes_the_best_pairs_of_query_and_class(seed: int, most: int, one: str) -> None:
    outputs = queries(seed)
    section = {
        "kind": "detr",
        "score_threshold": 0.1,
        "candidates": most,
        "max_detections": 300,
        "relative_to": one,
    }
    found = process(section, outputs)
    scores = 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))
    order = np.argsort(-scores.ravel())[:most]
    order = order[scores.ravel()[order] > 0.1]
    np.testing.assert_allclose(found.scores, scores.ravel()[order], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, order % 3)
    size = (64, 128) if one == "input" else (60, 100)
    wanted = edges(outputs["boxes"], *size)[order // 3]
    np.testing.assert_allclose(found.boxes, wanted, atol=1e-3)


@given(st.integers(0, 2**32))
def test_softmax_gives_each_query_its_best_class_and_drops_no_object(seed: int) -> None:
    outputs = queries(seed, classes=4)
    section = {"kind": "detr", "activation": "softmax", "score_threshold": 0.2}
    found = process(section, outputs)
    powers = np.exp(outputs["logits"].astype(np.float64))
    scores = (powers / powers.sum(axis=1, keepdims=True))[:, :3]
    best = scores.max(axis=1)
    order = np.argsort(-best)[: (best > 0.2).sum()]
    np.testing.assert_allclose(found.scores, best[order], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, scores.argmax(axis=1)[order])
    np.testing.assert_allclose(found.boxes, edges(outputs["boxes"], 64, 128)[order], atol=1e-3)


def test_nothing_is_suppressed_unless_a_threshold_is_set() -> None:
    outputs = queries(1)
    outputs["boxes"][:] = outputs["boxes"][0]
    section = {"kind": "detr", "score_threshold": 0.0, "max_detections": 60}
    assert len(process(section, outputs).scores) == 60
    assert len(process({**section, "iou_threshold": 0.7}, outputs).scores) == 3
    chosen = process(section, outputs, Choice(iou_threshold=0.7, class_agnostic=True))
    assert len(chosen.scores) == 1


def test_candidates_are_the_best_of_the_classes_that_are_wanted() -> None:
    outputs = queries(2)
    section = {"kind": "detr", "score_threshold": 0.0, "candidates": 4}
    found = process(section, outputs, Choice(classes=("sky",)))
    np.testing.assert_array_equal(found.labels, [2] * 4)
    best = np.sort(1 / (1 + np.exp(-outputs["logits"][:, 2])))[::-1][:4]
    np.testing.assert_allclose(found.scores, best, rtol=1e-5)


def test_suppressed_boxes_do_not_overlap() -> None:
    found = process({"kind": "detr", "iou_threshold": 0.3, "score_threshold": 0.0}, queries(3))
    same = [
        overlap(a, b)
        for i, a in enumerate(found.boxes)
        for j, b in enumerate(found.boxes[:i])
        if found.labels[i] == found.labels[j]
    ]
    assert len(same) > 10
    assert max(same) <= 0.3 + 1e-5


def test_logits_beyond_the_range_of_exp_make_no_warning() -> None:
    outputs = queries(4)
    outputs["logits"][:] = -1000
    outputs["logits"][0] = [1000, -1000, 0]
    with np.errstate(all="raise", under="ignore"):
        found = process({"kind": "detr", "score_threshold": 0.1}, outputs)
    np.testing.assert_allclose(found.scores, [1, 0.5])


BAD = queries(0)
NAN = {**BAD, "boxes": np.full_like(BAD["boxes"], np.nan)}


@pytest.mark.parametrize(
    ("section", "outputs", "message"),
    [
        ({"logits": "logit"}, BAD, "postprocess.logits names logit, .*; did you mean logits?"),
        ({"boxes": "pred"}, BAD, "postprocess.boxes names pred, .* returns logits, boxes"),
        ({}, {**BAD, "boxes": BAD["boxes"][:5]}, r"boxes has shape \(5, 4\) .* 20 queries"),
        ({}, {**BAD, "logits": BAD["logits"][None]}, r"takes numbers \(queries, classes\)"),
        ({}, NAN, "output boxes has values that are not a number"),
        ({"activation": "softmax"}, BAD, "logits has 2 classes but the recipe names 3; correct"),
    ],
)
def test_unfit_queries_are_refused(
    section: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(LzuError, match=message):
        process({"kind": "detr", **section}, outputs)
