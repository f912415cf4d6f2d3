"""How commands end: one status, one meaning, and a sentence on stderr."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lzu_export.cli import exits
from lzu_export.errors import LzuError

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("lzu_export", "benchmarks", "calibration")
    for path in (REPOSITORY / folder).rglob("*.py")
)
BROKEN = """
import sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise {error}

sys.meta_path.insert(0, Stop())
"""


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_statuses_are_told_apart() -> None:
    statuses = [
        value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)
    ]
    assert len(set(statuses)) == len(statuses) == 7


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (LzuError("x is unfit; mend it"), exits.UNFIT, "error: x is unfit; mend it"),
        (KeyboardInterrupt(), exits.INTERRUPTED, "interrupted: go on"),
        (
            ModuleNotFoundError("No module", name="ghost.part"),
            exits.UNFIT,
            "error: this needs the package ghost.part; install the package with the module ghost",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "f"),
            exits.UNFIT,
            "error: No space left on device (f); fix that and run again",
        ),
        (ValueError("odd"), exits.INTERNAL, "ValueError: odd"),
        (ModuleNotFoundError("No module", name="lzu_export.gone"), exits.INTERNAL, "No module"),
    ],
)
def test_what_ends_a_command_is_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done, exits.ending("go on"):
        raise error
    assert done.value.code == status
    told = capsys.readouterr().err
    assert said in told
    assert ("please report" in told) == (status == exits.INTERNAL)


def test_a_status_that_was_chosen_stays() -> None:
    with pytest.raises(SystemExit) as done, exits.ending():
        raise SystemExit(exits.REGRESSION)
    assert done.value.code == exits.REGRESSION
    with exits.ending():
        pass


@pytest.mark.parametrize("package", ["typer", "rich.console", "lzu_export.cli.app"])
def test_an_interruption_while_commands_are_imported(package: str) -> None:
    code = BROKEN.format(name=package, error="KeyboardInterrupt")
    done = python(f"{code}from lzu_export.__main__ import main; main()", "recipes")
    assert done.returncode == exits.INTERRUPTED
    assert done.stderr == "interrupted: give the same command again\n"


@pytest.mark.parametrize(
    "module", ["harness.latency", "bench.command", "train.seg", "studies.upsampling"]
)
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("KeyboardInterrupt", exits.INTERRUPTED, "interrupted: give the same command again\n"),
        (
            "ModuleNotFoundError('No module', name='numpy')",
            exits.UNFIT,
            "error: this needs the package numpy; pip install --force-reinstall --no-deps numpy\n",
        ),
    ],
)
def test_modules_of_the_benchmarks_end_alike_while_imported(
    module: str, error: str, status: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(name="numpy", error=error))
    paths = [tmp_path, REPOSITORY, REPOSITORY / "benchmarks", REPOSITORY / "calibration"]
    done = subprocess.run(
        [sys.executable, "-m", f"lzu_benchmarks.{module}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, said)


PRINT = """
import sys
from lzu_export.cli import exits
with exits.ending():
    for i in range(100_000):
        print("a line that nobody reads")
    sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("status", [exits.DONE, exits.MISMATCH, exits.REGRESSION])
@pytest.mark.parametrize("stream", ["", "2>&1", "-u"])
def test_a_reader_that_leaves_changes_no_status(status: int, stream: str) -> None:
    """A mismatch stays one where `head` cut the table, and success is no mismatch."""
    unbuffered = stream if stream == "-u" else ""
    code = f"'{sys.executable}' {unbuffered} -c '{PRINT}' {status} {stream.replace('-u', '')}"
    script = f"{code} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["a line that nobody reads", str(status)]
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lzu_export", "recipes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == exits.UNFIT
    assert done.stderr.startswith("error: the result cannot be written to stdout: No space left")
    assert done.stderr.count("\n") == 1


def test_statuses_are_named_in_one_place() -> None:
    """No module ends a process with a number or a text of its own."""
    for path in SOURCES:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            if name in ("sys.exit", "exit", "typer.Exit", "SystemExit", "os._exit"):
                given = [ast.unparse(each) for each in call.args]
                known = {"status", "exits.", "UNFIT", "INTERRUPTED", "explain("}
                assert all(each.startswith(tuple(known)) for each in given), f"{path}: {given}"


def test_the_file_of_statuses_imports_nothing_that_takes_time() -> None:
    code = "import sys; from lzu_export import __main__; print(*sys.modules)"
    loaded = set(python(code).stdout.split())
    assert "lzu_export.cli.exits" in loaded
    assert not loaded & {"typer", "rich", "numpy", "yaml", "pydantic", "lzu_export.cli.app"}
