"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.support.files import clear, make_folder, replacing, write_text


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with replacing(path) as new:
        assert new.parent == tmp_path
        new.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def stop() -> None:
        with replacing(path) as new:
            new.write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stop()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "a.json", "")


def test_two_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whose block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    """Whoever sent the folder chose where it points."""
    target, link, dangling, loop = (tmp_path / name for name in ("target", "link", "none", "loop"))
    target.write_text("mine")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "new")
    loop.symlink_to(loop)
    for path in (link, dangling, loop):
        write_text(path, "text")
        assert not path.is_symlink()
        assert path.read_text() == "text"
    assert target.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_pipe_that_the_user_named_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "through", named=True)
        assert os.read(reader, 99) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    write_text(pipe, "text")  # any other would wait for a reader
    assert pipe.read_text() == "text"


def test_devices_are_written_to_and_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`--junit /dev/stdout` goes to the terminal, a file or a pipe; /dev/null keeps nothing."""
    for named in (False, True):
        write_text(Path("/dev/stdout"), "text", named=named)
        write_text(Path("/dev/null"), "text", named=named)
    assert capfd.readouterr().out.count("text") >= 1  # a file is written from its beginning
    assert Path("/dev/null").is_char_device()
    assert Path("/dev/stdout").is_symlink()
    with pytest.raises(LzuError, match=r"is a folder, not a file; name another place"):
        write_text(tmp_path, "text")


def test_folders_are_made_within_a_folder_alone(tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    out.mkdir()
    away.mkdir()
    make_folder(out / "a/b", below=out)
    make_folder(out / "a/b", below=out)
    assert (out / "a/b").is_dir()
    (out / "link").symlink_to(away)
    with pytest.raises(LzuError, match="link is a symbolic link, which is not followed; remove it"):
        make_folder(out / "link/c", below=out)
    (away / "kept").touch()
    clear(out / "link")
    clear(out / "a")
    assert list(out.iterdir()) == []
    assert (away / "kept").exists()
