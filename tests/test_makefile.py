"""The Makefile keeps apart what does not go together."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.mark.parametrize(
    ("extras", "there", "refused"),
    [
        ("runtime,gpu", "", True),
        ("gpu,verify", "onnxruntime-1.23.2", True),
        ("export,runtime", "onnxruntime_gpu-1.23.2", True),
        ("runtime,verify", "onnxruntime-1.23.2", False),
        ("gpu,verify", "onnxruntime_gpu-1.23.2", False),
        ("verify,bench", "onnxruntime_gpu-1.23.2", False),
    ],
)
def test_runtime_and_gpu_do_not_share_an_environment(
    extras: str, there: str, refused: bool, tmp_path: Path
) -> None:
    """Of the environment that is asked for and of what is in it; nothing is installed here."""
    venv = tmp_path / "venv"
    packages = venv / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    if there:
        (packages / f"{there}.dist-info").mkdir()
    (venv / "bin").mkdir()
    (venv / "bin" / "pip").symlink_to("/bin/true")
    (venv / "bin" / "python").symlink_to("/bin/true")  # has torch, so to speak
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    command = ["make", "setup", f"VENV={venv}", f"EXTRAS={extras}", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    said = "the extras runtime and gpu break each other in one environment"
    assert (said in done.stderr) == refused
    assert (done.returncode == 0) != refused, done.stderr
    assert bool(list(venv.glob(".ready-*"))) != refused
