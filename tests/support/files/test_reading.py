"""Files that may come from anyone are read within bounds, or refused in a sentence."""

import os
import socket
from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.support.files import parse_json, read_bytes, read_json, read_text


def refused(path: Path, limit: int = 1000) -> str:
    with pytest.raises(LzuError) as caught:
        read_bytes(path, limit=limit, remedy="give another")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; give another")
    return str(caught.value)


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"x" * 1000)
    link.symlink_to(path)
    assert read_bytes(path, limit=1000) == read_bytes(link, limit=1000) == b"x" * 1000
    assert "has 1000 bytes where at most 999 are read" in refused(path, 999)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes to would wait for ever, a device never end."""
    pipe, one, two, plug = (tmp_path / name for name in ("pipe", "one", "two", "plug"))
    os.mkfifo(pipe)
    assert "pipe is a pipe, not a file" in refused(pipe)
    one.symlink_to(two)
    two.symlink_to(one)
    assert "one cannot be read (its symbolic links lead in a circle)" in refused(one)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plug))
        assert "plug cannot be read" in refused(plug)
    assert "is a folder, not a file" in refused(tmp_path)
    assert "/dev/zero is a device, not a file" in refused(Path("/dev/zero"))
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "none")
    assert "cannot be read (Not a directory)" in refused(plug / "under")
    assert "is no path" in refused(tmp_path / "nul\0")
    assert "cannot be read (File name too long)" in refused(tmp_path / ("x" * 300))


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    """A sparse one costs no disk; one of /proc has no size."""
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 42)
    assert "has 4398046511104 bytes" in refused(path)
    maps = Path("/proc/self/maps")
    assert maps.stat().st_size == 0
    assert "has more than 100 bytes" in refused(maps, 100)


def test_text_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf\xc3\xa4")
    assert read_text(path) == "ä"
    path.write_bytes(b"abc\xff")
    with pytest.raises(LzuError, match=r"a is not text in UTF-8 \(byte 3\); give another file"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"\xff\xfe\x00", "byte 2 is not UTF-16"),
        (b"[" * 100 + b"]" * 100, "nested more than 64 deep"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"a":' * 100_000, "nested more than 64 deep"),
        (b"9" * 5000, "integer string conversion"),
    ],
)
def test_what_is_no_json_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(LzuError, match=why) as caught:
        read_json(path, remedy="export it again")
    assert str(caught.value).startswith(f"{path} is not valid JSON (")
    assert str(caught.value).endswith("; export it again")


def test_json_is_read_as_it_is() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\\u00e4"]}') == {"a": [1, 2.5, None, "ä"]}
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        assert parse_json('{"ä": 1}'.encode(encoding)) == {"ä": 1}
    deep = "[" * 64 + "]" * 64
    assert parse_json(deep)
    assert parse_json('{"a": 1, "a": NaN, "b": 1e999}')["b"] == float("inf")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"b": {"a": 1, "a": 2}}'])
def test_keys_that_stand_twice_are_refused_where_asked(text: str) -> None:
    with pytest.raises(ValueError, match="key 'a' stands twice"):
        parse_json(text, unique=True)


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", "-1e400"])
def test_numbers_that_json_has_not_are_refused_where_asked(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number of JSON|is too large"):
        parse_json(text, strict=True)
