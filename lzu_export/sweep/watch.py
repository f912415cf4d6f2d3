"""Show a sweep while it runs, on stderr: a live table in a terminal, elsewhere a line a job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from lzu_export.support.progress import Reporter
from lzu_export.support.tables import Column, coloured, grid

SHOWN = 12
"""Largest number of jobs in the live table, the latest ones."""
MANY = 50
"""Smallest number of points whose preparation is shown."""
COLUMNS = (Column("point", left=True), Column("figure"), Column("s"), Column("status", left=True))


class Watch:
    """Shows the jobs of a sweep's phases as they end."""

    def __init__(self, report: Reporter) -> None:
        """Write to a reporter's console."""
        self._report = report

    @contextmanager
    def preparation(self, points: int) -> Iterator[Callable[[], None]]:
        """Show that the files of this many points are hashed, and yield what counts a point.

        Few points take a moment, and nothing is shown.
        """
        if points < MANY:
            yield lambda: None
            return
        with self._report.steps("hashing the points' files", points) as step:
            yield step

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator["Phase"]:
        """Show a phase of this many jobs while the block runs."""
        phase = Phase(title, total)
        if not self._report.console.is_terminal:
            self._report.note(f"  {title}: {total} jobs ...")
            phase.report = self._report
            yield phase
            return
        with Live(phase, console=self._report.console, transient=True, refresh_per_second=4):
            yield phase
        self._report.note(f"  {title}: {phase.told}")


class Phase:
    """Jobs of one kind, such as exports."""

    def __init__(self, title: str, total: int) -> None:
        """Begin with no job done."""
        self.report: Reporter | None = None
        """Receiver of a line a job; None in a terminal."""
        self._bar = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._bar.add_task(title, total=total)
        self._total, self._failed = total, 0
        self._rows: list[list[str | Text]] = []

    @property
    def told(self) -> str:
        """Numbers of jobs that are done and that failed, in words."""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{len(self._rows) - self._failed} done{failed}"

    def end(self, name: str, seconds: float, figure: str = "", sentence: str = "") -> None:
        """Show a job that ended.

        Args:
            name: name of its point.
            seconds: its duration.
            figure: its result in a few characters.
            sentence: why it failed; empty if it did not.
        """
        self._failed += bool(sentence)
        status = "failed" if sentence else "done"
        self._rows.append([name, figure, f"{seconds:.0f}", coloured(status)])
        self._bar.advance(self._task)
        if self.report is not None:
            result = f"failed: {sentence}" if sentence else f"{figure} in {seconds:.0f} s".lstrip()
            self.report.console.print(
                f"  {len(self._rows)}/{self._total} {name}: {result}", soft_wrap=True
            )

    def __rich__(self) -> Group:
        """Return the bar and the latest jobs."""
        table = grid(COLUMNS, self._rows[-SHOWN:]) if self._rows else Text("")
        return Group(table, self._bar)
