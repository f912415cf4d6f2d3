"""`lzu-export plugins`: its output, its options, and the paths that it prints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lzu_export.cli.app import app
from lzu_export.compiler import build_plugins as module
from lzu_export.compiler.build_plugins import HOST, Build, Kind
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import PluginLibrary
from lzu_export.support.checkout import PLUGINS


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["plugins", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Nothing is built; what was asked for is listed."""
    asked: list[dict[str, Any]] = []

    def build(kind: Kind, **options: Any) -> tuple[Build, PluginLibrary | None]:
        asked.append({"kind": kind, **options})
        described = PluginLibrary(
            file="liblzu_plugins.so",
            sha256="0" * 64,
            version=None if kind.cross else 1,
            cuda_major=None if kind.cross else 13,
        )
        return Build(kind, tmp_path), None if kind is HOST else described

    monkeypatch.setattr(module, "build_plugins", build)
    return asked


def test_what_was_built(built: list[dict[str, Any]], tmp_path: Path) -> None:
    library = tmp_path / "liblzu_plugins.so"
    assert run("--arch", "8.7", "--arch", "110") == f"{library}: version 1, CUDA 13\n"
    assert built[-1]["architectures"] == ["8.7", "110"]
    assert run("--cross") == f"{library}: for aarch64\n"
    host = tmp_path / "liblzu_kernels_host.so"
    assert run("--host", "--out", "x") == f"{host}: the kernels for this processor\n"
    assert built[-1]["out"] == Path("x")
    data = json.loads(run("--json"))
    assert data["library"] == str(library)
    assert data["pkgconfig"] == str(tmp_path)
    assert (data["version"], data["cuda_major"], data["sha256"]) == (1, 13, "0" * 64)
    assert "version" not in json.loads(run("--host", "--json"))


def test_paths_are_printed(tmp_path: Path) -> None:
    assert run("--print", "sources") == f"{PLUGINS}\n"
    (tmp_path / "include").mkdir()
    for name in ("liblzu_kernels_host.so", "include/lzu_kernels.h", "lzu_kernels_host.pc"):
        (tmp_path / name).touch()
    place = ("--host", "--out", str(tmp_path), "--print")
    assert run(*place, "include") == f"{tmp_path / 'include'}\n"
    assert run(*place, "pkgconfig") == f"{tmp_path}\n"
    found = json.loads(run(*place, "library", "--json"))
    assert found == {"library": str(tmp_path / "liblzu_kernels_host.so")}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cross", "--host"], "give one"),
        (["--host", "--arch", "87"], "leave out --arch and --tensorrt"),
        (["--print", "headers"], "give one of sources, include, pkgconfig, library"),
        (["--out", "nowhere", "--print", "include"], "nothing is built in .*; run lzu-export pl"),
    ],
)
def test_what_does_not_go_together(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke: Callable[..., Any] = CliRunner().invoke
    with pytest.raises(LzuError, match=sentence):
        invoke(app, ["plugins", *words], catch_exceptions=False)
