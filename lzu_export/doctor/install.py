"""The command that installs an extra of this package into the running environment."""

import os
import shlex
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The checkout of this package, if it runs from one."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""Index of PyTorch's builds without CUDA, since no export needs CUDA."""


def in_checkout() -> bool:
    """Return whether this package runs from a checkout, which has the plugins' sources too."""
    return (CHECKOUT / "Makefile").is_file() and (CHECKOUT / "pyproject.toml").is_file()


def pip_install(extra: str) -> str:
    """Return this Python's `pip install` command for an extra, from the checkout if any."""
    if in_checkout():
        return pip("-e", f"{_short(CHECKOUT)}[{extra}]")
    return pip(f"lzu-export[{extra}]")


def pip(*words: str) -> str:
    """Return this Python's `pip install` command."""
    return shlex.join([_short(Path(sys.executable)), "-m", "pip", "install", *words])


def make(target: str) -> str:
    """Return the command that makes a target of the checkout's Makefile."""
    if not in_checkout():
        return f"# in a checkout of this package: make {target}"
    place = _short(CHECKOUT)
    return f"make {target}" if place == "." else f"make -C {shlex.quote(place)} {target}"


def _short(path: Path) -> str:
    """Return the path relative to the working directory if it is below that, else as it is."""
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


PIP = shlex.join([_short(Path(sys.executable)), "-m", "pip"])
"""Shell command of this Python's pip."""
