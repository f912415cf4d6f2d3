"""Time a sweep of 24 warps on 1 worker, and on 2 with a kill.

`python -m lzu_benchmarks sweep_demo`.

The model is the adaptive detector of the demonstration. The sweep on several workers is killed when
half of its jobs are done, and goes on. Exports and scores are compared, not times: those are
measured one at a time in any case, at the end.
"""

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lzu_benchmarks.commands import add_json, print_result, study_parser, write_json
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.checkout import CHECKOUT
from lzu_export.support.interpreter import run_module
from lzu_export.sweep.run import JOBS

NEEDS = "a checkout; extras export, runtime, bench"

EXAMPLE = CHECKOUT / "docs" / "examples" / "sweep_warps.yaml"
POLL = 0.5
"""Seconds between two looks at the jobs that are done."""


class Runs:
    """Runs one sweep's file in folders of its own."""

    def __init__(self, example: Path, out: Path, frames: int | None) -> None:
        """Write the sweep's file with all of its work, and one that does not time.

        Args:
            example: the sweep's file.
            out: folder to write to.
            frames: number of frames to score on; None: the file's.
        """
        data: dict[str, Any] = yaml.safe_load(example.read_text(encoding="utf-8"))
        if frames is not None:
            data["set"]["evaluation.frames"] = frames
        out.mkdir(parents=True, exist_ok=True)
        self.out = out.resolve()
        self.whole = self._write("whole", {**data, "name": "warps"})
        brief = {**data, "name": "warps", "do": ["export", "score"], "rank": "accuracy"}
        self.brief = self._write("brief", brief)

    def _write(self, name: str, data: dict[str, Any]) -> Path:
        path = self.out / f"{name}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return path

    def start(self, file: Path, folder: str, workers: int) -> "subprocess.Popen[str]":
        """Start the sweep."""
        words = ["sweep", str(file), "--workers", str(workers), "--out", str(self.out / folder)]
        command = run_module("lzu_export", *words, "--json")
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(self, running: "subprocess.Popen[str]") -> dict[str, Any]:
        """Return the result of a sweep that was started; points of it may have failed.

        Raises:
            LzuError: it failed as a whole.
        """
        told, _ = running.communicate()
        if running.returncode not in (exits.DONE, exits.INCOMPLETE):
            raise LzuError("the sweep failed, as said above")
        found: dict[str, Any] = json.loads(told)
        return found

    def done(self, folder: str) -> dict[str, int]:
        """Return the time of writing of each done job, by name."""
        jobs = self.out / folder / "warps" / JOBS
        return {path.name: path.stat().st_mtime_ns for path in jobs.glob("*.json")}


def measure(runs: Runs, workers: int) -> dict[str, Any]:
    """Run the sweep by one worker, and by several with a kill in the middle; then time it."""
    started = time.monotonic()
    alone = runs.finish(runs.start(runs.brief, "serial", 1))
    serial = time.monotonic() - started
    jobs = len(runs.done("serial"))

    started = time.monotonic()
    running = runs.start(runs.brief, "parallel", workers)
    while len(runs.done("parallel")) < jobs // 2 and running.poll() is None:
        time.sleep(POLL)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    kept = runs.done("parallel")
    together = runs.finish(runs.start(runs.brief, "parallel", workers))
    parallel = time.monotonic() - started
    after = runs.done("parallel")

    started = time.monotonic()
    timed = runs.finish(runs.start(runs.whole, "parallel", workers))
    return {
        "jobs": jobs,
        "workers": workers,
        "serial_seconds": serial,
        "parallel_seconds": parallel,
        "kept": len(kept),
        "done_again": sum(after.get(name) != written for name, written in kept.items()),
        "equal": _metrics(alone) == _metrics(together),
        "failed": sum(row["metric"] is None for row in together["rows"]),
        "timing_seconds": time.monotonic() - started,
        "frames": timed["frames"],
        "front": [
            {key: row[key] for key in ("name", "metric", "gain", "ratio")}
            for row in timed["rows"]
            if row["front"]
        ],
    }


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["metric"] for row in result["rows"]}


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's options."""
    made = study_parser(__file__, __doc__)
    made.add_argument("--sweep", type=Path, default=EXAMPLE, help="file of the sweep")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--frames", type=int, help="score on so many frames; default: the file's")
    made.add_argument("--out", type=Path, default=Path("build/sweep_demo"), help="a new folder")
    add_json(made)
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser().parse_args(arguments)
    if given.out.exists():
        raise LzuError(f"{given.out} exists, and may hold done jobs; name a new folder (--out)")
    result = measure(Runs(given.sweep, given.out, given.frames), given.workers)
    write_json(given.out / "sweep_demo.json", result)
    print_result(
        given.json,
        result,
        f"{result['jobs']} exports: {result['serial_seconds']:.0f} s by 1 worker, "
        f"{result['parallel_seconds']:.0f} s by {result['workers']}, killed once",
        f"{result['kept']} jobs were done before the kill, {result['done_again']} of them again",
        f"metrics of both {'are equal' if result['equal'] else 'differ'}; "
        f"{result['failed']} points failed",
        f"timing one at a time: {result['timing_seconds']:.0f} s",
    )


if __name__ == "__main__":
    main()
