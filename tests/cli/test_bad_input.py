"""Frames, calibrations, label maps and bundles that are refused: one sentence, status 2."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_errors import Refused, write_recipe

from lzu_export.cli import app as cli
from lzu_export.compiler import pipeline
from lzu_export.manifest.schema import FILE
from lzu_export.recipes.load import validate
from lzu_export.support import device
from lzu_export.support.cuda_driver import Driver
from lzu_export.tasks.pytorch import noise_frame
from samples import tiny_settings


def test_bad_frames(refused: Refused, tiny_bundle: Path, tmp_path: Path) -> None:
    """Missing, empty, not an image, of another size; nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello")
    cv2.imwrite(str(tmp_path / "large.png"), noise_frame((97, 160), 0))
    out = tmp_path / "out"
    for name, expected in (
        (
            "gone.png",
            "gone.png does not exist; give an image, a folder of images, a video, or",
        ),
        ("empty", "holds no images (.bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp); add some"),
        ("text.png", "text.png cannot be read as an image; check that it is one and is whole"),
        ("text.mp4", "text.mp4 cannot be read as a video; check that it is one and is whole"),
        ("large.png", "large.png is 97x160 but this bundle takes 96x160; bring it to that size"),
    ):
        assert expected in refused("run", tiny_bundle, tmp_path / name, "--out", out)
        assert expected.partition(";")[0] in refused(
            "verify", tiny_bundle, "--live", tmp_path / name
        )
    assert not out.exists()


def test_gpus_that_are_not_there(
    refused: Refused, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command says which there are, whatever the bundle's engines; nothing stays chosen."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LZU_DEVICE", raising=False)
    frame = tmp_path / "frame.png"
    cv2.imwrite(str(frame), noise_frame((96, 160), 0))
    commands: list[list[Any]] = [
        ["run", tiny_bundle, frame, "--out", tmp_path / "out"],
        ["verify", tiny_bundle],
        ["regress", tiny_bundle, "--reference", tmp_path / "state.json"],
        ["build", tiny_bundle, "--target", "tensorrt"],
        ["bench", "--out", tmp_path / "bench", "--bundles", tiny_bundle],
        ["doctor"],
    ]
    monkeypatch.setattr(device, "find_driver", lambda: None)
    for each in commands:
        text = refused(*each, "--device", 1)
        assert "this machine has no GPU 1: there is no libcuda.so.1; leave the device out" in text
    monkeypatch.setattr(device, "find_driver", lambda: Driver((12, 6), ("T4 (7.5)", "A2 (8.6)")))
    for each in commands:
        text = refused(*each, "--device", 2)
        assert "there is no GPU 2: CUDA counts 0 (T4 (7.5)) and 1 (A2 (8.6)); choose one" in text
    for each in (*commands[:2], commands[4]):
        text = refused(*each, "--device", 1)
        assert "device 1 is a GPU, but everything runs on the CPU here; choose provider" in text
    assert "LZU_DEVICE" not in os.environ
    assert not (tmp_path / "out").exists()


K: Any = [[128, 0, 79.5], [0, 128, 47.5], [0, 0, 1]]
"""Of a camera of 96 x 160 pixels."""


@pytest.mark.slow
def test_bad_cameras(refused: Refused, tmp_path: Path) -> None:
    """None, of another shape, singular, of other frames; and frames of two sizes."""
    light = {"depth": 18, "stage_with_dcn": [False] * 4, "dcn_on_last_conv": False}
    settings = tiny_settings(tmp_path, "det3d", model=light, lowering={"zoom": "banded"})
    bundle = pipeline.export(validate(settings, "tiny"), tmp_path).folder
    frames, cameras, out = tmp_path / "frames", tmp_path / "cameras.json", tmp_path / "out"
    frames.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(frames / name), noise_frame((96, 160), 0))
    assert "give --cameras FILE" in refused("run", bundle, frames, "--out", out)
    for content, expected in (
        (
            {"cam2img": K[:2]},
            "cam2img of a.png in cameras.json has shape (2, 3); give 3 x 3, 3 x 4 or 4 x 4",
        ),
        (
            {"cam2img": [row[:2] for row in K]},
            "cam2img of a.png in cameras.json has shape (3, 2); give 3 x 3",
        ),
        (
            {"cam2img": [[0, 0, 79.5], *K[1:]]},
            "cam2img of a.png in cameras.json is singular, so no pixel has a ray",
        ),
        (
            {"cam2img": [[1e400, 0, 79.5], *K[1:]]},
            "cam2img of a.png in cameras.json has an entry that is not finite",
        ),
        ({}, "cameras.json hold no calibration; give JSON with"),
        ({"cameras": {"front": {"file": "a.png", "cam2img": K}}}, "name none for b.png"),
    ):
        cameras.write_text(json.dumps(content))
        assert expected in refused("run", bundle, frames, "--cameras", cameras, "--out", out)
        assert not out.exists()
    cameras.write_text(json.dumps({"cam2img": K}))
    cv2.imwrite(str(frames / "b.png"), noise_frame((90, 160), 0))
    text = refused("run", bundle, frames, "--cameras", cameras, "--out", out)
    assert "b.png is 90x160 but this bundle takes 96x160" in text
    assert not out.exists()


