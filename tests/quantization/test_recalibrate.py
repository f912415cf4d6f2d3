"""`lzu-export calibrate`: ranges of a bundle's float32 graph."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_graphsurgeon as gs
import pytest
import yaml

from calibration_samples import change_recipe, float32_bundle
from lzu_export.cli import app as cli
from lzu_export.evaluation import evaluate
from lzu_export.graph.quantize import place
from lzu_export.manifest.schema import FILE
from lzu_export.quantization.calibration import read_cache
from lzu_export.quantization.recalibrate import Float32Bundle
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.targets.precision import calibrated_tensors
from lzu_export.tasks.pytorch import noise_frame
from samples import noise_frames, status_of, tiny_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def float_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of float32 only, whose recipe names no frames."""
    return float32_bundle(tmp_path_factory.mktemp("float"))


@pytest.fixture
def own(float_bundle: Path, tmp_path: Path) -> Path:
    """A copy, beside which files may be written."""
    return Path(shutil.copytree(float_bundle, tmp_path / "own"))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Four frames that fit."""
    return noise_frames(tmp_path / "frames", 4, name="drive_{}.png")


@pytest.fixture
def calibrate(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: status, stdout, stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        status = status_of("calibrate", *arguments)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def refused(calibrate: Run, own: Path) -> Callable[..., str]:
    """A refused calibration of `own`: one sentence, and no file written."""

    def run(*arguments: Any) -> str:
        before = {path for path in own.parent.rglob("*") if path.is_file()}
        status, out, err = calibrate(own, *arguments)
        assert (status, out) == (2, "")
        assert {path for path in own.parent.rglob("*") if path.is_file()} == before
        lines = err.strip().splitlines()
        assert lines[-1].startswith("error: ")
        assert "Traceback" not in err
        return lines[-1]

    return run


def test_the_file_stands_beside_the_bundle_and_an_export_takes_it(
    calibrate: Run, own: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the options that are printed, and measuring nothing again."""
    inside = {path.name: path.read_bytes() for path in own.iterdir()}
    status, out, _ = calibrate(own, "--calibration", frames, "--method", "mse", "--count", 3)
    assert status == 0
    path = tmp_path / "own.int8.mse.calibration.json"
    assert {each.name: each.read_bytes() for each in own.iterdir()} == inside
    cache = read_cache(path)
    assert (cache.method, cache.frames.count) == ("mse", 3)
    said, options = out.strip().splitlines()
    assert said == f"{path}: {len(cache.ranges)} ranges by mse of 3 frames of frames"
    assert options.startswith(f"export with --ranges {path} --calibration {frames} ")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_settings(tmp_path, precision=["fp32", "int8"])))
    monkeypatch.setattr("lzu_export.compiler.stages.measure_ranges", None)
    monkeypatch.setattr(evaluate, "SECONDS", 0.0)
    arguments = options.removeprefix("export with ").split()
    build = tmp_path / "build"
    full = ["export", str(recipe), "--out", str(build), "--variant", "fixed", *arguments]
    monkeypatch.setattr(sys, "argv", ["lzu-export", *full])
    cli.app(full, standalone_mode=False)
    (manifest,) = build.rglob(FILE)
    made = read_cache(manifest.parent / "calibration.json")
    assert made.ranges == cache.ranges


def test_json_out_and_a_second_run(calibrate: Run, own: Path, frames: Path, tmp_path: Path) -> None:
    """The same ranges again; the recipe's settings where nothing else is asked for."""
    file = tmp_path / "x.json"
    status, out, err = calibrate(own, "--calibration", frames, "--out", file, "--json")
    assert (status, err) == (0, "")
    made = json.loads(out)
    assert made["file"] == str(file)
    assert (made["count"], made["method"], made["percentile"]) == (4, "max", None)
    first = read_cache(file)
    assert calibrate(own, "--calibration", frames, "--out", file)[0] == 0
    assert read_cache(file).ranges == first.ranges
    status, out, _ = calibrate(
        own, "--calibration", frames, "--out", file, "--method", "percentile", "--percentile", 99
    )
    assert "--set calibration.percentile=99" in out
    assert read_cache(file).percentile == 99
    values = zip(read_cache(file).ranges.values(), first.ranges.values(), strict=True)
    assert all(a <= b for a, b in values)


