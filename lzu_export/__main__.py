"""Entry point of `lzu-export` and `python -m lzu_export`."""

from lzu_export.cli import exits


def main() -> None:
    """Entry point; an interruption while the commands are imported is one sentence, too."""
    with exits.ending():
        from lzu_export.cli.app import main as commands

        commands()


if __name__ == "__main__":
    main()
