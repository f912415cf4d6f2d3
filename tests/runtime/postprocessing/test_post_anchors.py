"""The post-processing `anchors` against RetinaNet's decode in PyTorch, and its refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.recipes.networks import AnchorSpec
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.postprocessing.make import make_postprocess
from lzu_export.warp.anchors import grid_anchors
from postprocess_samples import framed, process, setup

SIZES = [(8, 16), (4, 8)]
SPEC = AnchorSpec(strides=(8, 16), scales_per_octave=2, ratios=(0.5, 1.0))
SECTION = {
    "kind": "anchors",
    "scores": ["cls_0", "cls_1"],
    "boxes": ["box_0", "box_1"],
    "scales_per_octave": 2,
    "ratios": [0.5, 1.0],
    "candidates_per_level": 50,
}


def heads(seed: int, classes: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    outputs = {}
    for level, size in enumerate(SIZES):
        outputs[f"cls_{level}"] = rng.normal(-2, 2, (4 * classes, *size)).astype(np.float32)
        outputs[f"box_{level}"] = rng.normal(0, 1, (4 * 4, *size)).astype(np.float32)
    return outputs


def decoded(
    outputs: dict[str, np.ndarray], stds: tuple[float, ...] = (1, 1, 1, 1)
) -> tuple[Any, Any, Any]:
    """Decode by PyTorch to candidates in pixels of the frame."""
    torch = pytest.importorskip("torch", reason="the reference is PyTorch's decode")
    from lzu_export.models.retinanet import decode

    std = np.tile(np.array(stds, np.float32), 4)[:, None, None]
    boxes, scores, labels = decode(
        [torch.from_numpy(outputs[f"cls_{level}"][None]) for level in range(2)],
        [torch.from_numpy((outputs[f"box_{level}"] * std)[None]) for level in range(2)],
        [torch.from_numpy(each) for each in grid_anchors(SIZES, SPEC.strides, SPEC)],
        (60, 100),
        50,
    )
    return framed(boxes[0].numpy()), scores[0].numpy(), labels[0].numpy()


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.5]), st.sampled_from([0.3, 0.5]))
def test_detections_are_those_of_pytorch_s_decode(seed: int, score: float, iou: float) -> None:
    outputs = heads(seed)
    found = process({**SECTION, "score_threshold": score, "iou_threshold": iou}, outputs)
    candidates = decoded(outputs)
    inside = candidates[0].clip([4, 10, 4, 10], [204, 130, 204, 130])
    visible = (inside[:, 2:] > inside[:, :2]).all(axis=1)
    boxes, scores, labels = suppress(
        *(each[visible] for each in candidates),
        score_threshold=score,
        iou_threshold=iou,
        max_detections=100,
    )
    assert len(scores) > 0
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    clipped = boxes.clip([4, 10, 4, 10], [204, 130, 204, 130])
    np.testing.assert_allclose(found.boxes, clipped, atol=2e-3)


def test_deltas_have_the_deviation_and_mean_of_training() -> None:
    outputs = heads(1)
    stds = (0.1, 0.1, 0.2, 0.2)
    found = process({**SECTION, "stds": list(stds)}, outputs)
    wanted = suppress(
        *decoded(outputs, stds), score_threshold=0.05, iou_threshold=0.5, max_detections=100
    )
    clipped = wanted[0].clip([4, 10, 4, 10], [204, 130, 204, 130])
    np.testing.assert_allclose(found.boxes, clipped, atol=2e-3)
    shifted = {
        name: value - np.float32(0.5) if name.startswith("box") else value
        for name, value in outputs.items()
    }
    again = process({**SECTION, "stds": list(stds), "means": [0.05, 0.05, 0.1, 0.1]}, shifted)
    np.testing.assert_allclose(again.boxes, found.boxes, atol=2e-3)


def test_scores_may_come_ready() -> None:
    outputs = heads(2)
    ready = {
        name: 1 / (1 + np.exp(-value)) if name.startswith("cls") else value
        for name, value in outputs.items()
    }
    found = process({**SECTION, "activation": "none"}, ready)
    wanted = process(SECTION, outputs)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)
    with pytest.raises(LzuError, match=r"cls_0 gives a score of .* set postprocess\.activation"):
        process({**SECTION, "activation": "none"}, outputs)


def test_candidates_are_the_best_of_the_wanted_classes() -> None:
    outputs = heads(3)
    for level, logit in enumerate((6.0, 7.0)):
        outputs[f"cls_{level}"][:, 2, 3] = 9.0  # of all classes, but for one anchor's "far"
        outputs[f"cls_{level}"][1::3] = -3.0
        outputs[f"cls_{level}"][4, 2, 3] = logit
        outputs[f"box_{level}"][:] = 0
    section = {**SECTION, "candidates_per_level": 1, "iou_threshold": None}
    found = process(section, outputs, Choice(classes=("far",)))
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-7.0, -6.0])), rtol=1e-5)
    np.testing.assert_array_equal(found.labels, [1, 1])


def test_strides_may_be_others_than_those_of_the_unzoomed_levels() -> None:
    outputs = heads(4)
    found = process({**SECTION, "strides": [8, 16]}, outputs, strides=(4,))
    np.testing.assert_array_equal(found.boxes, process(SECTION, outputs).boxes)
    with pytest.raises(LzuError, match="names 2 outputs but 1 levels are unzoomed; set"):
        make_postprocess(setup(SECTION, strides=(4,)))


GOOD = heads(0)


@pytest.mark.parametrize(
    ("section", "outputs", "message"),
    [
        ({"scores": ["cls", "cls_1"]}, GOOD, "postprocess.scores names cls, .* did you mean cls_1"),
        ({"scores": ["cls_1", "cls_0"]}, GOOD, "cls_1 has 4x8 cells but level 0 .* has 8x16"),
        ({"boxes": ["cls_0", "cls_1"]}, GOOD, "cls_0 has 12 channels but 4 anchors .* need 16"),
        ({"ratios": [1.0]}, GOOD, "cls_0 has 6 classes but the recipe names 3; correct"),
        ({"ratios": [0.5, 0.7, 1, 2, 3]}, GOOD, "cls_0 has 0 classes but the recipe names 3"),
        ({}, {**GOOD, "cls_1": GOOD["cls_1"] * np.nan}, "cls_1 has values that are not a number"),
        ({}, {**GOOD, "cls_1": GOOD["cls_1"][None]}, r"takes numbers \(channels, height, width\)"),
    ],
)
def test_unfit_maps_are_refused(
    section: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(LzuError, match=message):
        process({**SECTION, **section}, outputs)
