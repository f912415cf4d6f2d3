"""Parts of a set: where it is cut, and that counts add up to those of the whole, to the bit."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.evaluation.datasets import Sample, Scorer, State
from lzu_export.evaluation.metrics import scorers as scorers_module
from lzu_export.evaluation.metrics.nuscenes_objects import camera_objects
from lzu_export.evaluation.metrics.scorers import (
    BoxScorer,
    BoxTruth,
    LabelScorer,
    SpaceScorer,
    SpaceTruth,
)
from lzu_export.evaluation.parts import cut, cut_at, divisible, merge, multiples
from lzu_export.evaluation.resampling import resample
from lzu_export.evaluation.resume import packed, unpacked
from lzu_export.recipes import load_recipe
from lzu_export.runtime import CameraFrame, Detections, Detections3d, Segmentation

FRAME = CameraFrame(np.zeros((4, 4, 3), np.uint8))
CLASSES = ("car", "bus", "bicycle")
FRAMES = 24

Shown = list[tuple[Sample, Any]]


def boxes() -> Shown:
    """Images with objects and detections near them, in another order than their numbers."""
    random, shown = np.random.default_rng(0), []
    for i, number in enumerate((random.permutation(FRAMES) + 1).tolist()):
        count = int(random.integers(0, 4))
        corners, sizes = random.uniform(0, 99, (count, 2)), random.uniform(5, 80, (count, 2))
        labels = random.integers(0, 3, count).astype(np.int32)
        objects = [
            {"id": j + 1, "image_id": number, "category_id": int(labels[j]) + 1, "iscrowd": 0}
            | {"bbox": [*corners[j], *sizes[j]], "area": float(sizes[j].prod())}
            for j in range(count)
        ]
        found = np.concatenate([corners, corners + sizes], axis=1)
        found = (found + random.normal(0, 4, found.shape)).astype(np.float32)
        scores = (random.integers(1, 5, count) / 7).astype(np.float32)
        sample = Sample(number, FRAME, BoxTruth({"id": number}, objects), "", f"street {i // 3}")
        shown.append((sample, Detections(found, scores, labels, CLASSES)))
    return shown


def label_maps() -> Shown:
    random, shown = np.random.default_rng(1), []
    for i in range(FRAMES):
        truth = random.integers(0, 3, (8, 9)).astype(np.uint8)
        truth[0, 0] = 255
        guess = np.where(random.random(truth.shape) < 0.3, (truth + 1) % 3, truth % 3)
        found = Segmentation(guess.astype(np.uint8), CLASSES)
        shown.append((Sample(i, FRAME, truth, sequence=i // 3), found))
    return shown


def in_space() -> Shown:
    random, shown = np.random.default_rng(2), []
    for i in range(FRAMES):
        count = int(random.integers(1, 6))
        true = np.concatenate([random.uniform(1, 20, (count, 3)), np.ones((count, 4))], axis=1)
        labels = random.integers(0, 3, count)
        truth = SpaceTruth(i // 3, camera_objects(true, labels), np.zeros(count, bool))
        seen = true.copy()
        seen[:, :3] += random.normal(0, 0.8, (count, 3))
        scores = (random.integers(1, 5, count) / 7).astype(np.float32)
        found = Detections3d(
            seen.astype(np.float32), scores, labels, np.zeros(count, np.int64), CLASSES
        )
        shown.append((Sample(i, FRAME, truth, sequence=i // 3), found))
    return shown


SCORED: dict[str, tuple[Callable[[], Scorer], Shown]] = {
    "boxes": (lambda: BoxScorer(CLASSES), boxes()),
    "label maps": (lambda: LabelScorer(CLASSES), label_maps()),
    "in space": (SpaceScorer, in_space()),
}


def count(scorer: Any, shown: Shown) -> Any:
    for sample, prediction in shown:
        scorer.add(sample, prediction)
    return scorer


def in_parts(make: Callable[[], Scorer], shown: Shown, cuts: list[int]) -> Any:
    """Count each part by a scorer of its own, and merge their states as they are stored."""
    whole, parts = {"a": make()}, []
    for start, stop in zip([0, *cuts], [*cuts, len(shown)], strict=True):
        state: State = count(make(), shown[start:stop]).state()
        parts.append(unpacked(packed({"a": state}), ["a"]))
    merge(whole, parts)  # type: ignore[arg-type]
    return whole["a"]


def same(one: Any, other: Any) -> bool:
    """Whether two scorers agree in all that they know, to the bit."""
    assert repr(one.summary()) == repr(other.summary())
    assert list(one.owners()) == list(other.owners())
    return resample(one, resamples=9) == resample(other, resamples=9) is not None


@pytest.mark.parametrize("kind", SCORED)
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, FRAMES), max_size=3).map(sorted))
def test_scorers_of_parts_give_the_results_of_the_whole(kind: str, cuts: list[int]) -> None:
    """Wherever they are cut, within sequences and with parts of no frames too."""
    make, shown = SCORED[kind]
    assert same(in_parts(make, shown, cuts), count(make(), shown))


def test_so_do_those_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set so large that its images are matched at the end."""
    monkeypatch.setattr(scorers_module, "AS_THEY_COME", 9)
    make, shown = SCORED["boxes"]
    merged, whole = in_parts(make, shown, [8, 16]), count(make(), shown)
    assert repr(merged.summary()) == repr(whole.summary())
    assert merged.owners() == whole.owners() == []


