"""`lzu-export run`: run a bundle on images, a video or a camera."""

from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Bundle, Cameras, Fit, Json, Plugins, Precision, Resize
from lzu_export.support.terminal import print_json, say

Source = Annotated[
    str, typer.Argument(help="Image, folder, video; or a camera: 0, rtsp://..., gst:PIPELINE.")
]
DrawAbove = Annotated[
    float, typer.Option(min=0, max=1, help="Lowest score drawn; results.json holds all.")
]
Target = Annotated[
    str | None, typer.Option(help="onnxruntime by default; on a device tensorrt(-rtx).")
]
OwnProvider = Annotated[
    str, typer.Option(help="onnxruntime: cpu, cuda, tensorrt, or the full name of a provider.")
]
ScoreThreshold = Annotated[
    float | None, typer.Option(help="Lowest score of a detection; default: the recipe's.")
]
IouThreshold = Annotated[
    float | None, typer.Option(help="Highest overlap of two detections; default: the recipe's.")
]
MaxDetections = Annotated[
    int | None, typer.Option(help="Most detections of a frame; default: the recipe's.")
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="A class to find; repeatable; default: all.")
]
Most = Annotated[int | None, typer.Option("--frames", min=1, help="End after this many frames.")]
Seconds = Annotated[
    float | None, typer.Option(min=0.001, help="End a video or a camera after this many seconds.")
]


def run(
    bundle: Bundle,
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder for pictures and results.")] = Path("run"),
    show_warp: Annotated[
        bool, typer.Option("--show-warp", help="Draw the sampling grid and the zoomed image.")
    ] = False,
    resize: Resize = False,
    cameras: Cameras = None,
    precision: Precision = None,
    draw_above: DrawAbove = 0.3,
    target: Target = None,
    provider: OwnProvider = "cpu",
    plugins: Plugins = None,
    fit: Fit = None,
    score_threshold: ScoreThreshold = None,
    iou_threshold: IouThreshold = None,
    max_detections: MaxDetections = None,
    class_agnostic: Annotated[
        bool, typer.Option("--class-agnostic", help="Also suppress across classes.")
    ] = False,
    classes: Classes = None,
    most: Most = None,
    seconds: Seconds = None,
    as_json: Json = False,
) -> None:
    """Predict in frames: pictures of what is found, and results in results.json.

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
        engine={
            "target": target,
            "precision": precision,
            "fit": fit_of(fit, resize),
            "provider": provider,
            "plugins": plugins,
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "max_detections": max_detections,
            "class_agnostic": class_agnostic,
            "classes": classes,
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
