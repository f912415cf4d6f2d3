"""nuScenes' score of a rig of cameras, whose detections are merged sample by sample.

Models are scored as published FCOS3D models are [mmdet3d, NuScenesMonoDataset]: detections of all
cameras suppress one another across the rig, and an attribute that a class cannot have is replaced
by that class's usual one.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.evaluation.datasets import Sample, State
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import (
    CameraBoxes,
    ClassRule,
    Objects,
    ego_objects,
)
from lzu_export.recipes.schema import Det3dPostprocess
from lzu_export.runtime.postprocess3d import Detections3d, merge_cameras

Array = NDArray[np.float64]

ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
"""nuScenes' attributes; an attribute's number is its index here."""

KIND = {"pedestrian": "pedestrian", "bicycle": "cycle", "motorcycle": "cycle",
        **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle"),
        }  # fmt: skip
"""First part of the names of a class's attributes; classes not listed have none."""

USUAL = {
    "bicycle": "cycle.without_rider",
    "motorcycle": "cycle.without_rider",
    "pedestrian": "pedestrian.moving",
    "bus": "vehicle.moving",
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), "vehicle.parked"),
}
"""Attribute of each class that replaces one that the class cannot have."""


class RigTruth(NamedTuple):
    """Truth of one camera's frame; only the last frame of a sample has the sample's objects."""

    sample: str
    scene: str
    pose: Array
    """(4, 4) pose of the camera in the truth's coordinates."""
    objects: Objects | None
    racks: list[tuple[Array, Array]]
    """Bicycle racks, (4, 4) pose and (3,) size in metres; cycles within are not evaluated."""
    seen: CameraBoxes | None = None
    """All objects of the sample, in this camera's frame."""


class RigScorer:
    """Scorer of nuScenes' detection metrics on merged detections of a rig."""

    def __init__(
        self,
        rules: Sequence[ClassRule],
        settings: Det3dPostprocess,
        attributes: Sequence[str] = (),
    ) -> None:
        """Start with nothing counted.

        Args:
            rules: evaluation rules of the classes, in the order of labels.
            settings: settings by which the rig's detections are merged.
            attributes: names of the model's attributes; without them every attribute's error is 1.
        """
        self._evaluation = NuScenesEvaluation(rules, absent_counts=True, keep=False)
        self._settings = settings
        self._cycle = [KIND.get(rule.name) == "cycle" for rule in rules]
        self._table = _attribute_table(rules, attributes)
        self._cameras: list[tuple[Detections3d, Array]] = []

    def add(self, sample: Sample, prediction: Detections3d) -> None:
        """Take one camera's detections; match them when the sample is complete."""
        truth: RigTruth = sample.truth
        self._cameras.append((prediction, truth.pose))
        if truth.objects is None:
            return
        found, poses = zip(*self._cameras, strict=True)
        self._cameras = []
        rig = merge_cameras(
            found,
            poses,
            score_threshold=self._settings.rig_score_threshold,
            iou_threshold=self._settings.rig_iou_threshold,
            max_detections=self._settings.rig_max_detections,
        )
        attributes = np.full(len(rig.labels), -1)
        if self._table is not None:
            attributes = self._table[rig.labels, rig.attributes]
        kept = np.array(
            [
                not self._cycle[label] or not racks_hold(truth.racks, box[:3])
                for box, label in zip(rig.ego_boxes.astype(np.float64), rig.labels, strict=True)
            ],
            bool,
        )
        objects = ego_objects(rig.ego_boxes, rig.labels, attributes).take(kept)
        self._evaluation.add(truth.sample, truth.scene, truth.objects, objects, rig.scores[kept])

    def summary(self) -> dict[str, float]:
        """Return NDS, mAP, NDS* and AP of every class in points, and the five errors."""
        summary = self._evaluation.summary()
        names = ("NDS", "mAP", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "NDS*")
        by_class = self._evaluation.by_class()
        return {
            **{name: summary[name] for name in names},
            **{f"AP {name}": values["AP"] for name, values in by_class.items()},
        }

    def owners(self) -> list[Hashable]:
        """Return the scenes, an entry each."""
        return self._evaluation.sequence_ids

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return NDS of the scenes at these indices of `owners`."""
        times = np.bincount(places, minlength=len(self._evaluation.sequence_ids))
        return self._evaluation.resampled(times)["NDS"]

    def state(self) -> State | None:
        """Return the matches; None between the cameras of a sample."""
        return None if self._cameras else self._evaluation.state()

    def merge(self, state: State) -> None:
        """Count what another scorer matched in the samples that come next."""
        assert not self._cameras, "parts of a set end with a sample's last camera"
        self._evaluation.merge(state)

    restore = merge


def attribute_number(name: str) -> int:
    """Return an attribute's index in `ATTRIBUTES`; negative for none."""
    return ATTRIBUTES.index(name) if name in ATTRIBUTES else -1


def racks_hold(racks: Sequence[tuple[Array, Array]], point: Array) -> bool:
    """Return whether a point (3,) lies in or on one of the racks, (4, 4) pose and (3,) size."""
    for pose, size in racks:
        own = pose[:3, :3].T @ (point - pose[:3, 3])
        if (np.abs(own) <= size / 2).all():
            return True
    return False


def _attribute_table(
    rules: Sequence[ClassRule], attributes: Sequence[str]
) -> NDArray[np.int64] | None:
    """Return a table (classes, model's attributes) of numbers in `ATTRIBUTES`; None without any."""
    if not attributes:
        return None
    table = np.full((len(rules), len(attributes)), -1, np.int64)
    for i, rule in enumerate(rules):
        kind = KIND.get(rule.name)
        for j, name in enumerate(attributes):
            if kind is not None:
                fits = name in ATTRIBUTES and name.startswith(f"{kind}.")
                table[i, j] = attribute_number(name if fits else USUAL[rule.name])
    return table
