"""Measure single figures of the pages: rows, disk and memory.

`python -m lzu_benchmarks facts`.

Rows: the share of the canvas's rows that each demonstration's fixed warp gives to the upper, middle
and lower third of the frame. Disk: the rendered frames of the demonstration, by their mean size.
Memory: what a detector's evaluation keeps of a set of Argoverse-HD's size, by made-up boxes.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.demo.frame_cache import cache_folder, frames
from lzu_benchmarks.harness.memory import resident
from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.figures import thirds_of_rows
from lzu_export.cli import exits
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.coco import COCO_AREAS
from lzu_export.evaluation.metrics.scorers import BoxScorer, BoxTruth
from lzu_export.recipes import load_recipe
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.tasks.warps import make_warp

NEEDS = "extras runtime, bench, demo"

TASKS = ("det", "seg", "det3d")
ARGOVERSE = (15062, 8, 17, 100)
"""Frames and classes of Argoverse-HD's validation split; objects and detections of a frame."""
SIZE = (1200, 1920)


def rows_of_thirds(task: str) -> list[float]:
    """Return the shares of the canvas's rows, in percent, for the thirds of the frame."""
    warp = make_warp(load_recipe(task, {"variant": "fixed"}))
    return [100 * share for share in thirds_of_rows(np.asarray(warp.knots["knots_y"]))]


def scorer_megabytes(images: int, classes: int, objects: int, detections: int) -> float:
    """Return the memory of a detector's scorer over a whole evaluation, in a fresh process."""
    with workers(1) as pool:
        return float(pool.apply(_score, (images, classes, objects, detections)))


def _score(images: int, classes: int, objects: int, detections: int) -> float:
    random, shown = np.random.default_rng(0), CameraFrame(np.zeros((1, 1, 3), np.uint8))
    scorer = BoxScorer(tuple(map(str, range(classes))), COCO_AREAS)
    before = resident("VmRSS")
    for number in range(1, images + 1):
        corners = random.uniform(0, SIZE[0] - 100, (detections, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + random.uniform(10, 100, corners.shape)], axis=1)
        labels = random.integers(0, classes, detections).astype(np.int32)
        scores = random.uniform(0.05, 1, detections).astype(np.float32)
        found = Detections(boxes.astype(np.float32), scores, labels, ())
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)[:objects]
        truth = [
            {"category_id": int(label) + 1, "bbox": box}
            for label, box in zip(labels, sizes.tolist(), strict=False)
        ]
        scorer.add(Sample(number, shown, BoxTruth({"id": number}, truth)), found)
    scorer.summary()
    return (resident("VmHWM") - before) / 1e6


def cache_megabytes() -> float:
    """Return the size on disk of the demonstration's frames, by the mean of those drawn so far."""
    keys = open_demo("val").keys
    for _ in frames(keys[:1]):
        pass
    sizes = [path.stat().st_size for path in cache_folder().glob("*.npz")]
    return len(keys) * fmean(sizes) / 1e6


def measure(images: int) -> dict[str, Any]:
    """Measure all figures, as plain data."""
    _, *of_a_frame = ARGOVERSE
    return {
        "rows_percent": {task: rows_of_thirds(task) for task in TASKS},
        "frames_megabytes": cache_megabytes(),
        "frames_folder": str(cache_folder()),
        "scorer_images": images,
        "scorer_megabytes": scorer_megabytes(images, *of_a_frame),
    }


def table(result: dict[str, Any]) -> Table:
    """Make the printed table."""
    made = Table(show_header=False)
    for task, shares in result["rows_percent"].items():
        made.add_row(f"{task}: rows of each third, %", ", ".join(f"{each:.0f}" for each in shares))
    made.add_row("rendered frames, MB", f"{result['frames_megabytes']:.0f}")
    made.add_row(
        f"scorer of {result['scorer_images']} images, MB", f"{result['scorer_megabytes']:.0f}"
    )
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument(
        "--images", type=int, default=ARGOVERSE[0], help="images that the scorer counts"
    )
    add_json(parser)
    given = parser.parse_args(arguments)
    result = measure(given.images)
    print_result(given.json, result, table(result))


if __name__ == "__main__":
    main()
