"""Checkpoints that do not serve: one clear sentence on stderr, status 2, nothing half-written."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from command_errors import Refused, write_recipe

from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.models.retinanet import build_retinanet
from lzu_export.recipes.load import validate


@pytest.fixture
def checkpoint(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """Weights that fit the tiny recipe."""
    path = tmp_path / "good.pth"
    model = build_retinanet(validate(tiny_recipe, "tiny").model)
    save_checkpoint(path, model.state_dict())
    return path


def test_missing_checkpoint(export: Refused) -> None:
    """Given on the command line."""
    assert "gone.pth does not exist; give a path that does" in export("--checkpoint", "gone.pth")


def test_truncated_checkpoint(export: Refused, checkpoint: Path) -> None:
    """An interrupted download leaves such a file."""
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
