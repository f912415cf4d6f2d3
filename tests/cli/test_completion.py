"""The shell completes commands, options and recipes of `lzu-export`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lzu_export.cli.app import app
from lzu_export.recipes import list_recipes


def completed(line: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    variables = {
        "_LZU_EXPORT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = CliRunner().invoke(app, env=variables, prog_name="lzu-export")
    assert done.exit_code == 0, done.output
    return done.stdout.split()


def test_it_waits_for_no_library_that_it_does_not_need() -> None:
    """A shell starts the program at each TAB."""
    code = """
import os, sys
sys.argv = ["lzu-export"]
os.environ |= {"_LZU_EXPORT_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
os.environ["COMP_WORDS"] = "lzu-export ver"
from lzu_export.cli.app import main
try:
    main()
finally:
    print(*{"rich", "numpy", "cv2", "yaml"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["verify"], done.stderr


def test_commands_and_options() -> None:
    assert completed("lzu-export ver") == ["verify"]
    assert set(completed("lzu-export b")) == {"build", "bench"}
    assert completed("lzu-export export --var") == ["--variant"]
    assert completed("lzu-export verify bundle --li") == ["--live"]


def test_recipes() -> None:
    """Tasks come first; other words, such as files, are left to the shell."""
    assert completed("lzu-export export det") == ["det", "det3d", "det-demo", "det3d-demo"]
    assert completed("lzu-export warp city") == ["cityscapes"]
    assert completed("lzu-export export module:f --recipe nu") == ["nuscenes"]
    assert set(completed("lzu-export export ")) >= {"seg", *list_recipes()}
    assert completed("lzu-export export my/recipe.y") == []


@pytest.mark.slow  # starts the program twice, in a shell
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_the_script() -> None:
    """It defines a function that fills COMPREPLY, as bash wants it."""
    script = """
    eval "$(lzu-export --show-completion bash)"
    COMP_WORDS=(lzu-export in) COMP_CWORD=1
    _lzu_export_completion lzu-export
    echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["inspect"], done.stderr
