"""Output of the run: measured beside computed in 80 columns, and JSON."""

from collections.abc import Sequence
from typing import Any

from lzu_benchmarks.gpu_kernels.measure import Result

METHOD = (
    "microseconds of a launch, median of 15 batches between two events; inputs rotate through "
    "more memory than the L2 cache has, where 64 sets reach that"
)
HEAD = ("kernel", "shape", "measured", "computed", "PyTorch", "deviation")
WIDTHS = (25, 15, 9, 9, 8, 10)


def table(results: Sequence[Result], card: str) -> str:
    """Return the table of results, and the lines that explain it."""
    lines = [_line(HEAD)]
    for each in results:
        lines.append(_line(_cells(each)))
        if each.failure:
            lines.append(f"  {each.failure}")
    lines += [
        "",
        "measured: microseconds of a launch, the quickest tactic; * from the cache",
        f"computed: lower bound of make plugins-report for {card}; - where there is none",
        "PyTorch: its grid_sample, the same work in the same type",
        "deviation: largest, over all tactics; ! above its limit",
    ]
    failed = [each for each in results if not each.passed]
    told = f"{len(failed)} of {len(results)} deviate or failed" if failed else "all within limits"
    return "\n".join([*lines, "", f"{len(results)} cases, {told}"])


def _cells(result: Result) -> tuple[str, ...]:
    _, time = result.best or (None, None)
    worst = max(result.deviations.values(), default=None)
    measured = "-" if time is None else f"{time:.1f}{' ' if result.beyond_cache else '*'}"
    deviation = "-" if worst is None else f"{worst:.1e}{' ' if result.passed else '!'}"
    return (
        result.kernel,
        result.shape,
        measured,
        _number(result.computed),
        _number(result.grid_sample_microseconds),
        deviation,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _line(cells: Sequence[str]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], WIDTHS[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], WIDTHS[2:], strict=True)]
    return "".join([*(f"{cell} " for cell in left), *right]).rstrip()


def as_json(results: Sequence[Result], machine: dict[str, Any]) -> dict[str, Any]:
    """Return the whole result as plain data."""
    return {
        "machine": machine,
        "method": METHOD,
        "passed": all(each.passed for each in results),
        "results": [each.as_dict() for each in results],
    }
