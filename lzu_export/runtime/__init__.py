"""What a device needs, torch-free: load a bundle, pre-process, run, post-process, draw."""

from lzu_export.runtime.detector import Detections, Detector, load

__all__ = ["Detections", "Detector", "load"]
