"""A segmenter of your own between zoom and unzoom, exported into a verified bundle."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lzu_export.compiler.pipeline import export
from lzu_export.recipes.load import validate
from lzu_export.runtime import load
from lzu_export.tasks.custom import register_model


class OwnSegmenter(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for a, b in ((3, 16), (16, 32), (32, 32)):  # three halvings: a map of stride 8
            self.body.extend([nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()])
        self.classify = nn.Conv2d(32, classes, 1)

    def extract(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.body(image)]  # what the unzoom works on, one map a level

    def head(self, levels: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        return [[self.classify(levels[0])]]  # one group, the logits, of one level


register_model("own-segmenter", lambda recipe: OwnSegmenter(recipe.model.num_classes))
torch.save({"state_dict": OwnSegmenter(3).state_dict()}, "own.pth")  # your training stands here
lattice = np.linspace(-1, 1, 31)[:, None], np.linspace(-1, 1, 51)
np.save("saliency.npy", 0.2 + np.exp(-4 * (lattice[0] ** 2 + lattice[1] ** 2)))
settings = {
    "name": "own",
    "task": "seg",
    "custom_model": "own-segmenter",
    "source": [240, 320],
    "scale": 0.5,
    "warp": {"saliency": "saliency.npy", "lattice": [31, 51]},
    "model": {"num_classes": 3, "output_stride": 8},
    "classes": ["road", "car", "other"],
    "checkpoint": {"fixed": "own.pth"},
    "precision": ["fp32", "fp16"],
    "targets": ["onnxruntime"],
}
bundle = export(validate(settings, "own_segmenter.py"), Path("build")).folder
found = load(bundle)(np.zeros((240, 320, 3), np.uint8))
print(bundle, found.labels.shape)
