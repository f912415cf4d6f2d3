"""The command: train what is missing, export, and write the page."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import torch

from lzu_benchmarks.commands import add_json, print_result
from lzu_benchmarks.train.camvid.frames import Splits, describe, read_splits
from lzu_benchmarks.train.camvid.page import plain, write_page, write_tables
from lzu_benchmarks.train.camvid.results import Job, Results
from lzu_benchmarks.train.camvid.tasks import PRECISIONS, Detection, Segmentation, Task
from lzu_benchmarks.train.command import Stopwatch
from lzu_benchmarks.train.figures import machine
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.checkout import CHECKOUT, in_checkout
from lzu_export.support.files import write_text

DESCRIPTION = """\
Train on CamVid's real frames: segmentation uniform, with a fixed and with a learned warp at two
sizes of the network's input, detection uniform and with a fixed warp, several seeds each.

Each finished run is written to RESULTS at once, so an interrupted command goes on where it was,
also on another machine. Weights and bundles in WORK may be deleted."""


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = make_parser().parse_args(arguments)
    folder = options.work if options.choosing or not in_checkout() else CHECKOUT / "docs"
    options.results = options.results or folder / "camvid.json"
    options.page = options.page or folder / "camvid.md"
    if options.report:
        results = Results(options.results)
    elif options.data is None:
        raise LzuError("give --data DIR, the folder of CamVid, or --report")
    else:
        results = run_all(options)
    if not options.choosing:
        write_text(options.page, write_page(results), named=True)
    print_result(options.json, plain(results), write_tables(results))


def run_all(options: argparse.Namespace) -> Results:
    """Train, score and export everything that is not in the results yet.

    Raises:
        LzuError: frames are missing or unfit, or the results are of other settings.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    splits = read_splits(options.data, choosing=options.choosing)
    tasks = tasks_of(options, splits)
    settings = {"data": describe(splits), **{each.name: each.settings for each in tasks}}
    results = Results(options.results, settings)
    # A folder of these settings, so that no weights of others are exported.
    work = options.work / sha256(json.dumps(settings).encode()).hexdigest()[:8]
    work.mkdir(parents=True, exist_ok=True)
    tasks = [replace(each, work=work) for each in tasks if each.name in options.tasks]
    jobs = [(task, job) for task in tasks for job in task.jobs(options.seeds)]
    known = dict.fromkeys(job.size for _, job in jobs)
    if unknown := [each for each in options.sizes or () if each not in known]:
        raise LzuError(f"--sizes {unknown[0]} is none of {', '.join(known)}; give one of them")
    jobs = [(task, job) for task, job in jobs if job.size in (options.sizes or known)]
    for number, (task, job) in enumerate(jobs, start=1):
        run_one(task, job, results, export=job.seed < options.exported, place=(number, len(jobs)))
    return results


def tasks_of(options: argparse.Namespace, splits: Splits) -> list[Task]:
    """Return both tasks, with the settings of the command line."""
    return [
        Segmentation(splits, options.work, options.epochs),
        Detection(splits, options.work, options.detection_epochs),
    ]


def run_one(
    task: Task, job: Job, results: Results, *, export: bool, place: tuple[int, int] = (1, 1)
) -> None:
    """Do what is missing of one training, and store its figures.

    A run whose weights are gone is trained again only to be exported.

    Args:
        task: task of the training.
        job: the training.
        results: results so far.
        export: whether its engines are scored, too.
        place: number of the training among all, and their number, for the progress on stderr.
    """
    figures = results.get(job)
    missing = export and (figures is None or not set(PRECISIONS) <= set(figures["found"]))
    if figures is None or (missing and not task.weights(job).exists()):
        _tell(place, f"training {job.name}")
        watch = Stopwatch()
        spent: dict[str, Any] = watch.figures(task.train(job))
        figures = {
            "machine": machine(),
            **spent,
            "rows": task.rows(job),
            "found": {"pytorch": task.score(job)},
        }
        results.put(job, figures)
    if missing:
        _tell(place, f"exporting {job.name}")
        try:
            figures["found"] |= task.engines(job)
        except LzuError as error:  # the other runs are worth their time all the same
            _tell(place, f"{job.name} was not exported: {error}")
            return
        results.put(job, figures)


def _tell(place: tuple[int, int], what: str) -> None:
    now = time.strftime("%H:%M:%S")
    print(f"{now} [{place[0]}/{place[1]}] {what}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m lzu_benchmarks.train.camvid",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, help="folder with train/ and val/, each of images/ and labels/"
    )
    parser.add_argument("--report", action="store_true", help="only write the page from RESULTS")
    parser.add_argument(
        "--results", type=Path, help="file of the finished runs; default: in docs, or in WORK"
    )
    parser.add_argument("--page", type=Path, help="page to write; default: beside the results")
    parser.add_argument(
        "--work", type=Path, default=Path("build/train-camvid"), help="folder to throw away"
    )
    names = (Segmentation.name, Detection.name)
    parser.add_argument("--tasks", nargs="+", choices=names, default=list(names))
    parser.add_argument(
        "--sizes", nargs="+", help="only these sizes of the network's input, such as 90x120"
    )
    parser.add_argument("--seeds", type=int, default=5, help="of segmentation; detection has 3")
    parser.add_argument(
        "--exported", type=int, default=1, help="number of first seeds that are exported, too"
    )
    parser.add_argument("--epochs", type=float, default=22.0, help="of segmentation")
    parser.add_argument("--detection-epochs", type=float, default=60.0)
    parser.add_argument(
        "--choosing",
        action="store_true",
        help="to choose settings: train on fewer frames, and score training frames that are left",
    )
    add_json(parser)
    return parser
