"""The command that installs an extra of this package into the environment that asks."""

import os
import shlex
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""Of this package, if it runs from one."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's builds without CUDA, which no export needs."""


def in_checkout() -> bool:
    """Whether this package runs from a checkout, which has the plugins' sources too."""
    return (CHECKOUT / "Makefile").is_file() and (CHECKOUT / "pyproject.toml").is_file()


def pip_install(extra: str) -> str:
    """`pip install` of an extra by this very Python, from the checkout where there is one."""
    words = [_short(Path(sys.executable)), "-m", "pip", "install"]
    if in_checkout():
        place = _short(CHECKOUT)
        return f"{shlex.join(words)} -e {shlex.quote(f'{place}[{extra}]')}"
    return f"{shlex.join(words)} {shlex.quote(f'lzu-export[{extra}]')}"


def make(target: str) -> str:
    """A target of the checkout's Makefile."""
    if not in_checkout():
        return f"git clone this package, then there: make {target}"
    place = _short(CHECKOUT)
    return f"make {target}" if place == "." else f"make -C {shlex.quote(place)} {target}"


def _short(path: Path) -> str:
    """The path from the working directory, where it is below that."""
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)
