"""Cases of the kernels that work on boxes, and of the inverse of a warp that is not separable."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from lzu_benchmarks.gpu_kernels.card import Card
from lzu_benchmarks.gpu_kernels.case import Case, Memory, Tensor, address, on_card, uniform
from lzu_benchmarks.gpu_kernels.shapes import Shape
from lzu_export.runtime.postprocess import suppress
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.inverse import invert_tiles
from lzu_export.warp.knots import nonseparable_knots, separable_knots_from_marginals
from lzu_export.warp.saliency import marginals

BOXES, KEPT = 100, 100
GRID = (75, 120)
THRESHOLDS = (0.05, 0.5)
"""Score and overlap."""


def box_cases(
    card: Card, shape: Shape, candidates: tuple[int, ...] = (1000, 5000)
) -> Iterator[Case]:
    """Yield the cases of boxes to knots, suppression, feedback, and the inverse of a warp."""
    lattice = sum(shape.lattice)
    yield Case(
        f"box knots, {BOXES} boxes", shape.name, "lzu_box_knots", BOXES * 20 + 8 * lattice, 1e-5,
        partial(_box_knots, card, shape),
    )  # fmt: skip
    for count in candidates:
        yield Case(
            f"suppression to {KEPT}", f"{count} candidates", "lzu_suppress", 80 * count, 0.0,
            partial(_suppression, card, count),
            computed="suppression",
        )  # fmt: skip
    yield Case(
        "feedback", f"{BOXES} boxes", "lzu_feed_boxes", 40 * BOXES, 0.0, partial(_feedback, card)
    )
    points = int(np.prod(shape.lattice) + np.prod(GRID))
    yield Case(
        "invert warp", shape.name, "lzu_invert_warp", 8 * points, 2e-5,
        partial(_inverse, card, shape), tactics=card.number("lzu_invert_warp_tactics"),
    )  # fmt: skip


def _boxes(generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """Draw boxes (n, 4) of a frame, x1, y1, x2, y2."""
    scale = torch.tensor(size[::-1], device=generator.device)
    corner = uniform(generator, (count, 2), 0, 0.9) * scale
    return torch.cat([corner, corner + uniform(generator, (count, 2), 4, 120)], dim=1)


def _box_knots(card: Card, shape: Shape, generator: torch.Generator) -> Memory:
    boxes = _boxes(generator, BOXES, shape.view)[None].contiguous()
    valid = torch.ones((1, BOXES), device=card.device)
    numbers = on_card(card, [1.0]), on_card(card, [64.0])
    height, width = shape.lattice
    fixed = [on_card(card, np.full(n, 1 / n)) for n in (width, height)]
    x, y = (torch.empty((1, n), device=card.device) for n in (width, height))

    def call(tactic: int) -> Any:
        given = (boxes, valid, *numbers, *fixed, x, y)
        sizes = (1, BOXES, height, width, *shape.view)
        return card.header.struct("LzuBoxKnots")(*map(address, given), *sizes, 10.0, 1.0, 1.0)

    def mathematics() -> list[Tensor]:
        saliency = box_saliency(
            boxes[0].cpu().numpy(), shape.view, shape.lattice, amplitude=1.0, bandwidth=64.0
        )
        knots = separable_knots_from_marginals(*marginals(saliency), 10)
        return [on_card(card, each, torch.double)[None] for each in knots]

    return Memory(call, [x, y], {"mathematics": mathematics}, lambda: [x, y])


def _suppression(card: Card, count: int, generator: torch.Generator) -> Memory:
    boxes = _boxes(generator, count, (1200, 1920))
    scores = (uniform(generator, (count,), 0, 1) * 4096).round() / 4096  # some are equal
    labels = uniform(generator, (count,), 0, 7.99).int()
    size = card.number("lzu_suppress_workspace", 1, count)
    workspace = torch.empty(size, dtype=torch.uint8, device=card.device)
    kept = [
        torch.empty((KEPT, 4), device=card.device),
        torch.empty(KEPT, device=card.device),
        torch.empty(KEPT, dtype=torch.int32, device=card.device),
        torch.empty(1, dtype=torch.int32, device=card.device),
    ]

    def call(tactic: int) -> Any:
        given, made = map(address, (boxes, scores, labels)), map(address, (workspace, *kept))
        return card.header.struct("LzuSuppress")(*given, 4, 1, count, KEPT, *THRESHOLDS, *made)

    def mathematics() -> list[Tensor]:
        score_threshold, iou_threshold = THRESHOLDS
        found = suppress(
            *(each.cpu().numpy() for each in (boxes, scores, labels)), max_detections=KEPT,
            score_threshold=score_threshold, iou_threshold=iou_threshold,
        )  # fmt: skip
        number = len(found[1])
        full = [np.zeros((KEPT, 4)), np.zeros(KEPT), np.full(KEPT, -1.0), np.array([number])]
        for place, values in zip(full[:3], found, strict=True):
            place[:number] = values
        return [on_card(card, each, torch.double) for each in full]

    keep = [boxes, scores, labels, workspace]
    return Memory(call, kept, {"mathematics": mathematics}, lambda: kept, keep=keep)


def _feedback(card: Card, generator: torch.Generator) -> Memory:
    boxes = _boxes(generator, BOXES, (1200, 1920))
    scores = uniform(generator, (BOXES,), 0, 1).sort(descending=True).values.contiguous()
    count = torch.tensor([BOXES], dtype=torch.int32, device=card.device)
    view, threshold = (64.0, 32.0, 1800.0, 1100.0), 0.25
    fed = [torch.empty((BOXES, 4), device=card.device), torch.empty(BOXES, device=card.device)]

    def call(tactic: int) -> Any:
        return card.header.struct("LzuFeedBoxes")(
            *map(address, (boxes, scores, count)), 1, BOXES, BOXES, BOXES, threshold, *view,
            *map(address, fed),
        )  # fmt: skip

    def mathematics() -> list[Tensor]:
        low, high = (torch.tensor(each * 2, device=card.device) for each in (view[:2], view[2:]))
        clipped = torch.minimum(torch.maximum(boxes, low), high)
        whole = (clipped[:, 2:] >= clipped[:, :2]).all(dim=1) & (scores >= threshold)
        taken = clipped[whole]
        full = [torch.zeros_like(each) for each in fed]
        full[0][: len(taken)], full[1][: len(taken)] = taken, 1
        return full

    keep = [boxes, scores, count]
    return Memory(call, fed, {"mathematics": mathematics}, lambda: fed, keep=keep)


def _inverse(card: Card, shape: Shape, generator: torch.Generator) -> Memory:
    saliency = uniform(generator, shape.lattice, 0.1, 1).cpu().numpy().astype(np.float64) ** 2
    plane = nonseparable_knots(saliency, 10.0).astype(np.float32)
    knots = on_card(card, plane)[None].contiguous()
    grid = torch.empty((1, *GRID, 2), device=card.device)
    scale_y, scale_x = (2 / (n - 1) for n in GRID)

    def call(tactic: int) -> Any:
        return card.header.struct("LzuInvertWarp")(
            address(knots), address(grid), 1, *shape.lattice, *GRID, scale_y, -1.0, scale_x, -1.0,
            9.0, tactic, 0,
        )  # fmt: skip

    def mathematics() -> list[Tensor]:
        centres = np.stack(np.meshgrid(pixel_centres(GRID[1]), pixel_centres(GRID[0])), axis=-1)
        return [on_card(card, invert_tiles(plane, centres, outside=9.0), torch.double)[None]]

    return Memory(call, [grid], {"mathematics": mathematics}, lambda: [grid], keep=[knots])
