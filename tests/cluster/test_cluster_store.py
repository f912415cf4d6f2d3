"""Kept outcomes: whole or not at all, and of one run at a time."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lzu_export.cluster.jobs import Command, Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.errors import LzuError

JOB = Job("name", {"a": 1}, Command(("b",)))
DONE = Outcome(JOB.key, "name", "done", "", {"status": 0}, 1.5, "host", {"a/b.bin": b"\x00\xff"})


def test_a_done_outcome_comes_back_and_others_are_not_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "new/store") as store:
        assert store.get(JOB) is None
        store.put(replace(DONE, status="failed", sentence="why"))
        assert store.get(JOB) is None
        store.put(DONE)
        assert store.get(JOB) == DONE
        renamed = replace(JOB, name="other")
        assert store.get(renamed) == replace(DONE, name="other")
        assert store.get(replace(JOB, inputs={"a": 2})) is None


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(LzuError, match=r"another run is using .*; wait for it, or choose")
    with Store(tmp_path), refused:
        Store(tmp_path).__enter__()
    with Store(tmp_path):
        pass


def test_a_full_disk_leaves_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with Store(tmp_path) as store:
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(LzuError, match="the disk is full"):
            store.put(DONE)
        monkeypatch.undo()
        assert store.get(JOB) is None
        store.put(DONE)
        assert store.get(JOB) == DONE


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"files": ["x"]}'])
def test_a_damaged_outcome_is_a_sentence(tmp_path: Path, content: str) -> None:
    with Store(tmp_path) as store:
        (tmp_path / f"{JOB.key}.json").write_text(content)
        with pytest.raises(LzuError, match="remove it to run the job again"):
            store.get(JOB)


def test_an_outcome_with_a_lost_file_is_a_sentence(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(DONE)
        (tmp_path / JOB.key / "a/b.bin").unlink()
        with pytest.raises(LzuError, match="is damaged; remove it"):
            store.get(JOB)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LzuError, match=r"cannot be written: .* file"):
        Store(tmp_path / "file").__enter__()
