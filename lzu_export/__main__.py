"""Entry point of `lzu-export` and `python -m lzu_export`."""

from lzu_export.cli import exits


def main() -> None:
    """Run the command line; an interruption during its imports also ends in one sentence."""
    with exits.ending():
        from lzu_export.cli.app import main as commands

        commands()


if __name__ == "__main__":
    main()
