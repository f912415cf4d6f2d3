"""Output of `warp`: magnification, sizes of boxes, and proposed settings."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from lzu_export.preview.measure import BoxSizes
from lzu_export.preview.preview import Preview
from lzu_export.preview.propose import Proposal
from lzu_export.support.tables import Cell, Column, grid, notes


def warp_tables(seen: Preview) -> Iterator[Text]:
    """Yield the tables of a warp, each after its heading."""
    sizes = seen.subject.sizes
    path = " -> ".join("x".join(map(str, each)) for each in (sizes.view, sizes.canvas))
    yield notes([f"{seen.subject.name}: {path}"], "bold")
    columns = [Column("magnification"), Column("largest"), Column("smallest")]
    rows = [
        [f"  {name}", f"{each.largest:.2f}", f"{each.smallest:.2f}"]
        for name, each in zip(("across (x)", "down (y)"), seen.measured.extremes, strict=True)
    ]
    yield grid(columns, rows)
    if seen.measured.boxes is not None:
        yield Text("")
        yield _boxes(seen.measured.boxes)
    if seen.proposals:
        yield Text("")
        yield _proposals(seen.proposals, seen.measured.boxes)
    yield Text("")
    sentences = ["magnification: pixels along an axis, over those on the uniform canvas"]
    if seen.measured.boxes is not None:
        sentences.append("size: root of a box's area, in pixels of the canvas")
        if seen.measured.boxes.cropped:
            sentences.append(f"boxes that are not shown whole: {seen.measured.boxes.cropped}")
    yield notes(sentences)


def _boxes(boxes: BoxSizes) -> Text:
    columns = [Column("boxes by size"), *map(Column, ("boxes", "uniform", "zoomed", "ratio"))]
    rows: list[Sequence[Cell]] = []
    for each in boxes.classes():
        name = f"  {each.least:g} to {each.below:g}"
        name = name if np.isfinite(each.below) else f"  from {each.least:g}"
        ratio = f"{each.zoomed / each.uniform:.2f}" if each.uniform else "-"
        rows.append([name, f"{each.boxes}", f"{each.uniform:.1f}", f"{each.zoomed:.1f}", ratio])
    before, after = (f"{100 * share:.1f} %" for share in boxes.small_shares)
    rows.append([f"  below {boxes.small:g}", f"{len(boxes.uniform)}", before, after, ""])
    return grid(columns, rows)


def _proposals(proposals: Sequence[Proposal], boxes: BoxSizes | None) -> Text:
    heads = ["largest", "smallest", *([f"below {boxes.small:g}"] if boxes is not None else [])]
    columns = [Column("proposed"), *map(Column, heads), Column("", left=True)]
    rows: list[Sequence[Cell]] = []
    for each in proposals:
        words = " ".join(f"--set {key}={value:g}" for key, value in each.values.items())
        share = [] if each.small is None else [f"{100 * each.small:.1f} %"]
        nearest = "" if each.reaches else "the nearest"
        rows.append([f"  {words}", f"{each.largest:.2f}", f"{each.smallest:.2f}", *share, nearest])
    return grid(columns, rows)
