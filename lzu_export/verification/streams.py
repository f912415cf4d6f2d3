"""Compare an adaptive engine with PyTorch over whole sequences, in two ways.

Zoomed by PyTorch's boxes, the engine must find the same detections in every frame; this judges the
engine alone. Zoomed by its own boxes, it may differ from some frame on, because rounding moves a
box and so the next warp. Only the metric then judges the difference.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.evaluation.datasets import State
from lzu_export.manifest.schema import Stream
from lzu_export.recipes.schema import DetPostprocess
from lzu_export.runtime.detector import Detections, Detector
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.tasks.partners import overlaps
from lzu_export.warp.saliency import Array

BOXES, SCORES = 0.05, 1e-4
"""Largest differences of equal detections: in coordinates, in pixels of the frame, and in
scores."""
OVERLAPS = 1e-3
"""IoU tolerance: rounding moves a 10-pixel box's IoU by about 1e-3."""


class Gap(NamedTuple):
    """Difference between two sets of detections of a frame."""

    boxes: float
    """Largest difference of a coordinate in pixels, between partners."""
    scores: float
    """Largest difference of a score between partners."""
    alone: int
    """Number of detections without a partner."""

    @property
    def equal(self) -> bool:
        """Whether all detections have a partner."""
        return not self.alone


def gap_of(
    mine: Detections,
    theirs: Detections,
    settings: DetPostprocess,
    unsure: Sequence[Detections] = (),
) -> Gap:
    """Compare two sets of detections of a frame; equal scores may change places.

    Scores within `SCORES` of each other are decided by rounding. So it is no difference which of
    two
    overlapping boxes suppresses the other, nor whether a box with the lowest kept score is there.
    It
    is no difference either whether an overlap very close to the threshold suppresses: `unsure` are
    the detections at slightly lower and higher thresholds, and those not in both do not count.
    """
    least = settings.score_threshold
    for each in (mine, theirs):
        if len(each) == settings.max_detections:
            least = max(least, float(each.scores[-1]))
    boxes = np.abs(mine.boxes[:, None] - theirs.boxes).max(axis=-1, initial=0)
    scores = np.abs(mine.scores[:, None] - theirs.scores)
    equal = (mine.labels[:, None] == theirs.labels) & (scores <= SCORES)
    left = [np.ones(len(each), bool) for each in (mine, theirs)]
    pairs = _pair(np.where(equal & (boxes <= BOXES), boxes, np.inf), left)
    apart, off = (float(each[pairs].max(initial=0)) for each in (boxes, scores))
    overlap = overlaps(mine.boxes.astype(np.float64), theirs.boxes.astype(np.float64))
    _pair(np.where(equal & (overlap >= settings.iou_threshold), 1 - overlap, np.inf), left)
    alone = sum(
        int(((each.scores > least + SCORES) & rest & ~_decided_by_rounding(each, unsure)).sum())
        for each, rest in zip((mine, theirs), left, strict=True)
    )
    return Gap(apart, off, alone)


def _decided_by_rounding(found: Detections, unsure: Sequence[Detections]) -> NDArray[np.bool_]:
    """Return the mask of the detections that are not in all of `unsure`."""
    decided = np.zeros(len(found), bool)
    for other in unsure:
        same = (
            (np.abs(found.boxes[:, None] - other.boxes) <= BOXES).all(axis=-1)
            & (np.abs(found.scores[:, None] - other.scores) <= SCORES)
            & (found.labels[:, None] == other.labels)
        )
        decided |= ~same.any(axis=1)
    return decided


def _pair(costs: Array, left: list[NDArray[np.bool_]]) -> tuple[NDArray[np.intp], ...]:
    """Pair rows and columns that are left, cheapest first, at finite costs; update `left`."""
    costs = np.where(left[0][:, None] & left[1], costs, np.inf)
    pairs = []
    while costs.size and np.isfinite(costs.min()):
        i, j = (int(k) for k in np.unravel_index(costs.argmin(), costs.shape))
        pairs.append((i, j))
        costs[i], costs[:, j] = np.inf, np.inf
        left[0][i] = left[1][j] = False
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    return rows, columns


