"""What a bundle's fingerprint depends on."""

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from lzu_export.compiler import fingerprint as module
from lzu_export.compiler.fingerprint import fingerprint
from lzu_export.support import hardware, provenance
from lzu_export.support.version import VERSION
from samples import tiny_recipe


def test_the_fingerprint_knows_the_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It covers recipe, packages, and the code of the compiler and of the harness."""
    recipe = tiny_recipe(tmp_path)
    base = fingerprint(recipe)
    assert fingerprint(tiny_recipe(tmp_path)) == base
    assert fingerprint(recipe.model_copy(update={"batch": 2})) != base
    evaluated = recipe.evaluation.model_copy(update={"dataset": "demo"})
    demo = recipe.model_copy(update={"evaluation": evaluated})
    on_demo = fingerprint(demo)

    digests, own = provenance.source_digest, provenance.PACKAGE

    def harness_changed(root: Path = own) -> str:
        return digests(root) if root == own else "changed"

    monkeypatch.setattr(module, "source_digest", harness_changed)
    assert fingerprint(recipe) == base  # it uses no harness
    assert fingerprint(demo) != on_demo
    monkeypatch.setattr(module, "versions", lambda *_: {"torch": "9"})
    assert fingerprint(recipe) != base


def test_what_runs_engines_is_recorded_and_changes_no_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installing TensorRT or a CUDA package requires no new export."""
    recipe = tiny_recipe(tmp_path)
    base, real = fingerprint(recipe), provenance.version
    there = {"tensorrt": "10.3.0", "cuda-bindings": "13.0.1", "pycuda": "2025.1"}
    monkeypatch.setattr(provenance, "version", lambda name: there.get(name) or real(name))
    assert there.items() <= provenance.versions().items()
    assert fingerprint(recipe) == base
    there["onnx"] = "99"
    assert fingerprint(recipe) != base


def test_the_machine_is_said() -> None:
    """It takes one line."""
    assert f"{hardware.threads()} threads" in hardware.processor()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package outside of any clone, in the place of this one."""
    folder = tmp_path / "site-packages" / "lzu_export"
    folder.mkdir(parents=True)
    (folder / "module.py").write_text("ONE = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    monkeypatch.setattr(provenance, "source_digest", partial(provenance.source_digest, folder))
    return folder


def test_an_installed_package_has_release_and_code_as_its_revision(package: Path) -> None:
    """A change of the code changes it."""
    revision = provenance.source_revision()
    assert re.fullmatch(rf"{re.escape(VERSION)}, code [0-9a-f]{{64}}", revision)
    short = provenance.short_revision(revision)
    assert short == revision[: len(VERSION) + len(", code ") + 12]
    (package / "module.py").write_text("ONE = 2\n")
    assert provenance.source_revision() != revision


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_clone_has_its_commit_as_its_revision(package: Path) -> None:
    """And says whether files that git knows have changed since."""
    git = ["git", "-C", str(package.parent), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *words], check=True)
    revision = provenance.source_revision()
    assert re.fullmatch("[0-9a-f]{40}", revision)
    (package / "module.py").write_text("ONE = 2\n")
    assert provenance.source_revision() == f"{revision}+changes"
    assert provenance.short_revision(f"{revision}+changes") == f"{revision[:12]}+changes"


def test_a_clone_without_git_is_told_by_its_code(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package.parent / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert provenance.source_revision().startswith(f"{VERSION}, code ")
