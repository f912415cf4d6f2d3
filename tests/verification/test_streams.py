"""An engine and PyTorch over sequences: zoomed by the same boxes, and each by its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_benchmarks.demo.dataset import DemoDataset
from lzu_benchmarks.demo.evaluation import DemoSet
from lzu_benchmarks.scenes import CLASSES
from lzu_export.cli.tables.streams import stream_notes
from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.evaluation.resume import Unfinished
from lzu_export.manifest.schema import Accuracy
from lzu_export.recipes import load_recipe
from lzu_export.recipes.schema import DetPostprocess
from lzu_export.runtime import load
from lzu_export.runtime.detector import Detections, Detector
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.session import Arrays
from lzu_export.tasks.pytorch import torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.verification.streams import StreamWatch, gap_of
from samples import TINY_MODEL, tiny_recipe

SMALL = (96, 160)
TINY: dict[str, Any] = {
    "variant": "adaptive",
    "classes": list(CLASSES),
    "model": {**TINY_MODEL, "num_classes": len(CLASSES)},
    "warp": {"boxes": 20, "bandwidth": 20.0},
    # Untrained scores are low: whatever is found is fed back.
    "postprocess": {"score_threshold": 0.001, "candidates_per_level": 50},
}


class Shrunk(DemoSet):
    """Demonstration sequences at the tiny model's size; their boxes stay where they are."""

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for sample in super().samples(start):
            frame = cv2.resize(sample.camera_frame.frame, SMALL[::-1], interpolation=cv2.INTER_AREA)
            yield sample._replace(camera_frame=CameraFrame(np.asarray(frame, np.uint8)))


class Disturbed:
    """A session whose scores are wrong from a given run on."""

    concurrent = False

    def __init__(self, session: Any, start: int) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._left = session, start

    def run(self, inputs: Arrays) -> Arrays:
        found = dict(self._session.run(inputs))
        self._left -= 1
        if self._left < 0:
            found["scores"] = found["scores"] * np.float32(0.9)
        return found


def follow(pytorch: Detector, engine: Detector, told: Detector, dataset: DemoSet) -> Accuracy:
    """Evaluate both over the set, watched."""
    watch = StreamWatch(("pytorch", pytorch), ("onnxruntime/fp32", told))
    metrics = evaluate({"pytorch": pytorch, "onnxruntime/fp32": engine}, dataset, watch=watch)
    accuracy = Accuracy(
        dataset="demo",
        note="",
        metric="AP",
        frames=len(dataset),
        pytorch=metrics.pop("pytorch"),
        engines=metrics,
        limits={},
        stream=watch.result(),
    )
    print("\n".join(stream_notes("tiny", accuracy)))
    return accuracy


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes predictors of an untrained adaptive detector: PyTorch's, and ONNX Runtime's."""
    folder = tmp_path_factory.mktemp("streams")
    recipe = tiny_recipe(folder, **TINY)
    bundle = export(recipe, folder).folder

    def predictors() -> tuple[Detector, Detector, Detector]:
        made = torch_predictor(recipe, make_warp(recipe)), load(bundle), load(bundle)
        assert all(isinstance(each, Detector) for each in made)
        return made  # type: ignore[return-value]

    return predictors


def test_forty_frames_are_equal_zoomed_by_the_same_boxes(tiny: Any) -> None:
    accuracy = follow(*tiny(), Shrunk(DemoDataset(range(2), range(20))))
    stream = accuracy.stream
    assert stream is not None
    assert stream.frames == 40
    assert stream.unequal == ()
    assert 0 < stream.boxes < 0.05
    assert accuracy.pytorch["AP"] == pytest.approx(
        accuracy.engines["onnxruntime/fp32"]["AP"], abs=0.1
    )
    assert "all 40 frames are equal" in stream_notes("tiny", accuracy)[1]


def test_an_engine_that_errs_is_told_from_boxes_that_differ(tiny: Any) -> None:
    """Frames count from 1; zoomed by its own boxes, an engine first differs where it first errs."""
    pytorch, engine, told = tiny()
    engine.session, told.session = (Disturbed(each.session, 3) for each in (engine, told))
    stream = follow(pytorch, engine, told, Shrunk(DemoDataset(range(1), range(5)))).stream
    assert stream is not None
    assert stream.unequal == (4, 5)
    assert stream.parted[0] == 4


def test_feedback_that_differs_parts_an_engine_that_does_not_err(tiny: Any) -> None:
    pytorch, engine, told = tiny()
    own = engine.postprocess

    def forgetful(outputs: Any, camera_frames: Any) -> Any:
        found = own(outputs, camera_frames)
        engine.reset()
        return found

    engine.postprocess = forgetful
    accuracy = follow(pytorch, engine, told, Shrunk(DemoDataset(range(1), range(3))))
    assert accuracy.stream is not None
    assert accuracy.stream.unequal == ()
    assert accuracy.stream.parted == (2, 3)
    assert "2 of 3 differ, frame 2 first" in stream_notes("tiny", accuracy)[3]


def detections(*rows: tuple[float, float, int]) -> Detections:
    """Boxes 10 wide at x, with score and label."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    scores, labels = (np.array([row[i] for row in rows], np.float32) for i in (1, 2))
    return Detections(boxes, scores, labels.astype(np.int32), ("near", "far"))


