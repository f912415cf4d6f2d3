"""An export that fails gives one sentence and no bundle, and leaves an older bundle as it was."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from export_samples import contents, quick

from lzu_export.compiler import pipeline
from lzu_export.compiler.pipeline import export
from lzu_export.graph.lowering import resample as lower_resample
from lzu_export.tasks.warps import make_warp
from samples import SLOW_DET3D, refusal, tiny_recipe


@pytest.mark.parametrize(
    ("task", "other"), [("seg", "det"), ("det3d", "seg"), ("det", "det3d"), ("det3d", "det")]
)
def test_a_checkpoint_of_another_task_becomes_no_bundle(
    task: str, other: str, tmp_path: Path
) -> None:
    from lzu_export.models.checkpoint import save_checkpoint
    from lzu_export.tasks.pytorch import assemble

    made = tiny_recipe(tmp_path, other)
    model = assemble(made, make_warp(made), from_source=False).model
    save_checkpoint(tmp_path / "other.pth", model.state_dict())
    recipe = tiny_recipe(tmp_path, task, checkpoint={"fixed": str(tmp_path / "other.pth")})
    message = refusal(lambda: export(recipe, tmp_path))
    assert f"other.pth belongs to task {other}, but the recipe to {task}; give one" in message
    assert list((tmp_path / task).iterdir()) == []


@pytest.mark.parametrize("task", ["seg", SLOW_DET3D])
def test_an_output_that_deviates_becomes_no_bundle_in_any_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong pixel or one box off by a metre stops the export."""
    from lzu_export.targets import onnxruntime
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    class Wrong(OnnxRuntimeSession):
        def run(self, inputs: Any) -> dict[str, Any]:
            values = super().run(inputs)
            if "labels" in values:
                values["labels"][0, 40, 70] ^= 1
            if "boxes" in values:
                values["boxes"][0, :, 2] += 1.0
            return values

    monkeypatch.setattr(onnxruntime, "OnnxRuntimeSession", Wrong)  # what load() opens files with
    recipe = tiny_recipe(tmp_path, task, lowering={"zoom": "matmul", "unzoom": "matmul"})
    message = refusal(lambda: export(recipe, tmp_path))
    assert "the onnxruntime engine in fp32 deviates from PyTorch: the first" in message
    assert not (tmp_path / task / f"tiny-{recipe.label}").exists()


@pytest.fixture
def wrong_lowering(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Matrices of the lowering off by one part in a thousand."""
    right = lower_resample.table_matrix
    with monkeypatch.context() as patch:
        patch.setattr(lower_resample, "table_matrix", lambda *a: 1.001 * right(*a))
        yield patch


@pytest.mark.parametrize("variant", ["fixed", "uniform"])
def test_an_engine_that_deviates_becomes_no_bundle(
    variant: str, inputs: Path, tmp_path: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    recipe = quick(inputs, variant=variant)
    message = refusal(lambda: export(recipe, tmp_path))
    assert "deviates from PyTorch: the first difference is at zoomed, which differs" in message
    assert "no bundle was written" in message
    assert not (tmp_path / "det" / f"tiny-{variant}-0.5x").exists()
    assert "at zoomed" in refusal(lambda: export(recipe, tmp_path))  # nor on another try
    wrong_lowering.undo()
    assert export(recipe, tmp_path, force=True).manifest.parity[0].status == "passed"


def test_deviation_behind_the_zoom_is_named_where_it_begins(
    inputs: Path, tmp_path: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    message = refusal(lambda: export(quick(inputs, input="zoomed"), tmp_path))
    assert "the first difference is at unzoomed_0" in message


def test_deviation_leaves_the_old_bundle(
    inputs: Path, exported: Path, out: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    before = contents(exported)
    refusal(lambda: export(quick(inputs), out, force=True))
    assert contents(exported) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "writer",
    ["onnx.save", "np.savez_compressed", "write_reference", "Path.write_text", "os.replace"],
)
def test_a_full_disk_is_one_sentence_and_leaves_the_old_bundle(
    writer: str, inputs: Path, exported: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise FULL

    before = contents(exported)
    target = {
        "Path.write_text": (Path, "write_text"),
        "os.replace": (pipeline.Workspace.__init__.__globals__["os"], "replace"),
    }.get(writer)
    with monkeypatch.context() as patch:
        if target:
            patch.setattr(*target, full)
        else:
            patch.setattr(f"lzu_export.compiler.stages.{writer}", full)
        message = refusal(lambda: export(quick(inputs), out, force=True))
    assert "the disk is full; free space and run again" in message
    assert str(exported) in message
    assert contents(exported) == before
    assert export(quick(inputs), out).status == "up to date"


def test_a_full_disk_at_the_first_export_leaves_nothing_in_place(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("lzu_export.compiler.stages.write_reference", full)
        assert "disk is full" in refusal(lambda: export(quick(inputs), tmp_path))
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    assert export(quick(inputs), tmp_path).status == "resumed"


def test_an_output_that_cannot_be_written(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refusal(lambda: export(quick(inputs), tmp_path / "file"))
    assert "part of the path is a file; choose another folder (--out)" in message

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    message = refusal(lambda: export(quick(inputs), tmp_path / "other"))
    assert (
        "permission is denied; make the folder writable or choose another folder (--out)" in message
    )


def test_inputs_are_refused_before_any_work(inputs: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"random_weights": None}, "recipe tiny has no checkpoint for the variant fixed"),
        ({"checkpoint": {"fixed": "absent.pth"}}, "checkpoint absent.pth does not exist"),
        ({"warp": {"saliency": "absent.npy"}}, "saliency absent.npy does not exist"),
    ]
    for changes, words in cases:
        recipe = quick(inputs, **changes)
        assert words in refusal(lambda recipe=recipe: export(recipe, tmp_path))
    assert not list(tmp_path.iterdir())
    no_saliency = quick(inputs, warp={"saliency": None})
    assert "needs a saliency" in refusal(lambda: export(no_saliency, tmp_path))
