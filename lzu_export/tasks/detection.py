"""2-D detection: RetinaNet between its zoom and unzoom, ending in a fixed number of candidates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lzu_export.models.anchors import grid_anchors
from lzu_export.models.checkpoint import load_checkpoint, load_into
from lzu_export.models.retinanet import build_retinanet, decode
from lzu_export.models.zoom import Resample, SourceToCanvas, Unzoom, ZoomedModel
from lzu_export.recipes import Recipe
from lzu_export.tasks.warps import Warp, canvas_step, check_trained_warp

GROUPS = ("cls", "bbox")
OUTPUTS = ("boxes", "scores", "labels")


class Decode(nn.Module):
    """Raw head outputs to candidates in source pixels."""

    scale: Tensor

    def __init__(self, recipe: Recipe) -> None:
        """Anchors stand on the recipe's levels; boxes are clipped to its canvas."""
        super().__init__()
        levels = recipe.levels
        anchors = grid_anchors([level.size for level in levels], recipe.model.strides, recipe.model)
        for i, each in enumerate(anchors):
            self.register_buffer(f"anchors_{i}", torch.from_numpy(each), persistent=False)
        self.levels, self.canvas = len(levels), recipe.canvas
        self.k_per_level = recipe.postprocess.candidates_per_level
        scale_y, scale_x = canvas_step(recipe)
        scale = torch.tensor([scale_x, scale_y, scale_x, scale_y])
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """(cls per level, bbox per level) to boxes B x K x 4, scores B x K, labels B x K int32."""
        cls_scores, bbox_preds = groups
        anchors = [getattr(self, f"anchors_{i}") for i in range(self.levels)]
        boxes, scores, labels = decode(
            cls_scores, bbox_preds, anchors, self.canvas, self.k_per_level
        )
        return boxes * self.scale, scores, labels.to(torch.int32)


def assemble(recipe: Recipe, warp: Warp, *, from_source: bool) -> ZoomedModel:
    """The recipe's model with its weights, in eval mode, ending in candidates.

    It begins at the frame, or where not `from_source` at the network's input.

    Raises:
        LzuError: the checkpoint is missing, unreadable or of another architecture.
    """
    model = build_retinanet(recipe.model)
    path = recipe.checkpoint.get(recipe.variant)
    if path is not None:
        state, meta = load_checkpoint(path)
        check_trained_warp(recipe, warp.saliency, meta, str(path))
        load_into(model, state, name=str(path))
    else:
        assert recipe.random_weights is not None, "checked by the pipeline"
        randomise(model, recipe.random_weights)
    to_canvas = None
    if from_source:
        norm = recipe.normalisation
        to_canvas = SourceToCanvas(Resample(*warp.zoom), norm.mean, norm.std, norm.order)
    height, width = recipe.network_input
    zoomed = ZoomedModel(
        model,
        Decode(recipe),
        to_canvas=to_canvas,
        padding=(height - recipe.canvas[0], width - recipe.canvas[1]),
        unzoom=None if warp.unzoom is None else [Unzoom(pairs) for pairs in warp.unzoom],
        groups=GROUPS,
        outputs=OUTPUTS,
        levels=len(recipe.levels),
    )
    return zoomed.eval()


def randomise(model: nn.Module, seed: int) -> None:
    """Untrained weights of sane magnitude, for timing: activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.35, 0.7, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
