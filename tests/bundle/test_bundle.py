"""Opening a bundle: at once, without torch, and only what is whole and runs here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.manifest.schema import Engine, Operator, Plugins, read_manifest
from lzu_export.runtime import Detector, Detector3d, Segmenter, load
from lzu_export.targets.registry import find
from lzu_export.tasks.registry import find_task

SECONDS = 1.0
"""A device shall be ready within this time after its program starts: of a processor, since other
programs may be busy here."""

LOAD = """
import json, sys, time
start = time.process_time()
from lzu_export.runtime import CameraFrame, load
imported = time.process_time()
predictor = load(sys.argv[1])
loaded = time.process_time()
early = set(sys.modules)
import numpy as np
camera = np.diag([90.0, 90, 1]) if predictor.needs_camera else None
predictor.run([CameraFrame(np.zeros((96, 160, 3), np.uint8), camera)] * predictor.recipe.batch)
ran = time.process_time()
names = ("torch", "onnx", "onnxscript", "scipy", "matplotlib", "PIL", "jinja2", "typer", "rich")
names += ("lzu_export.models", "lzu_export.compiler", "lzu_export.verification", "lzu_benchmarks")
heavy = [name for name in names if name in sys.modules]
task = predictor.recipe.task
late = {"cv2", "difflib", "statistics", "lzu_export.support.hardware"}
late |= {"lzu_export.support.interleave", "lzu_export.targets.provider_library"}
late |= {f"lzu_export.recipes.{each}" for each in ("det", "det3d", "seg", "generic")}
heavy += sorted(early & late - {f"lzu_export.recipes.{task}"})
print(json.dumps([imported - start, loaded - imported, ran - loaded, heavy]))
"""
"""Program that tells its times, and what it imported that no start needs: `names` at all, `late`
before the first frame."""

BUNDLES = {"det": "tiny_bundle", "seg": "tiny_seg_bundle", "det3d": "tiny_det3d_bundle"}
"""Fixtures of the tasks' bundles."""


@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_loads_fast_and_without_torch(task: str, request: pytest.FixtureRequest) -> None:
    """Import plus load, the best of three fresh processes."""
    splits = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(request.getfixturevalue(BUNDLES[task]))],
            capture_output=True,
            text=True,
            check=True,
        )
        imported, loaded, ran, heavy = json.loads(done.stdout)
        assert heavy == []
        splits.append((imported + loaded, imported, loaded, ran))
    total, imported, loaded, ran = min(splits)
    print(f"import {imported:.2f} s + load {loaded:.2f} s = {total:.2f} s, first frame {ran:.3f} s")
    assert total < SECONDS


@pytest.mark.parametrize(
    ("task", "kind"), [("det", Detector), ("seg", Segmenter), ("det3d", Detector3d)]
)
def test_a_bundle_opens_as_its_task_s_predictor(
    task: str, kind: type, request: pytest.FixtureRequest
) -> None:
    """With what the manifest says of it, and the warp it was exported with."""
    folder = request.getfixturevalue(BUNDLES[task])
    predictor = load(folder, resize=True, threads=1)
    assert type(predictor) is kind is find_task(task).predictor
    assert predictor.recipe == read_manifest(folder).recipe
    assert predictor.classes == predictor.recipe.classes
    assert predictor.fit == "stretch"
    assert predictor.needs_camera == (task == "det3d")
    names = {"det": ["frame"], "seg": ["frame"], "det3d": ["frame", "cam2img", "img2cam"]}
    assert [spec.name for spec in predictor.session.inputs] == names[task]
    assert predictor.warp["zoom_rows"].shape == (4, predictor.recipe.canvas[0])


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """Naming what is missing."""
    with pytest.raises(LzuError, match=r"no bundle: it has no manifest\.json; give a folder that"):
        load(tmp_path)


def test_unknown_engines_are_refused(tiny_bundle: Path) -> None:
    """With those that are there."""
    for asked in ({"target": "tensorrt-rtx"}, {"precision": "int8"}):
        with pytest.raises(LzuError, match="it has onnxruntime fp32"):
            load(tiny_bundle, **asked)


