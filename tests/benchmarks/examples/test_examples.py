"""The examples of networks from other packages train, export, verify and predict."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import read_manifest

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLES = REPOSITORY / "benchmarks/examples"
PACKAGES = {"yolox": ("yolox",), "rtdetr": ("transformers", "scipy")}
"""Import names of the packages of each example's network."""


def output_of(program: str, folder: Path, *words: str) -> str:
    """Run an example in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_the_tutorial_shows_the_program(name: str) -> None:
    code = (EXAMPLES / f"{name}_tutorial.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 60
    page = (REPOSITORY / f"docs/tutorial-{name}.md").read_text(encoding="utf-8")
    assert f"```python\n{code}```\n" in page


@pytest.mark.slow
def test_the_detector_of_two_views_trains_and_is_scored(tmp_path: Path) -> None:
    """Two steps on few frames: both views are fed, and `load` merges them at twice the time."""
    words = ["--out", "views", "--steps", "2", "--sequences", "2", "--frames", "4", "--json"]
    words += ["--variants", "fixed", "views"]
    record = json.loads(output_of("views_detector.py", tmp_path, *words))
    assert 1.5 < record["time"]["views"]["value"] < 2.5
    assert list(record["gain"]) == ["views - fixed"]
    (training,) = [each["training"] for each in record["runs"] if each["training"]]
    assert training["steps"] == 2
    recipe = Bundle(tmp_path / "views/generic/views-fixed-0.5x").recipe
    assert [(each.x, each.width) for each in recipe.views] == [(120, 400)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_the_tutorial_runs(name: str, tmp_path: Path) -> None:
    """Three steps of training: every engine matches PyTorch, and the bundle opens."""
    missing = [each for each in PACKAGES[name] if find_spec(each) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (extra examples)")
    output_of(f"{name}_tutorial.py", tmp_path, "3")
    (bundle,) = (tmp_path / "build/generic").iterdir()
    assert bundle.name == f"{name}-fixed-0.5x"
    parity = {each.engine: each.status for each in read_manifest(bundle).parity}
    ran = {f"onnxruntime/{precision}" for precision in ("fp32", "fp16", "int8")}
    assert {name for name, status in parity.items() if status == "passed"} >= ran
    assert all(status in ("passed", "graph passed") for status in parity.values())
