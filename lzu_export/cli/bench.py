"""`lzu-export bench`: run the benchmark harness, where it is installed."""

import typer

ALL_WORDS = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
"""Settings of the command that pass all options on to the harness, which parses them itself."""


def bench(context: typer.Context) -> None:
    """Accuracy and latency of warped and uniform models, and a report; --help lists its options."""
    from lzu_export.evaluation.datasets import find_command

    find_command("bench")(context.args)
