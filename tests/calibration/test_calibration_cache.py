"""The cache: read back exactly, read by people, refused where it is stale or foreign."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_calibration import Cache, CachedFrames, check_cache, make_cache, read_cache, write_cache
from lzu_calibration.cache import FORMAT
from lzu_calibration.errors import CalibrationError

FRAMES = CachedFrames(name="demo", count=16, seed=0, digest="d" * 64)
MODEL = "a" * 64
RANGES = {"layer2": 0.1, "layer1": 2 / 3, "head": 1e-7}


def cache(**changes: Any) -> Cache:
    made = make_cache(
        model=MODEL, frames=FRAMES, method="entropy", percentile=99.9, ranges=RANGES, version="1.2"
    )
    return made.model_copy(update=changes)


def check(found: Cache, **changes: Any) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "frames": FRAMES,
        "method": "entropy",
        "percentile": None,
        "tensors": ["head", "layer1"],
    }
    check_cache(found, Path("calibration.json"), **{**asked, **changes})


def test_it_is_for_people_too(tmp_path: Path) -> None:
    """One range a line, sorted; nothing left beside it."""
    path = tmp_path / "calibration.json"
    write_cache(path, cache(ranges=RANGES))
    lines = [line.strip() for line in path.read_text().splitlines()]
    start = lines.index('"ranges": {')
    assert lines[start + 1 : start + 4] == [
        '"head": 1e-07,',
        '"layer1": 0.6666666666666666,',
        '"layer2": 0.1',
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["calibration.json"]
    found = read_cache(path)
    assert found == cache(created=found.created)
    assert found.version == json.loads(path.read_text())["lzu_export"] == "1.2"
    assert found.percentile is None
    check(found)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.floats(min_value=0, exclude_min=True, allow_infinity=False)))
def test_floats_and_names_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, ranges: dict[str, float]
) -> None:
    """To the last bit."""
    path = tmp_path_factory.mktemp("cache") / "calibration.json"
    write_cache(path, cache(ranges=ranges))
    assert read_cache(path).ranges == ranges


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "b" * 64}, "for another model .sha256 aaaaaaaaaaaa, not bbbbbbbbbbbb"),
        (
            {"frames": CachedFrames(name="drive.mp4", count=16, seed=0, digest="e" * 64)},
            r"on different frames \(name demo, not drive.mp4\)",
        ),
        (
            {"frames": CachedFrames(name="demo", count=8, seed=0, digest="e" * 64)},
            r"on different frames \(count 16, not 8\)",
        ),
        (
            {"frames": CachedFrames(name="demo", count=16, seed=3, digest="e" * 64)},
            r"on different frames \(seed 0, not 3\)",
        ),
        (
            {"frames": CachedFrames(name="demo", count=16, seed=0, digest="e" * 64)},
            "files were changed, added or removed",
        ),
        ({"method": "mse"}, "by method entropy, not mse; ask for that one"),
        ({"method": "percentile", "percentile": 99.9}, "entropy, not percentile 99.9"),
        ({"tensors": ["head", "neck"]}, "no range of tensor neck; delete it"),
        ({"tensors": ["neck", "stem"]}, "no range of tensor neck and 1 more; delete it"),
    ],
)
def test_a_stale_or_foreign_cache_is_refused(changes: dict[str, Any], reason: str) -> None:
    """With what differs and what to do."""
    with pytest.raises(CalibrationError, match=rf"^calibration.json .*{reason}"):
        check(cache(), **changes)


def test_another_percentile_is_another_method() -> None:
    """The same one is not."""
    made = cache(method="percentile", percentile=99.9)
    check(made, method="percentile", percentile=99.9)
    with pytest.raises(CalibrationError, match=r"method percentile 99.9, not percentile 99.99"):
        check(made, method="percentile", percentile=99.99)


def test_the_same_frames_under_another_name_are_the_same() -> None:
    """A folder was moved, or all of its frames were taken with another seed."""
    check(cache(), frames=FRAMES.model_copy(update={"name": "moved", "seed": 5}))


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_unusable_ranges_are_refused_by_name(tmp_path: Path, value: float) -> None:
    """Also as they come out of the file."""
    path = tmp_path / "calibration.json"
    write_cache(path, cache(ranges={**RANGES, "neck": value}))
    with pytest.raises(
        CalibrationError, match=rf"tensor neck the range {value}, which is no finite pos"
    ):
        check(read_cache(path))


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    """Missing, of another format, damaged, or with a field too many or too few."""
    path = tmp_path / "calibration.json"
    with pytest.raises(CalibrationError, match=r"cannot be read .No such file"):
        read_cache(path)
    write_cache(path, cache())
    good = json.loads(path.read_text())
    for text, reason in (
        (json.dumps({**good, "format": FORMAT + 1}), f"has cache format {FORMAT + 1} but this"),
        (json.dumps({"a": 1}), "has cache format None but this"),
        (path.read_text()[:-30], "is damaged; delete it"),
        ("[]", "is damaged; delete it"),
        (json.dumps({**good, "note": "x"}), "not a calibration cache .field note: "),
        (
            json.dumps({**good, "ranges": {"a": "wide"}}),
            r"not a calibration cache .field ranges\.a: ",
        ),
    ):
        path.write_text(text)
        with pytest.raises(CalibrationError, match=reason):
            read_cache(path)


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """With the remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CalibrationError, match=r"the calibration cache .* cannot be written: "):
        write_cache(tmp_path / "file" / "calibration.json", cache())
