"""COCO average precision by faster-coco-eval, and the uncertainty of a difference.

Objects of the demonstration are small, medium or large by area limits that fit its frames, where
objects are smaller than in COCO's photographs: below 16^2, below 48^2 and above, in source
pixels; other sets use COCO's own limits. Everything else is as in COCO: 10 overlap thresholds
0.50:0.95, 101 recall points, 100 detections per frame; objects marked iscrowd neither reward nor
penalise.
"""

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import faster_coco_eval.faster_eval_api_cpp as library
import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval, intervals

COCO_AREAS: dict[str, list[float]] = {
    "small": [0, 32**2],
    "medium": [32**2, 96**2],
    "large": [96**2, 1e10],
}
AREAS: dict[str, list[float]] = {
    "small": [0, 16**2],
    "medium": [16**2, 48**2],
    "large": [48**2, 1e10],
}
NAMES = {
    "AP": "AP_all",
    "AP50": "AP_50",
    "AP75": "AP_75",
    **{f"AP_{name}": f"AP_{name}" for name in AREAS},
}
Detections = Sequence[Mapping[str, Any]]
Key = TypeVar("Key", bound=Hashable)
Name = TypeVar("Name", bound=Hashable)


class Evaluation:
    """Detections of one model matched with the ground truth, image by image.

    Args:
        truth: COCO data set.
        detections: COCO results: image_id, category_id, bbox (x, y, width, height), score.
        areas: limits of small, medium and large in square pixels.
        owned: whether the truth may be written into, which saves copying it.

    Raises:
        LzuError: a detection names an image or a category that the data set does not have.
    """

    def __init__(
        self,
        truth: Mapping[str, Any],
        detections: Detections,
        areas: Mapping[str, list[float]] = AREAS,
        *,
        owned: bool = False,
    ) -> None:
        images = {image["id"] for image in truth["images"]}
        categories = {category["id"] for category in truth["categories"]}
        for found in detections:
            if found["image_id"] not in images or found["category_id"] not in categories:
                raise LzuError(
                    f"a detection names image {found['image_id']} and category "
                    f"{found['category_id']}, which are not both in the ground truth; evaluate "
                    "detections on the data set they were made from"
                )
        # The library writes into its arguments.
        reference = COCO(dict(truth) if owned else copy.deepcopy(dict(truth)))
        results = reference.loadRes([dict(d) for d in detections]) if detections else _empty(truth)
        # Without separate_eval the library accumulates at once and drops per-image matches.
        self._eval = COCOeval_faster(
            reference, results, "bbox", ranges=dict(areas), separate_eval=True
        )
        self._eval.evaluate()
        self.image_ids: list[int] = [int(i) for i in self._eval.params.imgIds]

    def summary(self) -> dict[str, float]:
        """Return AP, AP50, AP75 and AP by size over all images, 0..100; nan without objects."""
        self._eval.accumulate()
        self._eval.summarize()
        stats = self._eval.stats_as_dict
        return {
            name: 100 * stats[key] if stats[key] >= 0 else float("nan")
            for name, key in NAMES.items()
        }

    def by_class(self) -> dict[str, float]:
        """Return AP of every class over all images, in points (0..100)."""
        self._eval.accumulate()
        precision = self._eval.eval["precision"]  # thresholds, recalls, classes, areas, limits
        names = {c["id"]: c["name"] for c in self._eval.cocoGt.dataset["categories"]}
        return {
            names[number]: 100 * _mean(precision[:, :, k, 0, -1])
            for k, number in enumerate(self._eval.params.catIds)
        }

    def matches(self) -> tuple[list[list[Any]], Any]:
        """Return the library's matches by class and area, one per image, and a copy of its
        parameters.
        """
        images = len(self.image_ids)
        found = self._eval._evalImgs_cpp  # classes x areas x images
        groups = [found[i : i + images] for i in range(0, len(found), images)]
        return groups, copy.copy(self._eval._paramsEval)

    def resampled(self, places: NDArray[np.int64], *, sizes: bool = True) -> dict[str, float]:
        """Return AP over all objects and by size, with images taken (repeatedly) by their index in
        `image_ids`.

        The library accumulates its own per-image matches in the order of `places`, and copies each
        of them. Without `sizes` AP over all objects is returned alone, four times as fast.
        """
        return _resampled(*self.matches(), places, sizes=sizes)


def _resampled(
    groups: Sequence[Sequence[Any]], params: Any, places: NDArray[np.int64], *, sizes: bool
) -> dict[str, float]:
    """Return AP and AP by size from matches by class and area, with images taken by their index."""
    params = copy.copy(params)
    names = ["AP", *(f"AP_{name}" for name in AREAS)]
    if not sizes:
        groups, names = groups[:: len(names)], names[:1]  # by class, then by size
    params.imgIds = list(range(len(places)))
    params.areaRng, params.areaRngLbl = params.areaRng[: len(names)], names
    params.maxDets = params.maxDets[-1:]  # the other limits cost a third of the time
    chosen = [group[i] for group in groups for i in places.tolist()]
    precision = library.COCOevalAccumulate(params, chosen)["precision"]
    return {name: 100 * _mean(precision[:, :, :, i, -1]) for i, name in enumerate(names)}


def _mean(precision: NDArray[np.float64]) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")


def _empty(truth: Mapping[str, Any]) -> COCO:
    return COCO({"images": truth["images"], "categories": truth["categories"], "annotations": []})


def average_precision(
    truth: Mapping[str, Any],
    detections: Detections,
    areas: Mapping[str, list[float]] = AREAS,
) -> dict[str, float]:
    """Return AP, AP50, AP75, AP_small, AP_medium, AP_large in points (0..100), see `Evaluation`."""
    return Evaluation(truth, detections, areas).summary()


