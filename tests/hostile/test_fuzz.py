"""Edited bundles, states, ranges and caches: a sentence, or they work; never a traceback.

Edits of the manifest carry its own hash again, as those of an attacker do.
"""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from edits import edit_arrays, edit_bytes, edit_json
from lzu_calibration.cache import CachedFrames, make_cache
from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.load import load
from lzu_export.bundle.workspace import STATE_FILE, Workspace
from lzu_export.cli.tables.inspect import inspect_tables
from lzu_export.evaluation.resume import Unfinished
from lzu_export.graph.read import load_graph
from lzu_export.manifest.schema import FILE, Manifest, read_manifest
from lzu_export.quantization.calibration import check_cache, read_cache, write_cache
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.console import Terminal
from lzu_export.support.files import check_graph, read_npz
from lzu_export.support.files.hashes import sha256
from lzu_export.verification.parity import verify_all
from lzu_export.verification.regression import State, read_state, write_state
from samples import sentence, write_sealed


def use(bundle: Path) -> Manifest:
    """Open a bundle, show it, and run it on a frame."""
    manifest = read_manifest(bundle)
    with Terminal(width=80, file=open("/dev/null", "w")) as terminal:
        for table in inspect_tables(manifest):
            terminal.print(table)
    with load(bundle, threads=1) as predictor:
        recipe = manifest.recipe
        frame = np.zeros((*recipe.source, 3), np.uint8)
        predictor.run([CameraFrame(frame)] * recipe.batch)
    return manifest


def seal(bundle: Path, *names: str) -> None:
    """Write the hashes of changed files into the manifest, as whoever changed them would."""
    data = json.loads((bundle / FILE).read_text())
    data["files"].update({name: sha256(bundle / name) for name in names})
    data["warp"]["sha256"] = data["files"]["warp.npz"]
    write_sealed(bundle, data)


def fuzz_manifest(bundle: Path, edits: int, seed: int) -> None:
    data = json.loads((bundle / FILE).read_text())
    generator = random.Random(seed)
    refused = 0
    for _ in range(edits):
        changed, what = edit_json(data, generator)
        write_sealed(bundle, changed)
        try:
            refused += sentence(lambda: use(bundle)) is not None
        except Exception as error:
            raise AssertionError(f"seed {seed}: {what}") from error
    assert refused > edits // 3


def fuzz_arrays(bundle: Path, name: str, edits: int, seed: int) -> None:
    arrays, generator, refused = read_npz(bundle / name), random.Random(seed), 0
    for _ in range(edits):
        changed, what = edit_arrays(arrays, generator)
        np.savez(bundle / name, **changed)
        seal(bundle, name)
        try:
            if name == "warp.npz":
                refused += sentence(lambda: use(bundle)) is not None
            else:
                manifest = read_manifest(bundle)
                refused += sentence(lambda m=manifest: Bundle(bundle, m).references) is not None  # type: ignore[misc]
        except Exception as error:
            raise AssertionError(f"seed {seed}: {what}") from error
    assert refused > edits // 4


def test_edits_of_a_manifest(bundle: Path) -> None:
    fuzz_manifest(bundle, 120, 1)


@pytest.mark.parametrize("name", ["warp.npz", "reference.npz"])
def test_edits_of_arrays(bundle: Path, name: str) -> None:
    fuzz_arrays(bundle, name, 40, 2)


def test_edits_of_any_byte_are_refused(bundle: Path) -> None:
    """Of every file, where the manifest knows another hash: by whatever checks all of them."""
    generator = random.Random(3)
    names = sorted(path.name for path in bundle.iterdir())
    for _ in range(60):
        name = generator.choice(names)
        whole = (bundle / name).read_bytes()
        changed = edit_bytes(whole, generator)
        (bundle / name).write_bytes(changed)
        message = sentence(lambda: Bundle(bundle).check())
        assert message is not None or changed == whole, name
        (bundle / name).write_bytes(whole)


def test_edits_of_a_graph(bundle: Path) -> None:
    """Whose hash is right: a reader of bytes, then ONNX, refuse what is no model."""
    path, generator = bundle / "model.fp32.onnx", random.Random(4)
    whole = path.read_bytes()
    for _ in range(60):
        path.write_bytes(edit_bytes(whole, generator))
        if sentence(lambda: check_graph(path)) is None:
            sentence(lambda: load_graph(path))


