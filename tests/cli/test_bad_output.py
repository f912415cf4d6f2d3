"""Places that results cannot be written to: one clear sentence, and nothing half-written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_errors import Refused


def test_output_in_a_files_place(
    export: Refused, refused: Refused, tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Or below a file, or where nothing can be made."""
    (tmp_path / "build").write_text("mine")
    assert "cannot be written: part of the path is a file; choose another folder" in export()
    assert (tmp_path / "build").read_text() == "mine"
    for out in (tmp_path / "build", tmp_path / "build" / "x", Path("/proc/x")):
        text = refused("run", tiny_bundle, image, "--out", out)
        assert f"the folder {out} cannot be written: " in text


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a full disk."""
    resource = pytest.importorskip("resource", reason="file sizes are limited as on Linux")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(export: Refused, tiny_bundle: Path, tmp_path: Path) -> None:
    """The graph does not fit; its trace is `tiny_bundle`'s, which all tests share."""
    out = tmp_path / "build"
    with full_disk(20_000):
        text = export()
    assert f"the bundle {out / 'det' / 'tiny-fixed-0.5x'} cannot be written: " in text
    assert "run again" in text
    assert not (out / "det" / "tiny-fixed-0.5x").exists()


def test_a_full_disk_while_pictures_are_written(
    refused: Refused, tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Nothing of them remains."""
    out = tmp_path / "out"
    with full_disk(5_000):
        text = refused("run", tiny_bundle, image, "--out", out)
    assert "frame.png cannot be written: File too large" in text
    assert not out.exists()
