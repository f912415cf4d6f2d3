"""Print to the terminal.

Rich, which `show` needs, is imported when it is first used: completion and `--version` do without.
"""

import json
import sys
from typing import TYPE_CHECKING, Any

from lzu_export.support.escaping import visible

if TYPE_CHECKING:
    from rich.console import RenderableType


def say(*lines: str) -> None:
    """Print lines of results to stdout unwrapped, so that they can be copied."""
    print(*map(visible, lines), sep="\n")


def note(text: str) -> None:
    """Print a remark to stderr in one line."""
    print(f"note: {visible(text)}", file=sys.stderr)


def show(*shown: "RenderableType") -> None:
    """Print tables and styled text to stdout unwrapped, since they are laid out already."""
    from lzu_export.support.console import Terminal

    terminal = Terminal()
    for each in shown:
        terminal.print(each, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result to stdout as JSON in ASCII."""
    # DEL is the only invisible character of ASCII that JSON does not escape.
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))
