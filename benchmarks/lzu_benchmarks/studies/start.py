"""Time a bundle's start in a fresh process: import, then load.

`python -m lzu_benchmarks start BUNDLE`.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.bundle.bundle import Bundle
from lzu_export.cli import exits
from lzu_export.support.interpreter import run_program

NEEDS = "a bundle; extras runtime"

SCRIPT = (
    "import sys, time; a = time.perf_counter(); from lzu_export.runtime import load;"
    "b = time.perf_counter(); load(sys.argv[1]); c = time.perf_counter();"
    "print(b - a, c - b, 'torch' in sys.modules)"
)


def import_and_load(bundle: Path, rounds: int) -> dict[str, Any]:
    """Return the median seconds to import the runtime and to load a bundle in a fresh process."""
    results = []
    for _ in range(rounds):
        done = subprocess.run(
            run_program(SCRIPT, str(bundle)), stdout=subprocess.PIPE, check=True, text=True
        )
        imported, loaded, torch = done.stdout.split()
        results.append((float(imported), float(loaded), torch == "True"))
    return {
        "import": median(r[0] for r in results),
        "load": median(r[1] for r in results),
        "both": median(r[0] + r[1] for r in results),
        "torch_imported": any(r[2] for r in results),
    }


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    add_json(parser)
    given = parser.parse_args(arguments)
    Bundle(given.bundle)  # what is no bundle is refused in a sentence
    found = import_and_load(given.bundle, given.rounds)
    told = f"import {found['import']:.2f} s, load {found['load']:.2f} s, both {found['both']:.2f} s"
    print_result(given.json, found, f"{told} (medians of {given.rounds} processes)")


if __name__ == "__main__":
    main()
