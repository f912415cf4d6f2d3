"""Launches that bounds are computed for: the unzoom and the zoom at the recipes' shapes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lzu_benchmarks.machine_code.cards import WARP
from lzu_benchmarks.machine_code.paths import Rules
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.support.checkout import PLUGINS

KERNELS = PLUGINS / "kernels"
RECIPES = ("argoverse-hd", "nuscenes", "cityscapes", "det-demo", "seg-demo", "det3d-demo")
FULL = "argoverse-hd"
"""Recipe whose shapes stand for the others where instructions are counted."""
PHASES = "kernel.more(shared, phase)"
"""Loop over the phases of a kernel that does not have a fixed number of them."""


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: its size, the bytes that it must move, and the way through its code.

    `parts` are rules whose paths are executed one after the other; most kernels have one.
    """

    kernel: str
    shape: str
    source: str
    symbol: str
    """Part of the kernel's mangled name."""
    blocks: int
    threads: int
    moved: int
    """Bytes that are read and written at least, each once."""
    parts: tuple[Rules, ...]
    near: tuple[str, ...] = ("values[",)
    """Parts of source lines whose loads are small tables that stay in a cache."""


@dataclass(frozen=True)
class Tile:
    """A tactic of the unzoom: the output cells and groups of channels of a block."""

    columns: int
    rows: int
    run: int
    wide: bool


