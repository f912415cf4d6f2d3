"""The Makefile rejects conflicting extras and misspelt variables, and treats values as text."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lzu_benchmarks.rivals.networks import TASKS

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
    """Conflicts are found in the requested extras and in installed packages.

    Nothing is installed here.
    """
    venv = tmp_path / "venv"
    packages = venv / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    if there:
        (packages / f"{there}.dist-info").mkdir()
    (venv / "bin").mkdir()
    (venv / "bin" / "pip").symlink_to("/bin/true")
    (venv / "bin" / "python").symlink_to("/bin/true")  # every import of torch seems to succeed
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    command = ["make", "setup", f"VENV={venv}", f"EXTRAS={extras}", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    said = "the extras runtime and gpu break each other in one environment"
    assert (said in done.stderr) == refused
    assert (done.returncode == 0) != refused, done.stderr
    assert bool(list(venv.glob(".ready-*"))) != refused


@pytest.mark.parametrize(
    ("words", "developers"),
    [(["environment"], False), (["setup"], True), (["setup", "EXTRAS=runtime"], False)],
)
def test_tools_of_developers_wait_for_a_target_that_needs_them(
    words: list[str], developers: bool, tmp_path: Path
) -> None:
    """An environment with them is ready for the other targets, too. Nothing is installed here."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for name in ("pip", "python"):
        (venv / "bin" / name).symlink_to("/bin/true")
    command = ["make", *words, f"VENV={venv}", "PYTHON=/bin/true"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [each.name.endswith("-dev") for each in venv.glob(".ready-*")] == [developers]
    command[1] = "environment"
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr == ""


TRAPS = (
    "q;touch TRAP",
    "$(touch TRAP)",
    "$(shell touch TRAP)",
    "${shell touch TRAP}",
    "`touch TRAP`",
    "a b\tc",
    "it's",
    'say "x"',
    "$HOME $$ \\ # % & | > TRAP",
    "--help",
    "*",
    "'; touch TRAP; '",
    '"; touch TRAP; "',
    "x) touch TRAP ;;",
)
"""Values that a shell or make could interpret as code instead of text."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a blank in its name; its programs write their arguments, one per line."""
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    _programs(folder / ".venv")
    return folder


def _programs(venv: Path) -> None:
    (venv / "bin").mkdir(parents=True)
    for name in ("lzu-export", "python"):
        program = venv / "bin" / name
        program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" > words\n")
        program.chmod(0o755)
    (venv / ".ready-export-runtime-rtx-bench-dev").touch()


