"""Errors of lzu_calibration reach the user as this package's, with the same sentences."""

from pathlib import Path

import pytest

from lzu_calibration import CachedFrames, CalibrationError, make_cache
from lzu_export.errors import LzuError
from lzu_export.quantization.calibration import (
    calibration_errors,
    check_method,
    read_cache,
    write_cache,
)

FRAMES = CachedFrames(name="demo", count=2, seed=0, digest="d")


def test_a_sentence_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"^calibration method 'kl' is unknown; choose one of max"):
        check_method("kl", None)
    with pytest.raises(LzuError, match=r"cannot be read .No such file.*give one that calibrate"):
        read_cache(tmp_path / "calibration.json")
    with pytest.raises(LzuError, match=r"^a, b$"), calibration_errors():
        raise CalibrationError("a, b")


def test_a_file_that_cannot_be_written_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = make_cache(
        model="m", frames=FRAMES, method="max", percentile=None, ranges={}, version="1"
    )
    path = tmp_path / "file" / "calibration.json"
    with pytest.raises(LzuError, match=rf"^the calibration cache {path} cannot be written: part"):
        write_cache(path, cache)
