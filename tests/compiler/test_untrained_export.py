"""Exports that contradict their checkpoint's training: refused, or marked wherever they show."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lzu_export.cli.tables.export import export_table
from lzu_export.cli.tables.inspect import inspect_tables
from lzu_export.compiler.acceptance import below_reference
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.errors import LzuError
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.schema import Accuracy, Untrained, untrained_note
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.recipes import Recipe
from lzu_export.tasks.pytorch import assemble
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe


def trained(folder: Path) -> Path:
    """Weights that were trained at half the frame's size."""
    recipe = tiny_recipe(folder)
    module = assemble(recipe, make_warp(recipe), from_source=True)
    path = folder / "trained.pth"
    record = training_record(recipe, make_warp(recipe).saliency)
    save_checkpoint(path, module.model.state_dict(), half=False, meta=record)
    return path


def exported(folder: Path, **changes: Any) -> Outcome:
    checkpoint = {"fixed": str(trained(folder))}
    settings = {"checkpoint": checkpoint, "precision": ["fp32"], "targets": ["onnxruntime"]}
    return export(tiny_recipe(folder, **{**settings, **changes}), folder / "build")


def text(shown: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    for each in shown if isinstance(shown, list) else [shown]:
        console.print(each)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_another_scale_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(
        LzuError, match=r"trained\.pth was trained with scale 0\.5 but the rec.* 1;"
    ):
        exported(tmp_path, scale=1.0)
    assert not list((tmp_path / "build").rglob("*.onnx"))


def test_one_that_is_allowed_is_marked_wherever_it_shows(tmp_path: Path) -> None:
    outcome = exported(tmp_path, scale=1.0, untrained=["scale"])
    expected = (Untrained(key="scale", trained="0.5", exported="1"),)
    assert outcome.manifest.untrained == expected
    stored = json.loads((outcome.folder / "manifest.json").read_text())
    assert stored["untrained"] == [{"key": "scale", "trained": "0.5", "exported": "1"}]
    note = "not as it was trained: scale 1, trained with 0.5"
    assert untrained_note(outcome.manifest) == note
    table = text(export_table([outcome]))
    assert f"{outcome.folder.name}*" in table
    assert f"{outcome.folder.name}*: {note}" in table
    assert note in text(inspect_tables(outcome.manifest))


def test_as_it_was_trained_there_is_no_mark(tmp_path: Path) -> None:
    outcome = exported(tmp_path, untrained=["scale"])
    assert outcome.manifest.untrained == ()
    assert untrained_note(outcome.manifest) == ""
    assert "*" not in text(export_table([outcome]))


def scored(recipe: Recipe, value: float, frames: int = 512) -> Accuracy:
    return Accuracy(
        dataset="mine", note="", metric="AP", frames=frames, pytorch={"AP": value}, engines={},
        limits={},
    )  # fmt: skip


@pytest.mark.parametrize(("value", "refused"), [(39.2, False), (38.9, True), (30.0, True)])
def test_a_part_s_score_is_held_as_far_as_its_interval_allows(
    value: float, refused: bool, tmp_path: Path
) -> None:
    """By a point and half the interval, here another point, under the recipe's score."""
    evaluation = {"reference": {"fixed": 41.1}, "export_frames": 128}
    recipe = tiny_recipe(tmp_path, evaluation=evaluation)
    drawn = Resampled(unit="sequences", groups=64, values=(value - 1, value, value + 1) * 50)
    accuracy = scored(recipe, value, 128).model_copy(
        update={
            "engines": {"onnxruntime/fp32": {"AP": value}},
            "resampled": {"onnxruntime/fp32": drawn},
        }
    )
    if refused:
        with pytest.raises(LzuError, match=rf"PyTorch itself scores AP {value:.2f}"):
            below_reference(recipe, accuracy)
    else:
        assert below_reference(recipe, accuracy) == ()


@pytest.mark.parametrize(
    ("value", "frames", "part", "refused"),
    [
        (41.1, 512, False, False),
        (40.2, 512, False, False),
        (60.0, 512, False, False),
        (39.9, 512, False, True),
        (6.9, 512, False, True),
        (float("nan"), 512, False, True),
        (30.0, 64, True, False),  # few frames are noisy
        (20.0, 64, True, True),
        (0.0, 8, True, False),
    ],
)
def test_the_recipe_s_own_score_is_held(
    value: float, frames: int, part: bool, refused: bool, tmp_path: Path
) -> None:
    evaluation: dict[str, Any] = {"reference": {"fixed": 41.1, "uniform": 90}}
    if part:
        evaluation["frames"] = frames
    recipe = tiny_recipe(tmp_path, evaluation=evaluation)
    accuracy = scored(recipe, value, frames)
    if not refused:
        assert below_reference(recipe, accuracy) == ()
        return
    words = rf"PyTorch itself scores AP {value:.2f} on mine, where .* says 41\.1 for fixed"
    with pytest.raises(LzuError, match=words) as caught:
        below_reference(recipe, accuracy)
    assert "--set untrained=[metric]" in str(caught.value)
    allowed = recipe.model_copy(update={"untrained": ("metric",)})
    (mark,) = below_reference(allowed, accuracy)
    assert str(mark) == f"score AP {value:.2f}, trained with 41.1"
    # Where more is meant to differ, the score does so for that reason.
    assert below_reference(recipe.model_copy(update={"untrained": ("scale",)}), accuracy) == ()
