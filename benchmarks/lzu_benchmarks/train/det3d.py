"""Train, evaluate and compare the demonstration models of monocular 3-D detection.

One command makes all shipped files: `python -m lzu_benchmarks.train.det3d --out
benchmarks/demo/lzu_export_demo/det3d`. The recipe `det3d-demo` describes the models. Both variants
share frames, architecture, schedule, augmentation and seeds; only the sampling of the image and the
unzoom of the features differ.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.train.cache import Key
from lzu_benchmarks.train.cache3d import FrameCache, learnt_boxes
from lzu_benchmarks.train.figures3d import compare, readme
from lzu_benchmarks.train.loss3d import Batch, collate, loss_3d
from lzu_benchmarks.train.network import ZoomedNetwork, fixed_unzoom, outputs_of
from lzu_benchmarks.train.schedule import Picks, Schedule
from lzu_benchmarks.train.series import Figures, Series, command
from lzu_benchmarks.train.targets3d import Points, make_points, make_targets, mirror
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import DEMO, camera_objects
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.models.decode3d import decode_3d, level_points
from lzu_export.models.fcos3d import Fcos3d, build_fcos3d
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.runtime.postprocess3d import Detections3d, suppress_3d
from lzu_export.warp.box_saliency import box_saliency

TYPICAL_DEPTH = 20.0
TYPICAL_SIZE = (3.0, 1.7, 1.5)
"""Sizes in metres that an untrained head outputs. The head learns logarithms, so an output of zero
would be one metre; `TYPICAL_DEPTH` is the same for the depth."""


class Detector(ZoomedNetwork):
    """FCOS3D from zoomed uint8 canvases to raw outputs in the frame of the labels."""

    network: Fcos3d

    def __init__(self, recipe: Det3dRecipe) -> None:
        """Build the recipe's network with random weights, and its unzoom."""
        super().__init__(build_fcos3d(recipe.model), recipe, fixed_unzoom(recipe))
        regressions = self.network.bbox_head.conv_regs
        for convolution, metres in (
            (regressions[1], TYPICAL_DEPTH),
            (regressions[2], TYPICAL_SIZE),
        ):
            assert isinstance(convolution, torch.nn.Conv2d)
            assert convolution.bias is not None
            convolution.bias.data.copy_(torch.tensor(metres).log())


def make_batch(
    cache: FrameCache,
    images: NDArray[np.uint8],
    points: Points,
    recipe: Det3dRecipe,
    picks: Picks,
) -> tuple[Tensor, Batch]:
    """Return canvases (B, H_c, W_c, 3) uint8 and their targets."""
    targets = []
    for place, flip in picks.pairs:
        truth = cache.truth(place)
        targets.append(
            make_targets(
                points,
                mirror(truth, recipe.canvas[1]) if flip else truth,
                recipe.model.direction_offset,
            )
        )
    return torch.from_numpy(np.stack(picks.of(images))), collate(targets)


def losses(
    detector: Detector, recipe: Det3dRecipe, cache: FrameCache, _schedule: Schedule
) -> Callable[[int, Picks], Tensor]:
    """Return the function that computes the losses of a step from its number and its frames."""
    images, points = cache.images(recipe.variant), make_points(recipe.levels)

    def losses_of(_step: int, picks: Picks) -> Tensor:
        canvases, targets = make_batch(cache, images, points, recipe, picks)
        return loss_3d(detector(canvases), targets)

    return losses_of


def detect(detector: Detector, recipe: Det3dRecipe, cache: FrameCache) -> Iterator[Detections3d]:
    """Yield the detections in every frame of the cache, with the product's post-processing."""
    images, settings = cache.images(recipe.variant), recipe.postprocess
    config = recipe.model
    points = level_points([level.size for level in recipe.levels], config.strides)
    for start, outputs in outputs_of(detector, images):
        count = len(outputs[0][0])
        cameras = np.stack([cache.cam2img(start + i) for i in range(count)])
        cam2img, img2cam = map(torch.from_numpy, camera_matrices(cameras, count))
        candidates = decode_3d(
            outputs,
            points,
            cam2img,
            img2cam,
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
    schedule=Schedule(epochs=4.5),
    saliency=saliency,
    frames=FrameCache,
    network=Detector,
    losses=losses,
    evaluate=evaluate,
    figures=Figures(NuScenesEvaluation.summary, compare, readme),
)

if __name__ == "__main__":
    command(SERIES)
