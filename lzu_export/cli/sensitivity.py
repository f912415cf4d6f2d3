"""`lzu-export sensitivity`: rank the layers by their loss in INT8."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli.options import (
    BesideBundle,
    Bundle,
    Json,
    Ranges,
    RangeSettings,
    TrainingFrames,
    dataset_name,
)
from lzu_export.support.terminal import print_json, say, show

if TYPE_CHECKING:
    from lzu_export.quantization.overrides import CalibrationOverrides


@dataclass(frozen=True)
class Search:
    """What the layers' ranking is measured on, and where it ends."""

    dataset: Annotated[
        str | None, typer.Option(help="demo, COCO annotations, a data set's folder.")
    ] = None
    frames: Annotated[
        int | None, typer.Option(help="Evaluate at most this many frames; default: 64.")
    ] = None
    limit: Annotated[
        float | None, typer.Option(help="Points that may be lost; default: the recipe's.")
    ] = None
    by: Annotated[
        str | None, typer.Option(help="layer or group; default: group above 40 layers.")
    ] = None
    ranges: Ranges = None


def sensitivity(
    bundle: Bundle,
    *,
    frames_of: TrainingFrames = None,
    search: Search,
    settings: RangeSettings,
    out: BesideBundle = None,
    as_json: Json = False,
) -> None:
    """Rank a bundle's layers by what INT8 costs the task's metric.

    Proposes the fewest layers to keep in FP16 so that the loss stays within the limit.
    """
    rank(bundle, settings.of(frames_of), search, out=out, as_json=as_json)


def rank(
    bundle: Path,
    overrides: "CalibrationOverrides",
    search: Search,
    *,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the layers' sensitivity to INT8, write its report and print it."""
    from lzu_export.quantization.report import notes, recipe_lines, sensitivity_tables, write_report
    from lzu_export.quantization.sensitivity import FRAMES, measure_sensitivity
    from lzu_export.support.progress import Reporter

    outcome = measure_sensitivity(
        bundle,
        dataset=dataset_name(search.dataset) if search.dataset else None,
        frames=FRAMES if search.frames is None else search.frames,
        limit=search.limit,
        by=search.by,
        overrides=overrides,
        ranges=search.ranges,
        out=out,
        report=Reporter(quiet=as_json),
    )
    write_report(outcome)
    if as_json:
        files = {each: str(getattr(outcome, each)) for each in ("file", "picture", "page")}
        print_json({**files, **outcome.to_json()})
        return
    show(*sensitivity_tables(outcome))
    say(*notes(outcome))
    say("", *recipe_lines(outcome).splitlines(), "", f"{outcome.page}, {outcome.file}")
