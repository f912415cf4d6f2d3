"""Recipe keys of named post-processings."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lzu_export.errors import LzuError
from lzu_export.recipes.load import validate
from lzu_export.recipes.postprocessing import (
    AnchorPostprocess,
    DetrPostprocess,
    Postprocess,
    RawPostprocess,
    YoloPostprocess,
)
from postprocess_samples import OwnRecipe, own_task

SECTIONS: TypeAdapter[Any] = TypeAdapter(Postprocess)


@pytest.fixture(autouse=True)
def _own() -> Iterator[None]:
    with own_task():
        yield


def recipe(**postprocess: Any) -> OwnRecipe:
    data: dict[str, Any] = {
        "name": "own",
        "task": "own",
        "source": [480, 640],
        "variant": "uniform",
        "model": {"num_classes": 1},
        "classes": ["car"],
    }
    if postprocess:
        data["postprocess"] = postprocess
    found = validate(data, "x")
    assert isinstance(found, OwnRecipe)
    return found


def test_the_kind_chooses_the_section() -> None:
    assert isinstance(recipe().postprocess, RawPostprocess)
    yolo = recipe(kind="yolo", output="out").postprocess
    assert isinstance(yolo, YoloPostprocess)
    assert (yolo.iou_threshold, yolo.returns) == (0.65, "boxes")
    assert isinstance(recipe(kind="detr").postprocess, DetrPostprocess)
    anchors = recipe(kind="anchors", scores=["a", "b"], boxes=["c", "d"]).postprocess
    assert isinstance(anchors, AnchorPostprocess)
    assert anchors.most_detections == 2000


def test_a_user_may_ask_for_as_many_detections_as_there_are_candidates() -> None:
    for section, most in (({"kind": "detr"}, 300), ({"kind": "yolo"}, 10**9)):
        assert SECTIONS.validate_python(section).most_detections >= most
    assert SECTIONS.validate_python({"kind": "detr", "candidates": 9}).most_detections == 9


def test_a_section_is_the_same_after_it_was_written() -> None:
    for section in (
        {"kind": "custom", "name": "mine", "options": {"a": [1, {"b": None}], "c": "d"}},
        {"kind": "labels", "upsampling": "in-phase"},
        {"kind": "anchors", "scores": ["a"], "boxes": ["b"], "strides": [8]},
    ):
        first = recipe(**section)
        again = validate(first.model_dump(mode="json"), "x")
        assert again == first


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"score_threshold": 0.3},
            "postprocess is .* must be keys with a kind, one of raw, yolo, detr, anchors, labels,",
        ),
        ({"kind": "yol"}, "must be keys with a kind"),
        (
            {"kind": "yolo", "scor_threshold": 0.3},
            "unknown key postprocess.scor_threshold; did you mean score_threshold?",
        ),
        (
            {"kind": "yolo", "score_threshold": 2},
            "postprocess.score_threshold is 2 but must be less than 1; change it",
        ),
        ({"kind": "custom"}, "the key postprocess.name is missing; add it"),
        (
            {"kind": "anchors", "scores": ["a", "b"], "boxes": ["c"], "strides": [8]},
            "postprocess lists 2 scores, 1 boxes, 1 strides; give one of each per level",
        ),
        ({"kind": "anchors", "scores": [], "boxes": []}, "must be a list of at least 1"),
    ],
)
def test_unfit_sections_are_refused_by_the_key_s_own_name(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(LzuError, match=message):
        recipe(**section)


def test_options_hold_plain_values_only() -> None:
    with pytest.raises(ValidationError, match="options"):
        SECTIONS.validate_python({"kind": "custom", "name": "x", "options": {"a": object()}})
    with pytest.raises(ValidationError, match="frozen"):
        SECTIONS.validate_python({"kind": "raw"}).kind = "yolo"
