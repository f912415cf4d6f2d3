"""Whether this package runs from a checkout, and where its files are.

This module imports only the standard library, since errors use it.
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""Checkout of this package, or the folder of all installed packages."""
PLUGINS = (Path(__file__).resolve().parents[1] / "plugins").resolve()
"""Folder of the sources of kernels and plugins, which every installation has."""
VARIABLES = {"calibration": "FRAMES", "force": "FORCE=1"}
"""Variables of the Makefile by their options; all others are the option in capitals."""


def in_checkout() -> bool:
    """Return whether this package runs from a checkout, which has a Makefile."""
    return (CHECKOUT / "Makefile").is_file() and (CHECKOUT / "pyproject.toml").is_file()


def option(name: str, value: str = "") -> str:
    """Return how the user of this run gives an option.

    Args:
        name: name of the option, without its dashes.
        value: value or placeholder that follows the name.

    Returns:
        Such as `--out DIR`, or `OUT=DIR` where the checkout's Makefile runs the command.
    """
    if "MAKELEVEL" in os.environ and in_checkout():
        variable = VARIABLES.get(name, name.upper().replace("-", "_"))
        return f"{variable}={value}" if value else variable
    return f"--{name} {value}".rstrip()