@pytest.mark.parametrize("use", ["evaluation", "saliency"])
def test_label_maps_with_unknown_values(refused: Refused, tmp_path: Path, use: str) -> None:
    """Named with the value, whatever they are for; nothing is left."""
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    (tmp_path / "set" / "classes.txt").write_text("near\nfar\n")
    labels = np.zeros((96, 160), np.uint8)
    labels[3, 4] = 77
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.png"), noise_frame((96, 160), 0))
    cv2.imwrite(str(tmp_path / "set" / "labels" / "a.png"), labels)
    recipe = write_recipe(tmp_path / "seg.yaml", tiny_settings(tmp_path, "seg"))
    given = {
        "evaluation": ("--dataset", tmp_path / "set"),
        "saliency": ("--saliency", tmp_path / "set" / "labels"),
    }[use]
    text = refused("export", recipe, "--variant", "fixed", "--out", tmp_path / "build", *given)
    assert "a.png holds the label 77, which is neither one of the 2 classes (0 to 1)" in text
    assert list((tmp_path / "build").rglob(FILE)) == []


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("model.fp32.onnxruntime.onnx", ("run", "verify")),
        ("model.fp32.onnx", ("verify",)),
        ("reference.npz", ("verify",)),
        ("warp.npz", ("run", "verify")),
    ],
)
def test_changed_files(
    refused: Refused, bundle: Path, image: Path, name: str, commands: tuple[str, ...]
) -> None:
    """After the export, or lost."""
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (bundle / name).write_bytes(content)
    more = {"run": (image, "--out", image.parent / "out"), "verify": ()}
    for command in commands:
        text = refused(command, bundle, *more[command])
        assert f"{name} was changed after the export" in text
    (bundle / name).unlink()
    for command in commands:
        text = refused(command, bundle, *more[command])
        assert f"{name} is missing from the bundle; export or copy it again" in text
    assert not (image.parent / "out").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is no bundle: it has no manifest.json; give a folder that export made"),
        ("{", "manifest.json is damaged; export or copy the bundle again"),
        ("[]", "manifest.json is damaged; export or copy the bundle again"),
        ('{"format": 99}', "manifest.json has format 99 but this version reads 5 and 6; export"),
    ],
)
def test_bad_manifests(
    refused: Refused, bundle: Path, image: Path, content: str | None, expected: str
) -> None:
    """Each command says the same."""
    (bundle / FILE).unlink()
    if content is not None:
        (bundle / FILE).write_text(content)
    for arguments in (("inspect",), ("verify",), ("build",)):
        assert expected in refused(*arguments, bundle)
    assert expected in refused("run", bundle, image, "--out", image.parent / "out")


def test_a_bundle_without_the_graph_to_build(refused: Refused, tiny_bundle: Path) -> None:
    """For TensorRT-RTX."""
    assert "has no tensorrt-rtx graph; export it with that target" in refused("build", tiny_bundle)


def test_json_output_stays_empty_on_errors(refused: Refused, tmp_path: Path) -> None:
    """A script reads no half of a result."""
    for command in ("inspect", "verify"):
        assert "is no bundle" in refused(command, tmp_path, "--json")


def test_usage_errors_are_clicks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 2 as well."""
    monkeypatch.setattr(sys, "argv", ["lzu-export", "inspect"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "Missing argument" in capfd.readouterr().err
