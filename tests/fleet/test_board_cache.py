"""A board's cache of archives: by hash, whole or absent, bounded, held by one work at a time."""

import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from lzu_export.errors import LzuError
from lzu_export.fleet.board_cache import BoardCache


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def arrive(cache: BoardCache, folder: Path, content: bytes) -> str:
    """Let an archive arrive at a board, and return its hash."""
    path = folder / "arrived.tar"
    path.write_bytes(content)
    cache.keep(path, digest_of(content))
    assert not path.exists()
    return digest_of(content)


@pytest.fixture
def cache(tmp_path: Path) -> BoardCache:
    found = BoardCache(tmp_path / "cache")
    with found.alone():
        pass
    return found


def test_what_arrived_is_found_by_its_hash(cache: BoardCache, tmp_path: Path) -> None:
    digest = arrive(cache, tmp_path, b"one")
    absent = "0" * 64
    assert cache.held([digest, absent]) == [digest]
    assert cache.archive(digest).read_bytes() == b"one"
    with pytest.raises(LzuError, match="has lost the archive 000000000000; run the fleet again"):
        cache.archive(absent)


def test_what_is_damaged_is_not_kept(cache: BoardCache, tmp_path: Path) -> None:
    """Neither on arrival nor later; the fleet sends it again."""
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(LzuError, match="arrived damaged; run the fleet again"):
        cache.keep(tmp_path / "x", "0" * 64)
    digest = arrive(cache, tmp_path, b"one")
    cache.archive(digest).write_bytes(b"changed")
    assert cache.held([digest]) == []
    assert not list(cache.folder.glob("*.tar"))


def test_the_oldest_archives_go_first(tmp_path: Path) -> None:
    """Those of the work at hand stay, even where they alone are too large."""
    cache = BoardCache(tmp_path / "cache", kept=10)
    with cache.alone():
        digests = [arrive(cache, tmp_path, bytes([i]) * 4) for i in range(3)]
        for i, digest in enumerate(digests):
            os.utime(cache.folder / f"{digest}.tar", (i, i))
        cache.archive(digests[0])  # used now
        cache.prune([])
        assert cache.held(digests) == [digests[0], digests[2]]
        large = arrive(cache, tmp_path, b"x" * 20)
        cache.prune([large, digests[2]])
        assert cache.held([*digests, large]) == [digests[2], large]


def test_archives_leave_half_of_the_disk(
    cache: BoardCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They make room for those that arrive, before those do."""
    with cache.alone():
        digests = [arrive(cache, tmp_path, bytes([i]) * 4) for i in range(3)]
        for i, digest in enumerate(digests):
            os.utime(cache.folder / f"{digest}.tar", (i, i))
        usage = SimpleNamespace(free=8)
        monkeypatch.setattr("lzu_export.fleet.board_cache.shutil.disk_usage", lambda _: usage)
        cache.prune([])
        assert cache.held(digests) == digests[1:]  # (8 + 12) / 2 bytes are theirs
        cache.prune(digests[2:], arriving=5)
        assert cache.held(digests) == digests[2:]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    cache: BoardCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, new: Path) -> None:
        new.write_bytes(b"x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lzu_export.fleet.board_cache.shutil.move", full)
    with pytest.raises(LzuError, match=r"the board's cache .* cannot be written: the disk is full"):
        arrive(cache, tmp_path, b"one")
    assert {each.name for each in cache.folder.iterdir()} == {"lock"}


def test_a_board_works_for_one_fleet_at_a_time(cache: BoardCache) -> None:
    other = BoardCache(cache.folder)
    with cache.alone(), pytest.raises(LzuError, match="works for another fleet"), other.alone():
        pass
    with other.alone():
        pass


def test_what_a_killed_work_left_is_removed(cache: BoardCache) -> None:
    (cache.folder / "work").mkdir()
    (cache.folder / "work" / "half.onnx").write_text("x")
    (cache.folder / ".a.tar.0123456789abcdef.new").write_text("x")
    with cache.alone() as work:
        assert list(work.iterdir()) == []
        (work / "more").write_text("x")
    assert {each.name for each in cache.folder.iterdir()} == {"lock"}


def test_a_full_or_missing_place_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LzuError, match=r"the board's cache .* cannot be written: part of the path"):
        BoardCache(tmp_path / "file" / "cache").alone().__enter__()
    monkeypatch.setattr("lzu_export.fleet.board_cache.user_folder", lambda: None)
    with pytest.raises(LzuError, match="set LZU_CACHE to a folder"):
        BoardCache()
