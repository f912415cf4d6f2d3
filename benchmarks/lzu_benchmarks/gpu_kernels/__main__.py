"""Check and time the CUDA kernels on this machine's GPU.

    python -m lzu_benchmarks.gpu_kernels

builds the kernels for the card, holds each against the mathematics and PyTorch's grid_sample, times
them, prints measured beside computed times, and writes a JSON. It needs nvcc, a C++ compiler,
PyTorch with CUDA and NumPy; no TensorRT, and nothing else of this project.
"""

import argparse
import ctypes
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_benchmarks.gpu_kernels.header import read_header
from lzu_benchmarks.gpu_kernels.tools import Compiler, build_library, find_compiler
from lzu_export.errors import LzuError

if TYPE_CHECKING:
    from lzu_benchmarks.gpu_kernels.card import Card, Facts
    from lzu_benchmarks.gpu_kernels.case import Case

PASSED, DEVIATES, MISSING = 0, 1, 2
"""Exit statuses, as those of `lzu-export`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lzu_benchmarks.gpu_kernels", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("build/gpu-kernels.json"))
    parser.add_argument("--kernel", default="", metavar="PART", help="only kernels with this part")
    parser.add_argument("--shape", default="", metavar="NAME", help="only this shape")
    parser.add_argument("--computed", type=Path, help="JSON of plugins_report")
    parser.add_argument("--no-times", action="store_true", help="only check")
    parser.add_argument("--json", action="store_true", help="print the JSON, not the table")
    given = parser.parse_args(arguments)
    try:
        card, machine = prepare()
        return report(card, machine, given)
    except LzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISSING


def prepare() -> "tuple[Card, dict[str, Any]]":
    """Find the card and the compiler, and build and load the kernels.

    Raises:
        LzuError: something is missing; the message names it and the remedy.
    """
    require("numpy", "torch")
    from lzu_benchmarks.gpu_kernels.card import Card, check_driver, find_facts

    facts = find_facts()
    compiler = find_compiler()
    check_driver(compiler.release, compiler.major)
    say(f"building the kernels for {facts.name} with nvcc {compiler.release}")
    with tempfile.TemporaryDirectory(prefix="lzu-gpu-kernels-") as folder:
        library = ctypes.CDLL(str(build_library(compiler, facts.capability, Path(folder))))
    return Card(facts, library, read_header()), describe(facts, compiler)


def require(*modules: str) -> None:
    """Import packages, of which a bare machine may lack some.

    Raises:
        LzuError: one is missing or does not load; the message names the interpreter.
    """
    for name in modules:
        try:
            __import__(name)
        except ImportError as error:
            raise LzuError(
                f"{sys.executable} has no {name} ({error}); install it, or run this by "
                "another Python"
            ) from error


def describe(facts: "Facts", compiler: Compiler) -> dict[str, Any]:
    """Return what the measurement was made on."""
    import torch

    return {
        **facts._asdict(),
        "nvcc": compiler.release,
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def cases_of(card: "Card", kernel: str, shape: str) -> "list[Case]":
    """Return the cases whose kernel and shape were asked for.

    Raises:
        LzuError: there are none.
    """
    from lzu_benchmarks.gpu_kernels.box_work import box_cases
    from lzu_benchmarks.gpu_kernels.camera_work import camera_cases
    from lzu_benchmarks.gpu_kernels.resampling import resampling_cases
    from lzu_benchmarks.gpu_kernels.shapes import SHAPES

    every = [
        *resampling_cases(card, SHAPES),
        *camera_cases(card, SHAPES),
        *box_cases(card, SHAPES[0]),
    ]
    found = [each for each in every if kernel in each.kernel and shape in ("", each.shape)]
    if not found:
        raise LzuError(f"no case has kernel {kernel or 'any'} and shape {shape or 'any'}")
    return found


def report(card: "Card", machine: dict[str, Any], given: argparse.Namespace) -> int:
    """Measure the cases, print the table and write the JSON; return the exit status.

    Raises:
        LzuError: no case was asked for, or a file cannot be read or written.
    """
    from lzu_benchmarks.gpu_kernels import report as output
    from lzu_benchmarks.gpu_kernels.computed import bound_of, card_name, read_bounds
    from lzu_benchmarks.gpu_kernels.measure import Result, measure

    cases = cases_of(card, given.kernel, given.shape)
    name = card_name(card.facts)
    bounds = read_bounds(name, given.computed)
    results: list[Result] = []
    for i, case in enumerate(cases):
        say(f"{i + 1} of {len(cases)}: {case.kernel}, {case.shape}")
        try:
            result = measure(card, case, timed=not given.no_times)
        except (LzuError, RuntimeError) as error:  # a failed kernel ends the card's context
            result = Result(case.kernel, case.shape, case.moved, case.limit)
            result.failure = str(error).strip().splitlines()[0]
        result.computed = bound_of(bounds, case.kernel, case.shape, case.computed)
        results.append(result)
        if result.failure:
            break
    data = output.as_json(results, machine)
    print(json.dumps(data, indent=2) if given.json else output.table(results, name))
    write(given.out, data)
    if len(results) < len(cases):
        say(f"{len(cases) - len(results)} cases were left out after the failure")
    return PASSED if data["passed"] else DEVIATES


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the JSON.

    Raises:
        LzuError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise LzuError(
            f"{path} cannot be written ({error.strerror}); name another (--out)"
        ) from error
    say(f"written: {path}")


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    status = main()
    sys.exit(status)
