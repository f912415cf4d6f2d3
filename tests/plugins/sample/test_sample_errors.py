"""What the C++ sample refuses gives one sentence, exit status 2 and no results."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sample_bundles import write_bundle

from samples import tiny_recipe

SIZE = (96, 160)
CAMERA = [[128.0, 0, 79.5], [0, 120.0, 47.5], [0, 0, 1]]
Damage = Callable[[Path], None]


def tensors(task: str) -> dict[str, dict[str, Any]]:
    """Return inputs and outputs of a small engine."""
    given = {"frame": np.zeros((1, *SIZE, 3), np.uint8)}
    boxes = np.zeros((1, 6, 9 if task == "det3d" else 4), np.float32)
    scores = np.zeros((1, 6, 2) if task == "det3d" else (1, 6), np.float32)
    numbers = np.zeros((1, 6), np.int32)
    if task == "det3d":
        given |= {name: np.zeros((1, 4, 4), np.float32) for name in ("cam2img", "img2cam")}
    last = "attributes" if task == "det3d" else "labels"
    return {"inputs": given, "outputs": {"boxes": boxes, "scores": scores, last: numbers}}


@pytest.fixture
def refused(on_recordings: Path, tmp_path: Path) -> Callable[..., str]:
    """Function that damages a sound run's files, runs the sample and returns its sentence."""

    def call(damage: Damage = lambda _: None, *options: Any, task: str = "det", **keys: Any) -> str:
        recipe, made = tiny_recipe(tmp_path, task, **keys), tensors(task)
        write_bundle(tmp_path / "bundle", recipe, made)
        for name, value in made["outputs"].items():
            value.tofile(tmp_path / f"0.{name}.bin")
        assert cv2.imwrite(str(tmp_path / "0.ppm"), np.zeros((*SIZE, 3), np.uint8))
        (tmp_path / "cameras.json").write_text(json.dumps({"cam2img": CAMERA}))
        cameras = ["--cameras", tmp_path / "cameras.json"] if task == "det3d" else []
        command = [on_recordings, tmp_path / "bundle", tmp_path / "0.ppm", "--engine", tmp_path]
        sound = subprocess.run([*command, *cameras], capture_output=True, text=True, check=False)
        assert (sound.returncode, sound.stdout, sound.stderr) == (0, "[]\n", "")
        damage(tmp_path)
        options = options or tuple(cameras)
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        return line.removeprefix("lzu_sample: ")

    return call


def edited(**changes: Any) -> Damage:
    """Return a function that changes keys of the manifest."""

    def edit(folder: Path) -> None:
        path = folder / "bundle/manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def cut(name: str, length: int) -> Damage:
    """Return a function that shortens a file to `length` bytes; negative: by so many."""

    def shorten(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:length])

    return shorten


def other_shape(role: str, name: str) -> Damage:
    """Return a function that halves the first side of one of the engine's tensors but the batch."""

    def change(folder: Path) -> None:
        path = folder / "bundle/manifest.json"
        data = json.loads(path.read_text())
        (entry,) = (each for each in data["engines"][0][role] if each["name"] == name)
        entry["shape"][1] //= 2
        path.write_text(json.dumps(data))

    return change


def other_sizes(old: str, new: str) -> Damage:
    """Return a function that replaces a text in the header of the arrays, at equal length."""

    def change(folder: Path) -> None:
        path = folder / "bundle/warp.safetensors"
        content = path.read_bytes()
        assert content.count(old.encode()) == 1
        path.write_bytes(content.replace(old.encode(), new.encode()))

    return change


def other_engine(**keys: Any) -> Damage:
    """Return a function that changes keys of the manifest's engine."""

    def change(folder: Path) -> None:
        data = json.loads((folder / "bundle/manifest.json").read_text())
        edited(engines=[data["engines"][0] | keys])(folder)

    return change


HUGE = {"name": "scores", "dtype": "float32", "shape": [1 << 32, 1 << 32]}


def small_frame(folder: Path) -> None:
    assert cv2.imwrite(str(folder / "0.ppm"), np.zeros((48, 80, 3), np.uint8))


