"""`lzu-export sensitivity`: rank the layers by their loss in INT8."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli.options import (
    Bundle,
    Count,
    Json,
    Method,
    Percentile,
    Seed,
    TrainingFrames,
    dataset_name,
    frames_name,
)
from lzu_export.support.terminal import print_json, say, show

if TYPE_CHECKING:
    from lzu_export.quantization.overrides import CalibrationOverrides


def sensitivity(
    bundle: Bundle,
    frames_of: TrainingFrames = None,
    dataset: Annotated[
        str | None, typer.Option(help="demo, COCO annotations, a data set's folder.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Evaluate at most this many frames; default: 64.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(help="Points that may be lost; default: the recipe's.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="layer or group; default: group above 40 layers.")
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(help="INT8 ranges measured before (calibration.json).")
    ] = None,
    count: Count = None,
    seed: Seed = None,
    method: Method = None,
    percentile: Percentile = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: beside the bundle.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank a bundle's layers by what INT8 costs the task's metric.

    Proposes the fewest layers to keep in FP16 so that the loss stays within the limit.
    """
    from lzu_export.quantization.overrides import CalibrationOverrides

    source = frames_name(frames_of) if frames_of else None
    rank(
        bundle,
        CalibrationOverrides(source, count, seed, method, percentile),
        dataset=dataset,
        frames=frames,
        limit=limit,
        by=by,
        ranges=ranges,
        out=out,
        as_json=as_json,
    )


def rank(
    bundle: Path,
    overrides: "CalibrationOverrides",
    *,
    dataset: str | None,
    frames: int | None,
    limit: float | None,
    by: str | None,
    ranges: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the layers' sensitivity to INT8, write its report and print it."""
    from lzu_export.quantization.report import notes, recipe_lines, sensitivity_tables, write_report
    from lzu_export.quantization.sensitivity import FRAMES, measure_sensitivity
    from lzu_export.support.progress import Reporter

    outcome = measure_sensitivity(
        bundle,
        dataset=dataset_name(dataset) if dataset else None,
        frames=FRAMES if frames is None else frames,
        limit=limit,
        by=by,
        overrides=overrides,
        ranges=ranges,
        out=out,
        report=Reporter(quiet=as_json),
    )
    write_report(outcome)
    if as_json:
        files = {"file": str(outcome.file), "picture": str(outcome.picture)}
        print_json({**files, **outcome.to_json()})
        return
    show(*sensitivity_tables(outcome))
    say(*notes(outcome))
    say("", *recipe_lines(outcome).splitlines(), "", f"{outcome.file}, {outcome.picture}")
