"""The metrics of each task over the frames that they were shown, in plain columns.

Memory grows with objects and detections, never with images: 24 bytes a detected box, 56 an
annotated one; label maps are counted and forgotten. `state` and `restore` carry a scorer over an
interruption.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.accuracy import AREAS, precision_of_parts
from lzu_benchmarks.nuscenes import DEMO, NuScenesEvaluation, Objects, camera_objects
from lzu_benchmarks.segmentation import SegmentationEvaluation
from lzu_export.datasets import Sample, State
from lzu_export.limits import IGNORED
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.segmenter import Segmentation

PART = 256
"""Images that are matched at once."""


class BoxTruth(NamedTuple):
    """What COCO knows of an image."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class SpaceTruth(NamedTuple):
    """What is there in a camera's view."""

    sequence: int
    objects: Objects
    ignore: NDArray[np.bool_]


class _Rows:
    """Rows of an array, some an image."""

    def __init__(self, width: int, kind: type[np.floating[Any]]) -> None:
        self._parts = [np.empty((0, width), kind)]
        self._counts: list[int] = []

    def add(self, rows: NDArray[Any]) -> None:
        self._parts.append(rows.astype(self._parts[0].dtype).reshape(-1, self._parts[0].shape[1]))
        self._counts.append(len(rows))

    def by_image(self) -> list[NDArray[Any]]:
        return np.split(np.concatenate(self._parts), np.cumsum(self._counts)[:-1])

    def state(self, name: str) -> State:
        return {name: np.concatenate(self._parts), f"{name} an image": np.array(self._counts, int)}

    def restore(self, state: Mapping[str, NDArray[Any]], name: str) -> None:
        self._parts = [state[name]]
        self._counts = state[f"{name} an image"].tolist()


class BoxScorer:
    """COCO's average precision, over the images that were added."""

    def __init__(self, classes: tuple[str, ...], areas: Mapping[str, list[float]] = AREAS) -> None:
        """`areas` are the limits of sizes."""
        self._classes, self._areas = classes, areas
        self._images: list[int] = []
        self._truth = _Rows(7, np.float64)  # class, x, y, width, height, area, iscrowd
        self._found = _Rows(6, np.float32)  # class, x1, y1, x2, y2, score

    def add(self, sample: Sample, prediction: Detections) -> None:
        """Count one image."""
        truth: BoxTruth = sample.truth
        self._images.append(sample.number)
        objects = [
            [
                each["category_id"],
                *each["bbox"],
                each.get("area", each["bbox"][2] * each["bbox"][3]),
                each.get("iscrowd", 0),
            ]
            for each in truth.annotations
        ]
        self._truth.add(np.array(objects, np.float64).reshape(-1, 7))
        self._found.add(
            np.column_stack([prediction.labels + 1, prediction.boxes, prediction.scores])
        )

    def summary(self) -> dict[str, float]:
        """COCO AP and its parts, in points."""
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self._classes)]
        return precision_of_parts(self._coco(), categories, self._areas)

    def state(self) -> State:
        """What was counted."""
        images = np.array(self._images, np.int64)
        return {"images": images, **self._truth.state("truth"), **self._found.state("found")}

    def restore(self, state: State) -> None:
        """Go on from what was counted."""
        self._images = state["images"].tolist()
        self._truth.restore(state, "truth")
        self._found.restore(state, "found")

    def _coco(self) -> Iterator[tuple[list[int], list[dict[str, Any]], list[dict[str, Any]]]]:
        """Images, annotations and results as COCO has them, by ascending id, part by part."""
        truth, found = self._truth.by_image(), self._found.by_image()
        order = np.argsort(self._images, kind="stable")
        for start in range(0, len(order), PART):
            images: list[int] = []
            annotations: list[dict[str, Any]] = []
            results: list[dict[str, Any]] = []
            for place in order[start : start + PART].tolist():
                image = self._images[place]
                images.append(image)
                for label, x, y, width, height, area, crowd in truth[place].tolist():
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": image,
                            "category_id": int(label),
                            "bbox": [x, y, width, height],
                            "area": area,
                            "iscrowd": int(crowd),
                        }
                    )
                boxes = found[place].copy()
                boxes[:, 3:5] -= boxes[:, 1:3]  # in float32, as `Detections.to_coco`
                results += [
                    {
                        "image_id": image,
                        "category_id": int(label),
                        "bbox": box,
                        "score": score,
                    }
                    for label, *box, score in boxes.tolist()
                ]
            yield images, annotations, results


class LabelScorer:
    """Mean IoU and its parts; pixels outside of a recipe's crop are not evaluated."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start with nothing counted."""
        self._evaluation = SegmentationEvaluation(classes)

    def add(self, sample: Sample, prediction: Segmentation) -> None:
        """Count one image."""
        name = f"frame {sample.number}"
        truth = np.where(prediction.labels == IGNORED, IGNORED, sample.truth)
        self._evaluation.add(truth, prediction.labels, name=name)

    def summary(self) -> dict[str, float]:
        """mIoU, near boundaries and by band, then the IoU of every class, in points."""
        by_class = self._evaluation.by_class()
        return {
            **self._evaluation.summary(),
            **{f"IoU {name}": value for name, value in by_class.items()},
        }

    def state(self) -> State:
        """What was counted."""
        return {"counts": self._evaluation.counts}

    def restore(self, state: State) -> None:
        """Go on from what was counted."""
        self._evaluation.counts = state["counts"]


class SpaceScorer:
    """nuScenes' detection metrics of a camera's view."""

    def __init__(self) -> None:
        """Start with the demonstration's table of classes."""
        self._evaluation = NuScenesEvaluation(DEMO, keep=False)

    def add(self, sample: Sample, prediction: Detections3d) -> None:
        """Match one frame."""
        truth: SpaceTruth = sample.truth
        found = camera_objects(prediction.boxes[:, :7], prediction.labels)
        self._evaluation.add(
            sample.number, truth.sequence, truth.objects, found, prediction.scores, truth.ignore
        )

    def summary(self) -> dict[str, float]:
        """NDS without velocity and attribute, mAP and the errors that there are."""
        summary = self._evaluation.summary()
        return {name: summary[name] for name in ("NDS*", "mAP", "mATE", "mASE", "mAOE")}

    def state(self) -> State:
        """What was matched."""
        return self._evaluation.state()

    def restore(self, state: State) -> None:
        """Go on from what was matched."""
        self._evaluation.restore(state)
