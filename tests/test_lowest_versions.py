"""The lowest releases that pyproject.toml admits are installed and run.

With torch this downloads several GB, so that part runs only if LZU_LOWEST_TORCH is set.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("lzu_export", "benchmarks", "calibration", "tests")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "Makefile")
TESTING = ("pytest>=8", "hypothesis>=6.100", "markdown-it-py[linkify]")
VERIFY = "verify {bundle}"
COMMANDS = {
    "runtime": ["inspect {bundle}", "run {bundle} {image} --out out", "doctor --require opencv"],
    "runtime,verify": [VERIFY, "calibrate {bundle} --calibration {frames} --count 2"],
    "runtime,device": [VERIFY, "derive {bundle}"],
    "runtime,bench": [
        "bench --bundles {bundle} --dataset none --min-seconds 0.1 --min-queries 8 --out out"
    ],
}
"""Commands of lzu-export that work with only these extras."""


def _uv() -> str:
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed (extra dev), which resolves to the lowest releases")
    return found


def _python(version: str) -> str:
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    found = str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return found


def _sh(*command: str, cwd: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def _environment(folder: Path, version: str, extras: str, *more: str) -> Path:
    """Make a virtual environment of the lowest releases, and return its folder of programs."""
    uv, python = _uv(), _python(version)
    # Build from copies: a build of the checkout itself would leave files in it.
    source = folder / "source"
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, source / name)
    for name in FILES:
        shutil.copy(REPOSITORY / name, source)
    done = _sh(uv, "venv", "-q", "--python", python, str(folder / "venv"), cwd=source)
    assert done.returncode == 0, done.stderr
    into = ["--python", str(folder / "venv/bin/python"), "--resolution", "lowest-direct"]
    into.append("--compile-bytecode")  # as pip does; otherwise loading takes twice as long
    done = _sh(uv, "pip", "install", "-q", *into, f".[{extras}]", *more, cwd=source)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder / "venv" / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.13"])
@pytest.mark.parametrize("extras", COMMANDS)
def test_commands_run_with_the_lowest_releases(
    extras: str, version: str, bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Each command runs with only the extras that it needs."""
    programs = _environment(tmp_path, version, extras)
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        shutil.copy(image, frames / f"{i}.png")
    for command in COMMANDS[extras]:
        words = command.format(bundle=bundle, image=image, frames=frames).split()
        done = _sh(str(programs / "lzu-export"), *words, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)


PARQUET_AND_SEARCH = """
import optuna, pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({"x": [1.5, None], "name": ["a", "b"]}), "t.parquet")
assert pq.read_table("t.parquet").to_pylist()[0] == {"x": 1.5, "name": "a"}
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
trial = study.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
study.tell(trial, trial.params["x"])
assert 0 <= study.best_value <= 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_jobs_run_on_a_cluster_with_the_lowest_releases(version: str, tmp_path: Path) -> None:
    """No job is lost while a worker and the scheduler are killed; tables and search are there."""
    programs = _environment(tmp_path, version, "cluster,parquet,search")
    words = "-m lzu_benchmarks cluster_kills --jobs 30 --workers 2 --kills 1 --restarts 1"
    done = _sh(str(programs / "python"), *words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = _sh(str(programs / "python"), "-c", PARQUET_AND_SEARCH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("LZU_LOWEST_TORCH"),
    reason="downloads several GB of torch; set LZU_LOWEST_TORCH to do so",
)
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_an_export_and_the_runtime_pass_with_the_lowest_releases(
    version: str, tmp_path: Path
) -> None:
    """The tests of the runtime, which export small bundles and run them, pass."""
    programs = _environment(tmp_path, version, "export,runtime,bench", *TESTING)
    source = tmp_path / "source"
    done = _sh(str(programs / "python"), "-m", "pytest", "-q", "-x", "tests/runtime", cwd=source)
    assert done.returncode == 0, done.stdout[-4000:]
