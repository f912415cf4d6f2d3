"""Print to the terminal.

Rich, which `Terminal` and `show` need, is imported when they are first used: completion and
`--version` do without.
"""

import json
import sys
from typing import TYPE_CHECKING, Any

from lzu_export.support.escaping import visible
from lzu_export.support.lazy import lazily

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lzu_export.support.console import Terminal

__all__ = ["Terminal", "note", "print_json", "say", "show"]
__getattr__ = lazily(__name__, {"Terminal": "lzu_export.support.console"})


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
