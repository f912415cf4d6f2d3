"""Environments broken by real installers: doctor names the fault, and its command cures it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks", ROOT / "calibration")))
HEADLESS, FULL = "opencv-python-headless", "opencv-python"
OLD = "4.10.0.84"
STRANGER = "12345"
"""A user that no system knows."""

pytestmark = pytest.mark.slow


@dataclass
class Environment:
    """A virtual environment with what a device has, whose packages a test breaks."""

    folder: Path
    bundle: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def sh(self, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a line of shell as the user would, beside neither checkout nor bundle."""
        environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", **more}
        return subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env={name: value for name, value in environment.items() if value},
            capture_output=True,
            text=True,
            check=False,
        )

    def pip(self, words: str) -> None:
        done = self.sh(f"{self.python} -m pip {words}")
        assert done.returncode == 0, done.stderr

    def version(self, package: str) -> str:
        (folder,) = self.packages.glob(f"{package.replace('-', '_')}-*.dist-info")
        return folder.name.removesuffix(".dist-info").split("-")[1]

    def finding(self, name: str, prefix: str = "", **more: str) -> Mapping[str, Any]:
        done = self.sh(f"{prefix} {self.python} -m lzu_export doctor --json", **more)
        assert done.returncode == 0, done.stderr
        return next(each for each in json.loads(done.stdout)["findings"] if each["name"] == name)

    def run(self, prefix: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        """The command `run` on the bundle."""
        image, out = self.folder / "frame.png", self.folder / "found"
        return self.sh(
            f"{prefix} {self.python} -m lzu_export run {self.bundle} {image} --out {out}", **more
        )

    def cure(self, name: str, command: str) -> None:
        """Run a command that was given, after which all is well."""
        assert command
        done = self.sh(command)
        assert done.returncode == 0, (command, done.stderr)
        finding = self.finding(name)
        assert finding["found"], finding
        done = self.run()
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Environment:
    """Without a fault; each test leaves it so, or later ones fail."""
    folder = tmp_path_factory.mktemp("real") / "venv"
    venv.create(folder, with_pip=True)
    there = Environment(folder, tiny_bundle)
    wanted = f"numpy {HEADLESS} pydantic pyyaml rich typer onnxruntime"
    done = there.sh(f"{there.python} -m pip install -q -c {ROOT / 'constraints.txt'} {wanted}")
    if done.returncode:
        pytest.skip(f"packages cannot be installed here: {done.stderr.strip()[-200:]}")
    import cv2
    import numpy as np

    cv2.imwrite(str(folder / "frame.png"), np.full((96, 160, 3), 90, np.uint8))
    for name in ("opencv", "onnxruntime", "home"):
        assert there.finding(name)["found"], name
    return there


def remedy(done: "subprocess.CompletedProcess[str]") -> str:
    """The sentence of a command that cannot run: one line, no traceback, status 2."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_one_opencv_beside_another(whole: Environment) -> None:
    """Removing one takes the files of both; the other's metadata stays."""
    kept = whole.version(HEADLESS)
    whole.pip(f"install -q --no-deps {FULL}=={OLD}")
    finding = whole.finding("opencv")
    assert not finding["found"]
    assert f"{HEADLESS} {kept} and {FULL} {OLD} write the same files" in finding["detail"]
    early = finding["install"]
    whole.pip(f"uninstall -q -y {FULL}")
    finding = whole.finding("opencv")
    assert not finding["found"]
    assert f"{HEADLESS} {kept} is damaged" in finding["detail"]
    sentence = remedy(whole.run())
    assert f"install --force-reinstall --no-deps {HEADLESS}=={kept}" in sentence
    whole.cure("opencv", finding["install"])
    # The command that was given while both were there.
    whole.pip(f"install -q --no-deps {FULL}=={OLD}")
    whole.cure("opencv", early)
    assert not list(whole.packages.glob("opencv_python-*"))


def test_files_of_another_opencv_than_its_metadata_says(whole: Environment) -> None:
    """As after a second installer, whose package wrote over the first one's and left no trace."""
    kept = whole.version(HEADLESS)
    whole.pip(f"install -q --no-deps {FULL}=={OLD}")
    (trace,) = whole.packages.glob("opencv_python-*.dist-info")
    shutil.rmtree(trace)
    finding = whole.finding("opencv")
    assert not finding["found"]
    said = f"{HEADLESS} {kept} is installed, but its files are those of 4.10.0"
    assert said in finding["detail"]
    assert whole.run().returncode == 0  # 4.10 works, too
    whole.cure("opencv", finding["install"])


def also_as(packages: Path, name: str, other: str, release: str) -> None:
    """Write the metadata of a package that holds the same files as an installed one."""
    (mine,) = packages.glob(f"{name}-{release}.dist-info")
    theirs = packages / f"{other.replace('-', '_')}-{release}.dist-info"
    shutil.copytree(mine, theirs)
    about = theirs / "METADATA"
    about.write_text(re.sub(r"(?m)^Name: .*$", f"Name: {other}", about.read_text(), count=1))
    record = theirs / "RECORD"
    rows = list(csv.reader(record.read_text().splitlines()))
    with record.open("w", newline="") as file:
        for path, *others in rows:
            moved = path.startswith(mine.name)
            # What changed has no hash here; an uninstaller asks for none.
            row = [path.replace(mine.name, theirs.name), "", ""] if moved else [path, *others]
            csv.writer(file).writerow(row)


def test_onnxruntime_beside_onnxruntime_gpu(whole: Environment) -> None:
    """Of the GPU's, which is large, the metadata alone; pip removes its files for real."""
    release = whole.version("onnxruntime")
    also_as(whole.packages, "onnxruntime", "onnxruntime-gpu", release)
    finding = whole.finding("onnxruntime")
    assert not finding["found"]
    both = f"onnxruntime {release} and onnxruntime-gpu {release} write the same files"
    assert both in finding["detail"]
    assert "uninstall -y onnxruntime && " in finding["install"]
    assert finding["install"].endswith(f"onnxruntime-gpu=={release}")
    whole.pip("uninstall -q -y onnxruntime-gpu")
    finding = whole.finding("onnxruntime")
    assert not finding["found"]
    assert f"onnxruntime {release} is damaged" in finding["detail"]
    assert f"--force-reinstall --no-deps onnxruntime=={release}" in remedy(whole.run())
    whole.cure("onnxruntime", finding["install"])


def test_a_user_that_the_system_does_not_know(whole: Environment, tmp_path: Path) -> None:
    """Without HOME: a bundle runs, with a folder for caches and without."""
    unshare = f"unshare --user --map-user={STRANGER} --map-group={STRANGER}"
    done = whole.sh(f"{unshare} {sys.executable} -c 'import os; print(os.getuid())'")
    if done.stdout.strip() != STRANGER:
        pytest.skip(f"no user can be made up here: {done.stderr.strip()}")
    for caches in (str(tmp_path / "caches"), ""):
        changes = {"HOME": "", "XDG_CACHE_HOME": "", "LZU_CACHE": caches}
        done = whole.run(unshare, **changes)
        assert done.returncode == 0, done.stderr
        finding = whole.finding("home", unshare, **changes)
        assert not finding["found"]
        assert (
            f"there is no HOME, and the system does not know the user {STRANGER}"
            in (finding["detail"])
        )
        cure = f"{finding['install']}; {whole.python} -m lzu_export doctor --require home"
        done = whole.sh(f"{unshare} sh -c '{cure}'", **changes)
        assert done.returncode == 0, done.stderr
