"""`lzu-export bench`: run the benchmark harness, where it is installed."""

import typer

ALL_WORDS = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
"""Settings of a command whose options the harness reads, see `lzu_benchmarks.bench.options`."""


def bench(context: typer.Context) -> None:
    """Compare accuracy and latency of warped and uniform models, and write a report."""
    from lzu_export.evaluation.datasets import find_command

    find_command("bench")(context.args)
