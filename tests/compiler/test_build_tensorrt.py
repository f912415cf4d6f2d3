"""From a bundle to an engine on the device and to predictions, over stand-ins of the vendors.

The stand-in's engines compute what ONNX Runtime computes of the file they were built from.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fakes.engines import add_rtx_engine
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import OnDevice, read_manifest, write_manifest
from lzu_export.runtime import CameraFrame, load
from lzu_export.runtime.plugin_library import describe_library
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification.parity import verify_all
from lzu_export.verification.regression import open_engines
from samples import stub_library


@pytest.fixture(scope="module")
def derived(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a file for TensorRT. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("derived") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    derive(folder)
    return folder


@pytest.fixture
def bundle(derived: Path, tmp_path: Path) -> Path:
    """A copy, to build in."""
    return Path(shutil.copytree(derived, tmp_path / "bundle"))


@pytest.fixture
def world(bundle: Path) -> World:
    """A device whose engines compute the bundle's graph."""
    session = OnnxRuntimeSession(bundle / "model.fp32.tensorrt.onnx", threads=1)
    return World(compute=session.run)


Machine = Callable[..., Any]


@pytest.fixture
def machine(world: World, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Install a release of TensorRT and a back end."""

    def install(version: str = "10.3.0", back_end: str = "cuda-python") -> Any:
        install_cuda(monkeypatch, world, back_end)
        return install_tensorrt(monkeypatch, world, version)

    return install


@pytest.mark.parametrize(("version", "back_end"), [("10.3.0", "pycuda"), ("11.4.0", "cuda-python")])
def test_a_bundle_is_built_and_runs_here(
    version: str,
    back_end: str,
    bundle: Path,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Detections equal ONNX Runtime's; the manifest records the device and how the engine ran."""
    machine(version, back_end)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    engine, notes = build_on_device(bundle)
    assert engine.file == f"model.fp32.trt-{version}-sm87.orin-8mp.engine"
    assert notes == ()
    manifest = read_manifest(bundle)
    assert manifest.engines[-1] == engine
    assert manifest.files[engine.file] == sha256(bundle / engine.file)
    assert (engine.version, engine.compute_capabilities) == (version, ("8.7",))
    assert engine.device == "Orin, 8 multiprocessors"
    assert engine.onnx == "model.fp32.tensorrt.onnx"
    assert engine.on_device is not None
    assert engine.on_device.passed
    assert set(engine.on_device.outputs) == {"boxes", "scores", "labels"}
    assert back_end in engine.on_device.provider
    assert (tmp_path / f"cache/timings/timing.orin-8mp.trt-{version}.cache").is_file()
    frame = noise_frame((96, 160), 3)
    mine, theirs = load(bundle, target="tensorrt")(frame), load(bundle, threads=1)(frame)
    np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-3)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-6)


def test_the_command_needs_no_torch(bundle: Path) -> None:
    """The command builds an engine from the bundle's file, as on a device, and records it."""
    code = f"""
import sys
sys.modules["torch"] = None
import pytest
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
session = OnnxRuntimeSession({str(bundle / "model.fp32.tensorrt.onnx")!r}, threads=1)
world, patch = World(compute=session.run), pytest.MonkeyPatch()
install_cuda(patch, world, "cuda-python")
install_tensorrt(patch, world, "10.3.0")
sys.argv = ["lzu-export", "build", {str(bundle)!r}, "--target", "tensorrt"]
from lzu_export.cli.app import main
main()
"""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stderr
    assert read_manifest(bundle).engines[-1].target == "tensorrt"