def state() -> State:
    told: dict[str, Any] = {
        "bundle": "tiny",
        "fingerprint": "0",
        "created": "",
        "source_revision": "",
        "versions": {"python": "3"},
        "parity": {"onnxruntime/fp32": {"level_0": 1e-6}},
        "accuracy": None,
        "latency": None,
    }
    return State.model_validate(told)


def test_edits_of_a_stored_state(tmp_path: Path) -> None:
    path, generator = tmp_path / "state.json", random.Random(5)
    write_state(path, state())
    data, whole = json.loads(path.read_text()), path.read_bytes()
    for _ in range(100):
        path.write_text(json.dumps(edit_json(data, generator)[0]))
        sentence(lambda: read_state(path))
        path.write_bytes(edit_bytes(whole, generator))
        sentence(lambda: read_state(path))


def test_edits_of_ranges(tmp_path: Path) -> None:
    path, generator = tmp_path / "calibration.json", random.Random(6)
    frames = CachedFrames(name="x", count=1, seed=0, digest="0")
    ranges = {"a": 1.0, "b": 2.5}
    made = make_cache(
        model="0", frames=frames, method="max", percentile=None, ranges=ranges, version="1"
    )
    write_cache(path, made)
    data, whole = json.loads(path.read_text()), path.read_bytes()

    def read() -> None:
        cache = read_cache(path)
        given = {"model": "0", "frames": frames, "method": "max", "percentile": None}
        check_cache(cache, path, tensors=["a", "b"], **given)  # type: ignore[arg-type]
        assert all(0 < limit < float("inf") for limit in cache.ranges.values())

    for _ in range(150):
        path.write_text(json.dumps(edit_json(data, generator)[0]))
        sentence(read)
        path.write_bytes(edit_bytes(whole, generator))
        sentence(read)


def test_edits_of_what_was_left_unfinished(tmp_path: Path) -> None:
    """An evaluation and an export begin afresh where they cannot go on."""
    generator = random.Random(7)
    kept = Unfinished(tmp_path / "accuracy.npz", "key")
    kept.write(8, {"a": {"hits": np.arange(4.0)}, "b": {"hits": np.arange(2.0)}})
    whole, arrays = kept.path.read_bytes(), read_npz(kept.path)
    assert kept.read(["a", "b"])[0] == 8
    for _ in range(100):
        kept.path.write_bytes(edit_bytes(whole, generator))
        assert kept.read(["a", "b"])[0] in (0, 8)
        np.savez(kept.path, **edit_arrays(arrays, generator)[0])
        kept.read(["a", "b"])
    work = Workspace(tmp_path / "det/x", "f")
    work.run("one", [], lambda: {"a": [1, 2.5, None]})
    path = work.path(STATE_FILE)
    whole = path.read_bytes()
    for _ in range(100):
        work.folder.mkdir(exist_ok=True)
        changed = edit_bytes(whole, generator)
        path.write_bytes(changed)
        assert Workspace(tmp_path / "det/x", "f").stages in ({}, work.stages)


MORE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from test_fuzz import fuzz_arrays, fuzz_manifest
bundle, kind, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if kind == "manifest":
    fuzz_manifest(bundle, 400, seed)
else:
    fuzz_arrays(bundle, kind, 200, seed)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["manifest", "warp.npz", "reference.npz"])
@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_many_more_edits(
    task: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In a process of its own, where a segmentation fault is seen as one."""
    fixture = {"det": "tiny_bundle", "seg": "tiny_seg_bundle", "det3d": "tiny_det3d_bundle"}[task]
    bundle = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "bundle")
    here = Path(__file__).parent
    for seed in range(3):
        command = [sys.executable, "-X", "faulthandler", "-c", MORE, str(bundle), kind, str(seed)]
        command += [str(here), str(here.parent)]
        fresh = shutil.copytree(bundle, tmp_path / f"{seed}")
        command[5] = str(fresh)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_verify_says_what_is_wrong_with_an_edited_bundle(bundle: Path) -> None:
    """The whole command over edits whose hashes are right."""
    generator = random.Random(8)
    data, arrays = json.loads((bundle / FILE).read_text()), read_npz(bundle / "reference.npz")
    for _ in range(40):
        np.savez(bundle / "reference.npz", **edit_arrays(arrays, generator)[0])
        write_sealed(bundle, edit_json(data, generator)[0] if generator.random() < 0.5 else data)
        try:
            seal(bundle, "reference.npz")
        except (KeyError, TypeError, AttributeError):
            continue
        sentence(lambda: verify_all(Bundle(bundle)))
