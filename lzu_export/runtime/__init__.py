"""What a device needs, torch-free: load a bundle, pre-process, run, post-process, draw."""

from lzu_export.runtime.bundle import load
from lzu_export.runtime.detector import Detections, Detector
from lzu_export.runtime.detector3d import Detector3d
from lzu_export.runtime.postprocess3d import Detections3d, RigDetections, to_ego
from lzu_export.runtime.predictor import Shot
from lzu_export.runtime.segmenter import Segmentation, Segmenter

__all__ = [
    "Detections",
    "Detections3d",
    "Detector",
    "Detector3d",
    "RigDetections",
    "Segmentation",
    "Segmenter",
    "Shot",
    "load",
    "to_ego",
]
