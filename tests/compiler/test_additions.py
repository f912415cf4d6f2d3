"""What other commands made of a bundle is not taken away by an export."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler import pipeline
from lzu_export.compiler.additions import CarriedOver, check_additions, told, with_those_of
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import FILE, OnDevice, read_manifest
from lzu_export.manifest.seal import manifest_text
from lzu_export.recipes import Recipe
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.tensorrt.rtx_target import TensorRtRtx
from samples import tiny_recipe

FLAVOUR = "model.fp16.tensorrt.onnx"
ENGINE = "model.fp16.trt-10.3.engine"


def quick(folder: Path, **changes: Any) -> Recipe:
    lowering = {"zoom": "matmul", "unzoom": "matmul"}
    return tiny_recipe(folder, **{"lowering": lowering, "precision": ["fp32", "fp16"], **changes})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def made(inputs: Path) -> Outcome:
    """A bundle of two precisions, with a file for TensorRT and an engine of it."""
    outcome = export(quick(inputs), inputs / "made")
    derive(outcome.folder, precision="fp16")
    folder = outcome.folder
    (folder / ENGINE).write_bytes(b"an engine")
    data = json.loads((folder / FILE).read_text())
    first = next(each for each in data["engines"] if each["precision"] == "fp16")
    ran = OnDevice(provider="TensorRT", outputs={}, limit=None).model_dump(mode="json")
    added = {"target": "tensorrt", "file": ENGINE, "onnx": FLAVOUR, "on_device": ran}
    data["engines"].append({**first, **added})
    data["files"][ENGINE] = sha256(folder / ENGINE)
    (folder / FILE).write_text(manifest_text(data))
    return outcome


@pytest.fixture
def out(made: Outcome, tmp_path: Path) -> Path:
    """A copy of the folder of all bundles."""
    return Path(shutil.copytree(made.folder.parents[1], tmp_path / "out"))


def test_a_precision_less_takes_nothing_away(inputs: Path, out: Path) -> None:
    """The bundle already has what is asked for, so no file of it changes."""
    folder = next((out / "det").iterdir())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    outcome = export(quick(inputs, precision=["fp16"]), out)
    assert outcome.status == "up to date"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_target_is_added(inputs: Path, out: Path) -> None:
    """What `derive` and `build` had added stays, with the timings of the build."""
    pytest.importorskip("tensorrt_rtx", reason="builds an engine")
    before = read_manifest(out / "det" / "tiny-fixed-0.5x")
    outcome = export(quick(inputs, precision=["fp32"], targets=["tensorrt-rtx"]), out)
    assert outcome.status == "exported"
    after = read_manifest(outcome.folder)
    assert after.precision == ("fp32", "fp16")
    kinds = [(each.target, each.precision) for each in after.engines]
    targets = ("onnxruntime", "tensorrt-rtx")
    exported = [(target, precision) for target in targets for precision in ("fp32", "fp16")]
    assert kinds == [*exported, ("tensorrt", "fp16")]
    assert after.derived == before.derived
    assert [each for each in after.engines if each.target == "tensorrt"] == [before.engines[-1]]
    assert [d for d in after.parity if d.target == "tensorrt"] == [
        d for d in before.parity if d.target == "tensorrt"
    ]
    assert (outcome.folder / ENGINE).read_bytes() == b"an engine"
    assert after.files[FLAVOUR] == before.files[FLAVOUR] == sha256(outcome.folder / FLAVOUR)


def test_an_engine_of_another_model_is_not_replaced_unasked(inputs: Path, out: Path) -> None:
    folder = out / "det" / "tiny-fixed-0.5x"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = quick(inputs, random_weights=1)
    with pytest.raises(LzuError, match=rf"holds {ENGINE}, built on a device .* --force"):
        export(other, out)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    said: list[str] = []
    report = pipeline.Reporter(quiet=True)
    report.note = lambda text: said.append(str(text))  # type: ignore[method-assign, assignment]
    outcome = pipeline.export_all([other], out, force=True, report=report)[0]
    assert any(f"removed, as the model changed: {ENGINE}; build them again" in e for e in said)
    assert not (folder / ENGINE).exists()
    assert [each.precision for each in outcome.manifest.derived] == ["fp16"]  # derived again
    assert outcome.manifest.files[FLAVOUR] == sha256(folder / FLAVOUR)
    assert outcome.manifest == read_manifest(folder)


def test_what_was_removed_is_said_by_target(exported: Path) -> None:
    """Each with the command that builds it again."""
    engine = read_manifest(exported).engines[0]
    lost = [
        engine.model_copy(update={"target": target, "file": file})
        for target, file in (
            ("tensorrt", "a.engine"),
            ("tensorrt-rtx-plugins", "b.engine"),
            ("tensorrt", "c.engine"),
        )
    ]
    assert told(CarriedOver(), exported) == []
    again = f"build them again (lzu-export build {exported} --target"
    assert told(CarriedOver(lost=lost), exported) == [
        f"removed, as the model changed: a.engine, c.engine; {again} tensorrt)",
        f"removed, as the model changed: b.engine; {again} tensorrt-rtx-plugins)",
    ]


def test_what_cannot_be_made_again_is_refused(
    made: Outcome, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = made.manifest
    wanted = quick(inputs)
    int8 = manifest.recipe.model_copy(update={"precision": ("fp32", "int8")})
    before = manifest.model_copy(update={"recipe": int8})
    union = with_those_of(wanted, before)
    assert union.precision == ("fp32", "fp16", "int8")
    with pytest.raises(LzuError, match=r"has int8, whose ranges need frames.*--calibration"):
        check_additions(union, wanted, made.folder)
    rtx = manifest.recipe.model_copy(update={"targets": ("tensorrt-rtx",)})
    union = with_those_of(wanted, manifest.model_copy(update={"recipe": rtx}))
    assert union.targets == ("onnxruntime", "tensorrt-rtx")
    monkeypatch.setattr(TensorRtRtx, "version", lambda _: "1.7")
    check_additions(union, wanted, made.folder)
    monkeypatch.setattr(TensorRtRtx, "version", lambda _: None)
    with pytest.raises(LzuError, match=r"has engines for tensorrt-rtx: install it"):
        check_additions(union, wanted, made.folder)
