"""The two tasks of the comparison, as what the command needs of each."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import lzu_export as lzu
from lzu_benchmarks.train.camvid import detection, segmentation
from lzu_benchmarks.train.camvid.frames import SOURCE, Split, Splits
from lzu_benchmarks.train.camvid.learned import GAIN
from lzu_benchmarks.train.camvid.network import DEPTH, NAME, STRIDE, WIDTHS
from lzu_benchmarks.train.camvid.results import Job
from lzu_benchmarks.train.figures import thirds_of_rows
from lzu_benchmarks.train.schedule import Schedule
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import SegRecipe
from lzu_export.tasks.warps import make_warp

PRECISIONS = ("fp32", "fp16", "int8")
"""Precisions of exported engines."""


@dataclass(frozen=True)
class Task(ABC):
    """A task on the splits of the set; weights and bundles are files in a folder."""

    splits: Splits
    work: Path
    epochs: float

    name: ClassVar[str]
    rate: ClassVar[float]
    """Highest learning rate."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Settings that decide the results, as plain data."""

    @abstractmethod
    def jobs(self, seeds: int) -> Iterator[Job]:
        """Yield all trainings with this number of seeds, those that are compared first."""

    @abstractmethod
    def train(self, job: Job) -> list[float]:
        """Train on one thread and store the weights; return the loss of every step."""

    @abstractmethod
    def score(self, job: Job) -> dict[str, Any]:
        """Return plain data on what the stored network finds in every split, by its name."""

    @abstractmethod
    def recipe(self, job: Job) -> Recipe:
        """Return the recipe of a training's stored network."""

    @abstractmethod
    def score_engine(self, predict: Any, split: Split) -> Any:
        """Return plain data on what a predictor finds in a split."""

    def rows(self, job: Job) -> list[float]:
        """Return the shares of the canvas's rows that a stored network's warp gives each third."""
        return thirds_of_rows(make_warp(self.recipe(job)).knots_y)

    def weights(self, job: Job) -> Path:
        """Return the file of a training's weights."""
        return self.work / f"{job.name}.pth"

    def engines(self, job: Job) -> dict[str, dict[str, Any]]:
        """Export a stored network, and score its engines on the first split that is scored.

        INT8 ranges are measured on training frames.

        Raises:
            LzuError: the export is refused.
        """
        done = lzu.export(self.recipe(job), self.work / "bundles" / job.name)
        name, split = next(iter(self.splits.scored.items()))
        return {
            precision: {
                name: self.score_engine(
                    lzu.load(done.folder, precision=precision, threads=1), split
                )
            }
            for precision in PRECISIONS
        }

    @property
    def exported(self) -> dict[str, Any]:
        """Keys of a recipe that is exported."""
        return {
            "targets": ["onnxruntime"],
            "precision": list(PRECISIONS),
            "evaluation.dataset": None,
            "calibration.frames": str(self._training_folder),
        }

    @cached_property
    def _training_folder(self) -> Path:
        """Folder of links to the training frames, without those that are held back."""
        folder = self.work / "training-frames"
        folder.mkdir(parents=True, exist_ok=True)
        for pair in self.splits.train.pairs:
            link = folder / pair.image.name
            if not link.exists():
                link.symlink_to(pair.image.resolve())
        return folder

    @property
    def _training(self) -> dict[str, Any]:
        """Settings of the schedule."""
        return {"epochs": self.epochs, "rate": self.rate, "batch": Schedule.batch}

    def _schedule(self, job: Job) -> Schedule:
        log = self.work / f"{job.name}.log"
        log.unlink(missing_ok=True)
        return Schedule(epochs=self.epochs, seed=job.seed, rate=self.rate, log=log)


