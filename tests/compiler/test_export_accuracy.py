"""An export evaluates PyTorch and its engines on a data set, and compares their accuracy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from export_samples import quick

from lzu_export.compiler import stages, whole_export
from lzu_export.compiler.pipeline import export
from lzu_export.evaluation.datasets import Sample
from lzu_export.runtime import CameraFrame
from lzu_export.tasks.pytorch import noise_frame
from samples import CLASSES, refusal


class FakeSet:
    """Two frames; the metric is scripted."""

    name = "fake"
    note = "no sizes"
    metric = "AP"
    classes = tuple(CLASSES)

    def __init__(self, metrics: list[float], frames: int = 2, size: tuple[int, int] = (96, 160)):
        self.metrics, self.count, self.size = list(metrics), frames, size

    def __len__(self) -> int:
        return self.count

    def samples(self) -> Iterator[Sample]:
        for i in range(self.count):
            yield Sample(i, CameraFrame(noise_frame(self.size, seed=i)), None)

    def scorer(self) -> "FakeScorer":
        return FakeScorer(self)


class FakeScorer:
    """Sees every frame once."""

    def __init__(self, dataset: FakeSet) -> None:
        self.dataset = dataset
        self.seen: list[int] = []

    def add(self, sample: Sample, prediction: Any) -> None:
        assert len(prediction.scores) == len(prediction)
        self.seen.append(sample.number)

    def summary(self) -> dict[str, float]:
        assert self.seen == list(range(self.dataset.count))
        return {"AP": self.dataset.metrics.pop(0)}

    def state(self) -> None:
        """It cannot go on."""


def test_accuracy_of_pytorch_and_engine_is_in_the_manifest(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 40.05]))
    outcome = export(quick(inputs, evaluation={"dataset": "fake"}), tmp_path)
    accuracy = outcome.manifest.accuracy
    assert accuracy is not None
    assert (accuracy.dataset, accuracy.frames) == ("fake", 2)
    assert accuracy.pytorch == {"AP": 40.0}
    assert accuracy.engines == {"onnxruntime/fp32": {"AP": 40.05}}


def test_an_engine_that_loses_accuracy_becomes_no_bundle(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 39.8]))
    recipe = quick(inputs, evaluation={"dataset": "fake"})
    message = refusal(lambda: export(recipe, tmp_path))
    assert "AP of onnxruntime/fp32 differs from PyTorch's by 0.20 points" in message
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 40.0]))
    assert export(recipe, tmp_path).status == "resumed"


def test_an_evaluation_set_that_does_not_fit_is_refused(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = quick(inputs, evaluation={"dataset": "fake"})
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([], frames=0))
    assert "fake holds no frames" in refusal(lambda: export(recipe, tmp_path))
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([], size=(90, 160)))
    assert "frame 0 of fake is 90x160" in refusal(lambda: export(recipe, tmp_path))


def test_frames_are_padded_to_whole_batches(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([1, 1], frames=3))
    recipe = quick(inputs, batch=2, evaluation={"dataset": "fake"})
    outcome = export(recipe, tmp_path)
    assert outcome.manifest.accuracy is not None
    with np.load(outcome.folder / "reference.npz") as stored:
        assert stored["0/frames"].shape == stored["1/frames"].shape == (2, 96, 160, 3)
        assert (stored["1/frames"][0] == stored["1/frames"][1]).all()
