"""What users get wrong: one clear sentence on stderr, status 2, nothing half-written."""

import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from lzu_export.cli import app as cli
from lzu_export.compiler import pipeline
from lzu_export.manifest.schema import FILE
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.models.retinanet import build_retinanet
from lzu_export.recipes.load import validate
from lzu_export.tasks.pytorch import noise_frame
from samples import tiny_settings

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail for the user's sake; returns its sentence."""

    def run(*arguments: Any) -> str:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["lzu-export", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capfd.readouterr()
        assert end.value.code == 2, captured.err
        assert captured.out == ""
        return sentence(captured.err)

    return run


def sentence(err: str) -> str:
    """The one error in what a command wrote to stderr (progress may stand before it)."""
    assert "Traceback" not in err
    before, marker, text = err.partition("error: ")
    assert marker, err
    assert "error" not in before
    assert len(text.strip().splitlines()) == 1, text
    return text.strip()


@pytest.fixture
def recipe_file(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny recipe as a file."""
    return write_recipe(tmp_path / "tiny.yaml", tiny_recipe)


def write_recipe(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def export(refused: Refused, recipe_file: Path, tmp_path: Path) -> Refused:
    """A refused export of the tiny recipe; nothing may have been published."""

    def run(*arguments: Any) -> str:
        out = tmp_path / "build"
        text = refused("export", recipe_file, "--variant", "fixed", "--out", out, *arguments)
        if out.is_dir():
            assert list(out.rglob(FILE)) == []
        return text

    return run


@pytest.fixture
def checkpoint(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """Weights that fit the tiny recipe."""
    path = tmp_path / "good.pth"
    model = build_retinanet(validate(tiny_recipe, "tiny").model)
    save_checkpoint(path, model.state_dict())
    return path


# Checkpoints


def test_missing_checkpoint(export: Refused) -> None:
    """Given on the command line."""
    assert "gone.pth does not exist; give a path that does" in export("--checkpoint", "gone.pth")


def test_truncated_checkpoint(export: Refused, checkpoint: Path) -> None:
    """As an interrupted download leaves it."""
    content = checkpoint.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 10):
        checkpoint.write_bytes(content[:length])
        text = export("--checkpoint", checkpoint)
        what = "truncated or not a PyTorch checkpoint" if length else "empty"
        assert f"good.pth is {what}" in text
        assert "; copy or download it again" in text


def test_a_checkpoint_that_is_no_file_does_not_hang(export: Refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is not a file but a named pipe" in export("--checkpoint", tmp_path / "pipe.pth")
    assert "is not a file but a folder" in export("--checkpoint", tmp_path)


def test_a_checkpoint_that_diverged_is_named_with_its_tensor(
    export: Refused, checkpoint: Path
) -> None:
    """Neither an overflow of FP16 nor a deviation of an engine."""
    content = torch.load(checkpoint)
    content["state_dict"]["neck.fpn_convs.0.conv.bias"][3] = float("nan")
    torch.save(content, checkpoint)
    text = export("--checkpoint", checkpoint)
    assert "good.pth holds NaN in neck.fpn_convs.0.conv.bias (1 of 16 values); the train" in text


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("form", ["torch", "pickle", "saliency"])
def test_a_file_that_would_run_code(export: Refused, tmp_path: Path, form: str) -> None:
    """It does not run, as weights or as saliency."""
    marker, path = tmp_path / "executed", tmp_path / "bad.pkl"
    content = {"state_dict": {"weight": torch.zeros(2)}, "x": Payload(marker)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    text = export("--saliency" if form == "saliency" else "--checkpoint", path)
    assert "bad.pkl" in text
    assert not marker.exists()
    if form == "torch":
        assert "was refused because it holds" in text
    # The payload is a working one.
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


def test_wrong_class_count(export: Refused, checkpoint: Path) -> None:
    """In those words."""
    text = export(
        "--checkpoint", checkpoint, "--set", "model.num_classes=3", "--set", "classes=[a,b,c]"
    )
    assert "good.pth has 2 classes, recipe has 3; list the classes it was trained with" in text


def test_another_architecture(export: Refused, checkpoint: Path) -> None:
    """With the tensors that do not fit."""
    text = export("--checkpoint", checkpoint, "--set", "model.fpn_channels=8")
    assert "does not fit the model" in text
    assert "set the recipe's model fields" in text


def test_no_weights_at_all(refused: Refused, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Neither checkpoint nor seed."""
    data = {key: value for key, value in tiny_recipe.items() if key != "random_weights"}
    path = write_recipe(tmp_path / "bare.yaml", data)
    text = refused("export", path, "--out", tmp_path / "build")
    assert "recipe tiny has no checkpoint for the variant fixed; give one" in text
    assert not (tmp_path / "build").exists()


# Recipes


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("scael=0.5", "unknown key scael; did you mean scale?"),
        ("warp.fwmh=3", "unknown key warp.fwmh; did you mean fwhm?"),
        ("model.num_clases=3", "unknown key model.num_clases; did you mean num_classes?"),
        ("warp.fwhm.x=3", "warp.fwhm.x cannot be set: fwhm is not a section"),
        ("scale=.nan", "scale is nan but must be a finite number; change it"),
        ("scale=.inf", "scale is inf but must be a finite number; change it"),
        ("scale=-1", "scale is -1 but must be greater than 0; change it"),
        ("scale=half", "scale is 'half' but must be a number; change it"),
        ("scale=", "scale is None but must be a number; change it"),
        ("warp.fwhm=.nan", "warp.fwhm is nan but must be a finite number; change it"),
        ("scale=0.005", "raise the scale"),
        ("scale=0.1", "9x16 canvas, less than half a cell of the stride-32 level; raise the scale"),
        ("source=[96]", "the key source.1 is missing; add it"),
        ("source=96x160", "source is '96x160' but must be a list; change it"),
        ("classes=[car]", "classes lists 1 names but model.num_classes is 2; make them equal"),
        ("model.depth=19", "model.depth is 19 but must be 18, 34, 50 or 101; change it"),
        ("checkpoint=x.pth", "checkpoint is 'x.pth' but must be keys with values; change it"),
        ("checkpoint.best=x.pth", "checkpoint.best is 'best' but must be 'uniform', 'fixed',"),
        ("targets=[]", "targets is [] but must be a list of at least 1; change it"),
        ("warp=3", "warp is 3 but must be keys with values; change it"),
        ("scale", "--set scale is not key=value; write it so"),
        ("=3", "--set =3 is not key=value; write it so"),
        ("classes=[a,", "--set classes=[a, has a value that is not YAML; quote it"),
    ],
)
def test_bad_recipe_keys(export: Refused, tmp_path: Path, setting: str, expected: str) -> None:
    """Named with their value and what they may be; nothing is begun."""
    assert expected in export("--set", setting)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--target", "onnxruntime jetson", "targets.1 is 'jetson' but must be 'onnxruntime',"),
        (
            "--precision",
            "fp12",
            "precision.0 is 'fp12' but must be 'fp32', 'fp16', 'bf16' or 'int8'",
        ),
        ("--variant", "adaptiv", "variant is 'adaptiv' but must be 'uniform', 'fixed',"),
        ("--scale", "nan", "scale is nan but must be a finite number"),
        ("--scale", "0", "scale is 0.0 but must be greater than 0"),
        ("--frames", "0", "evaluation.frames is 0 but must be greater than 0"),
        ("--dataset", "imagenet", "there is no evaluation set imagenet; give demo, the path"),
        ("--dataset", "coco", "there is no evaluation set coco; give demo, the path"),
        ("--dataset", "gone.json", "gone.json do not exist; give a path that does"),
        ("--saliency", "gone.npy", "gone.npy does not exist; give a path that does"),
    ],
)
def test_bad_options(export: Refused, option: str, value: str, expected: str) -> None:
    """In the words of the recipe keys they set."""
    assert expected in export(option, value)


