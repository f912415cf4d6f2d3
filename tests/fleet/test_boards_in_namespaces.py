"""A scheduler and boards, each in a network of its own: what works, and what fails on a real one.

The vendors' modules are stand-ins; everything else is real: Dask, its workers, their commands.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="boards are workers of Dask (extra cluster)")

from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import export
from samples import tiny_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = [str(REPOSITORY / name) for name in ("", "benchmarks", "calibration")]
FAKES = str(REPOSITORY / "tests/fakes/board_site")
PORT = 8786
SECONDS = 900.0
"""Largest duration of anything that is waited for."""

pytestmark = pytest.mark.slow  # every step on every board is a process of its own: a minute or two


class Lab:
    """Networks of their own for a scheduler and boards, joined by pairs of virtual cables.

    Boards reach the scheduler alone, not each other. Without the right to make networks, everything
    runs on loopback addresses.
    """

    def __init__(self, folder: Path) -> None:
        """Make the scheduler's network."""
        self.folder, self._mark = folder, f"lzu{os.getpid() % 10000}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.apart = shutil.which("ip") is not None and self._ip("netns", "add", self._mark) == 0
        self._boards = 0
        if self.apart:
            self._ip("-n", self._mark, "link", "set", "lo", "up")

    def _ip(self, *words: str) -> int:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler."""
        host = ["--host", "127.0.0.1"] if not self.apart else []
        words = ["-m", "dask", "scheduler", *host, "--port", str(PORT), "--no-dashboard"]
        return self._start(
            "scheduler", self._within(self._mark, sys.executable, *words, "--no-show")
        )

    def board(self, tag: str, python: str | Path = sys.executable, **environment: str) -> Path:
        """Connect a board and start its worker again whenever it ends, as systemd does.

        Returns:
            The board's folder, with its cache and the number of its worker's process in `pid`.
        """
        self._boards += 1
        mine = f"{self._mark}b{self._boards}"
        theirs, own = (f"10.77.{self._boards}.{i}" for i in (1, 2))
        if self.apart:
            self._ip("netns", "add", mine)
            self._ip("link", "add", f"{mine}h", "netns", self._mark, "type", "veth",
                     "peer", "name", "eth0", "netns", mine)  # fmt: skip
            for space, link, address in ((self._mark, f"{mine}h", theirs), (mine, "eth0", own)):
                self._ip("-n", space, "addr", "add", f"{address}/30", "dev", link)
                self._ip("-n", space, "link", "set", link, "up")
        host = theirs if self.apart else "127.0.0.1"
        place = [] if self.apart else ["--host", f"127.77.{self._boards}.2"]
        home = self.folder / tag
        home.mkdir()
        words = ["worker", f"tcp://{host}:{PORT}", "--name", f"board{self._boards}", *place]
        words += ["--resources", f"{tag}=1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        worker = self._within(
            mine, str(python), "-m", "dask", *words, "--local-directory", str(home)
        )
        again = f'while :; do "$@" & echo $! > {home}/pid; wait $!; sleep 1; done'
        own = {"LZU_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
        own["PYTHONPATH"] = os.pathsep.join([FAKES, *SOURCES])
        self._start(tag, ["sh", "-c", again, "sh", *worker], **{**own, **environment})
        return home

    def fleet(self, *words: Any) -> "subprocess.Popen[str]":
        """Start `lzu-export fleet` beside the scheduler."""
        command = [sys.executable, "-m", "lzu_export", "fleet", *map(str, words)]
        command += ["--scheduler", f"tcp://127.0.0.1:{PORT}"]
        return subprocess.Popen(
            self._within(self._mark, *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def _within(self, space: str, *command: str) -> list[str]:
        return ["ip", "netns", "exec", space, *command] if self.apart else list(command)

    def _start(self, name: str, command: list[str], **more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,  # Python finds modules in the working directory
                env={**os.environ, **more},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End everything, and remove the networks."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for space in [self._mark, *(f"{self._mark}b{i + 1}" for i in range(self._boards))]:
            if self.apart:
                self._ip("netns", "del", space)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A uniform and a fixed bundle with files for TensorRT."""
    folder, found = tmp_path_factory.mktemp("pair"), []
    for variant in ("uniform", "fixed"):
        recipe = tiny_recipe(folder, "det", variant=variant)
        found.append(export(recipe, folder / "out").folder)
        derive(found[-1])
    return found


def wait_for(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not there():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)


