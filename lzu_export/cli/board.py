"""`lzu-export board`: what `lzu-export fleet` runs on each board. Not for users."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.options import Json
from lzu_export.support.terminal import print_json


def board(
    request: Annotated[Path, typer.Argument(help="Work that a fleet asks for (.json).")],
    *,
    only_look: Annotated[
        bool, typer.Option("--look", help="Report what the board is and has; work nothing.")
    ] = False,
    as_json: Json = True,
) -> None:
    """Build, verify and time bundles on this board, as lzu-export fleet asks.

    Prints JSON. Steps that failed are part of it, and the exit status is 0.
    """
    from lzu_export.fleet.board import look, read_request, work
    from lzu_export.fleet.board_cache import BoardCache

    wanted, cache = read_request(request), BoardCache()
    if only_look:
        print_json(look(wanted, cache).model_dump(mode="json"))
        return
    print_json(work(wanted, cache, request.absolute().parent).model_dump(mode="json"))