def test_what_runs_here_is_opened_by_every_command(
    bundle: Path, machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device's engine is opened beside the CPU's; where it cannot run, the reason is given."""
    machine()
    build_on_device(bundle)
    manifest = read_manifest(bundle)
    engines, elsewhere = Bundle(bundle, manifest).here()
    assert [engine.target for engine in engines] == ["onnxruntime", "tensorrt"]
    assert elsewhere == {}
    opened = open_engines(Bundle(bundle))
    assert list(opened.as_shipped) == ["onnxruntime/fp32", "tensorrt/fp32"]
    assert opened.emulated == {}
    session = opened.as_shipped["tensorrt/fp32"].session
    assert "TensorRT 10.3.0 on Orin" in session.provider
    camera_frames = [CameraFrame(noise_frame((96, 160), 3))]
    mine, theirs = (each.run(camera_frames)[0] for each in opened.as_shipped.values())
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-6)
    world.capability = (8, 9)
    refused = Bundle(bundle, manifest).here()
    assert [engine.target for engine in refused[0]] == ["onnxruntime"]
    assert "was built for compute capability 8.7" in refused[1]["tensorrt/fp32"]
    install_cuda(monkeypatch, world)
    opened = open_engines(Bundle(bundle))
    assert list(opened.as_shipped) == ["onnxruntime/fp32"]
    assert "neither cuda-python nor pycuda is installed" in opened.elsewhere["tensorrt/fp32"]


def test_frames_are_predicted_in_on_the_device(
    bundle: Path, machine: Machine, world: World, tmp_path: Path
) -> None:
    """`run --target tensorrt` writes the same results as the CPU's engine."""
    from lzu_export.cli.app import app

    machine()
    build_on_device(bundle)
    cv2.imwrite(str(tmp_path / "frame.png"), noise_frame((96, 160), 3))
    world.calls.clear()
    for out, more in (("mine", ["--target", "tensorrt"]), ("theirs", [])):
        arguments = ["run", str(bundle), str(tmp_path / "frame.png"), "--out", str(tmp_path / out)]
        done = CliRunner().invoke(app, [*arguments, *more])
        assert done.exit_code == 0, done.output
    assert world.names().count("Runtime.deserialize_cuda_engine") == 1
    mine, theirs = (
        json.loads((tmp_path / out / "results.json").read_text()) for out in ("mine", "theirs")
    )
    assert len(mine) == len(theirs) > 0
    scores = [[each["score"] for each in found] for found in (mine, theirs)]
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_a_bundle_for_devices_alone_tells_why_nothing_runs(
    bundle: Path, machine: Machine, world: World
) -> None:
    machine()
    build_on_device(bundle)
    manifest = read_manifest(bundle)
    alone = manifest.model_copy(update={"engines": manifest.engines[-1:]})
    write_manifest(bundle, alone)
    world.capability = (8, 9)
    with pytest.raises(
        LzuError, match=r"no engine that runs here: .* capability 8\.7 but Orin has"
    ):
        open_engines(Bundle(bundle))


def test_a_second_build_replaces_the_first(bundle: Path, machine: Machine) -> None:
    machine()
    build_on_device(bundle)
    build_on_device(bundle)
    targets = [engine.target for engine in read_manifest(bundle).engines]
    assert targets == ["onnxruntime", "tensorrt"]
    machine("11.4.0")
    build_on_device(bundle)
    versions = [e.version for e in read_manifest(bundle).engines if e.target == "tensorrt"]
    assert versions == ["10.3.0", "11.4.0"]
    load(bundle, target="tensorrt")  # that of this release is found


def test_boards_of_one_name_have_engines_of_their_own(
    bundle: Path, machine: Machine, world: World
) -> None:
    """Orin Nano and AGX Orin, for example, are both called Orin and have capability 8.7."""
    machine()
    small, _ = build_on_device(bundle)
    world.multiprocessors = 16
    with pytest.raises(LzuError, match=r"built on Orin, 8 multiproc.* this is Orin, 16 multiproc"):
        load(bundle, target="tensorrt")
    large, _ = build_on_device(bundle)
    assert {small.file, large.file} <= {each.file for each in read_manifest(bundle).engines}
    load(bundle, target="tensorrt")
    assert small.file != large.file


def test_engines_of_another_device_or_release_are_refused(
    bundle: Path, machine: Machine, world: World
) -> None:
    """They are refused before TensorRT reads them."""
    machine()
    build_on_device(bundle)
    world.capability, world.gpu = (8, 9), "RTX 4090"
    world.calls.clear()
    with pytest.raises(LzuError, match=r"compute capability 8\.7 but RTX 4090 has 8\.9; build it"):
        load(bundle, target="tensorrt")
    machine("11.4.0")
    with pytest.raises(LzuError, match=r"TensorRT 10\.3\.0 but this is TensorRT 11\.4\.0"):
        load(bundle, target="tensorrt")
    assert "Runtime.deserialize_cuda_engine" not in world.names()


def test_a_failed_build_leaves_the_bundle_as_it_was(
    bundle: Path, machine: Machine, world: World
) -> None:
    machine()
    before = {path.name: sha256(path) for path in bundle.iterdir()}
    vars(world)["build_error"] = "Error Code 2: OutOfMemory"
    with pytest.raises(LzuError, match="the device is out of memory"):
        build_on_device(bundle)
    vars(world).pop("build_error")
    whole = world.compute
    world.compute = lambda inputs: {
        k: v * np.nan for k, v in whole(inputs).items() if k != "labels"
    }
    with pytest.raises(LzuError, match=r"of model\.fp32\..*\.orin-8mp\.engine is not"):
        build_on_device(bundle)
    after = {path.name: sha256(path) for path in bundle.iterdir()}
    assert after == before


def test_the_command_tells_deviation_by_its_status(
    bundle: Path, machine: Machine, world: World
) -> None:
    from lzu_export.cli.app import app

    machine()
    runner = CliRunner()
    done = runner.invoke(app, ["build", str(bundle), "--target", "tensorrt", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["engine"]["file"] == "model.fp32.trt-10.3.0-sm87.orin-8mp.engine"
    whole = world.compute

    def drifting(inputs: Any) -> Any:
        outputs = whole(inputs)
        return {**outputs, "scores": outputs["scores"] * 1.01}

    world.compute = drifting
    done = runner.invoke(app, ["build", str(bundle), "--target", "tensorrt"])
    assert done.exit_code == 1
    assert "deviates from PyTorch on this device" in done.stderr
    kept = read_manifest(bundle).engines[-1].on_device
    assert kept is not None
    assert not kept.passed


def test_verify_runs_the_engine_itself(
    bundle: Path, machine: Machine, world: World, tmp_path: Path
) -> None:
    """Engine and graph have a row each; exit status 1 means a deviation, 2 means NaN."""
    from lzu_export.cli.app import app

    machine()
    build_on_device(bundle)
    parities = verify_all(Bundle(bundle))
    assert [each.engine for each in parities] == [
        *("onnxruntime/fp32", "tensorrt/fp32", "tensorrt/fp32 on device")
    ]
    assert [each.status for each in parities] == ["passed", "graph passed", "passed"]
    assert not parities[2].probes
    assert set(parities[2].outputs) == {"boxes", "scores", "labels"}
    assert "TensorRT 10.3.0 on Orin" in parities[2].note
    whole = world.compute
    world.compute = lambda inputs: {k: v * 1.01 for k, v in whole(inputs).items()}
    report = tmp_path / "report.xml"
    done = CliRunner().invoke(app, ["verify", str(bundle), "--junit", str(report)])
    assert done.exit_code == 1
    assert "the tensorrt engine in fp32 on device deviates from PyTorch" in done.stderr
    assert "the first difference is at boxes" in done.stderr
    assert "on device" in done.stdout
    assert (
        'classname="bundle.tensorrt/fp32 on device" name="deviation of boxes"' in report.read_text()
    )
    world.compute = lambda inputs: {
        k: v if k == "labels" else v * np.nan for k, v in whole(inputs).items()
    }
    with pytest.raises(LzuError, match=r"boxes of .* is not finite on the reference frames"):
        verify_all(Bundle(bundle))
    world.capability = (8, 9)
    assert not any(each.on_device for each in verify_all(Bundle(bundle)))


@pytest.mark.parametrize(
    ("precision", "outputs", "told"),
    [
        ("fp32", {"boxes": 1e-6, "scores": 2e-5}, "outputs within 2.0e-05 of PyTorch's"),
        ("fp16", {}, "outputs finite (fp16 is held to PyTorch by verify)"),
        ("int8", {}, "outputs finite (int8 is held to PyTorch by verify)"),
    ],
)
def test_the_command_says_what_was_compared(
    precision: str,
    outputs: dict[str, float],
    told: str,
    bundle: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In lower precisions it compares nothing but checks that outputs are finite."""
    from lzu_export.cli.app import app
    from lzu_export.compiler import build_tensorrt

    machine()
    built, _ = build_on_device(bundle)
    ran = OnDevice(provider="", outputs=outputs, limit=1e-4 if outputs else None)
    said = built.model_copy(update={"precision": precision, "on_device": ran})
    monkeypatch.setattr(build_tensorrt, "build_on_device", lambda *_, **__: (said, ()))
    done = CliRunner().invoke(app, ["build", str(bundle), "--target", "tensorrt"])
    assert done.exit_code == 0, done.output
    assert done.stdout.replace("\n", "").endswith(f" s, {told}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "tensorrt", "--compute-capability", "8.9"], "built for this device"),
        (["--workspace", "100"], "belong to --target tensorrt"),
        (["--target", "abacus"], "nothing to build for abacus"),
        (["--target", "tensorrt", "--hardware", "all"], "--hardware all is not known"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: list[str], told: str, bundle: Path, machine: Machine
) -> None:
    from lzu_export.cli.app import app

    machine()
    done = CliRunner().invoke(app, ["build", str(bundle), *options])
    assert isinstance(done.exception, LzuError)
    assert told in str(done.exception)


def test_a_bundle_without_a_file_for_tensorrt_is_refused(
    tiny_bundle: Path, machine: Machine, bundle: Path
) -> None:
    machine()
    with pytest.raises(LzuError, match=r"has no file for TensorRT; write one .*lzu-export derive"):
        build_on_device(tiny_bundle)
    with pytest.raises(LzuError, match="no file for TensorRT in int8"):
        build_on_device(bundle, precision="int8")


def test_tensorrt_rtx_runs_the_bundle_s_engine(
    bundle: Path,
    machine: Machine,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs on a card it was built for; compiled kernels stay in the user's cache."""
    machine("1.7.1")
    world.gpu, world.capability = "RTX 4090", (8, 9)
    path = add_rtx_engine(bundle)
    frame = noise_frame((96, 160), 3)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    detector = load(bundle, target="tensorrt-rtx")
    np.testing.assert_allclose(
        detector(frame).scores, load(bundle, threads=1)(frame).scores, atol=1e-6
    )
    name = f"{sha256(path)[:16]}.rtx-4090-8mp.1.7.1.cache"
    assert (tmp_path / "cache/kernels" / name).read_bytes() == b"kernels"
    assert not list(bundle.glob("*.cache"))
    world.capability, world.gpu = (8, 7), "Orin"
    with pytest.raises(LzuError, match=r"8\.0, 8\.6, 8\.9, 12\.0 but Orin has 8\.7"):
        load(bundle, target="tensorrt-rtx")


def test_plugins_are_registered_before_anything_that_calls_them(
    bundle: Path, machine: Machine, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named library is registered before a graph is parsed or a plan is deserialised."""
    from lzu_export.manifest.schema import Operator, Plugins

    machine()
    wanted = Plugins(operators=(Operator(name="BoxKnots", version="1", namespace="lzu"),))
    changed = read_manifest(bundle).model_copy(update={"plugins": wanted})
    write_manifest(bundle, changed)
    monkeypatch.setenv("LZU_PLUGINS", str(bundle / "nowhere.so"))
    with pytest.raises(LzuError, match="there is no plugin library at"):
        build_on_device(bundle)
    stub = stub_library(tmp_path)
    monkeypatch.setenv("LZU_PLUGINS", str(stub))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    monkeypatch.setattr("lzu_export.runtime.plugin_library.find_driver", lambda: None)

    def names() -> list[str]:
        told = [name for name in world.names() if name in REGISTERED]
        world.calls.clear()
        return told

    world.calls.clear()
    build_on_device(bundle)
    assert names() == [*REGISTERED[:3], REGISTERED[0], REGISTERED[3]]
    plugins = read_manifest(bundle).plugins
    assert plugins is not None
    assert plugins.operators == wanted.operators
    assert plugins.library == describe_library(stub)  # another one is refused from now on
    load(bundle, target="tensorrt")
    load(bundle, target="tensorrt")
    assert names() == [REGISTERED[0], REGISTERED[3]] * 2  # no library a second time
    machine()  # as in another process
    world.calls.clear()
    load(bundle, target="tensorrt")
    assert names() == [*REGISTERED[:2], REGISTERED[3]]


REGISTERED = (
    "init_libnvinfer_plugins",
    "IPluginRegistry.load_library",
    "OnnxParser.parse",
    "Runtime.deserialize_cuda_engine",
)
