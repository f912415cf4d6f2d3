"""Rendered frames on disk: the same as drawn ones, whatever is there already."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lzu_benchmarks.demo import frame_cache
from lzu_benchmarks.demo.frame_cache import cache_folder, frame, frames
from lzu_benchmarks.scenes import Frame, Sequence, render
from lzu_export.errors import LzuError

KEYS = [(3, 0), (3, 5), (4, 0)]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def assert_equal(first: Frame, second: Frame) -> None:
    """All that is known of a frame, with its types."""
    for each in fields(Frame):
        a, b = getattr(first, each.name), getattr(second, each.name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=each.name)


def test_a_kept_frame_is_the_drawn_one(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = frame(3, 5)
    assert_equal(drawn, render(Sequence(3), 5))
    (file,) = empty.iterdir()
    assert file.stat().st_size < 200_000
    monkeypatch.setattr(frame_cache, "paint", None)
    assert_equal(frame(3, 5), drawn)


def test_other_processes_draw_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_cache, "FEW", 0)
    frame(*KEYS[1])
    monkeypatch.setattr(frame_cache, "paint", None)  # here, not there
    for found, (seed, index) in zip(frames(KEYS), KEYS, strict=True):
        assert_equal(found, render(Sequence(seed), index))


def test_dead_workers_and_damaged_files_cost_time_only(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_cache, "FEW", 0)
    monkeypatch.setattr(frame_cache.sys, "executable", "false")
    frame(*KEYS[0])
    (file,) = empty.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    for found, (seed, index) in zip(frames(KEYS), KEYS, strict=True):
        assert_equal(found, render(Sequence(seed), index))
    assert file.stat().st_size > 1000


def test_no_disk_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(frame_cache, "FEW", 0)
    (found,) = frames([(3, 0)])
    assert_equal(found, render(Sequence(3), 0))


def test_the_folder_is_the_user_s_and_of_this_renderer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LZU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder()
    assert folder.parent == tmp_path / "lzu_export" / "frames"
    frame_cache._renderer.cache_clear()
    monkeypatch.setattr(frame_cache, "source_digest", lambda root: f"changed {root.name}")
    assert cache_folder().name != folder.name
    frame_cache._renderer.cache_clear()


def test_a_user_without_home_names_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither HOME nor an entry in the system's list of users."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("LZU_CACHE", "/somewhere")
    assert frame_cache.cache_folder().parts[:3] == ("/", "somewhere", "frames")
    monkeypatch.delenv("LZU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert frame_cache.cache_folder().parts[:4] == ("/", "caches", "lzu_export", "frames")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(LzuError, match="set LZU_CACHE to a folder"):
        frame_cache.cache_folder()
