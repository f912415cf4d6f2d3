"""The kernels build from sources that cannot be written, as in an installed package."""

import ctypes
import shutil
import stat
from pathlib import Path

import pytest
from toolchain import PLUGINS

from lzu_export.compiler import build_plugins as module
from lzu_export.compiler.build_plugins import HOST, build_plugins


@pytest.mark.slow  # compiles all kernels
def test_read_only_sources_build_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copied header is read-only then, too, and is replaced by a later release's."""
    if shutil.which("make") is None or shutil.which("g++") is None:
        pytest.skip("needs make and g++")
    sources = Path(shutil.copytree(PLUGINS, tmp_path / "site-packages"))
    for path in (sources, *sources.rglob("*")):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    monkeypatch.setattr(module, "PLUGINS", sources)
    built, _ = build_plugins(HOST, out=tmp_path / "out")
    assert ctypes.CDLL(str(built.library)).lzu_suppress
    (built.folder / "lzu_kernels_host.pc").unlink()
    assert build_plugins(HOST, out=tmp_path / "out")[0].is_complete
    for path in (sources, *sources.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
