"""Announcements of installed packages are read once, and again where packages have changed."""

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lzu_export.support.entry_points import entry_points

GROUP = "lzu_export.a_group_of_this_test"


def announce(folder: Path, package: str) -> None:
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{package} = {package}:OBJECT\n")


def test_a_package_is_found_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not entry_points(GROUP)
    announce(tmp_path, "first")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert entry_points(GROUP).names == {"first"}
    announce(tmp_path, "second")
    os.utime(tmp_path, ns=(1, 1))  # later, however coarse the file system's clock is
    assert entry_points(GROUP).names == {"first", "second"}
    assert entry_points("lzu_export.another_group").names == set()


def test_packages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = entry_points(GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda **_: pytest.fail("read again"))
    assert entry_points(GROUP) is found
