"""Importing this makes PyPI's torchvision, which is built for CUDA, import beside torch for CPUs.

That torch lacks torchvision's operators. Two declarations are enough; only the post-processings of
the packages would call them, and the examples do not use those.
"""

import importlib.util

import torch

if importlib.util.find_spec("torchvision") is not None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for _name in ("nms", "qnms"):
            _declared.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
