"""`lzu-export fleet`: build, verify and time bundles on boards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.build import Builder
from lzu_export.cli.cluster_options import ClusterOptions
from lzu_export.cli.options import Json
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say, show

if TYPE_CHECKING:
    from lzu_export.fleet.rows import Fleet


def fleet(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles, timed in turns on each board.")],
    *,
    boards: Annotated[
        str, typer.Option(help="Tags of the boards separated by spaces: resources of workers.")
    ],
    target: Annotated[str, typer.Option(help="Target of the engines.")] = "tensorrt",
    precision: Annotated[
        str | None, typer.Option(help="Precisions separated by spaces; default: all.")
    ] = None,
    cluster: ClusterOptions,
    builder: Builder,
    min_seconds: Annotated[
        float | None, typer.Option(min=0, help="Timed seconds of every engine at least.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a board may work.")] = 7200,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for absent boards.")] = 60,
    again: Annotated[
        bool, typer.Option("--again", help="Also ask boards whose result is stored.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of report, results and engines.")] = Path(
        "build/fleet"
    ),
    as_json: Json = False,
) -> None:
    """Build, verify and time bundles on boards, which are workers of a Dask scheduler.

    Exit status: 0 all done; 1 an engine deviates; 2 no board began; 4 some failed.
    """
    from tempfile import TemporaryDirectory

    from lzu_export.fleet.archives import pack_bundles, request_of
    from lzu_export.fleet.fleet import Order, ask_fleet
    from lzu_export.fleet.results import Results
    from lzu_export.support.progress import Reporter

    tags = tuple(dict.fromkeys(boards.split()))
    if not tags:
        raise LzuError("--boards names no board; give the tags of their workers, such as orin-agx")
    if cluster.scheduler is None:
        raise LzuError(
            "boards are workers of a Dask scheduler; give its address (--scheduler tls://HOST:8786)"
        )
    timing = () if min_seconds is None else ("--min-seconds", f"{min_seconds:g}")
    results = Results(out)
    with TemporaryDirectory() as folder:
        precisions = (precision or "").split()
        archives, chosen = pack_bundles(bundles, target, precisions, Path(folder))
        request = request_of(archives, target, chosen, _words(builder), timing)
        order = Order(request, archives, tags, timeout, patience, again)
        with results.alone(), cluster.open() as opened:
            found = ask_fleet(order, opened, results, Reporter())
    _write(found, out)
    _tell(found, out, as_json)


def _words(builder: Builder) -> list[str]:
    """Return the options of `lzu-export build` that were given."""
    builder.options()  # refuses unknown values here, before any board does
    words = []
    for name, value in vars(builder).items():
        if value not in (None, False):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return words


def _write(fleet: "Fleet", out: Path) -> None:
    from lzu_export.errors import readable_os_errors
    from lzu_export.fleet.page import PAGE, REPORT, fleet_page
    from lzu_export.support.files import write_text

    with readable_os_errors(f"the report in {out}"):
        write_text(out / REPORT, fleet.model_dump_json(indent=2) + "\n")
        write_text(out / PAGE, fleet_page(fleet))


def _tell(fleet: "Fleet", out: Path, as_json: bool) -> None:
    """Print the report, and end with the status of its rows."""
    from lzu_export.cli.tables.fleet import fleet_tables
    from lzu_export.fleet.page import PAGE

    if as_json:
        print_json(fleet.model_dump(mode="json"))
    else:
        show(fleet_tables(fleet))
        say(str(out / PAGE))
    for row in fleet.rows:
        if row.status != "done":
            exits.complain(f"{row.board}: {row.sentence}")
    if any(row.status == "deviates" for row in fleet.rows):
        raise typer.Exit(exits.MISMATCH)
    if not fleet.whole:
        raise typer.Exit(exits.INCOMPLETE if fleet.begun else exits.UNFIT)
