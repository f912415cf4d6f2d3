"""The command that installs an extra of this package into the running environment."""

import os
import shlex
import sys
from pathlib import Path

from lzu_export.support import checkout

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""Index of PyTorch's builds without CUDA, since no export needs CUDA."""


def pip_install(extra: str) -> str:
    """Return this Python's `pip install` command for an extra, from the checkout if any."""
    if checkout.in_checkout():
        return pip("-e", f"{_short(checkout.CHECKOUT)}[{extra}]")
    return pip(f"lzu-export[{extra}]")


def pip(*words: str) -> str:
    """Return this Python's `pip install` command."""
    return shlex.join([_short(Path(sys.executable)), "-m", "pip", "install", *words])


def _short(path: Path) -> str:
    """Return the path relative to the working directory if it is below that, else as it is."""
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


PIP = shlex.join([_short(Path(sys.executable)), "-m", "pip"])
"""Shell command of this Python's pip."""
