"""Find the boards of a fleet among the workers of a scheduler, before anything is asked of them."""

import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata

from lzu_export.cluster.cluster import Cluster
from lzu_export.cluster.connection import too_old
from lzu_export.cluster.workers import WorkerInfo
from lzu_export.fleet.rows import Row

POLL = 1.0
"""Seconds between two looks at the workers while a tag is absent."""


def find_boards(
    cluster: Cluster, tags: Sequence[str], patience: float
) -> tuple[list[Row], list[Row]]:
    """Return a row for each worker with one of the tags, and one for each tag that none has.

    The rows of workers that can be asked are `lost` until they answer. Those whose Python or Dask
    is unfit are `failed`: a job would only end them.

    Args:
        cluster: connection to the scheduler.
        tags: names of Dask's resources.
        patience: seconds to wait for a tag that no worker has.

    Raises:
        LzuError: the scheduler does not answer.
    """
    deadline = time.monotonic() + patience
    while True:
        workers = sorted(cluster.workers(), key=lambda worker: (worker.host, worker.address))
        tagged = {
            tag: [each for each in workers if each.resources.get(tag, 0) >= 1] for tag in tags
        }
        if all(tagged.values()) or time.monotonic() >= deadline:
            break
        time.sleep(min(POLL, patience))
    boards: dict[str, Row] = {}
    for tag, there in tagged.items():
        for worker in there:
            if worker.name not in {row.worker for row in boards.values()}:
                row = _board(tag, worker, boards)
                boards[row.board] = row
    absent = [
        Row(
            board=tag,
            tag=tag,
            status="absent",
            sentence=(
                f"no worker has the tag {tag} after {patience:g} s; there {_described(workers)}; "
                f'start one on the board (dask worker --resources "{tag}=1")'
            ),
        )
        for tag, there in tagged.items()
        if not there
    ]
    return list(boards.values()), absent


def _board(tag: str, worker: WorkerInfo, others: dict[str, Row]) -> Row:
    """Return the row of a worker, whose name no other row has."""
    unnamed = "://" in worker.name  # Dask calls such a worker by its address
    name = f"{tag} {worker.host if unnamed else worker.name}"
    if name in others:
        name = f"{name}:{worker.address.rpartition(':')[2]}"
    unfit = unfit_worker(worker)
    return Row(
        board=name,
        tag=tag,
        worker=worker.name,
        host=worker.host,
        status="failed" if unfit else "lost",
        sentence=unfit or "it did not answer",
    )


def unfit_worker(worker: WorkerInfo) -> str:
    """Return a sentence on a worker whose Python or Dask cannot do the work; empty if they can."""
    if sentence := unsupported(worker.python):
        return sentence
    predicate = too_old(worker.dask) if worker.dask else ""
    return f"the board's worker {predicate}" if predicate else ""


def unsupported(python: str) -> str:
    """Return a sentence on a Python that lzu_export does not support; empty if it does."""
    from packaging.specifiers import SpecifierSet

    try:
        needed = metadata("lzu-export")["Requires-Python"]
    except PackageNotFoundError:  # a source tree that was never installed
        return ""
    if not python or SpecifierSet(needed).contains(python):
        return ""
    return (
        f"the board's worker runs Python {python}, and lzu_export needs {needed}; make its "
        "environment with such a Python"
    )


def _described(workers: Sequence[WorkerInfo]) -> str:
    """Return how many workers there are, with which tags, as a predicate."""
    tags = ", ".join(sorted({name for worker in workers for name in worker.resources}))
    if not workers:
        return "are no workers"
    count = "is 1 worker" if len(workers) == 1 else f"are {len(workers)} workers"
    return f"{count}, with {f'the tags {tags}' if tags else 'no tags'}"
