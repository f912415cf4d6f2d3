"""Detection on CamVid: the demonstration's RetinaNet on components of the label maps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.train.cache import Targets, fixed_saliency, make_targets, mirror
from lzu_benchmarks.train.camvid.boxes import LEAST, OBJECTS, coco_truth, find_objects, of_class
from lzu_benchmarks.train.camvid.frames import SOURCE, Split
from lzu_benchmarks.train.det import Detector, detect, learn_boxes, stack_targets
from lzu_benchmarks.train.schedule import Picks, Schedule
from lzu_benchmarks.train.setup import Setup, demo_config, zoom
from lzu_export.evaluation.metrics.bootstrap import draw_sequences
from lzu_export.evaluation.metrics.coco import AREAS, Evaluation
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.support.files.arrays import read_npy

VARIANTS = ("uniform", "fixed")
LATTICE = (31, 41)
"""Size (rows, columns) of the saliency, in the frames' proportions."""
FP16_IN_INT8 = ("backbone.layer2.0.downsample.0", "backbone.layer4.0.downsample.0")
"""Layers that an INT8 engine keeps in FP16. Without them the export refuses the uniform detector of
seed 0, whose scores fall to 0.961 of PyTorch's, and names these two."""
RESAMPLES = 500
"""Number of drawn sets of stretches."""
COLUMNS = ("AP", *(f"AP_{name}" for name in AREAS), *OBJECTS)


def make_setup() -> Setup:
    """Return the demonstration detector's settings, for these frames and classes."""
    return replace(
        Setup(),
        config=demo_config().model_copy(update={"num_classes": len(OBJECTS)}),
        source=SOURCE,
        lattice=LATTICE,
        antialias=True,
    )


def settings() -> dict[str, Any]:
    """Return the settings that decide the results, as plain data."""
    setup = make_setup()
    return {
        "model": setup.config.model_dump(mode="json", exclude_defaults=True),
        "scale": setup.scale,
        "warp": {"lattice": list(LATTICE), "fwhm": setup.fwhm, "bandwidth": setup.bandwidth},
        "sampler": "antialiased",
        "least_side": LEAST,
    }


def make_saliency(split: Split) -> NDArray[np.float32]:
    """Return the density (31, 41) of the split's boxes, symmetric for mirrored frames."""
    found = [find_objects(each) for each in split.labels]
    boxes = np.concatenate([each.boxes[~each.ignore] for each in found])
    return fixed_saliency(make_setup(), boxes).astype(np.float32)


def recipe_of(
    variant: str, saliency: Path, weights: Path, *, exported: Mapping[str, Any]
) -> Recipe:
    """Return the recipe of a stored detector; `exported` are further keys."""
    setup = make_setup()
    changes = {
        "variant": variant,
        "source": list(SOURCE),
        "scale": setup.scale,
        "sampler": "antialiased",
        "classes": list(OBJECTS),
        "model.num_classes": len(OBJECTS),
        "warp.lattice": list(LATTICE),
        "warp.saliency": str(saliency),
        "checkpoint": {variant: str(weights)},
        **exported,
    }
    return load_recipe("det-demo", changes)


def train(
    variant: str, saliency: Path, split: Split, schedule: Schedule, weights: Path
) -> list[float]:
    """Train a detector on one thread, and save its weights; return the loss of every step."""
    setup = make_setup()
    torch.manual_seed(schedule.seed)
    detector = Detector(setup, _of_variant(variant, saliency))
    canvases, targets = _canvases(variant, saliency, split), _targets(split, setup)

    def batch_of(_step: int, picks: Picks) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        chosen = [targets[place][flip] for place, flip in picks.pairs]
        return (torch.from_numpy(np.stack(picks.of(canvases))),), stack_targets(chosen)

    losses = learn_boxes(detector, setup, batch_of, len(split), schedule)
    save_checkpoint(weights, detector.network.state_dict())
    return losses


def score(variant: str, saliency: Path, weights: Path, split: Split) -> dict[str, Any]:
    """Return AP of a stored detector, see `drawn_ap`."""
    setup = make_setup()
    detector = Detector(setup, _of_variant(variant, saliency))
    load_into(detector.network, load_state(weights), name=str(weights))
    canvases = _canvases(variant, saliency, split)
    return drawn_ap(split, detect(detector.eval(), setup, canvases, list(range(len(split)))))


def drawn_ap(split: Split, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return AP of COCO detections over all stretches, then over sets that are drawn of them.

    Returns:
        Plain data: `columns`, the number of `stretches`, and `values` (1 + resamples, columns) in
        points, None where there is no object. Equal splits draw equal sets, so values of several
        runs can be subtracted.
    """
    truth = coco_truth([find_objects(each) for each in split.labels], split.stretches)
    whole = Evaluation(truth, found)
    parts = [
        Evaluation(of_class(truth, i + 1), [d for d in found if d["category_id"] == i + 1])
        for i in range(len(OBJECTS))
    ]
    stretches = int(split.stretches.max()) + 1
    values = []
    for times in draw_sequences(stretches, RESAMPLES):
        places = np.repeat(np.arange(len(split)), times[split.stretches])
        row = whole.resampled(places)
        row |= {
            name: each.resampled(places, sizes=False)["AP"]
            for name, each in zip(OBJECTS, parts, strict=True)
        }
        values.append([None if np.isnan(row[c]) else round(row[c], 3) for c in COLUMNS])
    return {"columns": list(COLUMNS), "stretches": stretches, "values": values}


def _of_variant(variant: str, saliency: Path) -> NDArray[np.float64] | None:
    """Return the saliency of a variant's warp; None for the uniform one."""
    return None if variant == "uniform" else read_npy(saliency).astype(np.float64)


def _canvases(variant: str, saliency: Path, split: Split) -> NDArray[np.uint8]:
    """Zoom all frames of a split by a variant's warp: (N, canvas, 3)."""
    matrices = make_setup().zoom_matrices(_of_variant(variant, saliency))
    return np.stack([zoom(each, matrices) for each in split.images])


def _targets(split: Split, setup: Setup) -> list[tuple[Targets, Targets]]:
    """Compute the targets of every frame and of its mirror image."""
    anchors = setup.anchors()
    found = []
    for labels in split.labels:
        objects = find_objects(labels)
        plain, mirrored = (
            make_targets(setup, anchors, boxes / setup.label_scale, objects.classes, objects.ignore)
            for boxes in (objects.boxes, mirror(objects.boxes, SOURCE[1]))
        )
        found.append((plain, mirrored))
    return found
