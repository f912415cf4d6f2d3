"""`lzu-export run`: run a bundle on images, a video or a camera."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Bundle, Cameras, Device, Fit, Json, Plugins, Precision, Resize
from lzu_export.support.terminal import print_json, say


@dataclass(frozen=True)
class ResultOptions:
    """Changes to the recipe's choice of detections."""

    score_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a detection; default: the recipe's.")
    ] = None
    iou_threshold: Annotated[
        float | None, typer.Option(help="Highest overlap of two detections; default: the recipe's.")
    ] = None
    max_detections: Annotated[
        int | None, typer.Option(help="Most detections of a frame; default: the recipe's.")
    ] = None
    class_agnostic: Annotated[
        bool, typer.Option("--class-agnostic", help="Also suppress across classes.")
    ] = False
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class to find; repeatable; default: all."),
    ] = None


@dataclass(frozen=True)
class EngineOptions:
    """Choice of the engine's target, and of what runs it."""

    target: Annotated[
        str | None, typer.Option(help="onnxruntime by default; on a device tensorrt(-rtx).")
    ] = None
    provider: Annotated[
        str, typer.Option(help="onnxruntime: cpu, cuda, tensorrt, nv-tensorrt-rtx, or a full name.")
    ] = "cpu"
    device: Device = None
    plugins: Plugins = None
    pixel_format: Annotated[
        str, typer.Option(help="A pipeline's frames: bgr, rgb, nv12 or gray; others are bgr.")
    ] = "bgr"


def run(
    bundle: Bundle,
    source: Annotated[
        str,
        typer.Argument(help="Image, folder, video; or a camera: 0, rtsp://..., gst:PIPELINE."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for pictures and results.")] = Path("run"),
    show_warp: Annotated[
        bool, typer.Option("--show-warp", help="Draw the sampling grid and the zoomed image.")
    ] = False,
    resize: Resize = False,
    cameras: Cameras = None,
    precision: Precision = None,
    draw_above: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest score drawn; the results hold all.")
    ] = 0.3,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Results as json (default), coco or csv; repeatable."),
    ] = None,
    engine: EngineOptions,
    fit: Fit = None,
    results: ResultOptions,
    most: Annotated[
        int | None, typer.Option("--frames", min=1, help="End after this many frames.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="End a video or a camera after this many seconds."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict in frames: pictures of what is found, and results.

    Results are results.json in the task's own form; --format coco writes boxes as a COCO data
    set, coco.json, and --format csv a table, results.csv.
    A camera runs until it is interrupted (Ctrl-C), which writes the results. Exit
    status: 0 success; 2 an input is unfit; 4 a video or a camera ended early, whose results up to
    there are written.
    """
    from lzu_export.bundle.run import apply
    from lzu_export.runtime.cameras import read_cameras
    from lzu_export.runtime.fitting import fit_of
    from lzu_export.support.progress import Reporter

    counts = apply(
        bundle,
        source,
        out,
        show_warp=show_warp,
        report=Reporter(quiet=as_json),
        draw_above=draw_above,
        cameras=read_cameras(cameras) if cameras else None,
        most=most,
        seconds=seconds,
        formats=formats or ["json"],
        engine={
            "precision": precision,
            "fit": fit_of(fit, resize),
            **vars(engine),
            **vars(results),
        },
    )
    if as_json:
        print_json(counts)
    else:
        found = [f"{n} {what}" for what, n in counts.items() if isinstance(n, int)]
        say(f"{', '.join(found)}, {counts['milliseconds']:.1f} ms a frame: {out}")
    if "incomplete" in counts:
        exits.complain(counts["incomplete"])
        raise typer.Exit(exits.INCOMPLETE)