class Set:
    """A set of which only the frames' numbers matter."""

    name, note, metric, classes = "set", "", "AP", CLASSES

    def __init__(self, frames: int, **known: Any) -> None:
        self.frames = frames
        vars(self).update(known)

    def __len__(self) -> int:
        return self.frames

    def samples(self, start: int = 0) -> Iterator[Sample]:
        raise AssertionError("no frame is read to cut it")

    def scorer(self) -> Scorer:
        return BoxScorer(CLASSES)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    wanted=st.integers(1, 12),
    least=st.integers(1, 20),
)
def test_parts_end_at_ends(lengths: list[int], wanted: int, least: int) -> None:
    """All frames are in one part each, no part is too small, and there are not too many."""
    ends = np.cumsum(lengths).tolist()
    parts = cut_at(ends, wanted, least)
    assert [i for part in parts for i in part] == list(range(ends[-1]))
    assert {part.stop for part in parts} <= set(ends)
    assert 1 <= len(parts) <= wanted
    assert len(parts) == 1 or min(map(len, parts)) >= least


def test_a_set_is_cut_by_what_its_model_needs() -> None:
    fixed = load_recipe("det", {"variant": "fixed"})
    four = load_recipe("det", {"variant": "fixed", "batch": 4})
    adaptive = load_recipe("det", {"variant": "adaptive"})
    streams = Set(20, sequence_lengths=[7, 7, 6])
    assert cut(streams, fixed, 2, 1) == [range(10), range(10, 20)]
    assert cut(streams, four, 2, 1) == [range(12), range(12, 20)]
    assert cut(streams, adaptive, 2, 1) == [range(14), range(14, 20)]
    rig = Set(36, frames_together=6)
    assert cut(rig, four, 5, 1) == [range(12), range(12, 24), range(24, 36)]
    assert cut(Set(20), fixed, 9, 12) == [range(20)]
    assert multiples(4, 10) == [4, 8, 10]


def test_what_cannot_be_divided() -> None:
    """Streams whose sequences are unknown, and scorers that do not add up."""
    fixed = load_recipe("det", {"variant": "fixed"})
    adaptive = load_recipe("det", {"variant": "adaptive"})

    class Own(Set):
        def scorer(self) -> Any:
            return object()

    assert divisible(Set(9), fixed)
    assert not divisible(Set(9), adaptive)
    assert divisible(Set(9, sequence_lengths=[9]), adaptive)
    assert not divisible(Own(9), fixed)
