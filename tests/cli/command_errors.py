"""What tests of refused commands share: their type, their sentence, and a recipe's file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Refused = Callable[..., str]
"""What the fixtures `refused` and `export` give: they run a command and return its sentence."""


def sentence(err: str) -> str:
    """The one error in what a command wrote to stderr (progress may stand before it)."""
    assert "Traceback" not in err
    before, marker, text = err.partition("error: ")
    assert marker, err
    assert "error" not in before
    assert len(text.strip().splitlines()) == 1, text
    return text.strip()


def write_recipe(path: Path, data: dict[str, Any]) -> Path:
    """Write a recipe's plain data as YAML and return the path."""
    path.write_text(yaml.safe_dump(data))
    return path
