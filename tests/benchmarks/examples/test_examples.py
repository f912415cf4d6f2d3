"""The examples of networks from other packages train, export, verify and predict."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lzu_export.manifest.schema import read_manifest

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLES = REPOSITORY / "benchmarks/examples"
PACKAGES = {"yolox": ("yolox",), "rtdetr": ("transformers", "scipy")}
"""Import names of the packages of each example's network."""


@pytest.mark.parametrize("name", PACKAGES)
def test_the_tutorial_shows_the_program(name: str) -> None:
    code = (EXAMPLES / f"{name}_tutorial.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 60
    page = (REPOSITORY / f"docs/tutorial-{name}.md").read_text(encoding="utf-8")
    assert f"```python\n{code}```\n" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_the_tutorial_runs(name: str, tmp_path: Path) -> None:
    """Three steps of training: every engine matches PyTorch, and the bundle opens."""
    missing = [each for each in PACKAGES[name] if find_spec(each) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (extra examples)")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}_tutorial.py"), "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (bundle,) = (tmp_path / "build/generic").iterdir()
    assert bundle.name == f"{name}-fixed-0.5x"
    parity = {each.engine: each.status for each in read_manifest(bundle).parity}
    ran = {f"onnxruntime/{precision}" for precision in ("fp32", "fp16", "int8")}
    assert {name for name, status in parity.items() if status == "passed"} >= ran
    assert all(status in ("passed", "graph passed") for status in parity.values())
