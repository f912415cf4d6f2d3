"""Launches of the small kernels, at the shipped recipes' shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lzu_benchmarks.machine_code.launches import (
    Launch,
    recipe_of,
    rules_by_phase,
)
from lzu_benchmarks.machine_code.paths import Rules

BOXES = 100
"""Boxes of a frame that zoom the next one."""
RUN = 256
"""Candidates that suppression sorts together, `kRUN` of `suppress.h`."""
WINDOW, TAKEN = 1024, 256
"""Candidates that a round looks at, and those that it takes at most, as in `keep_boxes.h`."""
NEAR = 4.0
"""Boxes that the busiest candidate of a warp is compared with in full."""
NEAR_IN_ORDER = 11.0
"""The same of 32 candidates of a round where duplicates of an object follow one another."""
KEPT = 100
"""Detections that suppression keeps."""
GRID = (75, 120)
"""Rows and columns that a non-separable warp is inverted at."""


def box_knots(recipes: Sequence[str]) -> Iterator[Launch]:
    """Yield the launches from boxes to knots: the longest way of a thread."""
    for name in recipes:
        height, width = recipe_of(name).warp.lattice
        points, longer = height + width, max(height, width)
        parts = min(8, 512 // points)
        rules = rules_by_phase(
            {
                "i < 2 * boxCount": 1.0,
                "i < pointCount()": 1.0,
                "t < shorterSide(); t += kTHREADS": 1.0,
                "q < points; ++q": float(longer),
                "box = place.thread;": 1.0,
                "box = place.thread / points": float(-(-BOXES // parts)),
                "part < partCount()": float(parts),
                "i += kMOST_PARTS": float(-(-longer // 8)),
                "t = 1 + part": float(-(-(min(height, width) - 1) // parts)),
                "below < j": float(longer - 1),
            },
            dict.fromkeys(
                (
                    "prepare(shared", "sumGaussians(shared", "weighBoxes(shared", "sumParts(shared",
                    "finishMarginals(shared", "sumMarginals(shared", "mixMarginals(shared",
                    "attractParts(shared", "finishKnots(shared", "separate(shared",
                ),
                1.0,
            ),
        )  # fmt: skip
        warps = {
            "sumGaussians(shared": 2 * BOXES,
            "weighBoxes(shared": BOXES,
            "sumMarginals(shared": 16,
        }
        warps |= dict.fromkeys(
            (
                "finishMarginals(shared",
                "mixMarginals(shared",
                "finishKnots(shared",
                "separate(shared",
            ),
            points,
        )
        shares = {part: min(1.0, -(-threads // 32) / 16) for part, threads in warps.items()}
        rules = tuple(replace(each, shares={**shares, **each.shares}) for each in rules)
        yield Launch(
            f"box knots, {BOXES} boxes", name, "box_knots.cu", "BoxKnots", 1, 512,
            BOXES * 20 + 8 * points, rules, near=("",),
        )  # fmt: skip


def suppressions(candidates: Sequence[int]) -> Iterator[Launch]:
    """Yield the three launches of suppression for numbers of candidates.

    All candidates are visited: they are duplicates of as many objects as are kept, of one class and
    in random order. The first round of the last kernel keeps all, and its others find no candidate
    left. The grid leaves the busiest candidate of a warp a few boxes to compare in full, as objects
    of 50 pixels do that are spread over a picture 1920 pixels wide.
    """
    for count in candidates:
        runs = -(-count // RUN)
        shape = f"{count} candidates"
        passes = {"other < warp + 32": 32.0, "other < warp;": 112.0, "other < kRUN": 112.0}
        sort = Rules(passes=passes, shares={})
        yield Launch(
            "suppression, sorts runs", shape, "suppress.cu", "SortRuns", runs, RUN, 28 * count,
            (sort,),
        )  # fmt: skip
        merge = Rules(
            passes={
                "i < runs * kRUN": float(runs),
                "other < own": (runs - 1) / 2,
                "other < runs": (runs - 1) / 2,
            },
            shares={},
        )
        yield Launch(
            "suppression, merges runs", shape, "suppress.cu", "MergeRuns", runs, RUN, 56 * count,
            (merge,),
        )  # fmt: skip
        rounds = 1 + -(-(count - TAKEN) // WINDOW)
        yield _keep_boxes(count, shape, rounds, 1, NEAR)


def ordered_suppressions(candidates: Sequence[int]) -> Iterator[Launch]:
    """Yield the launches that keep boxes for the most unfavourable order: object by object.

    Every round takes as many candidates as it can, which are duplicates of few objects.
    """
    for count in candidates:
        rounds = -(-count // TAKEN)
        shape = f"{count} candidates, object by object"
        yield _keep_boxes(count, shape, rounds, rounds, NEAR_IN_ORDER)


def _keep_boxes(count: int, shape: str, rounds: int, full: int, near: float) -> Launch:
    """Describe the launch that keeps boxes.

    Args:
        count: candidates.
        shape: name of the shape.
        rounds: rounds of the kernel.
        full: rounds among them that take as many candidates as they can, and keep boxes.
        near: taken boxes that the busiest of a warp is compared with in full, of 32.
    """
    words = -(-KEPT // full // 32)
    keep = Rules(
        passes={
            "i < call.max_detections": 1.0,
            "kernel.again(shared)": float(rounds),
            "word * 32 < shared.taken": 2.0 * full / rounds,
            "i >= 0; --i": 32.0,
            "; near != 0": near,
            "i < shared.taken; ++i": TAKEN / rounds,
            "i < kSIDES * kTAKEN": 1.0,
            "left[word] != 0": KEPT / 8 / rounds,
            "first < end": full * words / rounds,
            "i >= low; --i": KEPT / full / words,
            "later < 4": 3.0,
            "at < to && at": (rounds - 1) / rounds,
            "start < shared.kept - shared.page": 1.0,
            "near.any()": NEAR,
        },
        # Warps that take part: one, those of the words that begin no later, and the first ones.
        shares={
            "countSound(place)": 9 / 32,
            "count(shared": 1 / 32,
            "compare(shared": 9 / 16,
            "choose(shared": 1 / 32,
            "write(shared": 8 / 32,
            "strikeRange(shared, place, shared.to, shared.sound)": 0.0,
            "everyPair() ? maskBelow": 0.0,
            "layGrid(shared": 0.0,  # by other warps than those that compare longest
        },
    )
    return Launch(
        f"suppression, keeps {KEPT}", shape, "suppress.cu", "KeepBoxes", 1, WINDOW,
        24 * count + 24 * KEPT, (keep,),
        near=("labels[i]", "boxes[i]", "[candidatesOf(place) + at]"),
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
