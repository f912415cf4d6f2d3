"""`lzu-export sweep`: export, score and time many points of a matrix of recipe keys."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Json, Scheduler, TlsFiles
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say, show

if TYPE_CHECKING:
    from lzu_export.cluster.cluster import Cluster
    from lzu_export.sweep.points import Point, Points
    from lzu_export.sweep.results import Result

FORMATS = ("json", "parquet")


class Opener:
    """Opens the workers of a sweep's phases: this machine's, or those of a scheduler."""

    def __init__(self, scheduler: str | None, workers: int | None, tls: TlsFiles) -> None:
        """Take the options."""
        self.remote = scheduler is not None
        self._scheduler, self._workers, self._tls = scheduler, workers, tls

    def __call__(self, *, alone: bool) -> "AbstractContextManager[Cluster]":
        """Open workers; `alone`: one job at a time on this machine."""
        from lzu_export.cluster.cluster import open_cluster

        workers = 1 if alone and not self.remote else self._workers
        return open_cluster(self._scheduler, workers=workers, certificates=self._tls.certificates())


def sweep(
    file: Annotated[Path, typer.Argument(help="File of the sweep (YAML).", metavar="SWEEP.yaml")],
    *,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Jobs at a time on this machine; default: its processors."),
    ] = None,
    scheduler: Scheduler = None,
    tls: TlsFiles,
    search: Annotated[
        int | None,
        typer.Option(min=1, help="Let Optuna choose this many points instead of all."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Also write results as parquet; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all sweeps.")] = Path("build/sweep"),
    as_json: Json = False,
) -> None:
    """Export, score and time many points of a matrix of recipe keys, and rank them.

    Points that are done are not done again, so a sweep that was stopped goes on. A point that
    fails is a row with its reason; the others go on, and the exit status is 4.
    """
    from importlib.util import find_spec

    from lzu_export.support.plots import check_matplotlib
    from lzu_export.support.progress import Reporter
    from lzu_export.sweep.points import Points
    from lzu_export.sweep.run import sweep as run_sweep
    from lzu_export.sweep.schema import read_sweep

    wanted = list(dict.fromkeys(formats or []))
    for each in wanted:
        if each not in FORMATS:
            raise LzuError(f"--format {each} is not known; give {' or '.join(FORMATS)}")
    check_matplotlib()
    if "parquet" in wanted and find_spec("pyarrow") is None:
        raise ModuleNotFoundError(name="pyarrow")
    opener = Opener(scheduler, workers, tls)
    maker = Points(read_sweep(file), file)  # now, since the file may change while jobs run
    result, points = run_sweep(file, out, opener, search=search, report=Reporter())
    files = _write(result, points, maker, out, wanted)
    _tell(result, files, as_json)
    if result.failed:
        raise typer.Exit(exits.INCOMPLETE)


def _write(
    result: "Result", points: "dict[str, Point]", maker: "Points", out: Path, formats: list[str]
) -> list[Path]:
    """Write the results and the page, and return the files."""
    from lzu_export.sweep.page import sweep_page, write_page
    from lzu_export.sweep.results import write_results

    commands = {name: maker.command(point, Path("build")) for name, point in points.items()}
    folder = out / result.name
    files = write_results(result, folder, formats)
    return [write_page(sweep_page(result, points, commands, formats), folder), *files]


def _tell(result: "Result", files: list[Path], as_json: bool) -> None:
    from lzu_export.cli.tables.sweep import sweep_table

    if as_json:
        print_json({"files": [str(each) for each in files], **result.model_dump(mode="json")})
        return
    show(sweep_table(result))
    say(", ".join([str(files[0]), *(each.name for each in files[1:])]))
