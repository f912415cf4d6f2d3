"""Recipes, options and saliencies that are refused: one clear sentence on stderr, status 2."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_errors import Refused


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
    """The message names the file whose map has another lattice, or values that are no saliency."""
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