def _words(checkout: Path, *words: str, **environment: str) -> list[str]:
    done = subprocess.run(
        ["make", *words],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(checkout.rglob("TRAP*"))
    return (checkout / "words").read_text().split("\n")[:-1]


@pytest.mark.parametrize("value", TRAPS)
def test_values_are_text(value: str, checkout: Path) -> None:
    """Values of the command line and of the environment reach the program as text."""
    assert _words(checkout, "verify", f"BUNDLE={value}") == ["verify", "--", value]
    run = ["run", "--cameras", value, "--show-warp", "--", value, value]
    given = (f"CAMERAS={value}", f"BUNDLE={value}", f"SOURCE={value}")
    assert _words(checkout, "run", *given) == run
    export = ["export", value, "--out", value, "--checkpoint", value]
    assert _words(checkout, "export", CHECKPOINT=value, RECIPE=value, OUT=value) == export
    speed = ["-m", "lzu_benchmarks.studies.speed", "--task", value, "--out", f"{value}/bench"]
    assert _words(checkout, "bench-speed", f"TASK={value}", f"OUT={value}") == speed


@pytest.mark.parametrize("value", [each for each in TRAPS if "--" not in each and each != "*"])
def test_words_of_lists_are_text(value: str, checkout: Path) -> None:
    """Words of a list are separated by blanks; only folders may be given by a pattern."""
    pairs = [word for pair in (f"k={value}", "*") for word in pair.split()]
    wanted = ["export", "det", "--out", "build", *(w for p in pairs for w in ("--set", p))]
    assert _words(checkout, "export", f"SET=k={value} *") == wanted
    assert _words(checkout, "bench", f"BUNDLES={value}")[4] == "--bundles"


def test_bundles_are_one_folder_or_several(checkout: Path) -> None:
    """A bundle with a blank in its name is one bundle."""
    for name in ("one two", "three", "four"):
        (checkout / "out" / name).mkdir(parents=True)
    start = ["bench", "det", "--out", "build"]
    assert _words(checkout, "bench") == start
    one = [*start, "--bundles", "out/one two"]
    assert _words(checkout, "bench", "BUNDLES=out/one two") == one
    two = [*start, "--bundles", "out/three", "out/four"]
    assert _words(checkout, "bench", "BUNDLES=out/three out/four") == two
    all_three = [*start, "--bundles", "out/four", "out/one two", "out/three"]
    assert _words(checkout, "bench", "BUNDLES=out/*") == all_three


@pytest.mark.parametrize(("task", "folder"), [("det", "rivals"), ("seg", "rivals-seg")])
def test_rivals_of_a_task_have_a_folder_of_their_own(
    task: str, folder: str, checkout: Path
) -> None:
    """`bench` looks for the weights there, see `RivalTask.folder`."""
    start = ["-m", "lzu_benchmarks.rivals.train", "--task", task]
    places = ["--out", f"build/{folder}", "--work", f"build/train-{folder}"]
    assert _words(checkout, "train-rivals", f"TASK={task}") == [*start, *places]
    assert TASKS[task].folder == folder


@pytest.mark.parametrize("value", ["q;touch TRAP", "$(shell touch TRAP)", "it's a"])
def test_folders_are_text(value: str, checkout: Path) -> None:
    """Folders of the virtual environment and of `make clean` are text."""
    _programs(checkout / value)
    assert _words(checkout, "verify", f"VENV={value}", "BUNDLE=x") == ["verify", "--", "x"]
    (checkout / "out" / value).mkdir(parents=True)
    _words(checkout, "clean", f"OUT=out/{value}", f"VENV={value}")
    assert not (checkout / value).exists()
    assert not any((checkout / "out").iterdir())
    assert (checkout / ".venv").is_dir()


def test_extras_are_names(checkout: Path) -> None:
    """Extras are names separated by commas; anything else is rejected."""
    command = ["make", "setup", "EXTRAS=runtime;touch TRAP"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert "EXTRAS are names between commas" in done.stderr
    assert done.returncode == 2
    assert not list(checkout.rglob("TRAP*"))


@pytest.mark.parametrize("out", ["o o", "$(shell touch TRAP)", "q;touch TRAP", "a)b", "it's"])
def test_plugins_are_built_where_make_can(out: str, checkout: Path) -> None:
    """A path that make's rules cannot express is rejected."""
    shutil.copytree(REPOSITORY / "plugins", checkout / "plugins")
    for word in (f"OUT={out}", f"OUT={checkout}"):  # the checkout has a blank in its name
        command = ["make", "plugins-host", word]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
        assert "make cannot build plugins in the folder" in done.stderr
        assert done.returncode == 2
        assert not list(checkout.rglob("TRAP*"))


@pytest.mark.parametrize("name", ["CUDA_HOME", "TENSORRT_INCLUDE", "ARCHS", "PYTHON"])
def test_tools_of_plugins_are_text(name: str, checkout: Path) -> None:
    """Values of the plugins' variables fail the build and are never run as code."""
    shutil.copytree(REPOSITORY / "plugins", checkout / "plugins")
    (checkout / "none").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "none").chmod(0o755)
    quiet = {"PYTHON": str(checkout / "none"), "CUDA_HOME": str(checkout)}
    for trap in ("$(shell touch TRAP)", "';touch TRAP;'", "`touch TRAP`"):
        words = [f"{key}={value}" for key, value in {**quiet, name: trap}.items()]
        command = ["make", "plugins", *words]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert not list(checkout.rglob("TRAP*"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("VARINT=fixed", "VARIANT"),
        ("variant=fixed", "VARIANT"),
        ("PRECISON=fp16", "PRECISION"),
        ("DATASETS=demo", "DATASET"),
        ("MINSECONDS=3", "MIN_SECONDS"),
        ("BUNDEL:=x", "BUNDLE"),
    ],
)
@pytest.mark.parametrize("target", ["help", "export"])
def test_a_misspelt_variable_is_refused(given: str, meant: str, target: str) -> None:
    """A misspelt variable is rejected before anything runs, with the nearest name."""
    name = given.partition("=")[0].rstrip(":")
    command = ["make", target, "TASK=seg", given]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"there is no variable {name}; did you mean {meant}?" in done.stderr
    assert done.stdout == ""


def test_a_misspelt_variable_s_name_is_no_code(tmp_path: Path) -> None:
    for name in ("a';touch\ttrap;'", "a;touch\ttrap", "`touch\ttrap`", "a$$(touch\ttrap)", "a'b"):
        command = ["make", "-f", str(REPOSITORY / "Makefile"), "help", f"{name}=x"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert not list(tmp_path.iterdir())


def test_variables_of_the_environment_are_not_ours() -> None:
    """Unknown variables of the environment are accepted, as are known ones of ours or of make."""
    command = ["make", "help", "VARIANT=x", "CXX=g++", "SHELL=/bin/sh", "CROSS=aarch64"]
    environment = {**os.environ, "VARINT": "x", "PRECISON": "y"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "export " in done.stdout
