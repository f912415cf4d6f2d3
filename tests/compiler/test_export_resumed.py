"""An export is done only when needed, and goes on where it was interrupted."""

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from export_samples import FILES, contents, digest, quick

from lzu_export.compiler import pipeline
from lzu_export.compiler.pipeline import export
from lzu_export.manifest.schema import FILE, read_manifest
from samples import saliency_file

STAGES = ["trace", "reference", "derive", "build", "verify", "latency"]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make stages fail that must not run."""

    def fail(*_: Any) -> Any:
        raise AssertionError("a finished stage ran again")

    for name in names:
        monkeypatch.setattr(pipeline.Export, f"_{name}", fail)


def test_nothing_changed_nothing_done(
    inputs: Path, exported: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {path: path.stat().st_mtime_ns for path in exported.iterdir()}
    forbid(monkeypatch, "trace")
    start = time.process_time()
    outcome = export(quick(inputs), out)
    assert time.process_time() - start < 1.0
    assert outcome.status == "up to date"
    assert outcome.manifest == read_manifest(exported)
    assert {path: path.stat().st_mtime_ns for path in exported.iterdir()} == times


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_damaged_bundle_is_made_again(
    damage: str, inputs: Path, exported: Path, out: Path
) -> None:
    before = contents(exported)
    if damage == "changed":
        (exported / "labels.txt").write_text("other\n")
    elif damage == "missing":
        (exported / "warp.npz").unlink()
    else:
        (exported / FILE).write_text("{")
    outcome = export(quick(inputs), out)
    assert outcome.status == "exported"
    assert set(contents(exported)) == set(before)
    assert digest(exported / "labels.txt") == before["labels.txt"]


def test_the_fingerprint_follows_what_the_bundle_depends_on(inputs: Path, tmp_path: Path) -> None:
    weights, annotations = tmp_path / "weights.pth", tmp_path / "frames.json"
    other = saliency_file(tmp_path, seed=9)

    def prints() -> list[str]:
        recipes = [
            quick(inputs),
            quick(inputs, tolerances={"probe": 1e-3}),
            quick(inputs, random_weights=1),
            quick(inputs, warp={"saliency": str(other)}),
            quick(inputs, checkpoint={"fixed": str(weights)}),
            quick(inputs, evaluation={"dataset": str(annotations)}),
        ]
        return [pipeline.fingerprints.fingerprint(recipe) for recipe in recipes]

    weights.write_text("one")
    annotations.write_text("one")
    first = prints()
    assert len(set(first)) == len(first)
    assert prints() == first
    weights.write_text("two")
    annotations.write_text("two")
    second = prints()
    assert second[:4] == first[:4]
    assert second[4] != first[4]
    assert second[5] != first[5]


def test_the_fingerprint_ignores_where_the_saliency_lies(inputs: Path, tmp_path: Path) -> None:
    fingerprint = pipeline.fingerprints.fingerprint
    assert fingerprint(quick(tmp_path)) == fingerprint(quick(inputs))


@pytest.mark.parametrize("part", ["versions", "source_digest"])
def test_other_code_or_packages_change_the_fingerprint(
    part: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline.fingerprints.fingerprint(quick(inputs))
    monkeypatch.setattr(pipeline.fingerprints, part, lambda *_: "other")
    assert pipeline.fingerprints.fingerprint(quick(inputs)) != before


def test_a_changed_recipe_exports_again(inputs: Path, exported: Path, out: Path) -> None:
    before = read_manifest(exported)
    outcome = export(quick(inputs, postprocess={"score_threshold": 0.2}), out)
    assert outcome.status == "exported"
    assert outcome.folder == exported
    after = read_manifest(exported)
    assert after.fingerprint != before.fingerprint
    assert after.recipe.postprocess.score_threshold == 0.2


METHODS = {
    "trace": "trace",
    "reference": "reference",
    "derive": "derive",
    "build": "build",
    "verify": "verify",
    "latency": "latency",
}


@pytest.mark.parametrize("stage", ["reference", "verify", "latency"])
def test_an_interrupted_export_goes_on_where_it_stopped(
    stage: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Export, f"_{METHODS[stage]}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(quick(inputs), tmp_path)
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    done = STAGES[: STAGES.index(stage)]
    forbid(monkeypatch, *(METHODS[each] for each in done))
    outcome = export(quick(inputs), tmp_path)
    assert outcome.status == "resumed"
    assert set(contents(outcome.folder)) == FILES
    assert read_manifest(outcome.folder) == outcome.manifest


def test_a_stage_whose_file_was_lost_is_done_again(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Export, "_latency", interrupt)
        with pytest.raises(RuntimeError, match="stopped"):
            export(quick(inputs), tmp_path)
    partial = tmp_path / "det" / ".tiny-fixed-0.5x.partial"
    (partial / "reference.npz").write_bytes(b"cut off")
    forbid(monkeypatch, "trace")
    verified = []
    verify = pipeline.Export._verify

    def watched(run: Any, engine: Any) -> Any:
        verified.append(engine.target)
        return verify(run, engine)

    monkeypatch.setattr(pipeline.Export, "_verify", watched)
    outcome = export(quick(inputs), tmp_path)
    assert digest(outcome.folder / "reference.npz") == outcome.manifest.files["reference.npz"]
    assert verified == ["onnxruntime"]  # what rests on the lost file is done again too
