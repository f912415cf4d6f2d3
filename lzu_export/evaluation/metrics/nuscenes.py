"""nuScenes' detection metrics [Caesar et al. 2020], as its devkit computes them, from arrays.

Detections are matched to the truth of their class and sample by the distance of centres in the
ground plane, strictly below 0.5, 1, 2 and 4 m. The highest score comes first (among equal scores,
the later one), and each takes the closest truth that is still free. AP is the mean, over recalls
0.11, 0.12, ..., 1, of precision minus 0.1 (at least 0), divided by 0.9. Errors of true positives
are means over matches at 2 m up to each score, averaged over recalls from 0.11 to the highest one
reached; they are 1 if that is lower than 0.11. Only boxes nearer than their class's range count.

Two things differ from the devkit:

- Truth may be marked as ignored, such as hidden objects. A detection that matches nothing else but
  is close enough to ignored truth of its class is not counted at all, however many there are. The
  devkit has no such mark: it removes boxes without lidar or radar points, so that detections of
  them are wrong. Leave such boxes out of the truth to get the devkit's figures.
- A class without truth is left out of the means, where the devkit gives it AP 0 and errors of 1.
  Set `absent_counts` to get the devkit's figures on small sets.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval, intervals
from lzu_export.evaluation.metrics.nuscenes_matching import (
    DISTANCES,
    ERROR_DISTANCE,
    ERRORS,
    Matches,
    best_first,
    box_errors,
    joined,
    match,
    score_class,
)
from lzu_export.evaluation.metrics.nuscenes_objects import (
    Array,
    ClassRule,
    Objects,
    distance_of,
    distances_between,
)

MAX_BOXES = 500
"""Largest number of detections that a sample may have."""

NDS_FORMULA = "NDS = (5 mAP + sum over ATE, ASE, AOE, AVE, AAE of (1 - min(1, mTP))) / 10"
NDS_STAR_FORMULA = "NDS* = (5 mAP + sum over ATE, ASE, AOE of (1 - min(1, mTP))) / 8"


class _Sample(NamedTuple):
    name: Hashable
    sequence: Hashable
    truth: Objects
    found: Objects
    scores: Array
    ignore: NDArray[np.bool_]


class NuScenesEvaluation:
    """Detections of one model compared with the truth, sample by sample.

    Samples are matched when they are added, so that resampled sets (`resampled`) only require
    counting.
    """

    def __init__(
        self, classes: Sequence[ClassRule], *, absent_counts: bool = False, keep: bool = True
    ) -> None:
        """Start without samples.

        Args:
            classes: table of classes, which labels index.
            absent_counts: give classes without truth AP 0 and errors of 1.
            keep: keep the samples, which only `within` needs.

        Raises:
            LzuError: there is no class, or two classes have the same name.
        """
        self.classes = tuple(classes)
        if not self.classes or len({c.name for c in self.classes}) < len(self.classes):
            names = [c.name for c in self.classes]
            raise LzuError(f"the classes are {names}; name at least one, and each once")
        self.absent_counts, self.keep = absent_counts, keep
        self.sequence_ids: list[Hashable] = []
        self._names: set[Hashable] = set()
        self._samples: list[_Sample] = []
        self._matches: list[list[Matches]] = [[] for _ in self.classes]
        self._sorted: list[Matches] | None = None
        self._positives: list[NDArray[np.int64]] = []

    def add(
        self,
        sample_id: Hashable,
        sequence_id: Hashable,
        truth: Objects,
        found: Objects,
        scores: ArrayLike,
        ignore: ArrayLike | None = None,
    ) -> None:
        """Match one sample: a frame, or the frames of a rig at one time.

        Args:
            sample_id: name of the sample.
            sequence_id: name of the sequence that the sample belongs to; a resample draws whole
                sequences.
            truth: boxes of the truth.
            found: detected boxes, in the same frame of reference.
            scores: (n,) scores of the detections.
            ignore: (m,) bool, marks truth that neither rewards nor penalises; none if None.

        Raises:
            LzuError: the sample was added before, arrays do not fit together, a label is unknown, a
                size is not positive, a value is not finite (except a truth's velocity), or there
                are more than MAX_BOXES detections.
        """
        if sample_id in self._names:
            raise _twice(sample_id)
        self._check(truth, f"truth of sample {sample_id}")
        self._check(found, f"detections of sample {sample_id}")
        score = np.asarray(scores, np.float64)
        unused = (
            np.zeros(len(truth.labels), bool) if ignore is None else np.asarray(ignore, np.bool_)
        )
        if score.shape != found.labels.shape or unused.shape != truth.labels.shape:
            raise LzuError(
                f"sample {sample_id} has {len(found.labels)} detections with scores of shape "
                f"{score.shape} and {len(truth.labels)} boxes with ignore marks of shape "
                f"{unused.shape}; give one score a detection and one mark a box"
            )
        if not (np.isfinite(score).all() and np.isfinite(found.velocities).all()):
            raise LzuError(
                f"the detections of sample {sample_id} have a score or a velocity that is not "
                "finite; drop these before evaluation"
            )
        if len(score) > MAX_BOXES:
            raise LzuError(
                f"sample {sample_id} has {len(score)} detections; nuScenes allows {MAX_BOXES}"
            )
        sample = _Sample(sample_id, sequence_id, truth, found, score, unused)
        self._names.add(sample_id)
        if self.keep:
            self._samples.append(sample)
        self._match(sample)
        self._sorted = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all counts; names of samples, like those of sequences, must share one type."""
        found: dict[str, NDArray[Any]] = {
            "samples": np.array(list(self._names)),
            "sequences": np.array(self.sequence_ids),
            "positives": self.positives(),
        }
        for label, parts in enumerate(self._matches):
            columns = joined(parts)
            found |= {f"{label} {name}": column for name, column in columns._asdict().items()}
        return found

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Count what another evaluation matched in samples that come next, see `state`.

        Both may have samples of the same sequences. The samples themselves are not kept.

        Raises:
            LzuError: a sample was added before.
        """
        samples = set(state["samples"].tolist())
        if twice := samples & self._names:
            raise _twice(min(twice, key=str))
        self._names |= samples
        places = np.array([self._place(each) for each in state["sequences"].tolist()], np.int64)
        for place, positives in zip(places.tolist(), state["positives"], strict=True):
            self._positives[place] = self._positives[place] + positives
        for label, parts in enumerate(self._matches):
            more = Matches(*(state[f"{label} {name}"] for name in Matches._fields))
            parts.append(more._replace(sequences=places[more.sequences]))
        self._sorted, self.keep = None, False

    restore = merge

    def within(self, near: float, far: float) -> "NuScenesEvaluation":
        """Return an evaluation of only the truth and detections within [near, far) metres."""
        assert self.keep, "made without its samples"
        part = NuScenesEvaluation(self.classes, absent_counts=self.absent_counts)
        for each in self._samples:
            real, seen = (
                (distance >= near) & (distance < far)
                for distance in (distance_of(each.truth), distance_of(each.found))
            )
            part.add(
                each.name,
                each.sequence,
                each.truth.take(real),
                each.found.take(seen),
                each.scores[seen],
                each.ignore[real],
            )
        return part

    def positives(self) -> NDArray[np.int64]:
        """Return the numbers of boxes to find, (sequences, classes), in `sequence_ids`' order."""
        return np.array(self._positives, np.int64).reshape(-1, len(self.classes))

    def summary(self) -> dict[str, float]:
        """Return mAP, NDS and NDS* in points (0..100), and mATE, mASE, mAOE, mAVE, mAAE.

        Errors are in their own units, see `ERRORS`. A value is nan where nothing is evaluated, such
        as NDS without classes that move.
        """
        return self.resampled(np.ones(len(self.sequence_ids), np.int64))

    def resampled(self, times: ArrayLike, without: Collection[str] = ()) -> dict[str, float]:
        """Return the `summary` of a set that holds each sequence a given number of times.

        Args:
            times: (sequences,) number of times that each of `sequence_ids` is in the set.
            without: names of classes that are left out of the means.

        Raises:
            LzuError: a class is unknown, or `times` has another shape or a negative number.
        """
        ap, errors = self._by_class(np.asarray(times, np.int64), without)
        mean_ap, means = _mean(ap), [_mean(column) for column in errors.T]
        kept = [mean if np.isnan(mean) else 1 - min(1, mean) for mean in means]
        return {
            "mAP": 100 * mean_ap,
            "NDS": 10 * (5 * mean_ap + sum(kept)),
            "NDS*": 12.5 * (5 * mean_ap + sum(kept[:3])),
            **{f"m{name}": mean for name, mean in zip(ERRORS, means, strict=True)},
        }

    def by_class(self) -> dict[str, dict[str, float]]:
        """Return AP and AP by distance (AP_0.5, ...) in points, and the errors, of every class.

        Errors are in their own units, see `ERRORS`. Values are nan for classes without truth and
        for errors that a class does not have.
        """
        ap, errors = self._by_class(np.ones(len(self.sequence_ids), np.int64))
        return {
            rule.name: {
                "AP": 100 * float(values.mean()),
                **{f"AP_{d:g}": 100 * float(v) for d, v in zip(DISTANCES, values, strict=True)},
                **{name: float(e) for name, e in zip(ERRORS, row, strict=True)},
            }
            for rule, values, row in zip(self.classes, ap, errors, strict=True)
        }

    def _check(self, objects: Objects, what: str) -> None:
        n = len(objects.labels)
        wanted = ((n, 2), (n, 3), (n,), (n,), (n, 2), (n,))
        if tuple(column.shape for column in objects) != wanted:
            shapes = dict(zip(Objects._fields, (c.shape for c in objects), strict=True))
            raise LzuError(f"the {what} do not fit together: {shapes}; give one row a box")
        if any(not np.isfinite(column).all() for column in objects[:3]):
            raise LzuError(f"the {what} hold a box that is not finite; drop it before evaluation")
        if (objects.sizes <= 0).any():
            raise LzuError(f"the {what} hold a box whose size is not positive; drop it beforehand")
        if n and not 0 <= objects.labels.min() <= objects.labels.max() < len(self.classes):
            raise LzuError(
                f"the {what} hold a label outside of the {len(self.classes)} classes; map labels "
                "to places in the table of classes"
            )

    def _place(self, sequence: Hashable) -> int:
        """Return a sequence's index in `sequence_ids`, to which it is added if it is new."""
        if sequence not in self.sequence_ids:
            self.sequence_ids.append(sequence)
            self._positives.append(np.zeros(len(self.classes), np.int64))
        return self.sequence_ids.index(sequence)

    def _match(self, sample: _Sample) -> None:
        """Match a sample's detections, and count its boxes to find."""
        place = self._place(sample.sequence)
        reach = np.array([rule.reach for rule in self.classes])
        real = distance_of(sample.truth) < reach[sample.truth.labels]
        seen = distance_of(sample.found) < reach[sample.found.labels]
        wanted = real & ~sample.ignore
        self._positives[place] += np.bincount(sample.truth.labels[wanted], minlength=len(reach))
        for label, rule in enumerate(self.classes):
            of_class = seen & (sample.found.labels == label)
            if not of_class.any():
                continue
            found, scores = sample.found.take(of_class), sample.scores[of_class]
            same = sample.truth.labels == label
            truth = sample.truth.take(same & wanted)
            ignored = sample.truth.take(same & real & sample.ignore)
            partner = match(found.centres, scores, truth.centres)
            beside = distances_between(found.centres, ignored.centres).min(axis=1, initial=np.inf)
            states = np.where(partner >= 0, 1, -(beside[:, None] < np.array(DISTANCES)).astype(int))
            errors = np.full((len(scores), len(ERRORS)), np.nan)
            hit = partner[:, DISTANCES.index(ERROR_DISTANCE)]
            errors[hit >= 0] = box_errors(
                truth.take(hit[hit >= 0]), found.take(hit >= 0), rule.yaw_period
            )
            self._matches[label].append(
                Matches(np.full(len(scores), place), scores, states.astype(np.int8), errors)
            )

    def _by_class(
        self, times: NDArray[np.int64], without: Collection[str] = ()
    ) -> tuple[Array, Array]:
        """Return AP (classes, distances) and errors (classes, errors); nan where there is none."""
        unknown = set(without) - {rule.name for rule in self.classes}
        if unknown:
            raise LzuError(f"there is no class {', '.join(sorted(unknown))} to leave out")
        if times.shape != (len(self.sequence_ids),) or (times < 0).any():
            raise LzuError(
                f"times has shape {times.shape}; say how often each of the "
                f"{len(self.sequence_ids)} sequences is drawn"
            )
        if self._sorted is None:
            self._sorted = [best_first(parts) for parts in self._matches]
        positives = times @ self.positives()
        ap = np.full((len(self.classes), len(DISTANCES)), np.nan)
        errors = np.full((len(self.classes), len(ERRORS)), np.nan)
        for label, rule in enumerate(self.classes):
            if rule.name in without:
                continue
            if positives[label]:
                ap[label], errors[label] = score_class(self._sorted[label], times, positives[label])
            elif self.absent_counts:
                ap[label], errors[label] = 0, 1
            if rule.yaw_period is None:
                errors[label, ERRORS.index("AOE")] = np.nan
            if not rule.moves:
                errors[label, ERRORS.index("AVE") :] = np.nan
        return ap, errors


def _twice(sample: Hashable) -> LzuError:
    return LzuError(f"sample {sample} was added before; add every sample once")


def bootstrap_difference(
    baseline: NuScenesEvaluation | Sequence[NuScenesEvaluation],
    candidate: NuScenesEvaluation | Sequence[NuScenesEvaluation],
    *,
    without: Collection[str] = (),
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the uncertainty of candidate - baseline due to the choice of sequences.

    With several training runs of each, the difference is that of the means over the runs. Whole
    sequences are drawn with replacement, the same ones for all. The interval is the percentile
    bootstrap's.

    Args:
        baseline: one evaluation, or the evaluations of several runs.
        candidate: as many evaluations of the other model, on the same samples.
        without: names of classes that are left out of the means.
        resamples: number of drawn sets.
        seed: random seed of the drawing.
        level: share of the drawn differences that an interval holds.

    Returns:
        An interval for each value of `NuScenesEvaluation.summary` that both models have.

    Raises:
        LzuError: the evaluations do not share sequences and truth, there are none, their numbers
            differ, or there are fewer than two sequences.
    """
    first = [baseline] if isinstance(baseline, NuScenesEvaluation) else list(baseline)
    second = [candidate] if isinstance(candidate, NuScenesEvaluation) else list(candidate)
    if not first or len(first) != len(second):
        raise LzuError(
            f"{len(first)} evaluations are compared with {len(second)}; give as many runs of each"
        )
    sequences = first[0].sequence_ids
    truth = first[0].positives()
    for each in (*first, *second):
        alike = each.sequence_ids == sequences and each.classes == first[0].classes
        if not alike or (each.positives() != truth).any():
            raise LzuError(
                "the compared evaluations are not of the same sequences and ground truth; "
                "evaluate both models on the same samples in the same order"
            )
    count = len(sequences)

    def differences(drawn: NDArray[np.int64]) -> dict[str, float]:
        times = np.bincount(drawn, minlength=count)
        one, two = ([each.resampled(times, without) for each in runs] for runs in (first, second))
        return {
            name: float(np.mean([r[name] for r in two]) - np.mean([r[name] for r in one]))
            for name in one[0]
        }

    found = intervals(differences, count, resamples=resamples, seed=seed, level=level)
    return {name: each for name, each in found.items() if not np.isnan(each.difference)}


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
