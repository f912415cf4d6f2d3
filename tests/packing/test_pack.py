"""Packing a bundle: only what a target's device needs, the same bytes each time, all or nothing."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.engines import add_rtx_engine
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import (
    Operator,
    PluginLibrary,
    Plugins,
    read_manifest,
    write_manifest,
)
from lzu_export.packing.pack import pack
from lzu_export.runtime import load
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.registry import names
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification.verify import verify
from samples import status_of, stub_library

ALWAYS = {"labels.txt", "manifest.json", "recipe.yaml", "warp.npz", "warp.safetensors"}
ENGINES = {
    "onnxruntime": "model.fp32.onnxruntime.onnx",
    "openvino": "model.fp32.openvino.onnx",
    "tensorrt-rtx": "model.fp32.rtx.engine",
    "tensorrt-rtx-plugins": "model.fp32.tensorrt-rtx-plugins.engine",
    "tensorrt": "model.fp32.trt-10.3.0-sm87.orin-8mp.engine",
}
"""File of each target's FP32 engine."""


@pytest.fixture
def add(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Add a target's engine to the bundle; those of devices are the stand-ins'."""

    def added(target: str) -> None:
        if target in ("openvino", "tensorrt-rtx-plugins"):
            path = shutil.copy(bundle / ENGINES["onnxruntime"], bundle / ENGINES[target])
            manifest = read_manifest(bundle)
            update = {"target": target, "file": path.name, "onnx": path.name}
            entry = manifest.engines[0].model_copy(update=update)
            files = {**manifest.files, path.name: sha256(path)}
            changes = {"engines": (*manifest.engines, entry), "files": files}
            write_manifest(bundle, manifest.model_copy(update=changes))
        if target not in ("tensorrt", "tensorrt-rtx"):
            return
        derive(bundle)
        session = OnnxRuntimeSession(bundle / "model.fp32.tensorrt.onnx", threads=1)
        world = World(compute=session.run)
        monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
        install_cuda(monkeypatch, world, "cuda-python")
        if target == "tensorrt":
            install_tensorrt(monkeypatch, world, "10.3.0")
            build_on_device(bundle)
        else:
            world.capability = (8, 9)
            install_tensorrt(monkeypatch, world, "1.7.1")
            add_rtx_engine(bundle)

    return added


def unpacked(archive: Path, folder: Path) -> Path:
    """Extract an archive, and return the bundle in it."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (found,) = [each for each in folder.iterdir() if each.is_dir()]
    return found


def test_every_target_is_packed_here() -> None:
    """A new one is to be named in the table above."""
    assert set(ENGINES) == set(names())


@pytest.mark.parametrize("target", ENGINES)
def test_an_archive_holds_one_target_and_opens(
    target: str, bundle: Path, add: Callable[[str], None], tmp_path: Path
) -> None:
    """Its engine, the small files and nothing else; predictions equal the whole bundle's."""
    add(target)
    archive = pack(bundle, target)
    assert archive.path == tmp_path / f"bundle.{target}.tar"
    small = unpacked(archive.path, tmp_path / "device")
    assert small.name == "bundle"
    assert {each.name for each in small.iterdir()} == {*ALWAYS, ENGINES[target]}
    assert archive.bytes < archive.bundle_bytes
    assert set(archive.left_out) == set(Bundle(bundle).manifest.files) - {*ALWAYS, ENGINES[target]}
    assert [each.target for each in read_manifest(small).made] == [target]
    assert Bundle(small).check() == ()
    if target == "openvino":
        pytest.importorskip("openvino")
    if target == "tensorrt-rtx-plugins":
        return  # no stand-in opens its engines
    frame = noise_frame((96, 160), 3)
    mine, theirs = (load(each, target=target)(frame) for each in (small, bundle))
    assert len(mine.boxes)
    np.testing.assert_array_equal(mine.boxes, theirs.boxes)
    np.testing.assert_array_equal(mine.scores, theirs.scores)


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """Whenever and by whomever its files were written, and wherever the archive goes."""
    first = pack(bundle, "onnxruntime").path.read_bytes()
    for name in sorted(os.listdir(bundle)):
        os.utime(bundle / name, (1e9, 1e9))
        (bundle / name).chmod(0o600)
    second = pack(bundle, "onnxruntime", out=tmp_path / "other.tar").path.read_bytes()
    assert first == second
    with tarfile.open(tmp_path / "other.tar") as tar:
        entries = tar.getmembers()
    assert [each.name for each in entries] == sorted(each.name for each in entries)
    assert {(each.mtime, each.uid, each.gid, each.mode) for each in entries} == {(0, 0, 0, 0o644)}


def test_without_an_engine_the_device_gets_what_it_builds_from(
    bundle: Path, tmp_path: Path
) -> None:
    """The derived file and the reference, and the sentence that says so."""
    derive(bundle)
    archive = pack(bundle, "tensorrt")
    assert archive.notes[-1].startswith("the bundle has no engine for tensorrt yet: build one on")
    small = unpacked(archive.path, tmp_path / "device")
    wanted = {*ALWAYS, "model.fp32.tensorrt.onnx", "reference.npz"}
    assert {each.name for each in small.iterdir()} == wanted
    with pytest.raises(LzuError, match="no engine for tensorrt; it has none"):
        load(small, target="tensorrt")
    # The engine that the device builds is added to the packed bundle.
    session = OnnxRuntimeSession(small / "model.fp32.tensorrt.onnx", threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LZU_CACHE", str(tmp_path / "cache"))
        world = World(compute=session.run)
        install_cuda(patch, world, "cuda-python")
        install_tensorrt(patch, world, "10.3.0")
        engine, _ = build_on_device(small)
        assert load(small, target="tensorrt").run(Bundle(small).batches()[0])
        again = pack(small, "tensorrt", out=tmp_path / "again.tar")
    assert f"{small.name}/{engine.file}" in again.files
    assert again.left_out == ("model.fp32.tensorrt.onnx", "reference.npz")


def test_what_engines_are_built_from_is_packed_beside_none(
    bundle: Path, add: Callable[[str], None], tmp_path: Path
) -> None:
    """Engines of another device stay out where a device is to build its own."""
    add("tensorrt")
    packed = pack(bundle, "tensorrt", precision="fp32 fp16", to_build=True, verifiable=True)
    names = {name.partition("/")[2] for name in packed.files}
    assert names == {*ALWAYS, "model.fp32.tensorrt.onnx", "model.fp32.onnx", "reference.npz"}
    manifest = read_manifest(unpacked(packed.path, tmp_path / "device"))
    assert not manifest.engines
    assert [each.precision for each in manifest.derived] == ["fp32"]


def test_a_verifiable_archive_is_verified(bundle: Path, tmp_path: Path) -> None:
    """Without the option `verify` names the file that was left out."""
    small = unpacked(pack(bundle, "onnxruntime").path, tmp_path / "small")
    with pytest.raises(LzuError, match=r"(fp32\.onnx|npz) was left out when the .*--verifiable"):
        verify(small)
    shutil.copy(bundle / "reference.npz", small)
    shutil.copy(bundle / "model.fp32.onnx", small)
    assert [each.status for each in verify(small)] == ["passed"]  # a copied file counts again
    whole = pack(bundle, "onnxruntime", out=tmp_path / "v.tar", verifiable=True)
    (parity,) = verify(unpacked(whole.path, tmp_path / "whole"))
    assert parity.status == "passed"


def test_a_left_out_file_that_differs_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Its hash is kept."""
    small = unpacked(pack(bundle, "onnxruntime").path, tmp_path / "small")
    (small / "reference.npz").write_bytes(b"other")
    with pytest.raises(LzuError, match=r"reference\.npz was changed after the export"):
        Bundle(small).check()


def with_plugins(bundle: Path, library: PluginLibrary | None) -> None:
    """Let the bundle's graphs for TensorRT call a plugin."""
    operator = Operator(name="BoxKnots", version="1", namespace="lzu")
    plugins = Plugins(operators=(operator,), library=library)
    write_manifest(bundle, read_manifest(bundle).model_copy(update={"plugins": plugins}))


def test_the_plugin_library_lies_beside_the_folder(bundle: Path, tmp_path: Path) -> None:
    """It is checked, packed and named; without it a note says that the device needs it."""
    derive(bundle)
    library = stub_library(tmp_path)
    known = PluginLibrary(file=library.name, sha256=sha256(library), version=1, cuda_major=13)
    with_plugins(bundle, known)
    assert pack(bundle, "tensorrt").notes[0].startswith("the engine calls BoxKnots: the device")
    archive = pack(bundle, "tensorrt", plugins=library)
    assert archive.notes[0] == "on the device set LZU_PLUGINS to the path of liblzu_plugins.so"
    assert archive.files["liblzu_plugins.so"] == library.stat().st_size
    with_plugins(bundle, known.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(LzuError, match=r"is not the liblzu_plugins\.so that the bundle was made"):
        pack(bundle, "tensorrt", plugins=library)
    with pytest.raises(LzuError, match="takes no plugin library; leave --plugins out"):
        pack(bundle, "onnxruntime", plugins=library)


def test_zooming_on_the_gpu_is_mentioned(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only to devices, and only for bundles that take the zoomed image."""
    derive(bundle)
    manifest = read_manifest(bundle)
    zoomed = manifest.recipe.model_copy(update={"input": "zoomed"})
    monkeypatch.setattr(
        "lzu_export.bundle.bundle.read_manifest",
        lambda _: manifest.model_copy(update={"recipe": zoomed}),
    )
    assert pack(bundle, "onnxruntime").notes == ()
    assert pack(bundle, "tensorrt").notes[0].startswith("the GPU zooms only with the plugin")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--target", "tensorrt"],
            "nothing for tensorrt; it has onnxruntime fp32; write the files",
        ),
        (["--target", "tensorrt-rtx"], "export it for that target (--target tensorrt-rtx)"),
        (["--precision", "int8"], "nothing for onnxruntime in int8; it has onnxruntime fp32"),
        (["--precision", "bf16"], "or export in that precision (--precision bf16)"),
        (
            ["--target", "tensorrt-rtx-plugins"],
            "bundle --target tensorrt-rtx-plugins --plugins FILE)",
        ),
        (["--target", "tensort"], "tensort"),
        (["--out", "BUNDLE/a.tar"], "lies in the bundle that is packed; name another place"),
        (["--out", "BUNDLE"], "not a file; name another place"),
        (["--out", "BUNDLE/../nowhere/a.tar"], "nowhere/a.tar cannot be written"),
        (["--plugins", "nowhere.so", "--target", "tensorrt-rtx"], "nothing for tensorrt-rtx"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], words: str, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 2; nothing is written."""
    before = sorted(bundle.parent.rglob("*"))
    given = [each.replace("BUNDLE", str(bundle)) for each in options]
    assert status_of("pack", bundle, *given) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert sorted(bundle.parent.rglob("*")) == before


def test_a_changed_file_is_not_packed(bundle: Path) -> None:
    """Nor anything beside it, and no part of an archive remains."""
    with (bundle / ENGINES["onnxruntime"]).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(LzuError, match="was changed after the export"):
        pack(bundle, "onnxruntime")
    assert [each.name for each in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("text", ["", "notes of a day"])
def test_only_archives_and_empty_files_are_replaced(text: str, bundle: Path) -> None:
    out = bundle.parent / "out"
    out.write_text(text)
    if text:
        with pytest.raises(LzuError, match="out is no archive and stays as it is; name another"):
            pack(bundle, "onnxruntime", out=out)
        assert out.read_text() == text
        out.unlink()
    first = pack(bundle, "onnxruntime", out=out).path.read_bytes()
    assert pack(bundle, "onnxruntime", out=out).path.read_bytes() == first


def test_an_interrupted_archive_leaves_nothing(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive that was there before stays."""
    path = pack(bundle, "onnxruntime").path
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lzu_export.packing.archive._add", full)
    with pytest.raises(LzuError, match="cannot be written: the disk is full"):
        pack(bundle, "onnxruntime")
    assert sorted(each.name for each in bundle.parent.iterdir()) == ["bundle", path.name]
    assert path.read_bytes() == before


def test_the_command_prints_sizes(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The sizes are a table of at most 80 columns, or JSON."""
    out = bundle.parent / "a.tar"
    assert status_of("pack", bundle, "--out", out) == 0
    printed = capfd.readouterr().out
    megabytes = out.stat().st_size / 1e6
    assert f"size: {megabytes:.2f} MB; the whole bundle has" in printed
    assert all(len(line) <= 80 for line in printed.splitlines()[1:])  # the first has the path
    assert status_of("pack", bundle, "--out", out, "--json") == 0
    packed = json.loads(capfd.readouterr().out)
    assert packed["archive"] == str(out)
    assert packed["bytes"] == out.stat().st_size
    with tarfile.open(out) as tar:
        assert packed["files"] == {each.name: each.size for each in tar.getmembers()}
