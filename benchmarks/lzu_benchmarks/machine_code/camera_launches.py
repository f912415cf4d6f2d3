"""Launches from a camera's bytes to a network's input, FP16, at the shipped recipes' shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lzu_benchmarks.machine_code.cards import WARP
from lzu_benchmarks.machine_code.launches import Launch, recipe_of, rules_by_phase
from lzu_benchmarks.machine_code.paths import Rules
from lzu_export.recipes import Recipe


@dataclass(frozen=True)
class CameraFormat:
    """A camera's pixel format, as `plugins/kernels/pixels.h` reads it."""

    name: str
    width: float
    """Bytes of a pixel."""
    pixel: str
    """Part of the mangled name of the type that reads one pixel."""
    unit: str
    """The same of the type that reads several at once."""
    together: float
    """Pixels of a unit."""
    ends: float
    """Units by which a window of columns has more than its pixels fill."""

    def moved(self, recipe: Recipe) -> int:
        """Return the bytes that a launch must move: the view, and the network's input in FP16."""
        (rows, columns), (height, width) = recipe.view, recipe.network_input
        return round(rows * columns * self.width) + 6 * height * width


CAMERAS = (
    CameraFormat("BGR or RGB", 3.0, "11PackedPixelILi3EEE", "6PackedILi3EEE", 4 / 3, 2.0),
    CameraFormat("NV12", 1.5, "9Nv12PixelE", "4Nv12ILb1EEE", 4.0, 1.0),
)


def cameras(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches that sample bilinearly, by knots: each output pixel samples four."""
    side, threads = 32, 256  # kSIDE, kTHREADS
    rules = Rules(
        passes={"row < kSIDE": side * side / threads / 2},  # kTOGETHER
        shares={
            "neighboursAt(x, tableX": WARP / threads,
            "neighboursAt(y, tableY": WARP / threads,
            "tapAt(Pair{table": 0.0,
        },
    )
    for name in recipes:
        recipe = recipe_of(name)
        height, width = recipe.network_input
        for form in CAMERAS:
            yield Launch(
                f"camera {form.name} to FP16", name, "camera.cu",
                f"CameraBilinearINS_{form.pixel}NS_4HalfE",
                -(-height // side) * -(-width // side), threads, form.moved(recipe), (rules,),
            )  # fmt: skip


def antialiased_cameras(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches by tables that antialias.

    The warp counts as uniform: each output pixel is as many of the picture's on an axis as the
    picture is larger than the canvas, and sums up twice as many.
    """
    for name in recipes:
        recipe = recipe_of(name)
        height, width = recipe.network_input
        down, across = (n / m for n, m in zip(recipe.picture, recipe.canvas, strict=True))
        window = 65 * across  # of the picture's columns
        whole, part = (448 - 22) // 3, (448 - 22 - 192) // 3  # kWHOLE, kPART
        chunks = 1 if window <= whole else -(-window // part)
        for form in CAMERAS:
            yield Launch(
                f"camera {form.name} to FP16, antialiased", name, "camera.cu",
                f"CameraZoomINS_{form.unit}NS_4HalfE",
                -(-height // 16) * -(-width // 64), 128, form.moved(recipe),
                _sums((window / chunks) / form.together + form.ends, chunks, down, across),
            )  # fmt: skip


def _sums(units: float, chunks: float, down: float, across: float) -> tuple[Rules, ...]:
    """Make the rules of sums of rows, then of columns.

    Args:
        units: units of a row of a chunk.
        chunks: chunks of columns of a block.
        down: rows of the picture for each output row.
        across: columns of the picture for each output column.
    """
    passes = {
        "pixel <= hat.last": 2 * across,
        "chunk.units > 0": 8 * units / 128,
        "; unit >= chunk.units": 128 / units,
        "tap += 4": float(-(-3 * down // 4)),  # of two output rows
        "++tap)": 0.0,
        "pixel < end": 2 * across / chunks,
    }
    phases = {
        "placeHats(shared": 1.0,
        "findWindow(shared": 1.0,
        "sumRows(shared": chunks,
        "sumColumns(shared": chunks,
    }
    shares = {
        "hatOf(x, tableX": 1 / 2,
        "hatOf(y, tableY": 1 / 4,
        "hatOfKnots(axis": 0.0,
        "weightsOf(shared, pair, first + tap + i)": 0.0,
        "number > 0 ? shared.lines": (chunks - 1) / chunks,
        "[column * kCHANNELS + c] = sums": (chunks - 1) / chunks,
    }
    return tuple(
        replace(each, shares={**each.shares, **shares}) for each in rules_by_phase(passes, phases)
    )
