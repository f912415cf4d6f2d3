"""Train, evaluate and compare the demonstration models of monocular 3-D detection.

One command makes all shipped files: `python -m lzu_benchmarks.train.det3d --out
lzu_export/demo/det3d`. The recipe `det3d-demo` describes the models. Both variants share frames,
architecture, schedule, augmentation and seeds; only the sampling of the image and the unzoom of
the features differ.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.train.cache import Key
from lzu_benchmarks.train.cache3d import FrameCache, learnt_boxes
from lzu_benchmarks.train.figures3d import compare, readme
from lzu_benchmarks.train.loss3d import Batch, collate, loss_3d
from lzu_benchmarks.train.schedule import learn, sampling_order
from lzu_benchmarks.train.series import Series, command
from lzu_benchmarks.train.targets3d import Points, make_points, make_targets, mirror
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import DEMO, camera_objects
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.models.decode3d import decode_3d, level_points
from lzu_export.models.fcos3d import Fcos3d, Outputs, build_fcos3d
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.runtime.postprocess3d import Detections3d, suppress_3d
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.grids import Sampling
from lzu_export.warp.tables import TablePair, table_matrix

TYPICAL_DEPTH = 20.0
TYPICAL_SIZE = (3.0, 1.7, 1.5)
"""Sizes in metres that an untrained head outputs. The head learns logarithms, so an output of zero
would be one metre; `TYPICAL_DEPTH` is the same for the depth."""


class Detector(torch.nn.Module):
    """The network from zoomed uint8 canvases to raw outputs in the frame of the labels."""

    def __init__(self, recipe: Det3dRecipe) -> None:
        """Build the recipe's network with random weights, and its unzoom."""
        super().__init__()
        self.network: Fcos3d = build_fcos3d(recipe.model)
        regressions = self.network.bbox_head.conv_regs
        for convolution, metres in (
            (regressions[1], TYPICAL_DEPTH),
            (regressions[2], TYPICAL_SIZE),
        ):
            assert isinstance(convolution, torch.nn.Conv2d)
            assert convolution.bias is not None
            convolution.bias.data.copy_(torch.tensor(metres).log())
        norm = recipe.normalisation
        self.reverse = norm.order == "rgb"
        self.pad = [n - m for n, m in zip(recipe.network_input, recipe.canvas, strict=True)]
        self.mean = torch.tensor(norm.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(norm.std).view(1, 3, 1, 1)
        unzoom = make_warp(recipe).unzoom
        self.unzoom = None
        if unzoom is not None:
            self.unzoom = [
                matrices(pairs, level.size)
                for pairs, level in zip(unzoom, recipe.levels, strict=True)
            ]

    def forward(self, canvases: Tensor) -> Outputs:
        """Map canvases (B, H_c, W_c, 3) uint8 BGR to the head's outputs."""
        image = canvases.permute(0, 3, 1, 2).float()
        image = ((image.flip(1) if self.reverse else image) - self.mean) / self.std
        image = torch.nn.functional.pad(image, (0, self.pad[1], 0, self.pad[0]))
        levels = self.network.extract(image.contiguous(memory_format=torch.channels_last))
        if self.unzoom is not None:
            levels = [
                torch.matmul(torch.matmul(rows, level.contiguous()), columns.T).contiguous(
                    memory_format=torch.channels_last
                )
                for level, (rows, columns) in zip(levels, self.unzoom, strict=True)
            ]
        return self.network.head(levels)


def matrices(pairs: Sequence[Sampling], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return rows (H, H) and columns (W, W) of a level's unzoom, which has one pair of tables."""
    (pair,) = pairs  # only the `published` geometry has several
    assert isinstance(pair, TablePair), "the demonstration's warps are separable"
    rows, columns = (
        torch.from_numpy(table_matrix(table, n).astype(np.float32))
        for table, n in zip(pair, size, strict=True)
    )
    return rows, columns


def make_batch(
    cache: FrameCache,
    images: NDArray[np.uint8],
    points: Points,
    recipe: Det3dRecipe,
    picks: NDArray[np.int64],
    flips: NDArray[np.bool_],
) -> tuple[Tensor, Batch]:
    """Return canvases (B, H_c, W_c, 3) uint8 and their targets."""
    canvases, targets = [], []
    for pick, flip in zip(picks.tolist(), flips.tolist(), strict=True):
        truth = cache.truth(pick)
        canvases.append(images[pick][:, ::-1] if flip else images[pick])
        targets.append(
            make_targets(
                points,
                mirror(truth, recipe.canvas[1]) if flip else truth,
                recipe.model.direction_offset,
            )
        )
    return torch.from_numpy(np.stack(canvases)), collate(targets)


def train(
    recipe: Det3dRecipe,
    cache: FrameCache,
    *,
    epochs: float,
    seed: int = 0,
    batch: int = 8,
    rate: float = 2e-3,
    log: Path | None = None,
) -> tuple[Detector, list[float]]:
    """Train one variant on one thread.

    Returns:
        The detector and the loss of every step.
    """
    torch.manual_seed(seed)
    detector = Detector(recipe)
    images, points = cache.images(recipe.variant), make_points(recipe.levels)
    steps = max(2, round(epochs * len(cache) / batch))
    order, flips = sampling_order(len(cache), epochs, seed)

    def losses_of(step: int) -> Tensor:
        window = slice(step * batch, (step + 1) * batch)
        canvases, targets = make_batch(cache, images, points, recipe, order[window], flips[window])
        return loss_3d(detector(canvases), targets)

    return detector, learn(detector, losses_of, steps=steps, rate=rate, log=log)


def detect(detector: Detector, recipe: Det3dRecipe, cache: FrameCache) -> Iterator[Detections3d]:
    """Yield the detections in every frame of the cache, with the product's post-processing."""
    images, settings = cache.images(recipe.variant), recipe.postprocess
    config = recipe.model
    points = level_points([level.size for level in recipe.levels], config.strides)
    for start in range(0, len(cache), 8):
        canvases = np.array(images[start : start + 8])
        cameras = np.stack([cache.cam2img(start + i) for i in range(len(canvases))])
        cam2img, img2cam = camera_matrices(cameras, len(canvases))
        with torch.inference_mode():
            candidates = decode_3d(
                detector(torch.from_numpy(canvases)),
                points,
                torch.from_numpy(cam2img),
                torch.from_numpy(img2cam),
                settings.candidates_per_level,
                direction_offset=config.direction_offset,
            )
        for boxes, scores, attributes in zip(*(c.numpy() for c in candidates), strict=True):
            yield suppress_3d(
                boxes,
                scores,
                attributes,
                score_threshold=settings.score_threshold,
                iou_threshold=settings.iou_threshold,
                max_detections=settings.max_detections,
            )


def evaluate(detector: Detector, recipe: Det3dRecipe, cache: FrameCache) -> NuScenesEvaluation:
    """Evaluate the detector's detections against the ground truth."""
    evaluation = NuScenesEvaluation(DEMO)
    for place, found in enumerate(detect(detector, recipe, cache)):
        truth = cache.truth(place)
        evaluation.add(
            cache.keys[place],
            cache.keys[place][0],
            camera_objects(truth.boxes3d, truth.classes),
            camera_objects(found.boxes[:, :7], found.labels),
            found.scores,
            truth.ignore,
        )
    return evaluation


def saliency(recipe: Det3dRecipe, keys: list[Key]) -> NDArray[np.float64]:
    """Return the density (h, w) of the boxes to learn, made symmetric for mirrored frames."""
    settings = recipe.warp
    density = box_saliency(
        learnt_boxes(keys, processes=2),
        recipe.source,
        settings.lattice,
        amplitude=settings.amplitude,
        bandwidth=settings.bandwidth,
    )
    return np.asarray((density + density[:, ::-1]) / 2)


SERIES = Series(
    module="lzu_benchmarks.train.det3d",
    description=__doc__ or "",
    recipe="det3d-demo",
    epochs=4.5,
    saliency=saliency,
    frames=FrameCache,
    train=train,
    evaluate=evaluate,
    summary=NuScenesEvaluation.summary,
    compare=compare,
    readme=readme,
)

if __name__ == "__main__":
    command(SERIES)
