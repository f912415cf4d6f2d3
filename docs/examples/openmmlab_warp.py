"""LZU for configs of mmdet 3 and mmseg 1: a hook that wraps the model, and a transform of targets.

Put this file on the Python path, and see `docs/train.md` for the lines of the config.
"""

from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, TRANSFORMS

import lzu_export as lzu
from lzu_export.wrapping.hooks import wrapping_of


def make_warp(saliency: str | None, source: list[int], scale: float) -> lzu.FixedWarp:
    """Make the warp of a saliency file (.npy); without one the identity, for the baseline."""
    if saliency is None:
        return lzu.FixedWarp.uniform(source, scale=scale)
    return lzu.FixedWarp.from_saliency(saliency, source, scale=scale)


@HOOKS.register_module()
class WarpHook(Hook):
    """Wraps the model once its weights are loaded, before the first step of any kind."""

    priority = "VERY_HIGH"

    def __init__(self, unzoom: list[str], **warp: Any) -> None:
        """Take the submodules to unzoom at, and the arguments of `make_warp`."""
        self.unzoom, self.warp = unzoom, make_warp(**warp)

    def _wrap(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if wrapping_of(model) is None:
            lzu.wrap(model, self.warp, self.unzoom, image="inputs")

    before_train = before_val = before_test = _wrap


@TRANSFORMS.register_module()
class TargetsToCanvas(BaseTransform):
    """Maps boxes and label maps to the uniform canvas; the image itself stays whole."""

    def __init__(self, **warp: Any) -> None:
        """Take the arguments of `make_warp`."""
        self.warp = make_warp(**warp)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Map the targets, and note the size that predictions refer to."""
        if "gt_bboxes" in results:
            boxes = results["gt_bboxes"]
            mapped = self.warp.boxes_to_canvas(boxes.numpy())
            results["gt_bboxes"] = type(boxes)(torch.from_numpy(mapped).float())
        if "gt_seg_map" in results:
            results["gt_seg_map"] = self.warp.labels_to_canvas(results["gt_seg_map"])
        step_y, step_x = self.warp.canvas_step
        results["img_shape"] = self.warp.canvas
        results["scale_factor"] = (1 / step_x, 1 / step_y)
        return results
