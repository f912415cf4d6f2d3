"""One holder of a folder at a time, and no file behind a link."""

from pathlib import Path
from typing import Any

import pytest

from lzu_export.errors import LzuError
from lzu_export.support.files import locking
from lzu_export.support.files.locking import holding


def test_a_second_holder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "made" / ".lock"
    with (
        holding(lock, "the folder", "first refusal"),
        pytest.raises(LzuError, match=r"^second refusal$"),
        holding(lock, "the folder", "second refusal"),
    ):
        pytest.fail("two hold it")
    with holding(lock, "the folder", "third refusal"):
        assert lock.is_file()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / ".lock").symlink_to(target)
    with (
        pytest.raises(LzuError, match=r"/\.lock is no file of ours; remove it$"),
        holding(tmp_path / ".lock", "the folder", "refusal"),
    ):
        pytest.fail("it is a link")
    assert not target.exists()


def test_a_lock_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened the file before its holder removed it locks the new one instead."""
    path = tmp_path / ".lock"
    opened = []
    flock = locking.fcntl.flock

    def removed_once(lock: Any, how: int) -> None:
        flock(lock, how)
        if not opened:
            path.unlink()
        opened.append(lock)

    monkeypatch.setattr(locking.fcntl, "flock", removed_once)
    with holding(path, "the folder", "refusal", remove=True):
        assert len(opened) == 2
        monkeypatch.setattr(locking.fcntl, "flock", flock)
        with pytest.raises(LzuError, match=r"^refusal$"), holding(path, "the folder", "refusal"):
            pass
        assert path.exists()
    assert not path.exists()
