"""`lzu-export calibrate`: measure the INT8 ranges of a bundle's model again."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from lzu_export.cli.options import (
    Bundle,
    Count,
    Json,
    Method,
    Percentile,
    Seed,
    TrainingFrames,
    frames_name,
    note_moved,
    renamed,
)
from lzu_export.cli.sensitivity import rank
from lzu_export.errors import LzuError
from lzu_export.support.progress import Reporter
from lzu_export.support.terminal import print_json, say


def _count_or_frames(text: str) -> int | str:
    """Parse a number of frames, or training frames, which this option took in earlier versions."""
    return int(text) if text.lstrip("+-").isdecimal() else text


_Moved = typer.Option(hidden=True)


def calibrate(
    bundle: Bundle,
    frames_of: TrainingFrames = None,
    count: Count = None,
    seed: Seed = None,
    method: Method = None,
    percentile: Percentile = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: beside the bundle.")
    ] = None,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", hidden=True)] = False,
    dataset: Annotated[str | None, _Moved] = None,
    frames: Annotated[Any, typer.Option(parser=_count_or_frames, hidden=True)] = None,
    limit: Annotated[float | None, _Moved] = None,
    by: Annotated[str | None, _Moved] = None,
    ranges: Annotated[Path | None, _Moved] = None,
    eval_frames: Annotated[str | None, renamed("--eval-frames", "--frames")] = None,
    as_json: Json = False,
) -> None:
    """Measure the INT8 ranges of a bundle's model again."""
    from lzu_export.quantization.overrides import CalibrationOverrides
    from lzu_export.quantization.recalibrate import recalibrate

    if isinstance(frames, str):
        if frames_of is not None:
            raise LzuError(
                f"--frames {frames} is not a number of frames, and --calibration names the "
                "training frames already; leave --frames out"
            )
        Reporter().note(f"--frames {frames} is read as --calibration {frames}, its name now")
        frames, frames_of = None, frames
    source = frames_name(frames_of) if frames_of else None
    overrides = CalibrationOverrides(source, count, seed, method, percentile)
    moved: dict[str, Any] = {
        "dataset": dataset, "frames": frames, "limit": limit, "by": by, "ranges": ranges,
    }  # fmt: skip
    if sensitivity:
        note_moved("calibrate --sensitivity", "lzu-export sensitivity")
        rank(bundle, overrides, out=out, as_json=as_json, **moved)
        return
    for name, value in moved.items():
        if value is not None:
            raise LzuError(f"--{name} belongs to lzu-export sensitivity; use that, or leave it out")
    made = recalibrate(bundle, overrides, out=out, report=Reporter(quiet=as_json))
    if as_json:
        print_json(made)
        return
    say(
        f"{made['file']}: {made['tensors']} ranges by {made['method']} of {made['count']} "
        f"frames of {made['frames']}"
    )
    say(f"export with {shlex.join(made['export'])}")