def test_bad_recipe_files(refused: Refused, tmp_path: Path) -> None:
    """Missing, misspelt, not YAML, not text, empty."""
    assert "there is no recipe named det-dmo; did you mean det-demo?" in refused(
        "export", "det-dmo"
    )
    assert "gone.yaml does not exist" in refused("export", tmp_path / "gone.yaml")
    path = tmp_path / "bad.yaml"
    for content, expected in (
        (b"name: [", "is not valid YAML at line 1"),
        (b"", "holds no keys; start from one of"),
        (b"\xff\xfe\x00", "is not text in UTF-8; save it as such"),
        (b"name: x\ntask: det\n", "the key source is missing; add it"),
    ):
        path.write_bytes(content)
        assert expected in refused("export", path)


# Saliency


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [
        (np.ones((9, 14)), "has shape (9, 14) but the lattice is (9, 13); resample it or set"),
        (np.ones(9), "has shape (9,)"),
        (np.zeros((9, 13)), ""),
        (np.where(np.eye(9, 13) > 0, -1.0, 1.0), ""),
        (np.where(np.eye(9, 13) > 0, np.nan, 1.0), ""),
        (None, ""),
    ],
)
def test_bad_saliency(export: Refused, tmp_path: Path, saliency: Any, expected: str) -> None:
    """Of another lattice, not positive, not finite, not an array: by name."""
    path = tmp_path / "mine.npy"
    if saliency is None:
        path.write_text("hello")
    else:
        np.save(path, saliency)
    text = export("--saliency", path)
    assert "mine.npy" in text
    assert expected in text
    assert ";" in text


@pytest.mark.parametrize("content", ["[]", "{", '{"images": [], "annotations": []}'])
def test_bad_annotations_as_saliency(export: Refused, tmp_path: Path, content: str) -> None:
    """No COCO, or no boxes."""
    path = tmp_path / "boxes.json"
    path.write_text(content)
    assert "boxes.json" in export("--saliency", path)


# Frames


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


# Segmentation and 3-D detection

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


# Bundles


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


# Disks


def test_output_in_a_files_place(
    export: Refused, refused: Refused, tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Or below a file, or where nothing can be made."""
    (tmp_path / "build").write_text("mine")
    assert "cannot be written: part of the path is a file; choose another folder" in export()
    assert (tmp_path / "build").read_text() == "mine"
    for out in (tmp_path / "build", tmp_path / "build" / "x", Path("/proc/x")):
        text = refused("run", tiny_bundle, image, "--out", out)
        assert f"the folder {out} cannot be written: " in text


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set as on Linux")
def test_a_full_disk(recipe_file: Path, tmp_path: Path) -> None:
    """Simulated by a limit on the size of files: the graph does not fit."""
    program = "from lzu_export.cli.app import main; main()"
    out = tmp_path / "build"
    arguments = ["export", recipe_file, "--variant", "fixed", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 2, done.stderr
    text = sentence(done.stderr)
    assert f"the bundle {out / 'det' / 'tiny-fixed-0.5x'} cannot be written: " in text
    assert "run again" in text
    assert list(out.rglob(FILE)) == []
    assert not (out / "det" / "tiny-fixed-0.5x").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set as on Linux")
def test_a_full_disk_while_pictures_are_written(
    tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Nothing of them remains."""
    program = "from lzu_export.cli.app import main; main()"
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(tiny_bundle), str(image), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "frame.png cannot be written: File too large" in sentence(done.stderr)
    assert not out.exists()


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
