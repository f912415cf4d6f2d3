"""A bundle's manifest: read back as written, refused where it is damaged or lies."""

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import (
    FILE,
    FORMAT,
    Accuracy,
    Manifest,
    Parity,
    check_file,
    read_manifest,
    write_manifest,
)
from lzu_export.support.files.hashes import sha256
from lzu_export.verification.parity import verify_all
from samples import sentence, write_sealed


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def edit(bundle: Path, **changes: Any) -> None:
    data = json.loads((bundle / FILE).read_text())
    write_sealed(bundle, {**data, **changes})


def test_the_manifest_describes_the_bundle(tiny_bundle: Path) -> None:
    """Every file with its hash; the recipe, the engine and its deviation."""
    manifest = read_manifest(tiny_bundle)
    there = {path.name for path in tiny_bundle.iterdir()} - {FILE}
    assert set(manifest.files) == there
    assert all(sha256(tiny_bundle / name) == value for name, value in manifest.files.items())
    assert manifest.checkpoint == {"random_weights": "0"}
    (engine,) = manifest.engines
    assert engine.target == "onnxruntime"
    assert {spec.name: spec.shape for spec in engine.inputs} == {"frame": (1, 96, 160, 3)}
    (parity,) = manifest.parity
    assert parity.status == "passed"
    assert 0 < max(parity.probes.values()) < parity.limit


def test_it_is_read_back_as_written(tiny_bundle: Path) -> None:
    """Through strict JSON."""
    manifest = read_manifest(tiny_bundle)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_undefined_metrics_and_infinite_deviation_are_read_back() -> None:
    """As strict JSON, which has neither nan nor inf."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    metrics = {"AP": 50.0, "AP_large": math.nan}
    accuracy = Accuracy(
        dataset="x",
        note="",
        metric="AP",
        frames=1,
        pytorch=metrics,
        engines={"onnxruntime/fp32": metrics},
        limits={"fp32": 0.1},
    )
    text = accuracy.model_dump_json()
    json.loads(text, parse_constant=refuse)
    read = Accuracy.model_validate_json(text)
    assert read.pytorch["AP"] == 50.0
    assert math.isnan(read.pytorch["AP_large"])
    assert math.isnan(read.engines["onnxruntime/fp32"]["AP_large"])
    parity = Parity(
        target="t", precision="fp32", status="failed", probes={"level_0": math.inf}, limit=1e-4
    )
    dumped = json.dumps(parity.model_dump(mode="json"))
    json.loads(dumped, parse_constant=refuse)
    assert Parity.model_validate_json(dumped) == parity


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    """Nor one that does not exist."""
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(LzuError, match=r"is no bundle: it has no manifest\.json; give"):
            read_manifest(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"format": 5}', '{"format": 5, "colour": "red"}', "\xff\xfe"]
)
def test_a_damaged_manifest_is_named(bundle: Path, text: str) -> None:
    """In one sentence."""
    (bundle / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(LzuError, match=r"manifest\.json is damaged; export or copy"):
        read_manifest(bundle)


def test_a_changed_recipe_inside_is_damage(bundle: Path) -> None:
    """Its schema is checked too."""
    edit(bundle, recipe={"name": "x"})
    with pytest.raises(LzuError, match="is damaged"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "entry",
    [
        {"calibration": {"file": "calibration.json", "frames": "x", "count": 3, "seed": 0}},
        {"calibration": {"method": "max"}},
        {"calibration": 3},
        {"warp": {}},
        {"warp": {"sha256": "0" * 64}},
    ],
    ids=str,
)
def test_an_entry_that_lacks_a_field_is_refused(bundle: Path, entry: dict[str, Any]) -> None:
    edit(bundle, **entry)
    with pytest.raises(LzuError, match=r"manifest\.json is damaged; export or copy"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("field", "value", "shape"),
    [
        ("batch", 2**31, r"\[2147483648, 96, 160, 3\]"),
        ("source", [100_000, 100_000], r"\[1, 100000, 100000, 3\]"),
    ],
)
def test_a_recipe_of_other_shapes_than_the_engines_is_refused(
    bundle: Path, field: str, value: Any, shape: str
) -> None:
    """Before anything of such a size is allocated."""
    recipe = json.loads((bundle / FILE).read_text())["recipe"]
    edit(bundle, recipe={**recipe, field: value})
    with pytest.raises(LzuError, match=rf"contradicts itself: frame of \S+ has shape .*{shape}"):
        read_manifest(bundle)


@pytest.mark.parametrize("number", [0, 1, 2, "3", None])
def test_another_format_is_named(bundle: Path, number: Any) -> None:
    """With the two numbers, whatever else it holds."""
    edit(bundle, format=number, something_new=1)
    with pytest.raises(
        LzuError, match=rf"has format {number} but this version reads 5 and 6; export"
    ):
        read_manifest(bundle)


def test_a_bundle_of_format_5_is_read_and_verified(bundle: Path) -> None:
    """Its manifest, recipe and reference values had other keys; rewritten, it has today's."""
    today = read_manifest(bundle)
    data = json.loads((bundle / FILE).read_text())
    (comparison,) = data.pop("parity")
    comparison["arrows"] = comparison.pop("probes")
    data["recipe"]["keep_high"] = data["recipe"].pop("higher_precision")
    tolerances = data["recipe"]["tolerances"]
    tolerances["arrow"] = tolerances.pop("probe")
    tolerances["regression"]["drift"] = tolerances["regression"].pop("deviation")
    arrays = dict(np.load(bundle / "reference.npz"))
    assert any("/probe/" in key for key in arrays)
    former = {key.replace("/probe/", "/arrow/"): value for key, value in arrays.items()}
    np.savez(bundle / "reference.npz", **former)
    files = {**data["files"], "reference.npz": sha256(bundle / "reference.npz")}
    write_sealed(bundle, {**data, "format": 5, "drift": [comparison], "files": files})

    read = read_manifest(bundle)
    assert (read.parity, read.recipe) == (today.parity, today.recipe)
    (found,) = verify_all(Bundle(bundle), Bundle(bundle).references)
    assert found == today.parity[0]
    write_manifest(bundle, read)
    written = json.loads((bundle / FILE).read_text())
    assert written["format"] == FORMAT == 6
    assert "probes" in written["parity"][0]


