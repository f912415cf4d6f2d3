"""What long work tells whoever watches: stages and counted steps."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Reporter:
    """Shows progress on stderr; silent where `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Write to stderr, which leaves stdout to results."""
        self.console = Console(stderr=True, quiet=quiet)

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    @contextmanager
    def steps(self, title: str, total: int | None) -> Iterator["Counter"]:
        """A bar of `total` steps while the block runs."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield Counter(bar, task)

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        """A spinner while the block runs."""
        with self.console.status(title):
            yield


class Counter:
    """Advances a bar."""

    def __init__(self, bar: Progress, task: int) -> None:
        """Made by `Reporter.steps`."""
        self._bar, self._task = bar, task

    def __call__(self, steps: int = 1) -> None:
        """So many steps are done."""
        self._bar.advance(self._task, steps)  # type: ignore[arg-type]
