"""A bundle as SAHI's detection model; docs/sahi.md explains it. Needs the extra `sahi`."""

from typing import Any

import numpy as np
from sahi.models.base import DetectionModel
from sahi.prediction import ObjectPrediction
from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

from lzu_export.runtime import load


class BundleModel(DetectionModel):
    """Finds boxes by the bundle `model_path`; a slice of another size is stretched to it."""

    def load_model(self) -> None:
        """Open the bundle."""
        self.model = load(self.model_path, score_threshold=self.confidence_threshold, fit="stretch")

    def perform_inference(self, image: np.ndarray) -> None:
        """Predict in a slice, which is RGB as SAHI reads it."""
        self._original_predictions = self.model(np.ascontiguousarray(image[..., ::-1]))

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = None, full_shape_list: Any = None
    ) -> None:
        found = self._original_predictions
        place = {
            "shift_amount": fix_shift_amount_list(shift_amount_list or [0, 0])[0],
            "full_shape": (fix_full_shape_list(full_shape_list) or [None])[0],
        }
        rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        made = [ObjectPrediction(b, n, found.classes[n], score=s, **place) for b, n, s in rows]
        self._object_prediction_list_per_image = [made]
