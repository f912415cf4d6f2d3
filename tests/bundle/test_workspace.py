"""The folder in which a bundle grows: recorded stages, one rename at the end."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lzu_export.bundle import workspace as module
from lzu_export.bundle.workspace import STATE_FILE, Workspace, exclusive
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Manifest
from lzu_export.support.files.hashes import sha256
from samples import tiny_recipe


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "det" / "fixed-0.5x"


def writing(work: Workspace, name: str, text: str, log: list[str]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        log.append(name)
        work.path(name).write_text(text)
        return {"wrote": text}

    return make


def manifest(work: Workspace, folder: Path) -> Manifest:
    return Manifest(
        name="tiny",
        task="det",
        variant="fixed",
        precision=("fp32",),
        recipe=tiny_recipe(folder),
        fingerprint=work.fingerprint,
        checkpoint={},
        warp={"sha256": "0" * 64, "geometry": "consistent"},
        graphs={},
        engines=(),
        parity=(),
        accuracy=None,
        latency=None,
        versions={},
        source_revision="unknown",
        created="",
        stages=work.seconds(),
        files=work.hashes(),
    )


def test_a_stage_runs_once_and_its_record_is_kept(final: Path) -> None:
    log: list[str] = []
    for _ in range(2):
        work = Workspace(final, "one")
        record = work.run("write", ["a.txt"], writing(work, "a.txt", "A", log))
        assert record == {"wrote": "A"}
    assert log == ["a.txt"]
    assert work.resumed == ["write"]
    assert work.hashes() == {"a.txt": sha256(work.path("a.txt"))}
    assert list(work.seconds()) == ["write"]
    assert work.folder.parent == final.parent
    assert not final.exists()


@pytest.mark.parametrize("fingerprint", ["other", "one"])
def test_another_fingerprint_or_a_fresh_start_keeps_nothing(final: Path, fingerprint: str) -> None:
    log: list[str] = []
    work = Workspace(final, "one")
    work.run("write", ["a.txt"], writing(work, "a.txt", "A", log))
    work = Workspace(final, fingerprint, fresh=fingerprint == "one")
    assert not list(work.folder.iterdir())
    work.run("write", ["a.txt"], writing(work, "a.txt", "A", log))
    assert len(log) == 2
    assert work.resumed == []


@pytest.mark.parametrize("damage", ["changed", "lost", "more files asked"])
def test_a_stage_is_done_again_where_its_files_are_not_those_recorded(
    final: Path, damage: str
) -> None:
    log: list[str] = []
    work = Workspace(final, "one")
    work.run("write", ["a.txt"], writing(work, "a.txt", "A", log))
    if damage == "changed":
        work.path("a.txt").write_text("B")
    elif damage == "lost":
        work.path("a.txt").unlink()
    else:
        work.path("b.txt").write_text("")
    files = ["a.txt", "b.txt"] if damage == "more files asked" else ["a.txt"]
    work = Workspace(final, "one")
    work.run("write", files, writing(work, "a.txt", "A", log))
    assert len(log) == 2
    assert work.path("a.txt").read_text() == "A"


@pytest.mark.parametrize("state", ["", "{", "[]", "{}", '{"fingerprint": "one"}'])
def test_a_damaged_state_starts_afresh(final: Path, state: str) -> None:
    work = Workspace(final, "one")
    work.path(STATE_FILE).write_text(state)
    work.path("a.txt").write_text("left over")
    work = Workspace(final, "one")
    assert work.stages == {}
    assert not list(work.folder.iterdir())


def test_a_stage_that_fails_is_not_recorded(final: Path) -> None:
    work = Workspace(final, "one")

    def fail() -> dict[str, Any]:
        work.path("a.txt").write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        work.run("write", ["a.txt"], fail)
    assert Workspace(final, "one").stages == {}


def test_publishing_puts_exactly_the_bundle_in_place(final: Path, tmp_path: Path) -> None:
    for text in ("A", "B"):  # the second replaces the first
        work = Workspace(final, text)
        work.run("write", ["a.txt"], writing(work, "a.txt", text, []))
        work.path("scratch").write_text("not of the bundle")
        work.publish(manifest(work, tmp_path))
        assert {path.name for path in final.iterdir()} == {"a.txt", "manifest.json"}
        assert (final / "a.txt").read_text() == text
        assert json.loads((final / "manifest.json").read_text())["fingerprint"] == text
        assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_where_the_new_bundle_cannot_take_its_place_the_old_one_keeps_it(
    final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Workspace(final, "A")
    work.run("write", ["a.txt"], writing(work, "a.txt", "A", []))
    work.publish(manifest(work, tmp_path))
    work = Workspace(final, "B")
    work.run("write", ["a.txt"], writing(work, "a.txt", "B", []))
    right = os.replace

    def only_the_last_fails(source: Path, target: Path) -> None:
        if source == work.folder:
            raise OSError(5, "Input/output error", str(source))
        right(source, target)

    monkeypatch.setattr(module.os, "replace", only_the_last_fails)
    with pytest.raises(LzuError, match="Input/output error"):
        work.publish(manifest(work, tmp_path))
    assert (final / "a.txt").read_text() == "A"
    assert (final / "manifest.json").is_file()


def test_a_bundle_cut_off_while_it_was_replaced_comes_back(final: Path, tmp_path: Path) -> None:
    work = Workspace(final, "A")
    work.run("write", ["a.txt"], writing(work, "a.txt", "A", []))
    work.publish(manifest(work, tmp_path))
    final.rename(final.parent / f".{final.name}.old")
    Workspace(final, "B")
    assert (final / "a.txt").read_text() == "A"
    assert not (final.parent / f".{final.name}.old").exists()


def test_errors_of_reading_name_the_file(final: Path, tmp_path: Path) -> None:
    work = Workspace(final, "A")
    with pytest.raises(LzuError, match=r"No such file or directory \(.*absent\.txt\)"):
        work.run("read", [], lambda: {"text": (tmp_path / "absent.txt").read_text()})


def test_two_exports_of_one_bundle_exclude_each_other(tmp_path: Path) -> None:
    """The second is told so, and may go ahead once the first is done."""
    final = tmp_path / "det" / "fixed-0.5x"
    with (
        exclusive(final),
        pytest.raises(LzuError, match=r"another export of .* is running"),
        exclusive(final),
    ):
        pass
    with exclusive(final):
        assert final.parent.is_dir()


def test_a_redone_stage_takes_the_later_ones_with_it(final: Path) -> None:
    """They rest on its result."""
    log: list[str] = []
    work = Workspace(final, "print")
    for name in ("a", "b", "c"):
        work.run(name, [name], writing(work, name, name, log))
    work = Workspace(final, "print")
    work.path("b").write_text("damaged")
    for name in ("a", "b", "c"):
        work.run(name, [name], writing(work, name, name, log))
    assert log == ["a", "b", "c", "b", "c"]


def test_stages_of_two_threads_are_all_recorded(final: Path) -> None:
    """The next engine is built while one is compared; a later run finds both."""
    work, log = Workspace(final, "x"), list[str]()
    began, may_end = Event(), Event()

    def build() -> dict[str, Any]:
        began.set()
        may_end.wait(10)
        return writing(work, "b.onnx", "engine", log)()

    other = Thread(target=work.run, args=("build b", ["b.onnx"], build))
    other.start()
    began.wait(10)
    work.run("verify a", [], lambda: {"passed": True})
    may_end.set()
    other.join()
    assert list(work.stages) == ["verify a", "build b"]
    again = Workspace(final, "x")
    assert list(again.stages) == ["verify a", "build b"]
    again.run("build b", ["b.onnx"], writing(again, "b.onnx", "engine", log))
    assert log == ["b.onnx"]
