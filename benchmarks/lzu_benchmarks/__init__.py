"""The benchmark harness and the demonstration scenes. Imports lzu_export, never the reverse."""

import sys

from lzu_export.cli import exits

if sys.argv[:1] == ["-m"]:  # `python -m` of a module of this package, which is imported next
    exits.guard_imports()
