"""Runtime of bundles on a device: load, pre-process, run, post-process and draw. No torch.

Names are imported on first use, so that `doctor` can check driver and plugins without OpenCV.
"""

from typing import TYPE_CHECKING

from lzu_export.support.lazy import lazily

if TYPE_CHECKING:
    from lzu_export.runtime.detector import Detections, Detector
    from lzu_export.runtime.detector3d import Detector3d
    from lzu_export.runtime.loading import Load
    from lzu_export.runtime.postprocess3d import Detections3d, RigDetections, to_ego
    from lzu_export.runtime.predictor import CameraFrame
    from lzu_export.runtime.segmenter import Segmentation, Segmenter

    load: Load  # from a package above this one, see `lzu_export.bundle.load`

__all__ = [
    "CameraFrame",
    "Detections",
    "Detections3d",
    "Detector",
    "Detector3d",
    "RigDetections",
    "Segmentation",
    "Segmenter",
    "load",
    "to_ego",
]
__getattr__ = lazily(
    __name__,
    {
        "load": "lzu_export.bundle.load",
        "Detections": "lzu_export.runtime.detector",
        "Detector": "lzu_export.runtime.detector",
        "Detector3d": "lzu_export.runtime.detector3d",
        "Detections3d": "lzu_export.runtime.postprocess3d",
        "RigDetections": "lzu_export.runtime.postprocess3d",
        "to_ego": "lzu_export.runtime.postprocess3d",
        "CameraFrame": "lzu_export.runtime.predictor",
        "Segmentation": "lzu_export.runtime.segmenter",
        "Segmenter": "lzu_export.runtime.segmenter",
    },
    {"Shot": "CameraFrame"},
)
