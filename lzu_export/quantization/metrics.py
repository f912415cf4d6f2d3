"""Measure the task's metric of a bundle with some of its layers in INT8."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lzu_export.evaluation.evaluate import evaluate
from lzu_export.quantization.frame_cache import FrameCache
from lzu_export.quantization.recalibrate import Float32Bundle
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.targets.precision import emulated, half_graph, int8_graph
from lzu_export.warp.saliency import BOX_INPUTS


class Int8Metric:
    """Measurement of the task's metric with given layers in INT8, rounded as on a device."""

    def __init__(
        self,
        opened: Float32Bundle,
        ranges: Mapping[str, float],
        layers: tuple[str, ...],
        frames: FrameCache,
    ) -> None:
        """Store the bundle, its frames, all layers that INT8 supports, and their inputs' ranges."""
        self._opened, self._ranges = opened, ranges
        self._layers, self._frames = layers, frames

    def __call__(self, int8: frozenset[str]) -> float:
        """Measure the metric with these layers in INT8 and the others in FP16 or float32."""
        model, fp16 = self._opened.model, self._opened.recipe.higher_precision.fp16
        if int8:
            high = tuple(layer for layer in self._layers if layer not in int8)
            converted = int8_graph(model, self._ranges, HigherPrecision(fp16=fp16, int8=high))
        else:
            converted = half_graph(model, "fp16", HigherPrecision(fp16=fp16))
        summary = _metrics(self._opened, converted.model, self._frames)
        return summary[self._frames.metric]


def float32_metrics(opened: Float32Bundle, frames: FrameCache) -> dict[str, float]:
    """Measure all metrics of the float32 graph."""
    return _metrics(opened, opened.model, frames)


def find_boxes(opened: Float32Bundle, frames: FrameCache) -> list[NDArray[np.float32]]:
    """Return, for each cached frame, the boxes that zoom it in an adaptive model.

    They are the boxes that the float32 network found in the previous frame of the sequence, so that
    all sets of layers are measured under one warp.

    Raises:
        LzuError: the bundle runs several streams side by side.
    """
    recipe = opened.recipe
    check_single_stream(recipe.batch, f"{frames.name}, sequence by sequence,")
    predictor = _predictor(opened, opened.model)
    found = []
    sequence: int | str | None = None
    for sample in frames.samples():
        if sample.sequence != sequence:
            sequence = sample.sequence
            predictor.reset()
        boxes, valid = (
            predictor.other_inputs([sample.camera_frame])[name][0] for name in BOX_INPUTS
        )
        found.append(boxes[valid > 0])
        predictor.run([sample.camera_frame])
    return found


class FixedBoxes:
    """Adaptive predictor whose frames are zoomed by fixed boxes, one set per frame."""

    is_stateful = True

    def __init__(self, predictor: Predictor, boxes: list[NDArray[np.float32]]) -> None:
        self.recipe, self._predictor, self._boxes = predictor.recipe, predictor, iter(boxes)
        self.fit = predictor.fit

    @property
    def engine_seconds(self) -> float:
        """Seconds that the predictor's engine ran."""
        return self._predictor.engine_seconds

    def reset(self) -> None:
        """Do nothing, since the boxes of all frames are fixed."""

    def run(self, camera_frames: Sequence[CameraFrame]) -> list[Any]:
        self._predictor.reset()
        self._predictor.set_boxes(next(self._boxes))  # type: ignore[attr-defined]
        return self._predictor.run(camera_frames)


def _metrics(opened: Float32Bundle, model: onnx.ModelProto, frames: FrameCache) -> dict[str, float]:
    """Measure all metrics of a canonical graph of a bundle."""
    predictor: Any = _predictor(opened, model)
    if frames.boxes:
        predictor = FixedBoxes(predictor, frames.boxes)
    return evaluate({"": predictor}, frames)[""]


def _predictor(opened: Float32Bundle, model: onnx.ModelProto) -> Predictor:
    """Make a predictor of a canonical graph, rounded as on a device."""
    session = emulated(model, opened.lowerings)
    return opened.predictor(session)
