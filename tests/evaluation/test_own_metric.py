"""A metric of the user's own over the frames of a folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lzu_export.evaluation.own_metric import OwnMetricSet
from lzu_export.inputs.frame_sources import candidates
from samples import noise_frames, refusal

SIZE = (8, 12)


def opened(folder: Path, frames: int | None = None) -> OwnMetricSet:
    recipe: Any = SimpleNamespace(classes=())
    return OwnMetricSet(folder, len, frames, recipe)


def test_frames_that_are_scored_are_read_once_and_others_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = noise_frames(tmp_path / "frames", 7, SIZE)
    read: list[str] = []
    original = candidates.read_image

    def counted(path: Path) -> Any:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(candidates, "read_image", counted)
    monkeypatch.setattr(candidates, "file_hash", lambda path: read.append(f"hash of {path}"))
    some = opened(folder, 3)
    assert (len(some), read) == (3, [])
    found = list(some.samples())
    assert read == [each.name for each in found] == ["0.png", "3.png", "6.png"]
    assert [each.number for each in found] == [1, 2, 3]
    read.clear()
    rest = list(some.samples(1))
    assert read == ["3.png", "6.png"]
    for mine, theirs in zip(rest, found[1:], strict=True):
        assert mine.number == theirs.number
        np.testing.assert_array_equal(mine.camera_frame.frame, theirs.camera_frame.frame)
    assert len(opened(folder)) == 7


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    assert "holds no images" in refusal(lambda: opened(tmp_path))
    assert "does not exist" in refusal(lambda: opened(tmp_path / "nowhere"))