@pytest.mark.parametrize("name", ["model.fp32.onnxruntime.onnx", "warp.npz"])
def test_changed_files_are_refused(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    """Before anything is opened."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    with (bundle / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(LzuError, match=f"{name} was changed after the export"):
        load(bundle)


def test_engines_of_another_device_are_refused(tiny_bundle: Path) -> None:
    """They are opened on their device."""
    (engine,) = read_manifest(tiny_bundle).engines
    with pytest.raises(LzuError, match="tensorrt-rtx engines run on their device only"):
        find("tensorrt-rtx").open_file(engine, tiny_bundle)


def test_engines_of_several_devices_are_told_apart(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One a target and precision, the first that runs here; reasons only where none does."""
    manifest = read_manifest(tiny_bundle)

    def engine(target: str, file: str, precision: str = "fp32") -> Engine:
        update = {"target": target, "file": file, "precision": precision}
        return manifest.engines[0].model_copy(update=update)

    def refuse(engine: Engine, cuda: object) -> None:
        if "elsewhere" in engine.file:
            raise ElsewhereError(f"{engine.file} is for another")

    monkeypatch.setattr("lzu_export.targets.cuda.interface.open_cuda", object)
    monkeypatch.setattr("lzu_export.targets.tensorrt.open.refuse_elsewhere", refuse)
    listed = (
        engine("onnxruntime", "a.onnx"),
        engine("tensorrt", "elsewhere"),
        engine("tensorrt", "here"),
        engine("tensorrt", "here too"),
        engine("tensorrt", "elsewhere", "fp16"),
    )
    engines, reasons = Bundle(tiny_bundle, manifest.model_copy(update={"engines": listed})).here()
    assert [each.file for each in engines] == ["a.onnx", "here"]
    assert reasons == {"tensorrt/fp16": "elsewhere is for another"}


def test_tensorrt_s_plugins_keep_away_from_tensorrt_rtx(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the engines; without plugins, or without the right ones, it is told."""
    manifest = read_manifest(tiny_bundle)
    rtx, trt = (
        manifest.engines[0].model_copy(update={"target": target, "file": file})
        for target, file in (("tensorrt-rtx", "rtx"), ("tensorrt", "trt"))
    )
    monkeypatch.setattr("lzu_export.targets.cuda.interface.open_cuda", object)
    monkeypatch.setattr("lzu_export.targets.tensorrt.open.refuse_elsewhere", lambda *_: None)
    monkeypatch.setattr("lzu_export.runtime.plugin_library.check_library", lambda *_: None)
    monkeypatch.setenv("LZU_PLUGINS", str(tmp_path / "liblzu_plugins.so"))
    plugins = Plugins(operators=(Operator(name="BoxKnots", version="1", namespace="lzu"),))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    library = tmp_path / "liblzu_plugins.so"
    library.write_bytes(b"")

    def told(*listed: Engine, called: Plugins | None = plugins) -> tuple[list[str], str]:
        made = manifest.model_copy(update={"engines": listed, "plugins": called})
        engines, reasons = Bundle(tmp_path, made).here()
        assert set(reasons) <= {"tensorrt/fp32"}
        return [each.file for each in engines], reasons.get("tensorrt/fp32", "")

    for both in ((rtx, trt), (trt, rtx)):
        files, why = told(*both)
        assert (files, "do not go together" in why) == (["rtx"], True)
        assert told(*both, called=None) == ([each.file for each in both], "")
    assert told(trt) == (["trt"], "")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt_rtx", object())  # as another bundle's has left it
        files, why = told(trt)
        assert (files, "do not go together" in why) == ([], True)

    def refuse(path: Path, wanted: Plugins) -> None:
        assert (path, wanted) == (library, plugins)
        raise LzuError("another library")

    monkeypatch.setattr("lzu_export.runtime.plugin_library.check_library", refuse)
    assert told(trt) == ([], "another library")
    monkeypatch.setenv("LZU_PLUGINS", str(tmp_path / "nowhere.so"))
    assert "there is no plugin library at" in told(trt)[1]
    assert told(trt, called=None) == (["trt"], "")


def test_an_engine_for_another_card_does_not_bring_tensorrt_rtx_in(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is imported, TensorRT's plugins are refused."""
    from types import SimpleNamespace

    from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
    from lzu_export.targets.tensorrt.open import refuse_elsewhere

    (engine,) = read_manifest(tiny_bundle).engines
    changes = {"target": "tensorrt-rtx", "compute_capabilities": ("8.9",)}
    cuda: Any = SimpleNamespace(device=SimpleNamespace(name="Orin", capability="8.7"))
    imported: list[None] = []
    monkeypatch.setattr(tensorrt_rtx, "import_module", lambda: imported.append(None))
    with pytest.raises(ElsewhereError, match=r"8\.9 but Orin has 8\.7"):
        refuse_elsewhere(engine.model_copy(update=changes), cuda)
    assert not imported
    cuda.device.capability = "8.9"
    refuse_elsewhere(engine.model_copy(update=changes), cuda)
    assert imported
