"""`lzu-export`: the table of commands. Results go to stdout, everything else to stderr."""

import logging
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lzu_export import __version__
from lzu_export.cli import exits
from lzu_export.cli.bench import bench
from lzu_export.cli.board import board
from lzu_export.cli.build import build
from lzu_export.cli.calibrate import calibrate
from lzu_export.cli.derive import derive
from lzu_export.cli.doctor import doctor
from lzu_export.cli.export import export
from lzu_export.cli.fleet import fleet
from lzu_export.cli.groups import with_groups
from lzu_export.cli.inspect import inspect
from lzu_export.cli.installed import ALL_ARGUMENTS, installed_commands, passed_on
from lzu_export.cli.pack import pack
from lzu_export.cli.plugins import plugins
from lzu_export.cli.recipes import recipes
from lzu_export.cli.regress import regress
from lzu_export.cli.run import run
from lzu_export.cli.sensitivity import sensitivity
from lzu_export.cli.sweep import sweep
from lzu_export.cli.verify import verify
from lzu_export.cli.warp import warp

COMMANDS: tuple[tuple[Callable[..., None], dict[str, Any]], ...] = (
    (export, {}),
    (verify, {}),
    (regress, {}),
    (run, {}),
    (build, {}),
    (derive, {}),
    (plugins, {}),
    (pack, {}),
    (fleet, {}),
    (board, {"hidden": True}),
    (calibrate, {}),
    (sensitivity, {}),
    (bench, ALL_ARGUMENTS),
    (sweep, {}),
    (inspect, {}),
    (warp, {}),
    (doctor, {}),
    (recipes, {}),
)
"""Every command with its settings, in the order of the help. A command imports what it needs when
it runs, so that the help is quick and a device needs only what its commands use."""
STORED_NOTHING = "nothing was stored; give the same command to start again"
INTERRUPTED = {
    "export": "bundles and stages that are done are kept; give the same command to go on",
    "verify": STORED_NOTHING,
    "regress": STORED_NOTHING,
    "fleet": "results of boards that are done are kept; give the same command to go on",
    "sweep": "points that are done are kept; give the same command to go on",
}
"""Sentences, by command, on what an interruption leaves and how to continue."""


class _Commands(TyperGroup):
    """Group of commands that end in a sentence before Typer ends them with its own status."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *sorted(installed_commands().keys() - set(own))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = installed_commands().get(cmd_name)
        return passed_on(cmd_name, entry) if entry is not None else None

    def make_context(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().make_context(*args, **extra)
        except KeyboardInterrupt:
            exits.interrupted()

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            exits.interrupted(INTERRUPTED.get(ctx.invoked_subcommand or "", exits.AGAIN))
        except ModuleNotFoundError as error:
            exits.lacking(error, ctx.invoked_subcommand or "")


app = typer.Typer(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compile Learning to Zoom and Unzoom models to verified ONNX graphs and engines.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lzu-export {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log each decision and its reason.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    from rich.logging import RichHandler

    from lzu_export.support.console import Terminal

    handler = RichHandler(console=Terminal(stderr=True), show_path=False, show_time=False)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


for _command, _settings in COMMANDS:
    app.command(**_settings)(with_groups(_command))


def main() -> None:
    """Run the command line; any error becomes one sentence on stderr and an exit status."""
    # OpenCV's own messages about an unreadable file would precede ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Read when torch is first imported: threads that spin while they wait make PyTorch some 40
    # times slower as soon as another process needs the processors too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with exits.ending():
        app()


if __name__ == "__main__":
    main()
