"""Bound kernels' times by their machine code, without a GPU.

    make plugins-report

compiles every kernel of plugins/ for each architecture, disassembles it, counts what a launch at
the shipped recipes' shapes executes, and writes the tables of plugins/README.md. All figures are
computed, none is measured.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.machine_code import table
from lzu_benchmarks.machine_code.cards import CARDS
from lzu_benchmarks.machine_code.launches import FULL, KERNELS, RECIPES
from lzu_benchmarks.machine_code.toolkit import Toolkit, download, find_toolkit
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.checkout import in_checkout

NEEDS = "nvcc; a checkout for --write"

README = KERNELS.parent / "README.md"
START, END = "<!-- computed by make plugins-report: {} -->", "<!-- end -->"
RELEASE = "13.0.88"
"""Release of the compiler whose code the tables of plugins/README.md show."""


def put(text: str, name: str, block: str) -> str:
    """Replace the block of a name in a page's text.

    Raises:
        LzuError: the page has no place for the block.
    """
    start = START.format(name)
    before, found, after = text.partition(start)
    _, ended, rest = after.partition(END)
    if not found or not ended:
        raise LzuError(f"{README.name} has no line {start} with a line {END} after it")
    return f"{before}{start}\n{block}\n{END}{rest}"


def put_rows(text: str, name: str, table_of_some: str) -> str:
    """Replace the rows of some kernels in the block of a name, by their first two cells.

    Raises:
        LzuError: the page has no place for the block, or the block has no such row.
    """
    block = text.partition(START.format(name) + "\n")[2].partition("\n" + END)[0]
    lines = {tuple(line.split(" | ")[:2]): line for line in block.splitlines()}
    for line in table_of_some.splitlines()[2:]:
        key = tuple(line.split(" | ")[:2])
        if key not in lines:
            raise LzuError(f"{README.name} has no row {' | '.join(key)}; leave out --kernel")
        lines[key] = line
    return put(text, name, "\n".join(lines.values()))


def blocks(kernels: table.Kernels, part: str = "") -> dict[str, str]:
    """Compute the tables by the names of their places, of the kernels whose names have a part."""
    every = [each for each in table.launches() if part in each.kernel]
    others = [each for each in every if each.shape in RECIPES and each.shape != FULL]
    return {
        "cards": table.cards_table(),
        "bounds": table.bounds_table(kernels, [each for each in every if each not in others]),
        "recipes": table.bounds_table(kernels, others),
        "code": table.code_table(kernels, every),
    }


def result(kernels: table.Kernels, part: str) -> list[dict[str, object]]:
    """Return the launches of those kernels on every card as plain data, in microseconds."""
    rows: list[dict[str, object]] = []
    for (kernel, shape), group in table.grouped(table.launches()).items():
        if part not in kernel:
            continue
        for card in CARDS:
            best, bound = kernels.best(group, card)
            rows.append(
                {
                    "kernel": kernel, "shape": shape, "card": card.name,
                    "tactic": group.index(best.launch), "bytes": best.launch.moved,
                    "blocks": best.launch.blocks, "registers": best.compiled.registers,
                    "occupancy": best.occupancy, "loads_in_flight": best.walk.in_flight,
                    "per_16_bytes": best.per_chunk(), "floor": bound.floor, "pipe": bound.pipe,
                    "busy": bound.busy, "alone": bound.alone, "bound": bound.time,
                }
            )  # fmt: skip
    return rows


def tools(out: Path) -> Toolkit:
    """Find the programs, downloading the disassembler where there is none."""
    folder = out / "plugins" / "tools"
    home = os.environ.get("CUDA_HOME", "") or next(
        map(str, sorted((out / "plugins" / "cuda" / "nvidia").glob("cu[0-9]*"))), ""
    )
    try:
        return find_toolkit(home, folder)
    except LzuError:
        download(folder)
        return find_toolkit(home, folder)


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build"), help="folder that tools are downloaded to"
    )
    parser.add_argument("--write", action="store_true", help="write plugins/README.md")
    parser.add_argument(
        "--kernel", default="", metavar="PART", help="only kernels whose names have this part"
    )
    add_json(parser)
    given = parser.parse_args(arguments)
    if given.write and not in_checkout():
        raise LzuError("--write changes plugins/README.md of a checkout; leave it out")
    toolkit = tools(given.out)
    if given.write and toolkit.release() != RELEASE:
        raise LzuError(
            f"nvcc is of release {toolkit.release()}, but the tables show that of {RELEASE}; "
            "leave out --write, or set CUDA_HOME"
        )
    with tempfile.TemporaryDirectory() as folder:
        kernels = table.Kernels(toolkit, Path(folder))
        made = blocks(kernels, given.kernel)
        data = (
            {"launches": result(kernels, given.kernel), "compiler": toolkit.release()}
            if given.json
            else {}
        )
    if given.write:
        text = README.read_text(encoding="utf-8")
        for name, block in made.items():
            text = (put_rows if given.kernel else put)(text, name, block)
        README.write_text(text, encoding="utf-8")
    print_result(given.json, data, made["bounds"], made["recipes"], made["code"])


if __name__ == "__main__":
    main()
