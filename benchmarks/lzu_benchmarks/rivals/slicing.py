"""SAHI's slices of a frame, and the settings that suit a bundle; needs the extra `sahi`."""

from dataclasses import dataclass
from typing import Any

from lzu_benchmarks.train.windows import OVERLAP


@dataclass(frozen=True)
class Settings:
    """Lowest score and merging; the values are those of SAHI's own arguments."""

    score: float
    kind: str
    metric: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.metric}, {self.score:g}"


DEFAULTS = Settings(0.3, "GREEDYNMM", "IOS")
"""SAHI's defaults."""
SETTINGS = (
    DEFAULTS,
    Settings(0.05, "GREEDYNMM", "IOS"),
    Settings(0.3, "NMS", "IOU"),
    Settings(0.05, "NMS", "IOU"),
)


def sliced(model: Any, image: Any, settings: Settings, size: tuple[int, int]) -> list[Any]:
    """Return SAHI's object predictions in slices of `size` (height, width) and in the whole image.

    Args:
        model: detection model of SAHI.
        image: (H, W, 3) RGB.
        settings: lowest score and merging.
        size: height and width of the slices.
    """
    from sahi.predict import get_sliced_prediction

    found = get_sliced_prediction(
        image,
        model,
        slice_height=size[0],
        slice_width=size[1],
        overlap_height_ratio=OVERLAP,
        overlap_width_ratio=OVERLAP,
        postprocess_type=settings.kind,
        postprocess_match_metric=settings.metric,
        postprocess_match_threshold=0.5,
        confidence_threshold=settings.score,
        force_postprocess_type=True,
        auto_slice_resolution=False,
        verbose=0,
    )
    return list(found.object_prediction_list)
