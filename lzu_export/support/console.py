"""Console that shows text from outside as it is.

Rich's markup is off, since such text may have brackets. Styled text is a `rich.text.Text`.
"""

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