def environment(folder: Path, version: str, *packages: str) -> Path:
    """Make an environment of another Python with these packages; return its interpreter."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    base = str(found[-1]) if found else shutil.which(f"python{version}")
    if base is None or not Path(uv).is_file():
        pytest.skip(f"there is no Python {version}, or no uv, on this machine")
    python = folder / "bin/python"
    for command in (
        ["venv", "-q", "--python", base, str(folder)],
        ["pip", "install", "-q", "--python", str(python), *packages],
    ):
        done = subprocess.run(
            [uv, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
            pytest.skip("the package index cannot be reached")
        assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def python310(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a board of JetPack 6, with what its environment has."""
    extras = [f"--extra={each}" for each in ("runtime", "verify", "device", "cluster")]
    words = ("-r", "pyproject.toml", *extras)
    return environment(tmp_path_factory.mktemp("boards") / "3.10", "3.10", *words)


@pytest.fixture(scope="module")
def python39(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that is too old, with the newest Dask there is for it."""
    return environment(tmp_path_factory.mktemp("boards") / "3.9", "3.9", "distributed==2024.8.0")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 5 MB, which the archives fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def in_the_middle(home: Path) -> bool:
    """Whether a board works on a bundle."""
    return any((home / "cache/fleet/work").glob("*/manifest.json"))


def test_each_board_is_done_or_has_its_reason(
    small_disk: Path,
    lab: Lab,
    pair: list[Path],
    python310: Path,
    python39: Path,
    tmp_path: Path,
) -> None:
    """Two are right, one of them with Python 3.10; each other one fails in a way of its own."""
    lab.scheduler()
    ready = {"LZU_FAKE_TENSORRT": "10.3.0"}
    lab.board("right", **ready)
    lab.board("jetpack6", python310, **ready)
    killed = lab.board("killed", LZU_FAKE_BUILD_SECONDS="300", **ready)
    lab.board("bare")
    lab.board("old", python39, **ready)
    lab.board("full", LZU_CACHE=str(small_disk), **ready)
    lab.board("empty", python310, PYTHONPATH="")
    tags = ["right", "jetpack6", "killed", "bare", "old", "full", "empty", "absent"]
    options = ("--boards", " ".join(tags), "--patience", 30, "--out", tmp_path / "out")
    fleet = lab.fleet(*pair, *options)
    wait_for(lambda: in_the_middle(killed), "the board to begin")
    os.killpg(os.getpgid(int((killed / "pid").read_text())), signal.SIGKILL)  # and its restarts
    out, err = fleet.communicate(timeout=SECONDS)
    assert fleet.returncode == 4, err
    assert "Traceback" not in err
    assert all(len(line) <= 80 or "/" in line for line in out.splitlines())
    rows = {
        row["tag"]: row for row in json.loads((tmp_path / "out/fleet.json").read_text())["rows"]
    }
    found = {tag: row["status"] for tag, row in rows.items()}
    wanted = ["done", "done", "lost", "failed", "failed", "failed", "failed", "absent"]
    assert found == dict(zip(tags, wanted, strict=True)), rows
    assert rows["jetpack6"]["look"]["python"].startswith("3.10.")
    assert "TensorRT does not import" in rows["bare"]["sentence"]
    assert "3.9" in rows["old"]["sentence"]
    assert "the disk is full" in rows["full"]["sentence"]
    assert "its worker has no module lzu_export" in rows["empty"]["sentence"]
    assert "no worker has the tag absent" in rows["absent"]["sentence"]
    for tag in ("right", "jetpack6"):
        engines = rows[tag]["work"]["engines"]
        assert [each["bundle"] for each in engines] == [bundle.name for bundle in pair]
        assert len(rows[tag]["work"]["latency"]["engines"]) == 4  # with and without CUDA graph
        assert rows[tag]["sent_bytes"] > 1e6
    again = lab.fleet(*pair, "--boards", "right jetpack6", "--out", tmp_path / "out", "--json")
    out, err = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, err
    assert all(row["stored"] for row in json.loads(out)["rows"])
    asked = lab.fleet(*pair, *options[-2:], "--boards", "right", "--again", "--json")
    (row,) = json.loads(asked.communicate(timeout=SECONDS)[0])["rows"]
    assert (row["status"], row["stored"], row["sent_bytes"]) == ("done", False, 0)


def test_a_fleet_outlives_its_scheduler(lab: Lab, pair: list[Path], tmp_path: Path) -> None:
    """It is killed in the middle and starts again; the board's worker does, too."""
    scheduler = lab.scheduler()
    home = lab.board("orin", LZU_FAKE_TENSORRT="10.3.0", LZU_FAKE_BUILD_SECONDS="5")
    fleet = lab.fleet(*pair, "--boards", "orin", "--patience", 60, "--out", tmp_path / "out")
    wait_for(lambda: in_the_middle(home), "the board to begin")
    os.killpg(scheduler.pid, signal.SIGKILL)
    scheduler.wait()
    time.sleep(2)
    lab.scheduler()
    out, err = fleet.communicate(timeout=SECONDS)
    assert fleet.returncode == 0, err
    assert "done" in out
    assert "Traceback" not in err
