"""Commands write within the folder they are given, and over nothing that they did not write."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.run import apply
from lzu_export.bundle.workspace import STATE_FILE, Workspace, check_place, exclusive
from lzu_export.compiler import stages
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import bundle_name, export
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import validate
from lzu_export.support.progress import Reporter
from lzu_export.verification.checks import Check, write_junit
from samples import sentence

QUIET = Reporter(quiet=True)


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A file of the user's own, which links point to."""
    path = tmp_path / "home" / "treasure"
    path.parent.mkdir()
    path.write_text("mine")
    return path


@pytest.fixture
def recipe(tiny_recipe: dict[str, Any]) -> Recipe:
    return validate(tiny_recipe, "tiny")


@pytest.fixture
def final(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A finished bundle where an export of its recipe puts it."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "out/det" / tiny_bundle.name))


def test_derive_replaces_links_and_pipes(bundle: Path, treasure: Path) -> None:
    """It neither writes through them nor waits for a reader."""
    derived = bundle / "model.fp32.tensorrt.onnx"
    derived.symlink_to(treasure)
    derive(bundle)
    assert not derived.is_symlink()
    derived.unlink()
    os.mkfifo(derived)
    derive(bundle)
    assert derived.is_file()
    text = (bundle / FILE).read_text()
    (bundle / FILE).unlink()
    (bundle.parent / "manifest").write_text(text)
    (bundle / FILE).symlink_to(bundle.parent / "manifest")
    derive(bundle)
    assert (bundle.parent / "manifest").read_text() == text
    assert treasure.read_text() == "mine"
    assert read_manifest(bundle).derived


def test_the_lock_is_no_way_out(bundle: Path, treasure: Path) -> None:
    """A link or a folder at its place is refused, and a file keeps what it holds."""
    lock = bundle.parent / f".{bundle.name}.lock"
    lock.symlink_to(treasure)
    message = str(sentence(lambda: derive(bundle)))
    assert f"{lock} is no file of ours; remove it" in message
    lock.unlink()
    lock.mkdir()
    assert "is no file of ours" in str(sentence(lambda: derive(bundle)))
    lock.rmdir()
    os.link(treasure, lock)
    with exclusive(bundle):
        assert treasure.read_text() == "mine"
    assert treasure.read_text() == "mine"
    assert not lock.exists()
    os.mkfifo(lock)
    with exclusive(bundle):
        pass


@pytest.mark.parametrize("kind", ["notes", "folder", "no manifest", "own manifest", "link", "file"])
def test_what_no_export_wrote_is_not_removed(kind: str, final: Path, recipe: Recipe) -> None:
    """A folder of the user's own at the bundle's path stays, whole."""
    if kind == "notes":
        (final / "notes.txt").write_text("mine")
    elif kind == "folder":
        (final / "pictures").mkdir()
        (final / "pictures" / "a.png").write_text("mine")
    elif kind == "no manifest":
        (final / FILE).unlink()
    elif kind == "own manifest":  # as web pages have
        shutil.rmtree(final)
        final.mkdir()
        (final / FILE).write_text('{"name": "my page"}')
        (final / "index.html").write_text("mine")
    elif kind == "link":
        final.rename(final.parent / "elsewhere")
        final.symlink_to(final.parent / "elsewhere")
    else:
        shutil.rmtree(final)
        final.write_text("mine")
    before = tree(final.parent)
    message = str(sentence(lambda: export(recipe, final.parents[1], force=True)))
    assert str(final) in message
    assert "--out" in message or "remove it" in message
    assert tree(final.parent) == before


def tree(folder: Path) -> dict[str, bytes | str]:
    """All files below a folder, and links with where they point."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_a_bundle_of_ours_is_replaced(final: Path) -> None:
    """Damaged, of another format, with engines and caches of devices, after a cut."""
    for content in ("{", '{"format": 1}', ""):
        (final / FILE).write_text(content)
        check_place(final)
    for name in (
        "model.fp16.trt-10.3.0-sm87.orin-8mp.engine",
        "timing.orin-8mp.trt-10.3.0.cache",
        ".model.fp32.tensorrt.onnx.0123456789abcdef.new",
        STATE_FILE,
    ):
        (final / name).touch()
        check_place(final)
    check_place(final.parent / "none")


def stopped(name: str) -> Callable[..., Any]:
    def stop(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, name)

    return stop


@pytest.mark.parametrize("planted", ["folder", "file", "state"])
def test_links_in_an_unfinished_bundle_start_it_afresh(
    planted: str, final: Path, treasure: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export writes through none of them."""
    shutil.rmtree(final)
    out, partial = final.parents[1], final.parent / f".{final.name}.partial"
    with monkeypatch.context() as patch:
        patch.setattr(stages, "write_reference", stopped("stop"))
        assert "stop" in str(sentence(lambda: export(recipe, out)))
    assert (partial / STATE_FILE).is_file()
    if planted == "folder":
        shutil.move(partial, treasure.parent / "away")
        partial.symlink_to(treasure.parent / "away")
    else:
        name = "reference.npz" if planted == "file" else STATE_FILE
        (partial / name).unlink(missing_ok=True)
        (partial / name).symlink_to(treasure)
    away = tree(treasure.parent)
    outcome = export(recipe, out)
    assert outcome.status == "exported"
    assert tree(treasure.parent) == away
    assert sorted(path.name for path in outcome.folder.parent.iterdir()) == [final.name]


@pytest.mark.parametrize("edit", ["digit", "record", "list", "null", "deep", "extra"])
def test_a_damaged_state_starts_afresh(edit: str, tmp_path: Path) -> None:
    final = tmp_path / "det" / "x"
    work = Workspace(final, "f" * 64)
    work.run("one", [], lambda: {"a": 12.5})
    path = work.path(STATE_FILE)
    text = path.read_text()
    assert Workspace(final, "f" * 64).stages
    changed = {
        "digit": text.replace("12.5", "12.6"),
        "record": text.replace('{"a": 12.5}', "3"),
        "list": "[]",
        "null": "null",
        "deep": "[" * 100_000,
        "extra": text.replace('"record"', '"x": 1, "record"'),
    }[edit]
    assert changed != text
    path.write_text(changed)
    assert Workspace(final, "f" * 64).stages == {}
    assert not path.exists()


def test_an_older_bundle_s_hidden_place_is_no_trap(final: Path, treasure: Path) -> None:
    """`.NAME.old`, where the bundle before stands for a moment."""
    old = final.parent / f".{final.name}.old"
    (treasure.parent / FILE).write_text("{}")
    old.symlink_to(treasure.parent)
    manifest = read_manifest(final)
    assert "symbolic link" in str(sentence(lambda: Workspace(final, "f").publish(manifest)))
    assert treasure.read_text() == "mine"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", "a/../../b", ".hidden", "a\0b", ""])
def test_a_recipe_s_name_stays_in_the_output_folder(
    name: str, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    assert sentence(lambda: validate({**tiny_recipe, "name": name}, "x.yaml"))
    good = validate({**tiny_recipe, "name": "a b.c"}, "x.yaml")
    assert (tmp_path / bundle_name(good)).resolve().parent == tmp_path.resolve()


def test_run_writes_through_no_link(tiny_seg_bundle: Path, image: Path, tmp_path: Path) -> None:
    """Not through links to files, nor to folders, nor into a bundle."""
    out, away = tmp_path / "run", tmp_path / "away"
    away.mkdir()
    out.mkdir()
    for name in ("results.json", "images.json", image.name):
        (out / name).symlink_to(away / name)
    (out / ".partial").symlink_to(away)
    apply(tiny_seg_bundle, image, out, show_warp=False, report=QUIET)
    assert list(away.iterdir()) == []
    assert (out / "labels").is_dir()
    shutil.rmtree(out / "labels")
    (out / "labels").symlink_to(away)
    with pytest.raises(LzuError, match="labels is a symbolic link, which is not followed"):
        apply(tiny_seg_bundle, image, out, show_warp=False, report=QUIET)
    assert list(away.iterdir()) == []
    bundle = Path(shutil.copytree(tiny_seg_bundle, tmp_path / "bundle"))
    before = tree(bundle)
    with pytest.raises(LzuError, match="is a bundle, which stays as it was verified"):
        apply(bundle, image, bundle, show_warp=False, report=QUIET)
    assert tree(bundle) == before


def test_junit_and_calibration_replace_links(treasure: Path, tmp_path: Path) -> None:
    from lzu_calibration.cache import CachedFrames, make_cache
    from lzu_export.quantization.calibration import read_cache, write_cache

    link = tmp_path / "junit.xml"
    link.symlink_to(treasure)
    write_junit(link, "x", [Check("e", "n", "passed", "")])
    assert "<testsuite" in link.read_text()
    frames = CachedFrames(name="x", count=1, seed=0, digest="0")
    cache = make_cache(
        model="0", frames=frames, method="max", percentile=None, ranges={"x": 1.0}, version="1"
    )
    link = tmp_path / "calibration.json"
    link.symlink_to(treasure)
    write_cache(link, cache)
    assert read_cache(link) == cache
    assert treasure.read_text() == "mine"
