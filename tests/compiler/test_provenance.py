"""What a bundle's fingerprint depends on."""

from pathlib import Path

import pytest

from lzu_export.compiler import fingerprint as module
from lzu_export.compiler.fingerprint import fingerprint
from lzu_export.support import hardware, provenance
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


def test_the_machine_and_the_revision_are_said() -> None:
    """Machine and source revision take one line each."""
    assert f"{hardware.threads()} threads" in hardware.processor()
    revision = provenance.source_revision().removesuffix("+changes")
    assert revision == "unknown" or len(revision) == 40