class PartedEvaluation:
    """`average_precision` of a set whose images are matched part by part, in less memory.

    Only the library's matches are kept, not the boxes that were matched.
    """

    def __init__(
        self, categories: Sequence[Mapping[str, Any]], areas: Mapping[str, list[float]] = AREAS
    ) -> None:
        """Start with nothing matched: `categories` are COCO's, `areas` the limits of sizes."""
        self._categories, self._areas = categories, areas
        self._groups: list[list[Any]] = []  # by class and area, one entry per image
        self._images: list[int] = []
        self._params: Any = None

    def add(
        self, images: Sequence[int], annotations: Sequence[dict[str, Any]], found: Detections
    ) -> None:
        """Match some images. Each image is given once, with all its objects and detections.

        Args:
            images: ids of the images.
            annotations: COCO annotations, which the library may write into.
            found: COCO results.
        """
        truth = {
            "images": [{"id": i} for i in images],
            "annotations": annotations,
            "categories": self._categories,
        }
        evaluation = Evaluation(truth, found, self._areas, owned=True)
        groups, self._params = evaluation.matches()
        self._groups = self._groups or [[] for _ in groups]
        for group, more in zip(self._groups, groups, strict=True):
            group.extend(more)
        self._images += evaluation.image_ids

    def precision(self) -> NDArray[np.float64]:
        """Return precisions (thresholds, recalls, classes, 1 + sizes); -1 without objects."""
        if self._params is None:
            return np.full((10, 101, len(self._categories), 1 + len(AREAS)), -1.0)
        # Among equal scores the lower id comes first, as where all images are matched at once.
        order = np.argsort(self._images, kind="stable").tolist()
        params = copy.copy(self._params)
        params.imgIds = list(range(len(order)))
        chosen = [group[i] for group in self._groups for i in order]
        found = library.COCOevalAccumulate(params, chosen)["precision"]
        return np.asarray(found[..., -1])  # the last limit: up to 100 detections

    def summary(self) -> dict[str, float]:
        """Return AP, AP50, AP75 and AP by size, 0..100; nan without objects."""
        return average(self.precision())

    @property
    def image_ids(self) -> Sequence[int]:
        """Ids of the images, in the order of `resampled`."""
        return self._images

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return AP with images taken (repeatedly) by their index in `image_ids`."""
        return _resampled(self._groups, self._params, places, sizes=False)["AP"]


def average(precision: NDArray[np.float64]) -> dict[str, float]:
    """Return AP, AP50, AP75 and AP by size, 0..100, from `PartedEvaluation.precision`."""
    values = {
        "AP": precision[..., 0],
        "AP50": precision[0, ..., 0],  # thresholds are 0.50:0.05:0.95
        "AP75": precision[5, ..., 0],
        **{f"AP_{name}": precision[..., 1 + i] for i, name in enumerate(AREAS)},
    }
    return {name: 100 * _mean(values[name]) for name in NAMES}


def bootstrap_ap_difference(
    truth: Mapping[str, Any],
    baseline: Detections | Evaluation,
    candidate: Detections | Evaluation,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the uncertainty of AP(candidate) - AP(baseline), see `bootstrap_ap_differences`."""
    models = {
        name: each if isinstance(each, Evaluation) else Evaluation(truth, each)
        for name, each in (("baseline", baseline), ("candidate", candidate))
    }
    pairs = {"gain": [("baseline", "candidate")]}
    found = bootstrap_ap_differences(
        truth, models, pairs, resamples=resamples, seed=seed, level=level
    )
    return found["gain"]


def bootstrap_ap_differences(
    truth: Mapping[str, Any],
    models: Mapping[Key, Evaluation],
    pairs: Mapping[Name, Sequence[tuple[Key, Key]]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    sizes: bool = True,
) -> dict[Name, dict[str, Interval]]:
    """Return the uncertainty of AP differences due to the choice of sequences.

    Whole sequences (`sequence_id` of the images) are drawn, the same ones for all models, see
    `bootstrap.intervals`. Each model is evaluated once per draw.

    Args:
        truth: COCO data set that the models were evaluated on.
        models: evaluations of the models, by key.
        pairs: pairs of keys, by name of a difference: the second model's AP minus the first one's,
            averaged over its pairs, for example those of several seeds.
        resamples: number of drawn sets.
        seed: random seed of the drawing.
        level: share of the drawn differences that an interval holds.
        sizes: whether AP by size is compared, too, which takes four times as long.

    Returns:
        By name of a difference, intervals for AP, and with `sizes` AP_small, AP_medium, AP_large.

    Raises:
        LzuError: there are fewer than two sequences.
    """
    compared = {key: models[key] for group in pairs.values() for pair in group for key in pair}
    sequence_of = {image["id"]: image["sequence_id"] for image in truth["images"]}
    owners = np.array([sequence_of[i] for i in next(iter(compared.values())).image_ids])
    members = [np.flatnonzero(owners == each) for each in np.unique(owners)]

    def differences(drawn: NDArray[np.int64]) -> dict[tuple[Name, str], float]:
        places = np.concatenate([members[i] for i in drawn])
        values = {key: each.resampled(places, sizes=sizes) for key, each in compared.items()}
        columns = next(iter(values.values()))
        return {
            (name, c): float(np.mean([values[b][c] - values[a][c] for a, b in group]))
            for name, group in pairs.items()
            for c in columns
        }

    found = intervals(differences, len(members), resamples=resamples, seed=seed, level=level)
    return {
        name: {column: found[of, column] for of, column in found if of == name} for name in pairs
    }
