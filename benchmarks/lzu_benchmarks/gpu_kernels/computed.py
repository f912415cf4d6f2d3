"""Bounds that `make plugins-report` computed, for a card: from its JSON, or plugins/README.md."""

import json
import re
from pathlib import Path

from lzu_benchmarks.gpu_kernels.card import Facts
from lzu_benchmarks.gpu_kernels.header import KERNELS
from lzu_export.errors import LzuError

README = KERNELS.parent / "README.md"
Bounds = dict[tuple[str, str], float]
"""Microseconds by kernel and shape."""
ORIN = {16: "AGX Orin", 8: "Orin Nano"}
"""Names of Jetson Orins, which CUDA all calls Orin, by their multiprocessors."""
_TABLE = re.compile(r"<!-- computed by make plugins-report: \w+ -->\n(.*?)\n<!-- end -->", re.S)


def card_name(facts: Facts) -> str:
    """Return a card's name in the tables of bounds, which need not have it."""
    name = re.sub(r"^(NVIDIA )?(GeForce |Jetson )?", "", facts.name).strip()
    if name.endswith("Orin") or "(nvgpu)" in name:
        return ORIN.get(facts.multiprocessors, name)
    return "AGX Thor" if name.endswith("Thor") else name


def read_bounds(card: str, path: Path | None = None) -> Bounds:
    """Return the bounds of a card; empty where nobody computed any for it.

    Args:
        card: name of the card in the tables.
        path: JSON of `python -m lzu_benchmarks plugins_report --json`; by default the tables of
            plugins/README.md.

    Raises:
        LzuError: the file cannot be read, or is none of these.
    """
    if path is None:
        text = README.read_text(encoding="utf-8") if README.is_file() else ""
        return _of_tables(card, text)
    try:
        launches = json.loads(path.read_text(encoding="utf-8"))["launches"]
        return {
            (each["kernel"], each["shape"]): float(each["bound"])
            for each in launches
            if each["card"] == card
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LzuError(
            f"{path} has no bounds ({type(error).__name__}); make it by python -m lzu_benchmarks "
            "plugins_report --json"
        ) from error


def bound_of(bounds: Bounds, kernel: str, shape: str, beginning: str = "") -> float | None:
    """Return a kernel's bound at a shape, or the sum over kernels whose names begin alike."""
    found = [
        bound
        for (name, at), bound in bounds.items()
        if at == shape and (name == kernel or (beginning and name.startswith(beginning)))
    ]
    return sum(found) if found else None


def _of_tables(card: str, text: str) -> Bounds:
    bounds: Bounds = {}
    for table in _TABLE.findall(text):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()
        ]
        if head[:2] != ["kernel", "shape"]:
            continue
        # The first card has three columns, of which `bound` is the last.
        named = {name.partition(":")[0]: i for i, name in enumerate(head)}
        if f"{card}: bytes" in head:
            named[card] = head.index("bound")
        if card in named:
            for row in rows:
                bounds[row[0], row[1]] = float(row[named[card]].split()[0])
    return bounds
