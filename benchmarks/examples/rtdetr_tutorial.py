"""Train RT-DETR behind a fixed warp by its own loss, and export it: rtdetr_tutorial.py STEPS."""

import sys

import torch
from rtdetr_network import rtdetr
from streets import EXPORTED, images_of, make_warp, objects_of, read_scenes

import lzu_export as lzu
from lzu_benchmarks.scenes import CLASSES
from lzu_benchmarks.train.schedule import Schedule, learn

CUT = [f"model.encoder_input_proj.{level}" for level in range(3)]
SCORES = {"kind": "detr", "boxes": "pred_boxes", "score_threshold": 0.01}


def make_labels(objects):
    """Boxes are relative to the network input: the canvas of 180x320, padded to 192x320."""
    size = torch.tensor([320, 192, 320, 192])
    return [
        {
            "class_labels": torch.from_numpy(classes),
            "boxes": (torch.from_numpy(boxes) / size).float(),
        }
        for classes, boxes in objects
    ]


def train(scenes, warp, steps, seed=0):
    torch.manual_seed(seed)
    model = lzu.wrap(rtdetr(len(CLASSES)), warp, unzoom=CUT, image="pixel_values")

    def losses(_step, picks):
        labels = make_labels(objects_of(scenes, picks, warp))
        return model(pixel_values=images_of(scenes, picks), labels=labels).loss[None]

    learn(model, losses, len(scenes), Schedule(steps * 8 / len(scenes), seed, rate=1e-3))
    return model


def save(model, out="build", name="rtdetr", **options):
    outputs = ["logits", "pred_boxes"]  # of the dozens of tensors that RT-DETR returns
    return lzu.export(
        model, out, name=name, postprocess=SCORES, outputs=outputs, **EXPORTED, **options
    )


if __name__ == "__main__":
    steps = int(sys.argv[1])
    scenes = read_scenes(300 if steps >= 100 else 8)
    done = save(train(scenes, make_warp(scenes), steps))
    print(done.folder, done.status, len(lzu.load(done.folder)(scenes[0].image)), "boxes")