class Segmentation(Task):
    """Segmentation at a quarter and at an eighth of the frames' size."""

    name = "segmentation"
    rate = 5e-3
    scales: ClassVar[Mapping[str, float]] = {"90x120": 0.25, "45x60": 0.125}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide the results, as plain data."""
        recipe = segmentation.recipe_of("uniform", 0.25, self._saliency_file)
        return {
            **self._training,
            "model": {"name": NAME, "widths": WIDTHS, "depth": DEPTH, "stride": STRIDE},
            "warp": {key: getattr(recipe.warp, key) for key in segmentation.WARP_KEYS},
            "sampler": recipe.sampler,
            "gain": GAIN,
        }

    def jobs(self, seeds: int) -> Iterator[Job]:
        """Yield uniform and fixed by seed and size, then the learned warps."""
        for variants in (("uniform", "fixed"), ("learned",)):
            for seed in range(seeds):
                for size in self.scales:
                    yield from (Job(self.name, size, variant, seed) for variant in variants)

    @property
    def _saliency_file(self) -> Path:
        return self.work / "boundaries.npy"

    @cached_property
    def saliency(self) -> Path:
        """File of the fixed warp's saliency, made of the training label maps."""
        np.save(self._saliency_file, segmentation.make_saliency(self.splits.train))
        return self._saliency_file

    def train(self, job: Job) -> list[float]:
        """Train on one thread and store the weights; return the loss of every step."""
        return segmentation.train(
            job.variant,
            self.scales[job.size],
            self.saliency,
            self.splits.train,
            self._schedule(job),
            self.weights(job),
        )

    def score(self, job: Job) -> dict[str, Any]:
        """Return numbers of pixels in every split, see `segmentation.Pixels.counts`."""
        recipe, weights = self.recipe(job), self.weights(job)
        scored = self.splits.scored
        return {n: segmentation.count(recipe, weights, each) for n, each in scored.items()}

    def recipe(self, job: Job) -> SegRecipe:
        """Return the recipe of a training's stored network."""
        scale = self.scales[job.size]
        return segmentation.recipe_of(
            job.variant, scale, self.saliency, self.weights(job), exported=self.exported
        )

    def score_engine(self, predict: Any, split: Split) -> Any:
        """Return numbers of pixels, see `segmentation.Pixels.counts`."""
        pixels = segmentation.Pixels(split)
        for place, image in enumerate(split.images):
            pixels.add(place, predict(image).labels)
        return pixels.counts()


class Detection(Task):
    """Detection of components of the label maps at half the frames' size."""

    name = "detection"
    rate = 2e-3
    most_seeds: ClassVar[int] = 3

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide the results, as plain data."""
        return {**self._training, **detection.settings()}

    def jobs(self, seeds: int) -> Iterator[Job]:
        """Yield uniform and fixed by seed."""
        size = "x".join(str(n // 2) for n in SOURCE)
        for seed in range(min(seeds, self.most_seeds)):
            yield from (Job(self.name, size, v, seed) for v in detection.VARIANTS)

    @cached_property
    def saliency(self) -> Path:
        """File of the fixed warp's saliency, the density of the training boxes."""
        path = self.work / "boxes.npy"
        np.save(path, detection.make_saliency(self.splits.train))
        return path

    def train(self, job: Job) -> list[float]:
        """Train on one thread and store the weights; return the loss of every step."""
        return detection.train(
            job.variant, self.saliency, self.splits.train, self._schedule(job), self.weights(job)
        )

    def score(self, job: Job) -> dict[str, Any]:
        """Return AP in every split, see `detection.drawn_ap`."""
        return {
            name: detection.score(job.variant, self.saliency, self.weights(job), each)
            for name, each in self.splits.scored.items()
        }

    def recipe(self, job: Job) -> Recipe:
        """Return the recipe of a training's stored network."""
        return detection.recipe_of(
            job.variant, self.saliency, self.weights(job), exported=self.exported
        )

    @property
    def exported(self) -> dict[str, Any]:
        """Keys of a recipe that is exported."""
        return {**super().exported, "higher_precision.int8": list(detection.FP16_IN_INT8)}

    def score_engine(self, predict: Any, split: Split) -> Any:
        """Return AP, see `detection.drawn_ap`."""
        found = [box for i, each in enumerate(split.images) for box in predict(each).to_coco(i)]
        return detection.drawn_ap(split, found)
