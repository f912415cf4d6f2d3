"""Sources of the pages' figures: commands that print JSON, and the records of trainings."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_benchmarks.documents.marks import NUMBER
from lzu_export.errors import LzuError
from lzu_export.support.interpreter import run_module

LONG = 120.0
"""Seconds on 2 cores above which a source is measured only when it is named."""


@dataclass(frozen=True)
class Source:
    """What measures some figures."""

    command: str
    """Command line that measures them, in the project's folder."""
    seconds: float
    """Rough duration on 2 quiet cores."""
    read: Callable[[Path], Any] | None = None
    """Function that reads the result from the project's folder; by default the command is run,
    with `--json`."""

    @property
    def long(self) -> bool:
        """Whether the source is measured only when it is named."""
        return self.read is None and self.seconds > LONG

    def measure(self, root: Path) -> Any:
        """Return the result.

        Raises:
            LzuError: the command fails, or prints no JSON.
        """
        if self.read is not None:
            return self.read(root)
        words = shlex.split(self.command)
        assert words[:2] == ["python", "-m"], "it runs in this environment"
        done = subprocess.run(
            run_module(*words[2:], "--json"),
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LzuError(f"{self.command} failed, as said above; its figures were not checked")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise LzuError(f"{self.command} printed no JSON") from error


def tables(text: str) -> dict[str, dict[str, list[float]]]:
    """Return the numbers of a Markdown page's tables, by the first cell of the row and by column.

    A cell such as `+4.34 [+3.40, +5.26]` has three numbers. Of rows with the same first cell the
    first one counts.
    """
    found: dict[str, dict[str, list[float]]] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not columns:
            columns = cells
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            numbers = [[float(each) for each in NUMBER.findall(cell)] for cell in cells[1:]]
            found.setdefault(cells[0], dict(zip(columns[1:], numbers, strict=False)))
    return found


def _records(root: Path) -> dict[str, Any]:
    """Return the tables that the trainings of the demonstration models wrote, by task."""
    found: dict[str, list[str]] = {}
    for page in sorted((root / "benchmarks" / "demo" / "lzu_export_demo").glob("*/*.md")):
        found.setdefault(page.parent.name, []).append(page.read_text(encoding="utf-8"))
    return {task: tables("\n\n".join(pages)) for task, pages in found.items()}


SOURCES = {
    "records": Source(
        "make train-det train-adaptive train-seg train-det3d", 6 * 3600.0, read=_records
    ),
    "camvid": Source(
        "python -m lzu_benchmarks.train.camvid --data DIR",
        2 * 3600.0,
        read=lambda root: tables((root / "docs/camvid.md").read_text(encoding="utf-8")),
    ),
    "facts": Source("python -m lzu_benchmarks facts", 60.0),
    "invert_warp": Source("python -m lzu_benchmarks invert_warp --rounds 100", 20.0),
    "export-det": Source("python -m lzu_export export det --variant 'fixed uniform'", 200.0),
    "start": Source("python -m lzu_benchmarks start build/det/fixed-0.5x", 20.0),
    "export_growth": Source("python -m lzu_benchmarks export_growth", 600.0),
    "engine_share": Source("python -m lzu_benchmarks engine_share build/det/fixed-0.5x", 60.0),
    "upsampling": Source("python -m lzu_benchmarks upsampling", 900.0),
    "training_speed": Source("python -m lzu_benchmarks training_speed", 60.0),
    "training_speed-8": Source("python -m lzu_benchmarks training_speed --batch 8", 200.0),
    "rivals-det": Source(
        "python -m lzu_export bench det --rivals --precision fp32 --target onnxruntime "
        "--variant uniform --frames 256",
        1500.0,
    ),
    "rivals-seg": Source(
        "python -m lzu_export bench seg --rivals --precision fp32 --target onnxruntime "
        "--frames 256",
        900.0,
    ),
    "speed-det": Source("python -m lzu_benchmarks speed --task det --out build/bench", 900.0),
    "speed-seg": Source("python -m lzu_benchmarks speed --task seg --out build/bench", 900.0),
    "speed-det3d": Source("python -m lzu_benchmarks speed --task det3d --out build/bench", 900.0),
}
"""Sources by name. `records` are the pages that the trainings wrote beside the demonstration
models; their command trains these again."""
