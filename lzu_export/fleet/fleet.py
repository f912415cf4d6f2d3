"""Ask every board of a fleet: look at it first, send what it lacks, wait for its result."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from pydantic import ValidationError

from lzu_export.cluster.cluster import Cluster
from lzu_export.cluster.jobs import Command, Job, Outcome
from lzu_export.fleet.archives import Archived
from lzu_export.fleet.find import find_boards, unsupported
from lzu_export.fleet.messages import ENGINES, REQUEST, Look, Message, Request, Work
from lzu_export.fleet.results import Results, damaged, key_of
from lzu_export.fleet.rows import Fleet, Row
from lzu_export.support.files import parse_json
from lzu_export.support.progress import Reporter
from lzu_export.support.version import VERSION

LOOK = ("--look",)
"""Options of a board's command that only looks."""
LOOK_SECONDS = 600.0
"""Largest duration of a look at a board in seconds; `lzu-export doctor` is part of it."""
MISMATCH = 1
"""Exit status of a board's command where an engine deviates from PyTorch."""

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True)
class Order:
    """What a fleet is asked for."""

    request: Request
    archives: Sequence[Archived]
    tags: Sequence[str]
    """Tags of the boards: resources of their workers."""
    timeout: float
    """Largest duration of a board's work in seconds."""
    patience: float
    """Seconds to wait for boards that are absent or left."""
    again: bool = False
    """Whether boards whose result is stored are asked, too."""


def ask_fleet(order: Order, cluster: Cluster, results: Results, report: Reporter) -> Fleet:
    """Build, verify and time bundles on all boards, and return the report.

    Args:
        order: what is asked for.
        cluster: connection to the boards.
        results: folder of the results; each board's is written as it arrives.
        report: receiver of progress.

    Raises:
        LzuError: the scheduler went away for good, or a result cannot be written.
    """
    boards, absent = find_boards(cluster, order.tags, order.patience)
    rows = {row.board: row for row in boards}
    with report.steps("boards", sum(row.status == "lost" for row in boards)) as step:
        for row in _ask([row for row in boards if row.status == "lost"], order, cluster, results):
            rows[row.board] = row
            step()
    return Fleet(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        lzu_export=VERSION,
        request=order.request,
        rows=tuple(
            sorted(
                [*rows.values(), *absent], key=lambda row: (order.tags.index(row.tag), row.board)
            )
        ),
    )


def _ask(boards: Sequence[Row], order: Order, cluster: Cluster, results: Results) -> Iterator[Row]:
    """Look at boards, let those work that are fit, and yield their rows as they come."""
    looks = {row.board: _job(row, order, LOOK, {}, LOOK_SECONDS) for row in boards}
    fit: list[Row] = []
    for board, outcome in _run(looks, boards, cluster, order):
        row = _looked(board, outcome)
        if row.look is None or row.sentence:
            yield row
            continue
        row = row.model_copy(update={"key": key_of(order.request, row.look)})
        stored = None if order.again else results.find(row)
        if stored is not None:
            yield stored
        else:
            fit.append(row)
    works = {row.board: _job(row, order, (), _missing(row, order), order.timeout) for row in fit}
    for board, outcome in _run(works, fit, cluster, order):
        files = works[board.board].files
        sent = sum(each.sent.bytes for each in order.archives if each.sent.file in files)
        row = _worked(board, outcome, sent)
        if row.work is not None:
            results.put(row, outcome.files)
        yield row


def _run(
    jobs: Mapping[str, Job], boards: Sequence[Row], cluster: Cluster, order: Order
) -> Iterator[tuple[Row, Outcome]]:
    """Run a job on each board, and yield the outcomes as they come."""
    by_key = {jobs[row.board].key: row for row in boards}
    for outcome in cluster.run(jobs.values(), patience=order.patience):
        yield by_key[outcome.key], outcome


def _missing(row: Row, order: Order) -> dict[str, bytes]:
    """Return the archives that a board does not have, by their files' names."""
    held = row.look.held if row.look is not None else ()
    return {each.sent.file: each.content for each in order.archives if each.sent.sha256 not in held}


def _job(
    row: Row, order: Order, options: tuple[str, ...], files: Mapping[str, bytes], timeout: float
) -> Job:
    """Return a job of a board, which is never the same as another one."""
    return Job(
        name=row.board,
        inputs={"board": row.board, "at": time.time_ns()},
        command=Command(
            arguments=("board", REQUEST, *options), timeout=timeout, returns=(f"{ENGINES}/*",)
        ),
        files={REQUEST: order.request.model_dump_json().encode(), **files},
        worker=row.worker,
        resources={row.tag: 1},
    )


def _looked(row: Row, outcome: Outcome) -> Row:
    """Return a board's row after the look; it has a sentence if the board cannot work."""
    sentence = unsupported(str(outcome.answer.get("python", "")))
    if not sentence and outcome.status == "done":
        look = _read(Look, outcome)
        sentence = look.unfit if look is not None else _other_release(outcome)
        return row.model_copy(
            update={"look": look, "sentence": sentence, "status": "failed", "seconds": 0.0}
        )
    status = "lost" if outcome.status == "lost" else "failed"
    there = outcome.answer.get("lzu_export")
    if not sentence and there not in (None, VERSION):  # it may lack the command of boards
        sentence = (
            f"{outcome.sentence}; it has lzu_export {there}, and this is {VERSION}: install the "
            "same release on both"
        )
    return row.model_copy(update={"status": status, "sentence": sentence or outcome.sentence})


def _worked(row: Row, outcome: Outcome, sent: int) -> Row:
    """Return a board's row after the work."""
    work = _read(Work, outcome) if outcome.status != "lost" else None
    sentence = outcome.sentence
    status: str = outcome.status
    if work is not None:
        failed = work.failed
        sentence = "; ".join(f"{each.name}: {each.sentence}" for each in failed)
        deviates = any(each.status == MISMATCH for each in failed)
        status = "deviates" if deviates else "failed" if failed else "done"
        if wrong := damaged(work, outcome.files):
            status, sentence, work = "failed", wrong, None
    elif outcome.status == "done":
        status, sentence = "failed", _other_release(outcome)
    return row.model_copy(
        update={
            "status": status,
            "sentence": sentence,
            "work": work,
            "sent_bytes": sent,
            "seconds": outcome.seconds,
        }
    )


def _read(kind: type[Answer], outcome: Outcome) -> Answer | None:
    """Return what a board's command printed; None where it is no such answer."""
    try:
        return kind.model_validate(parse_json(str(outcome.answer.get("stdout", ""))))
    except (ValueError, ValidationError):
        return None


def _other_release(outcome: Outcome) -> str:
    there: Any = outcome.answer.get("lzu_export")
    return (
        f"its answer is not understood: it has lzu_export {there}, and this is {VERSION}; install "
        "the same release on both"
    )
