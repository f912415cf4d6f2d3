"""Build the parts of a 2-D detector: RetinaNet, and a decode to a fixed number of candidates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lzu_export.models.retinanet import build_retinanet, decode
from lzu_export.recipes.schema import DetRecipe
from lzu_export.tasks.assemble import Parts
from lzu_export.warp.anchors import grid_anchors

GROUPS = ("cls", "bbox")
OUTPUTS = ("boxes", "scores", "labels")


class Decode(nn.Module):
    """Decodes raw head outputs to candidates in source pixels."""

    scale: Tensor

    def __init__(self, recipe: DetRecipe) -> None:
        """Place anchors on the recipe's levels; boxes are clipped to its canvas."""
        super().__init__()
        levels = recipe.levels
        anchors = grid_anchors([level.size for level in levels], recipe.model.strides, recipe.model)
        for i, each in enumerate(anchors):
            self.register_buffer(f"anchors_{i}", torch.from_numpy(each), persistent=False)
        self.levels, self.canvas = len(levels), recipe.canvas
        self.k_per_level = recipe.postprocess.candidates_per_level
        (step_y, step_x), (top, left) = recipe.canvas_step, recipe.corner
        if recipe.variant == "fovea":  # the forward warp maps boxes to the frame
            (step_y, step_x), (top, left) = (1.0, 1.0), (0, 0)
        scale = torch.tensor([step_x, step_y, step_x, step_y])
        self.register_buffer("scale", scale, persistent=False)
        self.corner = (
            None if (top, left) == (0, 0) else torch.tensor([left, top, left, top]).float()
        )

    def forward(self, groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Decode (cls, bbox) per level to boxes B x K x 4, scores B x K, labels B x K int32."""
        cls_scores, bbox_preds = groups
        anchors = [getattr(self, f"anchors_{i}") for i in range(self.levels)]
        boxes, scores, labels = decode(
            cls_scores, bbox_preds, anchors, self.canvas, self.k_per_level
        )
        boxes = boxes * self.scale
        if self.corner is not None:
            boxes = boxes + self.corner
        return boxes, scores, labels.to(torch.int32)


def parts(recipe: DetRecipe) -> Parts:
    """Make the parts of a 2-D detector."""
    return Parts(
        model=build_retinanet(recipe.model),
        decode=Decode(recipe),
        groups=GROUPS,
        outputs=OUTPUTS,
    )