@dataclass(frozen=True)
class Format:
    """A memory format of feature levels, as `plugins/kernels/units.h` defines it."""

    name: str
    unit: str
    """Part of the mangled name of the unit's type."""
    width: int
    """Bytes of a unit."""
    lanes: int
    group: int
    """Channels of a group that lies together, 0 where all do."""

    def groups(self, channels: int) -> tuple[int, int]:
        """Return how many groups a level has, and units a group has for each cell."""
        if self.group == 0:
            return 1, -(-channels // self.lanes)
        return -(-channels // self.group), self.group // self.lanes


FORMATS = (
    Format("FP32 linear", "FloatUnit", 4, 1, 1),
    Format("FP16 linear", "HalfUnit", 2, 1, 1),
    Format("FP16 kHWC8", "Half8Unit", 16, 8, 0),
    Format("INT8 linear", "ByteUnit", 1, 1, 1),
    Format("INT8 kCHW4", "Int8UnitILi1EE", 4, 4, 4),
    Format("INT8 kCHW32", "Int8UnitILi4EE", 16, 16, 32),
)
THREADS = 256


def tiles(form: Format) -> list[Tile]:
    """Return the tactics of a format, read from `resample.cu`, without those that repeat."""
    name = {"FP16 kHWC8": "kHWC8", "INT8 kCHW32": "kCHW32"}.get(form.name, "kPLANAR")
    text = (KERNELS / "resample.cu").read_text(encoding="utf-8")
    (table,) = re.findall(rf"{name}_SHAPES\[\]\s+= \{{(.*?)\}};", text, re.S)
    rows = re.findall(r"\{(\d+), (\d+), (\d+), (true|false)\}", table)
    return [Tile(int(x), int(y), int(run), wide == "true") for x, y, run, wide in rows]


def recipe_of(name: str) -> Recipe:
    """Load a shipped recipe at its own scale."""
    return load_recipe(name, {})


def busy_warps(size: tuple[int, int], tile: Tile, span: int, inner: int) -> int:
    """Count the passes of all warps over the cells of a plane, those without any cell left out.

    Args:
        size: rows and columns of the output.
        tile: the block's shape.
        span: neighbouring cells of a thread.
        inner: units of a cell that lie together.
    """
    strips = tile.columns // span
    items = strips * tile.rows * inner
    item = np.arange(-(-items // WARP) * WARP)
    strip, row = item // inner % strips * span, item // inner // strips
    total = 0
    for y in range(0, size[0], tile.rows):
        for x in range(0, size[1], tile.columns):
            inside = (item < items) & (x + strip < size[1]) & (y + row < size[0])
            total += int(inside.reshape(-1, WARP).any(axis=1).sum())
    return total


def grown(tile: Tile, span: int, inner: int) -> Tile:
    """Return the tile as the launcher enlarges it, so that no thread is without an item."""
    if tile.wide:
        return replace(tile, rows=tile.rows * max(1, span // 4))
    while tile.columns * tile.rows * inner < THREADS:
        if tile.rows < tile.columns:
            tile = replace(tile, rows=2 * tile.rows)
        else:
            tile = replace(tile, columns=2 * tile.columns)
    return tile


@dataclass(frozen=True)
class Plane:
    """A level that is sampled: output size, input size, channels."""

    size: tuple[int, int]
    cells: tuple[int, int]
    channels: int


def resample_launch(
    kernel: str, shape: str, form: Format, tile: Tile, planes: Sequence[Plane], knots: int,
    inverse: bool,
) -> Launch:  # fmt: skip
    """Describe one launch of `Resample` over all planes."""
    span = min(8, 16 // form.width) if tile.wide else 1
    together = 4 if form.lanes * span == 1 else 1
    tile = grown(tile, span, min(form.groups(plane.channels)[1] for plane in planes))
    blocks, passes, runs, level_search, moved = 0, 0, 0.0, 0.0, 0
    for i, plane in enumerate(planes):
        outer, inner = form.groups(plane.channels)
        tiled = -(-plane.size[0] // tile.rows) * -(-plane.size[1] // tile.columns)
        split = -(-outer // tile.run)
        busy = busy_warps(plane.size, tile, span, inner) * split
        blocks, passes = blocks + tiled * split, passes + busy
        runs += busy * outer / split
        level_search += i * tiled * split
        cells = plane.size[0] * plane.size[1] + plane.cells[0] * plane.cells[1]
        moved += cells * outer * inner * form.width
    # The other warp's side of `tapOf`, and lanes beyond the last channel, are not executed.
    unused = ("forwardPixel(axis",) if inverse else ("invertInPieces(knots", "productOf(axis.scale")
    rules = Rules(
        passes={
            "index + 1 < levelCount": level_search / blocks,
            "strip < strips": passes / (blocks * THREADS / WARP),
            "outer < at.to": runs / passes / together,
            "low < high": float(np.ceil(np.log2(max(2, knots - 1)))),
            "--j)": 1.0,
        },
        shares={
            "tabulate(": -(-(tile.columns + tile.rows) // WARP) / (THREADS / WARP),
            "< channels ? sums": 0.0,
            **dict.fromkeys(unused, 0.0),
        },
        steps={"kGROUPS": together},
    )
    symbol = f"{form.unit}ELi{span}E"
    return Launch(kernel, shape, "resample.cu", symbol, blocks, THREADS, moved, (rules,))


def unzooms(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches of the unzoom in every format, one for each tactic."""
    for name in recipes:
        recipe = recipe_of(name)
        channels = recipe.model.fpn_channels
        grow = recipe.unzoom_scale
        planes = [
            Plane((level.size[0] * grow, level.size[1] * grow), level.size, channels)
            for level in recipe.levels
        ]
        for form in FORMATS:
            for tile in tiles(form):
                yield resample_launch(
                    f"unzoom {form.name}", name, form, tile, planes, max(recipe.warp.lattice), True
                )


def zooms(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches of the zoom plugin, one for each tactic."""
    for name in recipes:
        recipe = recipe_of(name)
        plane = Plane(recipe.network_input, recipe.view, 3)
        for form in FORMATS[:2]:
            for tile in tiles(form):
                yield resample_launch(
                    f"zoom {form.name.split()[0]}", name, form, tile, [plane],
                    max(recipe.warp.lattice), False,
                )  # fmt: skip


def rules_by_phase(passes: Mapping[str, float], phases: Mapping[str, float]) -> tuple[Rules, ...]:
    """Make one part for each phase of a kernel whose phases a loop takes in turn.

    Args:
        passes: passes of the loops inside the phases.
        phases: how often each phase runs, by a part of the line that calls it.
    """
    return tuple(
        Rules({PHASES: times, **passes}, {other: 0.0 for other in phases if other != phase})
        for phase, times in phases.items()
    )
