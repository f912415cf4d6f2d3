"""`lzu-export bench`: the benchmark harness, if it is installed."""

import typer


def bench(context: typer.Context) -> None:
    """Compare accuracy and latency of warped and uniform models, and write a report."""
    from lzu_export.cli.installed import find_command

    find_command("bench")(context.args)