def test_a_key_under_both_names_is_refused(bundle: Path) -> None:
    data = json.loads((bundle / FILE).read_text())
    edit(bundle, drift=data["parity"])
    with pytest.raises(LzuError, match="is damaged"):
        read_manifest(bundle)


def test_a_changed_or_missing_file_is_refused(bundle: Path) -> None:
    """A single byte at the same size is enough."""
    manifest = read_manifest(bundle)
    path = bundle / "model.fp32.onnx"
    assert check_file(bundle, path.name, manifest) == path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LzuError, match=r"model\.fp32\.onnx was changed after the export"):
        check_file(bundle, path.name, manifest)
    path.unlink()
    with pytest.raises(LzuError, match=r"model\.fp32\.onnx is missing from the bundle"):
        check_file(bundle, path.name, manifest)
    (bundle / "stranger").write_text("x")
    with pytest.raises(LzuError, match="stranger was changed after the export"):
        check_file(bundle, "stranger", manifest)


def test_any_single_character_of_a_manifest_counts(bundle: Path) -> None:
    """A changed digit, letter or brace is refused; what JSON does not count, such as blanks, is not
    part of the hash.
    """
    path = bundle / FILE
    whole, text = read_manifest(bundle), path.read_text()
    generator = random.Random(3)
    letters = [i for i, letter in enumerate(text) if not letter.isspace()]
    for i in generator.sample(letters, 200):
        other = chr((ord(text[i]) - 32 + generator.randrange(1, 95)) % 95 + 32)
        path.write_text(text[:i] + other + text[i + 1 :])
        if sentence(lambda: read_manifest(bundle)) is None:
            assert read_manifest(bundle) == whole, (i, text[i], other)
    path.write_text(text.replace("\n", "\r\n").replace("  ", "\t"))
    assert read_manifest(bundle) == whole


def test_an_edit_that_the_schema_takes_is_refused(bundle: Path) -> None:
    """Such as a limit, a deviation or a class's name."""
    text = (bundle / FILE).read_text()
    assert '"car"' in text
    (bundle / FILE).write_text(text.replace('"car"', '"cat"'))
    with pytest.raises(LzuError, match=r"manifest\.json was changed after .* its own hash"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("text", "twice"), [('"name": "tiny"', '"name": "tiny", "name": "tiny"'), ("{", '{"a": NaN,')]
)
def test_json_of_two_readings_is_damage(bundle: Path, text: str, twice: str) -> None:
    whole = (bundle / FILE).read_text()
    (bundle / FILE).write_text(whole.replace(text, twice, 1))
    with pytest.raises(LzuError, match=r"manifest\.json is damaged"):
        read_manifest(bundle)


def test_small_files_are_checked_with_the_manifest(bundle: Path) -> None:
    """Whatever the command wants of the bundle; graphs and the reference when they are opened."""
    for name in ("recipe.yaml", "labels.txt", "warp.npz"):
        content = (bundle / name).read_bytes()
        (bundle / name).write_bytes(content + b" ")
        with pytest.raises(LzuError, match=f"{name} was changed after the export"):
            read_manifest(bundle)
        (bundle / name).unlink()
        with pytest.raises(LzuError, match=f"{name} is missing from the bundle"):
            read_manifest(bundle)
        (bundle / name).write_bytes(content)
    for name in ("reference.npz", "model.fp32.onnx"):
        with (bundle / name).open("ab") as stream:
            stream.write(b" ")
        manifest = read_manifest(bundle)
        with pytest.raises(LzuError, match=f"{name} was changed after the export"):
            Bundle(bundle, manifest).check()


def test_files_that_the_manifest_does_not_know_are_listed(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert Bundle(bundle, manifest).check() == ()
    (bundle / "liblzu_plugins.so").write_bytes(b"x")
    (bundle / ".hidden").mkdir()
    assert Bundle(bundle, manifest).check() == (".hidden", "liblzu_plugins.so")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".", "..", "a/b", "", "a\nb", "x" * 300])
@pytest.mark.parametrize("field", ["files", "engine", "onnx", "graph"])
def test_names_that_lead_out_of_the_folder_are_damage(bundle: Path, name: str, field: str) -> None:
    """Also where the manifest's own hash is right."""
    data = json.loads((bundle / FILE).read_text())
    if field == "files":
        data["files"][name] = "0" * 64
    elif field == "graph":
        data["graphs"]["fp32"]["file"] = name
    else:
        data["engines"][0]["file" if field == "engine" else "onnx"] = name
    write_sealed(bundle, data)
    with pytest.raises(LzuError, match=r"manifest\.json is damaged"):
        read_manifest(bundle)
