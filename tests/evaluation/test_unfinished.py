"""The state of an interrupted evaluation on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation import resume as module
from lzu_export.evaluation.resume import Unfinished

STATES: dict[str, Any] = {
    "onnxruntime/fp32": {"0 scores": np.array([0.5, 0.25]), "names": np.array(["a", "bc"])},
    "watch": {"gaps": np.zeros((0, 3))},
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results" / "a.npz"
    Unfinished(path, "bundle", 3).write(17, STATES)
    done, states = Unfinished(path, "bundle", 3).read(list(STATES))
    assert done == 17
    assert states.keys() == STATES.keys()
    for name, state in STATES.items():
        assert states[name].keys() == state.keys()
        for field, array in state.items():
            np.testing.assert_array_equal(states[name][field], array)
            assert states[name][field].dtype == array.dtype
    assert [each.name for each in path.parent.iterdir()] == ["a.npz"]


def test_another_evaluation_s_state_is_not_taken(tmp_path: Path) -> None:
    """Of other files, of other engines, cut off, or finished."""
    path = tmp_path / "a.npz"
    mine = Unfinished(path, "bundle", 3)
    assert mine.read(list(STATES)) == (0, {})
    mine.write(17, STATES)
    assert Unfinished(path, "bundle", 4).read(list(STATES)) == (0, {})
    assert mine.read(["onnxruntime/fp32"]) == (0, {})
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        assert mine.read(list(STATES)) == (0, {})
    path.write_bytes(whole)
    assert mine.read(list(STATES))[0] == 17
    mine.remove()
    mine.remove()
    assert mine.read(list(STATES)) == (0, {})


def test_it_is_due_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    mine = Unfinished(tmp_path / "a.npz")
    assert not mine.due
    clock[0] += module.SECONDS + 1
    assert mine.due
    mine.write(1, {})
    assert not mine.due


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LzuError, match=r"the unfinished evaluation .*a\.npz cannot be written"):
        Unfinished(tmp_path / "file" / "a.npz").write(1, {})
