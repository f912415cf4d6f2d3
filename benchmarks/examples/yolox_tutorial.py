"""Train YOLOX behind a fixed warp by its own loss, and export it: yolox_tutorial.py STEPS."""

import sys

import numpy as np
import torch
from streets import EXPORTED, images_of, make_warp, objects_of, read_scenes
from yolox_network import yolox

import lzu_export as lzu
from lzu_benchmarks.scenes import CLASSES
from lzu_benchmarks.train.schedule import Schedule, learn

SCORES = {"kind": "yolo", "score_threshold": 0.01, "iou_threshold": 0.6}
MOST = 64  # objects per image that YOLOX's targets have room for


def make_targets(objects):
    targets = torch.zeros(len(objects), MOST, 5)  # class, centre x, centre y, width, height
    for row, (classes, boxes) in zip(targets, objects, strict=True):
        rows = np.column_stack([classes, boxes])[:MOST]
        row[: len(rows)] = torch.from_numpy(rows)
    return targets


def train(scenes, warp, steps, seed=0, phase=None):
    torch.manual_seed(seed)
    model = lzu.wrap(yolox(len(CLASSES)), warp, unzoom=["backbone"], phase=phase)

    def losses(_step, picks):
        targets = make_targets(list(objects_of(scenes, picks, warp)))
        return model(images_of(scenes, picks), targets)["total_loss"][None]

    learn(model, losses, len(scenes), Schedule(steps * 8 / len(scenes), seed))
    return model


def save(model, out="build", name="yolox", **options):
    return lzu.export(model, out, name=name, postprocess=SCORES, **EXPORTED, **options)


if __name__ == "__main__":
    steps = int(sys.argv[1])
    scenes = read_scenes(300 if steps >= 100 else 8)
    done = save(train(scenes, make_warp(scenes), steps))
    print(done.folder, done.status, len(lzu.load(done.folder)(scenes[0].image)), "boxes")
