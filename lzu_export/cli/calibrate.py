"""`lzu-export calibrate`: measure the INT8 ranges of a bundle's model again."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lzu_export.cli.options import (
    HIDDEN,
    BesideBundle,
    Bundle,
    Json,
    RangeSettings,
    TrainingFrames,
    note_moved,
    renamed,
)
from lzu_export.cli.sensitivity import Search, rank
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say


def _count_or_frames(text: str) -> int | str:
    """Parse a number of frames, or training frames, which this option took in earlier versions."""
    return int(text) if text.lstrip("+-").isdecimal() else text


@dataclass(frozen=True)
class MovedSearch(Search):
    """Options that `lzu-export sensitivity` has now; `frames` may name training frames."""

    dataset: Annotated[str | None, HIDDEN] = None
    frames: Annotated[Any, typer.Option(parser=_count_or_frames, hidden=True)] = None
    limit: Annotated[float | None, HIDDEN] = None
    by: Annotated[str | None, HIDDEN] = None
    ranges: Annotated[Path | None, HIDDEN] = None


def calibrate(
    bundle: Bundle,
    *,
    frames_of: TrainingFrames = None,
    settings: RangeSettings,
    out: BesideBundle = None,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", hidden=True)] = False,
    search: MovedSearch,
    eval_frames: Annotated[str | None, renamed("--eval-frames", "--frames")] = None,
    as_json: Json = False,
) -> None:
    """Measure the INT8 ranges of a bundle's model again."""
    from lzu_export.quantization.recalibrate import recalibrate
    from lzu_export.support.progress import Reporter

    named = search.frames
    if isinstance(named, str):
        if frames_of is not None:
            raise LzuError(
                f"--frames {named} is not a number of frames, and --calibration names the "
                "training frames already; leave --frames out"
            )
        Reporter().note(f"--frames {named} is read as --calibration {named}, its name now")
        search, frames_of = replace(search, frames=None), named
    overrides = settings.of(frames_of)
    if sensitivity:
        note_moved("calibrate --sensitivity", "lzu-export sensitivity")
        rank(bundle, overrides, search, out=out, as_json=as_json)
        return
    for name, value in vars(search).items():
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
