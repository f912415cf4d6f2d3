"""Progress reporting on stderr: stages and counted steps.

A terminal shows a spinner or a bar, and then a check mark with the seconds. Elsewhere, such as in
the log of a CI job, each stage is a line when it begins. Of stages in several threads one has the
spinner.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from lzu_export.support.console import Terminal
from lzu_export.support.escaping import visible

CHECK_MARK = "\N{CHECK MARK}"


class Reporter:
    """Shows progress on stderr; silent if `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Write to stderr, since stdout is for results."""
        self.console = Terminal(stderr=True, quiet=quiet)
        self._spinner = Lock()

    def note(self, text: str | Text) -> None:
        """Print a line that stays, without markup."""
        self.console.print(text)

    @contextmanager
    def steps(self, title: str, total: int | None) -> Iterator["Counter"]:
        """Show a bar of `total` steps while the block runs, and a check mark afterwards."""
        started = self._begin(title)
        with self._bars() as bar:
            yield Counter(bar, bar.add_task(visible(title), total=total))
        self._done(title, started)

    @contextmanager
    def phases(self) -> Iterator["Phases"]:
        """Show bars for work that names its phases itself while the block runs."""
        with self._bars() as bar:
            yield Phases(bar)

    def _bars(self) -> Progress:
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
        )
        return Progress(
            *columns,
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def working(self, title: str, *, brief: bool = False) -> Iterator[None]:
        """Show a spinner while the block runs, and a check mark with its seconds afterwards.

        Args:
            title: name of the stage.
            brief: the block takes a few seconds at most: nothing is printed without a terminal.
        """
        started = time.monotonic() if brief else self._begin(title)
        with ExitStack() as stack:
            if self._spinner.acquire(blocking=False):
                stack.callback(self._spinner.release)
                stack.enter_context(self.console.status(Text(visible(title))))
            yield
        self._done(title, started)

    def _begin(self, title: str) -> float:
        """Print the line of a stage where no terminal shows it, and return the time."""
        if not self.console.is_terminal:
            self.console.print(f"  {title} ...", soft_wrap=True)
        return time.monotonic()

    def _done(self, title: str, started: float) -> None:
        """Print the line that replaces a spinner or a bar, on terminals only."""
        if not self.console.is_terminal:
            return
        mark = CHECK_MARK if self.console.encoding.startswith("utf") else "done:"
        seconds = f"{time.monotonic() - started:.1f} s"
        self.console.print(
            Text.assemble((f"  {mark}", "green"), f" {visible(title)}  ", (seconds, "dim"))
        )


class Counter:
    """Advances a bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        """Take the bar and its task from `Reporter.steps`."""
        self._bar, self._task = bar, task

    def __call__(self, steps: int = 1) -> None:
        """Report this many steps as done."""
        self._bar.advance(self._task, steps)


class Phases:
    """Bars of nested work that names its phases itself, such as an engine's build."""

    def __init__(self, bar: Progress) -> None:
        """Take the bars from `Reporter.phases`."""
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def start(self, name: str, total: int) -> None:
        """Begin a phase of this many steps."""
        self._tasks[name] = self._bar.add_task(visible(name), total=total)

    def step(self, name: str, done: int) -> None:
        """Report this many of the phase's steps as done."""
        self._bar.update(self._tasks[name], completed=done)

    def finish(self, name: str) -> None:
        """End a phase and remove its bar."""
        self._bar.remove_task(self._tasks.pop(name))
