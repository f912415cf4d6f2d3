"""`lzu-export doctor`: list what this machine can build and run."""

from typing import Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Device, Json
from lzu_export.support.terminal import print_json, say, show


def doctor(
    require: Annotated[
        list[str] | None,
        typer.Option(help="Exit with status 2 where this is missing; repeatable."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """List what this machine can build and run, and how to get what is missing."""
    from dataclasses import asdict

    from lzu_export.cli.tables.doctor import doctor_commands, doctor_tables
    from lzu_export.doctor import examine, missing

    found = examine()
    absent = missing(found.findings, require or [])
    if as_json:
        print_json(asdict(found))
    else:
        show(doctor_tables(found))
        say("", "To get what is missing", *doctor_commands(found))
    for each in absent:
        exits.complain(f"{each.name} is missing: {each.detail}; {each.install or 'get it'}")
    if absent:
        raise typer.Exit(exits.UNFIT)
