"""What tells evaluation sets apart."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

from lzu_export.evaluation.content import DEFINITION, Content, Watched
from lzu_export.evaluation.datasets import Sample, Scorer
from lzu_export.runtime.predictor import CameraFrame


class Boxes(NamedTuple):
    image: dict[str, Any]
    boxes: list[dict[str, Any]]


@dataclass
class Space:
    centres: np.ndarray
    labels: tuple[str, ...] = ("car",)
    extra: dict[str, float] = field(default_factory=lambda: {"b": 1.0, "a": 2.0})


class Few:
    name, note, metric = "few", "", "AP"
    classes = ("car",)

    def __init__(self, truths: list[Any], grey: int = 100, camera: Any = None) -> None:
        self.truths, self.grey, self.camera = truths, grey, camera

    def __len__(self) -> int:
        return len(self.truths)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for i, truth in enumerate(self.truths[start:], start):
            frame = np.full((4, 6, 3), self.grey + i, np.uint8)
            yield Sample(i, CameraFrame(frame, self.camera), truth)

    def scorer(self) -> Scorer:
        raise AssertionError("it is not scored here")


def content(truths: list[Any], **options: Any) -> Content:
    watched = Watched(Few(truths, **options))
    assert len(list(watched.samples())) == len(watched) == len(truths)
    return watched.content()


BOX = {"bbox": [1.0, 2.0, 3.0, 4.0], "category_id": 1, "iscrowd": 0}


@pytest.mark.parametrize(
    ("one", "two", "different"),
    [
        (Boxes({"id": 1}, [BOX]), Boxes({"id": 1}, [dict(reversed(BOX.items()))]), False),
        (Boxes({"id": 1}, [BOX]), Boxes({"id": 1}, [{**BOX, "bbox": [0, 0, 3.0, 4.0]}]), True),
        (Boxes({"id": 1}, [BOX]), Boxes({"id": 1}, [{**BOX, "category_id": 2}]), True),
        (Boxes({"id": 1}, [BOX]), Boxes({"id": 1}, [BOX, BOX]), True),
        (np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), False),
        (np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8), True),
        (np.zeros((3, 4), np.uint8), np.eye(3, 4, dtype=np.uint8), True),
        (Space(np.ones((2, 3))), Space(np.ones((2, 3)) + 1e-12), False),
        (Space(np.ones((2, 3))), Space(np.ones((2, 3)) + 1e-3), True),
        (Space(np.ones((2, 3))), Space(np.ones((2, 3)), ("bus",)), True),
        (Space(np.zeros((2, 3))), Space(-np.zeros((2, 3))), False),
        ("car", None, True),
    ],
)
def test_truth_is_told_apart(one: Any, two: Any, different: bool) -> None:
    first, second = content([one, one]), content([two, two])
    assert (first.truth != second.truth) == different
    assert first.difference(second) == ("truth" if different else "")


def test_frames_and_cameras_are_told_apart() -> None:
    first = content([None, None])
    assert first.difference(content([None, None])) == ""
    assert first.difference(content([None, None], grey=101)) == "frames"
    assert (first.mean, first.deviation) == (100.5, 0.5)
    assert first.difference(content([None, None], camera=np.eye(3))) == "truth"


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_contents_of_parts_merge_to_that_of_the_whole(cut: int) -> None:
    truths = [np.full(2, i) for i in range(3)]
    parts = [Watched(Few(truths[:cut])), Watched(Few(truths[cut:], grey=100 + cut))]
    for part in parts:
        assert len(list(part.samples())) == len(part)
    merged = Watched(Few(truths))
    for part in parts:
        merged.merge(part.state())
    assert merged.content() == content(truths)
    assert merged.content().definition == DEFINITION


def test_records_of_the_first_definition_still_compare() -> None:
    """Its hash is of all frames together, and its record has no field `definition`."""

    def first(truths: list[Any]) -> Content:
        watched = Watched(Few(truths), definition=1)
        assert list(watched.samples())
        return watched.content()

    stored = first(["a", "b"]).model_dump(exclude={"definition"})
    then = Content.model_validate(stored)
    assert then.truth == "22bbd2e0c3bf10d4124a822cf198e9e0ccfb45396cafce2d2a50299c36799ec4"
    assert then.frames == "fb41fa8ed9cca7f30d8fea9fe694a20fb10f7f5c3882c9aa66cfe77403691061"
    assert first(["a", "b"]).difference(then) == ""
    assert first(["a", "c"]).difference(then) == "truth"
    assert content(["a", "c"]).difference(then) == "", "only what both have is compared"
    assert content(["a", "b"]).truth != then.truth