SETTINGS = DetPostprocess(score_threshold=0.05, iou_threshold=0.5, max_detections=100)


def test_equal_detections_may_change_places_and_fall_off_the_end() -> None:
    one = detections((0, 0.9, 0), (50, 0.9, 0), (90, 0.05005, 1))
    other = detections((50, 0.90005, 0), (0.01, 0.9, 0))
    gap = gap_of(one, other, SETTINGS)
    assert gap.equal
    assert gap.boxes == pytest.approx(0.01, abs=1e-5)
    assert gap.scores == pytest.approx(5e-5, abs=1e-6)
    assert gap_of(detections(), detections(), SETTINGS).equal
    # The last of as many as there may be is there by a hair.
    two = SETTINGS.model_copy(update={"max_detections": 2})
    one, other = (detections((0, 0.9, 0), (x, 0.5, 0)) for x in (50, 70))
    assert gap_of(one, other, two).equal
    assert not gap_of(one, other, SETTINGS).equal


def test_of_overlapping_boxes_of_equal_scores_either_may_be_left() -> None:
    assert gap_of(detections((0, 0.9, 0)), detections((1, 0.9, 0)), SETTINGS).equal
    assert not gap_of(detections((0, 0.9, 0)), detections((1, 0.91, 0)), SETTINGS).equal
    assert not gap_of(detections((0, 0.9, 0)), detections((6, 0.9, 0)), SETTINGS).equal


@pytest.mark.parametrize(
    "other", [(20, 0.9, 0), (0, 0.8, 0), (0, 0.9, 1), None], ids=["box", "score", "label", "none"]
)
def test_other_detections_have_no_partner(other: tuple[float, float, int] | None) -> None:
    gap = gap_of(detections((0, 0.9, 0)), detections(*([other] if other else [])), SETTINGS)
    assert not gap.equal
    assert gap.alone == 2 - (other is None)


def test_an_overlap_all_but_at_the_threshold_is_decided_by_rounding() -> None:
    """A box may be there at one of two thresholds around the recipe's; more is a difference."""
    one, other = detections((0, 0.9, 0), (40, 0.8, 0)), detections((0, 0.9, 0))
    assert not gap_of(one, other, SETTINGS).equal
    assert gap_of(one, other, SETTINGS, [other, one]).equal
    assert not gap_of(one, other, SETTINGS, [one, one]).equal


@pytest.mark.slow
def test_two_hundred_frames_of_the_demonstration(tmp_path: Path) -> None:
    """Trained weights run five whole sequences at ten frames a second."""
    from lzu_export.models.checkpoint import load_state, save_checkpoint

    plain = load_recipe("det-demo")
    weights = plain.checkpoint.get("adaptive")
    if weights is None or not weights.is_file():  # those of the fixed warp know streets as well
        weights = tmp_path / "weights.pth"
        save_checkpoint(weights, load_state(plain.checkpoint["fixed"]), half=False)
    changes = {"variant": "adaptive", "evaluation": {"dataset": None}, "precision": ["fp32"]}
    recipe = load_recipe("det-demo", {**changes, "targets": ["onnxruntime"]})
    recipe = recipe.model_copy(update={"checkpoint": {"adaptive": weights}})
    bundle = export(recipe, tmp_path).folder
    pytorch, engine, told = torch_predictor(recipe, make_warp(recipe)), load(bundle), load(bundle)
    assert isinstance(pytorch, Detector)
    accuracy = follow(pytorch, engine, told, DemoSet(DemoDataset(range(5), range(40))))
    stream = accuracy.stream
    assert stream is not None
    assert stream.frames == 200
    assert stream.unequal == ()
    mine, theirs = accuracy.engines["onnxruntime/fp32"]["AP"], accuracy.pytorch["AP"]
    assert theirs > 10, "it sees something"
    assert abs(mine - theirs) <= 0.1


def test_an_interrupted_stream_goes_on_between_sequences(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the same result, observations included, as a stream without an interruption."""

    class Broken(Shrunk):
        def samples(self, start: int = 0) -> Iterator[Sample]:
            for i, sample in enumerate(super().samples(start), start=start):
                if i == 4:
                    raise LzuError("frame 4 is damaged; mend it")
                yield sample

    monkeypatch.setattr("lzu_export.evaluation.resume.SECONDS", -1.0)
    frames = DemoDataset(range(2), range(3))
    results = []
    for sets in ([Shrunk(frames)], [Broken(frames), Shrunk(frames)]):
        for dataset in sets:
            pytorch, engine, told = tiny()
            watch = StreamWatch(("pytorch", pytorch), ("engine", told))
            predictors = {"pytorch": pytorch, "engine": engine}
            done: list[int] = []
            unfinished = Unfinished(tmp_path / "a.npz")
            try:
                found = evaluate(predictors, dataset, done.append, watch, unfinished=unfinished)
            except LzuError:
                continue
            results.append((found, watch.result()))
    assert done[0] == 3  # the second sequence is seen again from its beginning
    (whole, seen), (resumed, seen_again) = results
    assert seen_again == seen
    assert seen.frames == 6
    for name, metrics in whole.items():
        assert resumed[name] == pytest.approx(metrics, nan_ok=True)
