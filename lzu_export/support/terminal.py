"""Print to the terminal.

Rich's markup is off, since text from outside may have brackets. Styled text is a `rich.text.Text`.
"""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lzu_export.support.escaping import visible


class Terminal(Console):
    """Console that shows text literally, without markup or the text's own control sequences."""

    def __init__(self, **options: Any) -> None:
        """Take Rich's own options; write to stdout, unless `stderr` is set."""
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string literally, for a cell or a line."""
        return super().render_str(visible(text, lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render anything else, such as styled text; the console's own control codes stay."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text, lines=True), style)


def say(*lines: str) -> None:
    """Print lines of results to stdout unwrapped, so that they can be copied."""
    print(*map(visible, lines), sep="\n")


def show(*shown: RenderableType) -> None:
    """Print tables and styled text to stdout unwrapped, since they are laid out already."""
    terminal = Terminal()
    for each in shown:
        terminal.print(each, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result to stdout as JSON in ASCII."""
    # DEL is the only invisible character of ASCII that JSON does not escape.
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))