class ComparedStreams:
    """Comparison of an engine with PyTorch over the frames of an evaluation, in order."""

    def __init__(self, engine: str) -> None:
        """Start with no frames; `engine` is the engine's name."""
        self._engine = engine
        self._gaps: list[Gap] = []
        self._parted: list[bool] = []

    def add(self, gap: Gap, *, parted: bool) -> None:
        """Add a frame: its difference at PyTorch's boxes, and whether its own boxes part it."""
        self._gaps.append(gap)
        self._parted.append(parted)

    def state(self) -> State:
        """Return the frames so far, for `merge`."""
        return {
            "gaps": np.array(self._gaps).reshape(-1, 3),
            "parted": np.array(self._parted, bool),
        }

    def merge(self, state: State) -> None:
        """Add the frames that come next, whose `state` is given."""
        rows = state["gaps"].tolist()
        self._gaps += [Gap(boxes, scores, int(alone)) for boxes, scores, alone in rows]
        self._parted += state["parted"].tolist()

    def result(self) -> Stream:
        """Return the result of the comparison."""
        return Stream(
            engine=self._engine,
            frames=len(self._gaps),
            boxes=max((gap.boxes for gap in self._gaps), default=0.0),
            scores=max((gap.scores for gap in self._gaps), default=0.0),
            unequal=tuple(i for i, gap in enumerate(self._gaps, start=1) if not gap.equal),
            parted=tuple(i for i, parted in enumerate(self._parted, start=1) if parted),
        )


class StreamWatch:
    """Compares PyTorch and an engine during an evaluation in which each uses its own detections.

    The engine runs once more on every frame, zoomed by PyTorch's boxes.
    """

    def __init__(self, reference: tuple[str, Detector], engine: tuple[str, Detector]) -> None:
        """Take both predictors with their names; the engine's predictor must not be used
        elsewhere.
        """
        (self._reference, self._pytorch), (self._engine, self._told) = reference, engine
        recipe = self._told.recipe
        settings = recipe.postprocess
        self._about = [
            Detector(
                recipe.model_copy(
                    update={
                        "postprocess": settings.model_copy(
                            update={"iou_threshold": settings.iou_threshold + step}
                        )
                    }
                ),
                self._told.session,
                self._told.warp,
                fit=self._told.fit,
            )
            for step in (-OVERLAPS, OVERLAPS)
        ]
        self._same: list[Detections] = []
        self._unsure: list[list[Detections]] = []
        self.compared = ComparedStreams(self._engine)

    def before(self, camera_frames: Sequence[CameraFrame]) -> None:
        """Run the engine on the frames that PyTorch is about to get, with PyTorch's boxes."""
        inputs = self._pytorch.preprocess(camera_frames)
        outputs = self._told.session.run(inputs)
        self._same = self._told.postprocess(outputs, camera_frames)
        self._unsure = [each.postprocess(outputs, camera_frames) for each in self._about]

    def after(self, found: Mapping[str, Sequence[Any]]) -> None:
        """Compare the detections in these frames, given by predictor."""
        settings = self._pytorch.recipe.postprocess
        theirs, free = found[self._reference], found[self._engine]
        for mine, own, reference, *unsure in zip(
            self._same, free, theirs, *self._unsure, strict=True
        ):
            gap = gap_of(mine, reference, settings, unsure)
            self.compared.add(gap, parted=not gap_of(own, reference, settings).equal)

    def state(self) -> State:
        """Return the comparison so far, for `restore`."""
        return self.compared.state()

    def restore(self, state: State) -> None:
        """Continue from the comparison that `state` returned."""
        self.compared.merge(state)

    def result(self) -> Stream:
        """Return the result of the comparison."""
        return self.compared.result()
