"""Reporters of progress for tests."""

from typing import Any

from lzu_export.support.progress import Reporter


class Notes(Reporter):
    """Keeps the lines that a terminal would show."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.notes: list[str] = []

    def note(self, text: Any) -> None:
        self.notes.append(str(text).strip())