FAULTS: dict[str, tuple[Damage, str]] = {
    "no manifest": (lambda f: (f / "bundle/manifest.json").unlink(), "check the path"),
    "half a manifest": (cut("bundle/manifest.json", 100), "is not a bundle's manifest"),
    "another task": (edited(task="generic"), "this sample knows det, seg and det3d"),
    "a manifest's key": (edited(recipe={}), "key 'normalisation' not found"),
    "no arrays": (cut("bundle/warp.safetensors", 4), "is damaged (it is too short)"),
    "half the arrays": (cut("bundle/warp.safetensors", -100), "an array does not fit the file"),
    "half a header": (cut("bundle/warp.safetensors", 20), "is damaged (it is too short)"),
    "a view outside": (other_sizes('"corner":"0 0"', '"corner":"9 0"'), "do not fit each other"),
    "a view before": (other_sizes('"view":"96 160"', '"view":"-9 160"'), "do not fit each other"),
    "a file outside": (other_engine(file="../0.ppm"), "names a file ../0.ppm outside"),
    "an absolute file": (other_engine(file="/0.ppm"), "names a file /0.ppm outside"),
    "a huge output": (other_engine(outputs=[HUGE]), "scores is larger than any memory"),
    "no frame": (lambda f: (f / "0.ppm").unlink(), "cannot read"),
    "half a frame": (cut("0.ppm", -1), "is not a whole PPM of 8 bits a channel"),
    "a frame's header alone": (cut("0.ppm", 5), "is not a whole PPM of 8 bits a channel"),
    "a small frame": (small_frame, "0.ppm is 48x80, and the bundle takes frames of 96x160"),
    "another input": (other_shape("inputs", "frame"), "frame of type uint8, 1 x 96 x 160 x 3;"),
    "another output": (other_shape("outputs", "scores"), "scores of type float32, 1 x 6;"),
    "another recording": (cut("0.scores.bin", -4), "has 20 bytes, not 24"),
}
"""Damage to the files, and a part of the sentence."""


@pytest.mark.parametrize("name", FAULTS)
def test_unfit_files_are_named(name: str, refused: Callable[..., str]) -> None:
    damage, part = FAULTS[name]
    assert part in refused(damage)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--cameras", "x"), "task det needs no camera"),
        (("--labels", "x"), "task det has no label maps"),
        (("--shrink", "x"), "--shrink is not an option"),
        (("--labels",), "--labels needs a value"),
        (("--precision", "fp32"), "leave one of them out"),
    ],
)
def test_unfit_options_are_named(options: Any, part: str, refused: Callable[..., str]) -> None:
    assert part in refused(lambda _: None, *options)


@pytest.mark.parametrize(
    ("calibration", "part"),
    [
        ("[1, 2]", "holds no calibration"),
        ('{"cameras": {"other.ppm": {"cam2img": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}}', "names no"),
        ('{"cam2img": [[1, 0], [0, 1]]}', "is not 3 x 3, 3 x 4 or 4 x 4"),
        ('{"cam2img": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}', "with a positive diagonal"),
        ('{"cam2img": [[1, 1, 0], [1, 1, 0], [0, 0, 1]]}', "has no inverse"),
    ],
)
def test_unfit_cameras_are_named(calibration: str, part: str, refused: Callable[..., str]) -> None:
    def replace(folder: Path) -> None:
        (folder / "cameras.json").write_text(calibration)

    assert part in refused(replace, task="det3d")


def test_engines_that_the_bundle_lacks_are_named(on_recordings: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", tiny_recipe(tmp_path), tensors("det"))
    write_bundle(tmp_path / "other", tiny_recipe(tmp_path), tensors("det"), "tensorrt")
    for folder, words, part in (
        ("bundle", ["--precision", "fp16"], "no engine of target onnxruntime in fp16; it has fp32"),
        ("other", [], "no engine of target onnxruntime; build one, or name a file by --engine"),
    ):
        command = [on_recordings, tmp_path / folder, "0.ppm", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert part in done.stderr
