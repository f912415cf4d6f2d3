"""Launches of the camera's kernel and of the small kernels, at the shipped recipes' shapes."""

from collections.abc import Iterator, Sequence

from lzu_benchmarks.machine_code.launches import (
    Launch,
    recipe_of,
    rules_by_phase,
)
from lzu_benchmarks.machine_code.paths import Rules

BOXES = 100
"""Boxes of a frame that zoom the next one."""
KEPT = 100
"""Detections that suppression keeps."""
GRID = (75, 120)
"""Rows and columns that a non-separable warp is inverted at."""


def cameras(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches from a camera's bytes to a network's input, FP16, by knots."""
    for name in recipes:
        recipe = recipe_of(name)
        (height, width), (rows, columns) = recipe.network_input, recipe.view
        blocks = -(-height // 16) * -(-width // 64)
        rules = Rules(
            passes={
                "item < kTILE_X": height * width / (blocks * 256),
                "i <= down.last": 2.0,
                "j <= across.last": 2.0,
            },
            shares={"hatOf(x, tableX": 3 / 8, "hatOf(y, tableY": 1 / 8, "hatOfTable(table": 0.0},
        )
        for label, of_pixel, planar in (("BGR or RGB", 3.0, 0.0), ("NV12", 1.5, 1.0)):
            of_format = {"colourOfYuv(pixels": planar, "at[2])": 1 - planar}
            yield Launch(
                f"camera {label} to FP16", name, "camera.cu", "CameraZoomINS_4HalfE", blocks, 256,
                round(rows * columns * of_pixel) + 6 * height * width,
                (Rules(rules.passes, {**rules.shares, **of_format}),),
            )  # fmt: skip


def box_knots(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches from boxes to knots."""
    for name in recipes:
        height, width = recipe_of(name).warp.lattice
        points = height + width
        rules = Rules(
            passes={
                "box = place.thread": 1.0,
                "q < points": points / 2,
                "i < width + height": 1.0,
                "box = 0": float(BOXES),
                "t <= reach": float(min(height, width) - 1),
                "below < j": points / 4,
                "i < count": points / 2,
            },
            shares={},
        )
        yield Launch(
            f"box knots, {BOXES} boxes", name, "box_knots.cu", "BoxKnots", 1, 128,
            BOXES * 20 + 8 * points, (rules,), near=("",),
        )  # fmt: skip


def suppressions(candidates: Sequence[int]) -> Iterator[Launch]:
    """Yield the two launches of suppression for numbers of candidates."""
    for count in candidates:
        most = 3840 if count <= 3840 else 8192
        rank = Rules(
            passes={"i < call.candidates": count / 128, "other < call.candidates": float(count)},
            shares={},
        )
        shape = f"{count} candidates"
        yield Launch(
            "suppression, ranks", shape, "suppress.cu", f"RankCandidatesILi{most}E",
            -(-count // 128), 128, 52 * count, (rank,),
        )  # fmt: skip
        words = -(-count // 8)
        keep = rules_by_phase(
            {
                "i < 8 * words()": 8 * words / 512,
                "i < call.max_detections": 1.0,
                "edge < 4": 4.0,
                "cursor < most &&": words / KEPT,
                "i >= 8 * cursor": 8.0,
                "i < call.candidates": count / 512,
            },
            {"clear(shared": 1.0, "find(shared": float(KEPT), "keep(shared": float(KEPT)},
        )
        yield Launch(
            f"suppression, keeps {KEPT}", shape, "suppress.cu", "KeepBoxes", 1, 512,
            28 * count + 24 * KEPT, keep, near=("sorted.",),
        )  # fmt: skip


def feeds() -> Iterator[Launch]:
    """Yield the launch from detections to the boxes of the next frame."""
    rules = Rules(
        passes={"i < there": 1.0, "i < call.box_count": 1.0, "other < own": BOXES / 2},
        shares={},
    )
    yield Launch(
        "feedback", f"{BOXES} boxes", "feed_boxes.cu", "FeedBoxes", 1, 128, 40 * BOXES, (rules,)
    )


def inversions(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches that invert a non-separable warp, with mean numbers of tiles a block."""
    for name in recipes:
        rows, columns = (side - 1 for side in recipe_of(name).warp.lattice)
        side = 16
        blocks = -(-GRID[0] // side) * -(-GRID[1] // side)
        met = (rows * side / GRID[0] + 2) * (columns * side / GRID[1] + 2)
        turns = -(-met // 64)
        words = -(-rows * columns // 32)
        parts = rules_by_phase(
            {
                "i < SIDE * SIDE": side * side / 128,
                "i < SIDE;": 1.0,
                "i <= SIDE;": 1.0,
                "row < rows": 1.0,
                "i <= columns": float(columns + 1),
                "word < words(); word +=": 1.0,
                "bit < end": 32.0,
                "word < words() &&": (met + words) / turns,
                "i < shared.count": 1.0,
                "i < 2 * SIDE": 1.0,
                "each <= line": side / 2,
                "bits != 0 &&": 1.5,
                "flip(turns": 1.0,
            },
            {
                "survey(shared": 1.0, "mark(shared": 1.0, "list(shared": turns,
                "turn(shared": turns, "sort(shared": turns, "visit(shared": turns,
            },
        )  # fmt: skip
        yield Launch(
            "invert warp", name, "invert_warp.cu", f"InvertWarpILi{side}E", blocks, 128,
            8 * (rows + 1) * (columns + 1) + 8 * GRID[0] * GRID[1], parts, near=("",),
        )  # fmt: skip
