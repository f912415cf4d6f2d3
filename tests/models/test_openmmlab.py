"""What the configs and class names in OpenMMLab's checkpoints say, without running them."""

import time

import pytest

from lzu_export.models.openmmlab import Normalised, class_names, normalisation

MMDET2 = """
img_norm_cfg = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Normalize',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True),
    dict(type='Pad', size_divisor=32)
]
model = dict(bbox_head=dict(bbox_coder=dict(
    target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0])))
"""
CAFFE = (
    MMDET2.replace("123.675, 116.28, 103.53", "103.53, 116.28, 123.675")
    .replace("58.395, 57.12, 57.375", "1.0, 1.0, 1.0")
    .replace("to_rgb=True", "to_rgb=False")
)
MMENGINE = """
model = dict(
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_size_divisor=32,
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='DetDataPreprocessor'),
    neck=dict(in_channels=[256, 512]))
"""
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"config": MMDET2}, Normalised("rgb", *IMAGENET)),
        ({"config": CAFFE}, Normalised("bgr", (103.53, 116.28, 123.675), (1, 1, 1))),
        ({"cfg": MMENGINE}, Normalised("rgb", *IMAGENET)),
        ({"cfg": MMENGINE.replace("bgr_to_rgb=True,", "")}, Normalised("bgr", *IMAGENET)),
        (
            {"config": "img_norm_cfg = dict(mean=[1, 2, 3], std=[4, 5, 6])"},
            Normalised("rgb", (1, 2, 3), (4, 5, 6)),
        ),
        (
            {"config": "{'mean': [1, 2, 3], 'std': (4, 5, 6), 'to_rgb': False}"},
            Normalised("bgr", (1, 2, 3), (4, 5, 6)),
        ),
        ({"config": MMDET2 + CAFFE}, None),  # two things at once
        ({"config": "model = dict(type='A')"}, None),
        ({"config": "x = dict(mean=[__import__('os').system('x'), 1, 2], std=[1, 1, 1])"}, None),
        ({"config": "x = dict(mean=[a, b, c], std=[1, 1, 1])"}, None),
        ({"config": "x = dict(mean=[1, 2, 3])"}, None),
        ({"config": "x = dict(mean=[1, 2, 3], std=[1, 1])"}, None),
        ({"config": b"bytes"}, None),
        ({}, None),
    ],
)
def test_the_normalisation_is_read_as_literals(
    meta: dict[str, object], expected: Normalised | None
) -> None:
    assert normalisation(meta) == expected


@pytest.mark.parametrize(
    "text", ["(" * 500_000, "mean=[" * 200_000, "mean=[1]" * 200_000, "-" * 1_000_000]
)
def test_texts_that_were_made_to_hang_do_not(text: str) -> None:
    begin = time.monotonic()
    assert normalisation({"config": text}) is None
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"CLASSES": ("a", "b")}, ("a", "b")),
        ({"dataset_meta": {"classes": ["a", "b"]}, "CLASSES": ("c",)}, ("a", "b")),
        ({"dataset_meta": {"CLASSES": ("a",), "PALETTE": [(1, 2, 3)]}}, ("a",)),
        ({"dataset_meta": {"classes": "thing"}}, ("thing",)),
        ({"dataset_meta": {"classes": [1, 2]}, "CLASSES": None}, None),
        ({"classes": '["a"]'}, None),  # of our own record
        ({}, None),
    ],
)
def test_names_of_both_generations(meta: dict[str, object], expected: object) -> None:
    assert class_names(meta) == expected