def test_the_former_name_of_calibration_frames_is_still_taken(
    calibrate: Run, own: Path, frames: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """Scripts of earlier releases give the training frames as --frames."""
    file = tmp_path / "x.json"
    status, out, err = calibrate(own, "--frames", frames, "--out", file, "--json")
    assert status == 0
    assert f"is read as --calibration {frames}, its name now" in " ".join(err.split())
    assert json.loads(out)["file"] == str(file)
    both = refused("--frames", frames, "--calibration", frames)
    assert "leave --frames out" in both
    assert "--frames belongs to lzu-export sensitivity" in refused("--frames", 3)


SLOW = (pytest.param(task, marks=pytest.mark.slow) for task in ("seg", "det3d"))


@pytest.mark.parametrize("task", ["det", *SLOW])
def test_ranges_of_all_layers_hold_those_of_any_choice(
    task: str, tmp_path: Path, own: Path
) -> None:
    """Whichever layers stay high, no other tensor is asked for."""
    model = Float32Bundle(own if task == "det" else float32_bundle(tmp_path, task)).model
    every = set(calibrated_tensors(model, HigherPrecision()))
    layers = list(place(gs.import_onnx(model)).layers)
    generator = np.random.default_rng(0)
    for _ in range(20):
        keep = tuple(generator.permutation(layers)[: generator.integers(len(layers))])
        assert set(place(gs.import_onnx(model), keep).calibrated) <= every


def test_a_recipes_frames_are_a_name(refused: Callable[..., str], own: Path) -> None:
    """Paths are not in a bundle, even where one of that name is at hand."""
    assert "the bundle's recipe names no frames to calibrate on" in refused()
    change_recipe(own, calibration={"frames": "train.json"})
    assert "calibrates on train.json, whose path a bundle does not hold; give it" in refused()


def test_bad_frames(refused: Callable[..., str], tmp_path: Path, frames: Path) -> None:
    """None, one, black ones, of another size."""
    empty = noise_frames(tmp_path / "empty", 0)
    assert "empty holds no images" in refused("--calibration", empty)
    assert "holds one frame only" in refused("--calibration", noise_frames(tmp_path / "one", 1))
    assert "1 calibration frames are asked for" in refused("--calibration", frames, "--count", 1)
    black = noise_frames(tmp_path / "black", 0)
    for i in range(2):
        cv2.imwrite(str(black / f"{i}.png"), np.zeros((96, 160, 3), np.uint8))
    assert "all 2 frames chosen from black are black" in refused("--calibration", black)
    cv2.imwrite(str(frames / "drive_2.png"), noise_frame((90, 160), 0))
    assert "drive_2.png is 90x160 but this bundle takes 96x160" in refused("--calibration", frames)
    assert "gone does not exist; give a folder" in refused("--calibration", "gone")


def test_bad_options(refused: Callable[..., str], frames: Path, own: Path, tmp_path: Path) -> None:
    """Before any work."""
    text = refused("--calibration", frames, "--method", "kl")
    assert "calibration method 'kl' is unknown; choose one of max, entropy" in text
    text = refused("--calibration", frames, "--method", "percentile", "--percentile", 20)
    assert "percentile is 20.0; give a number" in text
    assert "--percentile belongs to the method percentile" in refused(
        "--calibration", frames, "--percentile", 99
    )
    inside = own / "ranges.json"
    assert "lies in the bundle" in refused("--calibration", frames, "--out", inside)
    assert "is a folder; name a file" in refused("--calibration", frames, "--out", tmp_path)
    text = refused("--calibration", frames, "--out", tmp_path / "gone" / "x.json")
    assert "does not exist; make it" in text
    for option, value in (
        ("--dataset", "demo"), ("--frames", 3), ("--limit", 1), ("--by", "layer"),
        ("--ranges", "x.json"),
    ):  # fmt: skip
        assert f"{option} belongs to lzu-export sensitivity" in refused(
            "--calibration", frames, option, value
        )


def test_a_higher_precision_name_of_no_layer(
    refused: Callable[..., str], own: Path, frames: Path
) -> None:
    """Of the recipe, with the nearest match."""
    change_recipe(own, higher_precision={"int8": ["backbone.layer1.0.conv9"]})
    text = refused("--calibration", frames)
    assert "names backbone.layer1.0.conv9, which matches no layer; did you mean backbone." in text


def test_a_damaged_bundle(refused: Callable[..., str], own: Path, frames: Path) -> None:
    """Not even read further."""
    with (own / "model.fp32.onnx").open("ab") as stream:
        stream.write(b"x")
    assert "was changed after the export" in refused("--calibration", frames)


def test_it_needs_no_torch(own: Path, frames: Path) -> None:
    """As on a device."""
    code = (
        "import sys; sys.modules['torch'] = None; from lzu_export.cli.app import main; "
        f"sys.argv = ['x', 'calibrate', {str(own)!r}, '--calibration', {str(frames)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
