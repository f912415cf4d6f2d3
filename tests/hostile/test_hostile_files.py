"""Pipes, loops, folders, devices and bombs where a file goes: refused at once, in a sentence."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.load import load
from lzu_export.evaluation.resume import Unfinished
from lzu_export.inputs.coco import read_coco
from lzu_export.inputs.images import read_image
from lzu_export.inputs.tables import kept_rows
from lzu_export.inputs.videos import VideoFile
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.quantization.calibration import read_cache
from lzu_export.recipes import load_recipe
from lzu_export.runtime.cameras import read_cameras
from lzu_export.runtime.reference import read_reference
from lzu_export.support.files import read_npz
from lzu_export.support.files.yaml_text import LIMIT
from lzu_export.verification.regression import read_state
from lzu_export.warp.saliency_file import load_saliency
from samples import sentence


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as x:
        for _ in range(64):
            x.write(bytes(1 << 20))


def deep(path: Path) -> None:
    path.write_text('{"a":' * 100_000)


def numbers(path: Path) -> None:
    path.write_text('{"format": ' + "9" * 100_000 + "}")


def nothing(path: Path) -> None:
    path.touch()


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


HOSTILE = [pipe, loop, folder, device, sparse, bomb, deep, numbers, nothing, binary]
READERS: dict[str, Callable[[Path], Any]] = {
    "x.yaml": lambda path: load_recipe(str(path)),
    "calibration.json": read_cache,
    "state.json": read_state,
    "reference.npz": read_reference,
    "cameras.json": read_cameras,
    "cameras.npy": read_cameras,
    "saliency.npy": load_saliency,
    "saliency.pkl": load_saliency,
    "frame.png": read_image,
    "video.mp4": VideoFile,
    "boxes.json": read_coco,
    "sample.json": lambda path: list(kept_rows(path, lambda row: row)),
}


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("name", READERS)
def test_hostile_files_are_refused(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    assert str(path) in str(sentence(lambda: READERS[name](path)))


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_files_in_a_bundle(make: Callable[[Path], None], bundle: Path) -> None:
    """At the place of each of its files, and of the manifest."""
    manifest = read_manifest(bundle)
    for name in (FILE, *manifest.files):
        path, aside = bundle / name, bundle.parent / "aside"
        path.rename(aside)
        make(path)
        assert str(bundle) in str(sentence(lambda: Bundle(bundle).check()))
        if name.endswith("onnxruntime.onnx") or name == "warp.npz":
            assert str(path) in str(sentence(lambda: load(bundle)))
        path.rmdir() if path.is_dir() else path.unlink()
        aside.rename(path)


@pytest.mark.parametrize("make", HOSTILE)
def test_a_hostile_evaluation_begins_afresh(make: Callable[[Path], None], tmp_path: Path) -> None:
    kept = Unfinished(tmp_path / "accuracy.npz", "key")
    make(kept.path)
    assert kept.read(["a"]) == (0, {})


def test_bounds_leave_room(tmp_path: Path) -> None:
    """Files of the size that there are pass."""
    import numpy as np

    np.savez(tmp_path / "a.npz", x=np.zeros(1 << 22))
    assert read_npz(tmp_path / "a.npz")["x"].nbytes == 1 << 25
    assert 100 * max(path.stat().st_size for path in _recipes()) < LIMIT


def _recipes() -> list[Path]:
    from lzu_export.recipes.load import FOLDER

    return list(FOLDER.glob("*.yaml"))
