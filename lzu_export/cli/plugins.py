"""`lzu-export plugins`: build the plugin library, and find its sources and headers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli.options import Json
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say

if TYPE_CHECKING:
    from lzu_export.compiler.build_plugins import Build, Kind

PLACES = ("sources", "include", "pkgconfig", "library")
"""What `--print` takes."""


def plugins(
    arch: Annotated[
        list[str] | None,
        typer.Option(help="Compute capability such as 8.7; repeatable. Default: all."),
    ] = None,
    tensorrt: Annotated[
        Path | None, typer.Option(help="Folder of TensorRT or its headers; default: the system's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to build in; default: where all commands look.")
    ] = None,
    cross: Annotated[
        bool, typer.Option("--cross", help="For a Jetson with JetPack 7, on another machine.")
    ] = False,
    host: Annotated[
        bool, typer.Option("--host", help="The kernels alone, for this processor: no CUDA.")
    ] = False,
    what: Annotated[
        str | None,
        typer.Option("--print", help="Build nothing; print the path: " + ", ".join(PLACES) + "."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the library of CUDA kernels and TensorRT plugins, here or for a Jetson.

    CUDA_HOME names the CUDA toolkit. Compiler and headers that the system lacks are downloaded.
    """
    from lzu_export.compiler.build_plugins import build_plugins, find_build
    from lzu_export.support.progress import Reporter

    kind = _kind(cross, host)
    if what is not None:
        _print_place(what, find_build(kind, out), as_json)
        return
    if host and (arch or tensorrt):
        raise LzuError("--host builds for this processor; leave out --arch and --tensorrt")
    build, library = build_plugins(
        kind,
        out=out,
        architectures=arch or (),
        tensorrt=tensorrt,
        report=Reporter(quiet=as_json),
    )
    if as_json:
        described = library.model_dump(mode="json") if library else {}
        print_json(described | {name: str(getattr(build, name)) for name in PLACES[1:]})
        return
    made = "the kernels for this processor"
    if library is not None:
        version, cuda = library.version, library.cuda_major
        made = f"version {version}, CUDA {cuda}" if version else f"for {kind.cross}"
    say(f"{build.library}: {made}")


def _kind(cross: bool, host: bool) -> "Kind":
    from lzu_export.compiler.build_plugins import CROSS, DEVICE, HOST

    if cross and host:
        raise LzuError("--cross builds for another machine and --host for this one; give one")
    return CROSS if cross else HOST if host else DEVICE


def _print_place(what: str, build: "Build", as_json: bool) -> None:
    """Print the path of the sources, or of a part of what was built."""
    from lzu_export.support.checkout import PLUGINS

    if what not in PLACES:
        raise LzuError(f"--print {what} is not known; give one of {', '.join(PLACES)}")
    if what != "sources":
        build.require()
    place = PLUGINS if what == "sources" else getattr(build, what)
    if as_json:
        print_json({what: str(place)})
    else:
        say(str(place))
