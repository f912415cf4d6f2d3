"""Nothing leaves the machine, and nothing is written where nobody asked for it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"
FIRST_WITH_TELEMETRY = (1, 29)
LOAD = """
import sys
import numpy as np
from lzu_export.runtime import load
load(sys.argv[1])(np.zeros((96, 160, 3), np.uint8))
"""
CALLS = "socket,connect,sendto,openat,creat,mkdir,mkdirat,rename,renameat2,link,symlink"
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "PYTHONPATH", "OMP_NUM_THREADS")


@dataclass
class Watched:
    """What a process did that has an empty home and no network."""

    done: "subprocess.CompletedProcess[str]"
    home: list[str]
    """Files and folders it made there."""
    calls: list[str] | None
    """Its calls to the system that write or reach a network; None where nothing watches them."""

    @property
    def written(self) -> list[str]:
        """Paths it made or wrote, as far as they are watched."""
        made = [c for c in self.calls or () if re.search(r"O_WRONLY|O_RDWR|O_CREAT|^(mk|re)", c)]
        paths = [match[1] for call in made if (match := re.search(r'"([^"]*)"', call))]
        return [path for path in paths if path not in ("/dev/null", "/dev/tty")]

    @property
    def reached(self) -> list[str]:
        """Its steps to a network."""
        return [call for call in self.calls or () if "AF_INET" in call]


def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def cut_off() -> list[str]:
    """Runs a command in a network of its own, which leads nowhere, where that is allowed."""
    return ["unshare", "-rn"] if _works("unshare", "-rn") else []


@pytest.fixture(scope="module")
def tracer() -> list[str]:
    """Lists a command's system calls, where that is allowed."""
    return ["strace"] if _works("strace", "-f", "-e", "trace=none") else []


def _watch(
    folder: Path,
    wrap: Sequence[str],
    tracer: Sequence[str],
    command: Sequence[str],
    **more: str,
) -> Watched:
    home, trace = folder / "home", folder / "trace"
    for each in (home, folder / "tmp"):
        each.mkdir()
    # Not `CI`: where that is set, ONNX Runtime's telemetry is off anyway.
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    tracing = ["-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    done = subprocess.run(
        [*wrap, *tracer, *(tracing if tracer else ()), *command],
        env={**environment, **more},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = None
    if tracer:
        lines = trace.read_text(errors="replace").splitlines()
        calls = [re.sub(r"^\d+ +", "", line) for line in lines if " = -1 " not in line]
    made = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return Watched(done, made, calls)


@pytest.mark.parametrize(
    ("module", "given", "right"),
    [
        ("lzu_export", None, "1"),
        ("lzu_benchmarks.demo.evaluation", None, "1"),
        ("lzu_export.cli.app", "0", "0"),
        ("lzu_export.cli.app", "", ""),
    ],
)
def test_the_user_decides_first(module: str, given: str | None, right: str) -> None:
    """Every door into our code switches telemetry off, unless the user said something."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if given is not None:
        environment[VARIABLE] = given
    code = f"import os, {module}; print(repr(os.environ[{VARIABLE!r}]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == repr(right)


def test_running_a_bundle_leaves_nothing_behind(
    tiny_bundle: Path, tmp_path: Path, cut_off: list[str], tracer: list[str]
) -> None:
    """Neither a file nor a step to a network, with the network and the home taken away."""
    command = [sys.executable, "-c", LOAD, str(tiny_bundle)]
    watched = _watch(tmp_path, cut_off, tracer, command)
    assert watched.done.returncode == 0, watched.done.stderr
    assert watched.done.stdout == watched.done.stderr == ""
    assert watched.home == []
    assert watched.written == []
    assert watched.reached == []


def test_a_home_that_is_not_there_goes_unsaid(tiny_bundle: Path, tmp_path: Path) -> None:
    """Nothing warns of a folder that cannot be written, since nothing is to be written there."""
    command = [sys.executable, "-c", LOAD, str(tiny_bundle)]
    watched = _watch(tmp_path, [], [], command, HOME="/proc/nowhere")
    assert watched.done.returncode == 0, watched.done.stderr
    assert watched.done.stderr == ""


def test_run_writes_its_results_alone(
    tiny_bundle: Path, image: Path, tmp_path: Path, cut_off: list[str], tracer: list[str]
) -> None:
    """The command, whose pictures and results are all that it leaves."""
    command = [sys.executable, "-m", "lzu_export.cli.app", "run", str(tiny_bundle), str(image)]
    watched = _watch(tmp_path, cut_off, tracer, [*command, "--out", str(tmp_path / "found")])
    assert watched.done.returncode == 0, watched.done.stderr
    assert watched.home == []
    assert watched.reached == []
    own = (str(tmp_path / "found"), "found")
    assert [path for path in watched.written if not path.startswith(own)] == []


def test_the_watch_sees_telemetry(tiny_bundle: Path, tmp_path: Path, cut_off: list[str]) -> None:
    """Where the user asks for it, the same run leaves an identifier: the tests above would see."""
    installed = tuple(int(part) for part in version("onnxruntime").split(".")[:2])
    if installed < FIRST_WITH_TELEMETRY:
        pytest.skip(f"ONNX Runtime {installed} has no telemetry")
    if not cut_off:
        pytest.skip("no network of its own is allowed here, so nothing would keep telemetry in")
    command = [sys.executable, "-c", LOAD, str(tiny_bundle)]
    watched = _watch(tmp_path, cut_off, [], command, **{VARIABLE: "0"})
    assert any("onnxruntime" in path for path in watched.home), watched.home


@pytest.mark.slow
def test_exporting_and_measuring_reach_no_network(
    tmp_path: Path, cut_off: list[str], tracer: list[str]
) -> None:
    """With torch, ONNX and every engine; caches are rendered frames and matplotlib's fonts."""
    program = [sys.executable, "-m", "lzu_export.cli.app"]
    export = [*program, "export", "det", "--variant", "fixed"]
    export += ["--dataset", "none", "--calibration", "demo", "--precision", "fp32 int8"]
    export += ["--set", "calibration.count=8", "--out", "out"]
    bench = [*program, "bench", "--bundles", "out/det/fixed-0.5x", "--min-seconds", "0.1"]
    bench += ["--min-queries", "8", "--warmup-seconds", "0.1", "--out", "out"]
    for name, command in (("export", export), ("bench", bench)):
        folder = tmp_path / name
        folder.mkdir()
        if name == "bench":
            (tmp_path / "export" / "out").rename(folder / "out")
        watched = _watch(folder, cut_off, tracer, command)
        assert watched.done.returncode == 0, watched.done.stderr
        assert watched.reached == []
        kept = [path for path in watched.home if (folder / "home" / path).is_file()]
        allowed = re.compile(r"\.cache/(lzu_export/frames|matplotlib)/")
        assert [path for path in kept if not allowed.match(path)] == []
