"""The commands of the README and of the quick start do what the pages describe."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.manifest.schema import Accuracy, read_manifest

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
ARCHITECTURE = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
START = (REPOSITORY / "docs/quickstart.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def command(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_readme_is_short() -> None:
    """The README has only the purpose and the first steps; all else is in docs/."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(
    "page", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=str
)
def test_pictures_are_small(page: Path) -> None:
    """Each picture of a page exists and is quick to load."""
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / picture).stat().st_size < 200_000, picture


def test_every_command_named_exists() -> None:
    """Each `lzu-export X` of the list is a command with a help page, and each command is listed."""
    named = set(re.findall(r"`lzu-export ([a-z]+)", COMMANDS))
    assert {"export", "verify", "run", "build", "calibrate", "inspect", "recipes"} <= named
    listed = command(sys.executable, "-m", "lzu_export", "--help").stdout
    assert all(re.search(rf"\b{name}\b", listed) for name in named)


def test_every_make_target_named_exists() -> None:
    """Each `make X` of the page is a target."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z][a-z0-9-]+)\b", README, flags=re.MULTILINE))
    assert {"export", "test"} <= named
    named |= set(re.findall(r"(?:^|`|&& )make ([a-z][a-z0-9-]+)\b", START + COMMANDS, re.MULTILINE))
    assert named - {"export"} <= targets


def test_folders_named_exist() -> None:
    """The table of packages names existing folders, and all packages."""
    section = ARCHITECTURE.split("## Packages")[1].split("##")[0]
    named = set(re.findall(r"^\| [^|]* \| `([^`]+)` \|", section, flags=re.MULTILINE))
    assert len(named) > 15
    for folder in named:
        assert (REPOSITORY / folder).is_dir(), folder
    packages = {path.parent for path in (REPOSITORY / "lzu_export").glob("*/__init__.py")}
    assert {str(each.relative_to(REPOSITORY)) for each in packages} <= named


def test_files_named_exist() -> None:
    """The architecture page names existing files."""
    named = set(re.findall(r"`((?:lzu_export|plugins|tests|benchmarks)/[^`\s]+)`", ARCHITECTURE))
    assert len(named) > 20
    for name in named:
        assert "NAME" in name or any(REPOSITORY.glob(name)), name


def losses(accuracy: Accuracy) -> dict[str, float]:
    """Return the points of the metric by which each engine differs from PyTorch."""
    wanted = accuracy.pytorch[accuracy.metric]
    found = accuracy.engines.items()
    return {name: abs(values[accuracy.metric] - wanted) for name, values in found}


def run_snippets(task: str, classes: Sequence[str], folder: Path) -> Any:
    """Run the Python of README and quick start on a demonstration frame; return its sample."""
    from lzu_export.evaluation.datasets import open_dataset

    sample = next(open_dataset("demo", 1, task).samples())
    cv2.imwrite(str(folder / "frame.png"), sample.camera_frame.frame)
    snippets = [*blocks(README, "python"), *blocks(START, "python")]
    mine = [each for each in snippets if f'"build/{task}/' in each]
    assert len(mine) == (2 if task == "det" else 1)
    for snippet in mine:
        ran = command(sys.executable, "-c", snippet, cwd=folder)
        assert ran.returncode == 0, ran.stderr
        assert any(name in ran.stdout for name in classes)
    return sample


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("task", "scale", "metric", "gain"),
    [("det", 0.5, "AP", 2.0), ("seg", 0.25, "mIoU", 1.0), ("det3d", 0.5, "NDS*", 1.0)],
)
def test_first_command_and_snippet(
    task: str, scale: float, metric: str, gain: float, tmp_path: Path
) -> None:
    """`make export` ends in two verified bundles; the Python of the page runs on one."""
    out = tmp_path / "build"
    # The environment of the tests replaces the one that `make` would set up.
    ready = tmp_path / "venv"
    ready.mkdir()
    (ready / "bin").symlink_to(Path(sys.executable).parent)
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^EXTRAS \?= (.*)$", makefile, flags=re.MULTILINE)
    assert extras is not None
    (ready / f".ready-{extras[1].replace(',', '-')}").touch()
    first = next(line for line in blocks(README, "sh")[0].splitlines() if "export" in line)
    words = first.split("#")[0].split()
    assert words == ["make", "export", "TASK=det"]
    words[-1] = f"TASK={task}"
    if task != "det":  # evaluate one task in full; the others need only a few frames
        words.append("SET=evaluation.frames=64")
    done = command(*words, f"OUT={out}", f"VENV={ready}")
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    bundles = [out / task / f"{name}-{scale}x" for name in ("fixed", "uniform")]
    fixed, uniform = (read_manifest(bundle) for bundle in bundles)
    for manifest, bundle in zip((fixed, uniform), bundles, strict=True):
        assert manifest.accuracy is not None
        assert manifest.latency is not None
        assert {parity.status for parity in manifest.parity} == {"passed", "graph passed"}
        for precision in ("fp32", "fp16", "int8"):
            assert (bundle / f"model.{precision}.rtx.engine").stat().st_size > 1_000_000
        assert manifest.recipe.network_input == fixed.recipe.network_input
    assert fixed.accuracy is not None
    assert uniform.accuracy is not None
    assert fixed.accuracy.metric == metric
    for accuracy in (fixed.accuracy, uniform.accuracy):
        shipped = {f"onnxruntime/{precision}" for precision in ("fp32", "fp16", "int8")}
        assert losses(accuracy).keys() == {*shipped, "emulated/fp16", "emulated/int8"}
        for name, lost in losses(accuracy).items():
            assert lost <= accuracy.limits[name.partition("/")[2]], name
    assert fixed.accuracy.pytorch[metric] > uniform.accuracy.pytorch[metric] + gain
    again = command(*words, f"OUT={out}", f"VENV={ready}")
    assert again.stderr.count("up to date") == 2

    sample = run_snippets(task, fixed.recipe.classes, tmp_path)
    cameras = []
    if task == "det3d":
        matrix = {"cam2img": np.asarray(sample.camera_frame.cam2img).tolist()}
        (tmp_path / "camera.json").write_text(json.dumps(matrix))
        cameras = ["--cameras", "camera.json"]
    ran = command(
        "lzu-export", "run", str(bundles[0]), "frame.png", *cameras, "--json", cwd=tmp_path
    )
    assert json.loads(ran.stdout)["frames"] == 1, ran.stderr
    verified = command("lzu-export", "verify", str(bundles[0]), "--json", cwd=tmp_path)
    assert json.loads(verified.stdout)[0]["status"] == "passed"
