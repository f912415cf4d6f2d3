"""A wheel of this project next to SAHI and supervision: a bundle runs, and doctor has its say.

What docs/install.md has in its second table, as far as no several GB are needed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("lzu_export", "benchmarks", "calibration", "plugins")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in")
RUN = """
import sys, cv2, {module}
from lzu_export.runtime import load
found = load(sys.argv[1])(cv2.imread(sys.argv[2]))
print(found.boxes.shape[1], {module}.__version__)
"""


def sh(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy: a build leaves files beside the sources."""
    uv = pytest.importorskip("uv", reason="uv (extra dev) builds and installs the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "build")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / "source")
    done = sh(uv.find_uv_bin(), "build", "-q", "--wheel", "-o", ".", "source", cwd=folder)
    if done.returncode:
        reached = "error sending request" not in done.stderr and "Failed to" not in done.stderr
        assert reached is False, done.stderr
        pytest.skip("the package index cannot be reached")
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.parametrize(("package", "opencvs"), [("sahi", 2), ("supervision", 1)])
def test_a_bundle_runs_next_to(
    package: str, opencvs: int, wheel: Path, tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    import uv

    program, python = uv.find_uv_bin(), str(tmp_path / "venv/bin/python")
    assert (
        sh(program, "venv", "-q", "--python", sys.executable, "venv", cwd=tmp_path).returncode == 0
    )
    mine = f"lzu-export[runtime] @ {wheel.as_uri()}"
    done = sh(program, "pip", "install", "-q", "--python", python, mine, package, cwd=tmp_path)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    code = RUN.format(module=package)
    done = sh(python, "-c", code, str(tiny_bundle), str(image), cwd=tmp_path)
    assert done.stdout.startswith("4 "), done.stderr
    done = sh(python, "-m", "lzu_export", "doctor", "--json", cwd=tmp_path)
    findings: dict[str, Any] = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings["opencv"]["found"]
    assert len(findings["opencv"]["notes"]) == opencvs - 1
    assert findings["onnxruntime"]["found"]
