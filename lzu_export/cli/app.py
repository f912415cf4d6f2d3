"""`lzu-export`: thin argument groups over the API. Results go to stdout, all else to stderr."""

import logging
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.logging import RichHandler
from rich.text import Text
from typer.core import TyperGroup

from lzu_export import __version__
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.escaping import visible
from lzu_export.support.terminal import Terminal, print_json, say

if TYPE_CHECKING:
    from lzu_export.bundle import bundle as bundles
    from lzu_export.manifest.schema import Drift
    from lzu_export.recipes import Recipe
    from lzu_export.support.progress import Reporter
    from lzu_export.targets.tensorrt.build import BuildOptions
    from lzu_export.verification.checks import Check

INTERRUPTED = {
    "export": "bundles and stages that are done are kept; give the same command to go on",
    "verify": "nothing was stored; give the same command to start again",
}
"""What is to be told of a command that was interrupted."""


class _Commands(TyperGroup):
    """Ends an interrupted command in a sentence, before typer ends it in a status of its own."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().make_context(*args, **extra)
        except KeyboardInterrupt:
            exits.interrupted()

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            exits.interrupted(INTERRUPTED.get(ctx.invoked_subcommand or "", exits.AGAIN))


app = typer.Typer(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compile Learning to Zoom and Unzoom models to verified ONNX graphs and engines.",
)

VARIANTS = ("fixed", "uniform", "adaptive", "fovea")
COMPARED = ("fixed", "uniform")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Bundle = Annotated[Path, typer.Argument(help="Folder that export made.")]


def _renamed(old: str, new: str) -> Any:
    """An option that has another name now, to be refused by it."""

    def refuse(value: str | None) -> None:
        if value is not None:
            raise LzuError(f"{old} is called {new} now; give {new} {value}")

    return typer.Option(old, hidden=True, callback=refuse)


def _count_or_frames(text: str) -> int | str:
    """How many frames, or what `--calibration` takes: this option once took the training frames."""
    return int(text) if text.lstrip("+-").isdecimal() else text


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lzu-export {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done and why.")] = (
        False
    ),
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    handler = RichHandler(console=Terminal(stderr=True), show_path=False, show_time=False)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


@app.command()
def export(
    recipe: Annotated[
        str, typer.Argument(help="Task (det, seg, det3d), shipped recipe, or a file.")
    ],
    variant: Annotated[
        str | None, typer.Option(help="Separated by spaces: fixed uniform adaptive fovea.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Canvas size over source size.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Targets separated by spaces: onnxruntime tensorrt-rtx.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Precisions separated by spaces.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="OpenMMLab checkpoint of the exported variant.")
    ] = None,
    saliency: Annotated[
        Path | None,
        typer.Option(help="Map (.npy, .pkl), COCO boxes (.json), label folder."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="demo, COCO annotations, a data set's folder, or none.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Evaluate at most this many frames.")] = None,
    frames_of: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            help="Training frames for INT8: folder, video, COCO, Cityscapes or nuScenes, or demo.",
        ),
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(help="INT8 ranges measured before (calibration.json).")
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(help="Seed of untrained weights, for timing only.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any recipe key, such as lowering.zoom=banded; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all bundles.")] = Path("build"),
    force: Annotated[bool, typer.Option(help="Export again even if nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Export a recipe into verified bundles, one a variant, and print what they came to."""
    from lzu_export.cli.tables import export_table
    from lzu_export.compiler.pipeline import export_all
    from lzu_export.recipes import load_recipe
    from lzu_export.support.progress import Reporter

    overrides = _key_values(set_ or [])
    given = {
        "scale": scale,
        "targets": target.split() if target else None,
        "precision": precision.split() if precision else None,
        "warp.saliency": _absolute(saliency),
        "evaluation.frames": frames,
        "calibration.frames": _frames(frames_of) if frames_of else None,
        "calibration.cache": _absolute(ranges),
        "random_weights": random_weights,
    }
    overrides |= {key: value for key, value in given.items() if value is not None}
    if dataset is not None:
        overrides["evaluation.dataset"] = _dataset(dataset)
    if random_weights is not None:
        overrides["checkpoint"] = {}
    variants = _variants(recipe, overrides, variant, checkpoint)
    recipes = []
    for each in variants:
        mine = {**overrides, "variant": each}
        if checkpoint is not None:
            mine["checkpoint"] = {each: _absolute(checkpoint)}
        recipes.append(load_recipe(recipe, mine))
    report = Reporter()
    if target is None:
        recipes = [_for_this_machine(each, report) for each in recipes]
    if precision is None and "precision" not in overrides:
        recipes = [_with_frames(each, report) for each in recipes]
    outcomes = export_all(recipes, out, force=force, report=report)
    if as_json:
        print_json(
            [
                {"bundle": str(o.folder), "status": o.status, **o.manifest.model_dump(mode="json")}
                for o in outcomes
            ]
        )
    else:
        Terminal().print(export_table(outcomes))


@app.command()
def verify(
    bundle: Bundle,
    live: Annotated[
        Path | None,
        typer.Option(help="Run PyTorch on frames of your own: image, folder or video."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint the bundle was made from, for --live.")
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches of frames taken of --live.")] = 2,
    resize: Annotated[bool, typer.Option("--resize", help="The same as --fit stretch.")] = False,
    fit: Annotated[
        str | None,
        typer.Option(help="Frames of --live of another size: exact (refused), stretch, or pad."),
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="Calibration of --live's frames, for boxes in space.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Stored state: hold accuracy, drift and latency ratios against it."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Store the state in --reference instead.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(help="For --reference: a bundle, such as the uniform one, to time against."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="For --reference: demo, COCO annotations, a folder, or none.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="For --reference: evaluate at most this many frames.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="Of onnxruntime: cpu, cuda, tensorrt; default: cpu."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="File for every check as JUnit XML, for CI systems.")
    ] = None,
    limit: Annotated[str | None, _renamed("--limit", "--batches")] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's engines with PyTorch at every arrow, and with an earlier state.

    Exit status: 0 all held; 1 an engine drifts from PyTorch; 2 it could not be run; 3 it lost
    accuracy, precision or speed against --reference.
    """
    from lzu_export.bundle import bundle as bundles
    from lzu_export.cli.tables import check_table, drift_table, stream_notes
    from lzu_export.manifest.schema import untrained_note
    from lzu_export.verification.checks import Check, drift_checks, failed, reported
    from lzu_export.verification.parity import explain_drift, first_drift, verify_all

    checks: list[Check] = []
    kept: list[Check] = []
    with reported(junit, bundle.resolve().name, checks):
        _only_with_reference(
            reference,
            update=update or None,
            baseline=baseline,
            dataset=dataset,
            frames=frames,
        )
        opened = bundles.Bundle(bundle)
        manifest = opened.manifest
        _note_strangers(bundle, opened.check())
        references = None
        if live is not None:
            from lzu_export.runtime.cameras import read_cameras
            from lzu_export.runtime.fitting import fit_of
            from lzu_export.verification.live import live_references

            references = live_references(
                opened,
                live,
                checkpoint,
                batches,
                fit=fit_of(fit, resize),
                cameras=read_cameras(cameras) if cameras else None,
            )
        drifts = verify_all(opened, references, provider or "cpu")
        drifted = [(drift, name) for drift in drifts if (name := first_drift(drift)) is not None]
        checks += [check for drift in drifts for check in drift_checks(drift)]
        if reference is not None and not drifted:
            kept = _against_reference(
                opened, drifts, reference, update=update, baseline=baseline, dataset=dataset,
                frames=frames, provider=provider or "cpu", quiet=as_json,
            )  # fmt: skip
            checks += kept
    rows = [drift.model_dump(mode="json") for drift in drifts]
    if as_json:
        print_json(
            rows if reference is None else {"drift": rows, "checks": [vars(c) for c in kept]}
        )
    else:
        Terminal().print(drift_table(drifts))
        name = bundle.resolve().name
        notes = [f"{name} is {note}"] if (note := untrained_note(manifest)) else []
        for line in notes + (stream_notes(name, manifest.accuracy) if manifest.accuracy else []):
            say(line)
        if kept:
            Terminal().print(check_table(kept))
    for drift, name in drifted:
        exits.complain(
            f"{drift.engine.replace('/', ' ')} drifts: the first difference is at "
            f"{explain_drift(drift, name)}"
        )
    if drifted:
        raise typer.Exit(exits.MISMATCH)
    for check in failed(kept):
        exits.complain(f"{check.engine} lost against {reference}: {check.name}, {check.message}")
    if failed(kept):
        raise typer.Exit(exits.REGRESSION)


@app.command()
def run(
    bundle: Bundle,
    source: Annotated[
        str,
        typer.Argument(help="Image, folder, video; or a camera: 0, rtsp://..., gst:PIPELINE."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures and results.")] = Path("run"),
    show_warp: Annotated[
        bool, typer.Option("--show-warp", help="Draw the sampling grid and the zoomed image.")
    ] = False,
    resize: Annotated[bool, typer.Option("--resize", help="The same as --fit stretch.")] = False,
    cameras: Annotated[
        Path | None,
        typer.Option(help="Calibration for boxes in space: JSON with cam2img, or a .npy."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or int8; the highest there is by default.")
    ] = None,
    draw_above: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest score drawn; results.json holds all.")
    ] = 0.3,
    target: Annotated[
        str | None, typer.Option(help="onnxruntime by default; on a device tensorrt(-rtx).")
    ] = None,
    provider: Annotated[
        str, typer.Option(help="onnxruntime: cpu, cuda, tensorrt, or its own name of one.")
    ] = "cpu",
    plugins: Annotated[
        Path | None, typer.Option(help="tensorrt: plugin library; default: the one that is found.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(help="Frames of another size: exact (refused), stretch, or pad with bars."),
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a detection; default: the recipe's.")
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(help="Highest overlap of two detections; default: the recipe's.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Most detections of a frame; default: the recipe's.")
    ] = None,
    class_agnostic: Annotated[
        bool, typer.Option("--class-agnostic", help="Suppress across classes, too.")
    ] = False,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class to find; repeatable; default: all.")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--frames", min=1, help="End after so many frames.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="End a video or a camera after so long.")
    ] = None,
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
        fit=fit_of(fit, resize),
        report=Reporter(quiet=as_json),
        precision=precision,
        draw_above=draw_above,
        cameras=read_cameras(cameras) if cameras else None,
        most=most,
        seconds=seconds,
        engine={
            "target": target,
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


@app.command()
def build(
    bundle: Bundle,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="Such as 8.9; repeatable. Default: portable.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or int8; the highest there is by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Engine file to write.")] = None,
    target: Annotated[
        str, typer.Option(help="tensorrt-rtx, or on the device that will run it tensorrt.")
    ] = "tensorrt-rtx",
    workspace: Annotated[
        int | None, typer.Option(min=1, help="tensorrt: MiB that a layer may use.")
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="tensorrt: builder optimisation level.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="tensorrt: run in later releases, too.")
    ] = False,
    hardware: Annotated[
        str | None, typer.Option(help="tensorrt: ampere+ or same-capability; run on others, too.")
    ] = None,
    plugins: Annotated[
        Path | None, typer.Option(help="tensorrt: plugin library; default: the one that is found.")
    ] = None,
    cuda: Annotated[
        str | None, typer.Option(help="tensorrt: cuda-python or pycuda; default: what there is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build an engine of a bundle: for RTX cards of your choice, or for this device."""
    if target == "tensorrt":
        if compute_capability or out:
            raise LzuError(
                "--compute-capability and --out are for tensorrt-rtx: a TensorRT engine is built "
                "for this device, into the bundle; leave them out"
            )
        options = _build_options(workspace, level, version_compatible, hardware)
        _build_on_device(bundle, precision, options, plugins, cuda, as_json)
        return
    if target != "tensorrt-rtx":
        raise LzuError(f"there is nothing to build for {target}; use tensorrt-rtx or tensorrt")
    if workspace or level is not None or version_compatible or hardware or plugins or cuda:
        raise LzuError(
            "--workspace, --level, --version-compatible, --hardware, --plugins and --cuda belong "
            "to --target tensorrt; add that, or leave them out"
        )
    from lzu_export.compiler.rebuild import rebuild

    built = rebuild(bundle, compute_capability or [], out, precision)
    if as_json:
        print_json(built)
    else:
        made = f"TensorRT-RTX {built['version']} in {built['precision']}"
        say(f"{built['file']}: {made}, for {built['for']}")


def _build_options(
    workspace: int | None, level: int | None, version_compatible: bool, hardware: str | None
) -> "BuildOptions":
    from lzu_export.targets.tensorrt.build import BuildOptions

    if hardware not in (None, "ampere+", "same-capability"):
        raise LzuError(f"--hardware {hardware} is not known; use ampere+ or same-capability")
    return BuildOptions(
        workspace=workspace,
        level=level,
        version_compatible=version_compatible,
        hardware=hardware,  # type: ignore[arg-type]
    )


def _build_on_device(
    bundle: Path,
    precision: str | None,
    options: "BuildOptions",
    plugins: Path | None,
    cuda: str | None,
    as_json: bool,
) -> None:
    from lzu_export.compiler.device_build import build_on_device
    from lzu_export.support.progress import Reporter

    report = Reporter(quiet=as_json)
    engine, notes = build_on_device(
        bundle,
        precision=precision,
        options=options,
        library=plugins,
        back_end=cuda,
        report=report,
    )
    assert engine.on_device is not None
    for note in notes:
        report.note(Text.assemble(("known:", "yellow"), f" {note}"))
    if as_json:
        print_json({"engine": engine.model_dump(mode="json"), "notes": notes})
    else:
        worst = max(engine.on_device.outputs.values(), default=None)
        finite = f"outputs finite ({engine.precision} is held to PyTorch by verify)"
        drift = finite if worst is None else f"outputs within {worst:.1e} of PyTorch's"
        say(f"{bundle / engine.file}: {engine.build_seconds:.0f} s, {drift}")
    if not engine.on_device.within:
        exits.complain(
            f"{engine.file} drifts from PyTorch on this device: {engine.on_device.outputs} where "
            f"{engine.on_device.limit:g} is allowed"
        )
        raise typer.Exit(exits.MISMATCH)


@app.command()
def derive(
    bundle: Bundle,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or int8; all there are by default.")
    ] = None,
    plugins: Annotated[
        Path | None,
        typer.Option(help="Plugin library of the device; default: build/plugins, if there is one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a bundle's ONNX file for TensorRT, whose engine is built on the device."""
    from lzu_export.compiler.derive import derive as derive_graphs

    made = derive_graphs(bundle, precision=precision, plugins=plugins)
    if as_json:
        print_json(made)
        return
    for each in made:
        calls = ", ".join(each["plugins"])
        needs = (
            f"calls {calls}; library {each['library'] or 'not recorded'}"
            if calls
            else ("needs no plugins")
        )
        say(f"{each['file']}: {each['status']}, {needs}")


@app.command()
def calibrate(
    bundle: Bundle,
    frames_of: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            help="Training frames: folder, video, COCO, Cityscapes or nuScenes, or demo. Default: "
            "the recipe's.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Measure on so many frames.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the choice of frames.")] = None,
    method: Annotated[str | None, typer.Option(help="max, entropy, percentile or mse.")] = None,
    percentile: Annotated[float | None, typer.Option(help="Of the method percentile.")] = None,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Rank layers by what INT8 costs the task's metric."),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="For --sensitivity: demo, COCO annotations, a data set's folder."),
    ] = None,
    frames: Annotated[
        Any,
        typer.Option(
            parser=_count_or_frames,
            metavar="<int>",
            help="For --sensitivity: evaluate at most this many frames; default: 64.",
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="For --sensitivity: points that may be lost; default: the recipe's."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="For --sensitivity: layer or group; default: group above 40 layers."),
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(help="For --sensitivity: INT8 ranges measured before.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: beside the bundle.")
    ] = None,
    eval_frames: Annotated[str | None, _renamed("--eval-frames", "--frames")] = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle's INT8 ranges again, or find the layers that INT8 costs most."""
    from lzu_export.quantization.recalibrate import Asked, recalibrate
    from lzu_export.support.progress import Reporter

    if isinstance(frames, str):
        if frames_of is not None:
            raise LzuError(
                f"--frames {frames} is not a number of frames, and --calibration names the "
                "training frames already; leave --frames out"
            )
        Reporter().note(f"--frames {frames} is read as --calibration {frames}, its name now")
        frames, frames_of = None, frames
    asked = Asked(_frames(frames_of) if frames_of else None, count, seed, method, percentile)
    report = Reporter(quiet=as_json)
    if not sensitivity:
        given = {
            "dataset": dataset, "frames": frames, "limit": limit, "by": by,
            "ranges": ranges,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None:
                raise LzuError(f"--{name} belongs to --sensitivity; add that, or leave it out")
        made = recalibrate(bundle, asked, out=out, report=report)
        if as_json:
            print_json(made)
        else:
            say(
                f"{made['file']}: {made['tensors']} ranges by {made['method']} of {made['count']} "
                f"frames of {made['frames']}"
            )
            say(f"export with {shlex.join(made['export'])}")
        return
    from lzu_export.quantization.report import notes, recipe_lines, sensitivity_tables, write_report
    from lzu_export.quantization.sensitivity import FRAMES, measure_sensitivity

    outcome = measure_sensitivity(
        bundle,
        dataset=_dataset(dataset) if dataset else None,
        frames=FRAMES if frames is None else frames,
        limit=limit,
        by=by,
        asked=asked,
        ranges=ranges,
        out=out,
        report=report,
    )
    write_report(outcome)
    if as_json:
        files = {"file": str(outcome.file), "picture": str(outcome.picture)}
        print_json({**files, **outcome.to_json()})
        return
    console = Terminal()
    for table in sensitivity_tables(outcome):
        console.print(table)
    say(*notes(outcome))
    say("", *recipe_lines(outcome).splitlines(), "", f"{outcome.file}, {outcome.picture}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Accuracy and latency of warped and uniform models, and a report; --help tells its options."""
    from lzu_export.evaluation.datasets import find_command

    find_command("bench")(context.args)


@app.command()
def inspect(bundle: Bundle, as_json: Json = False) -> None:
    """Show what a bundle holds, how its warps were lowered and how far it drifts."""
    from lzu_export.cli.tables import inspect_tables
    from lzu_export.manifest.schema import read_manifest

    manifest = read_manifest(bundle)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        console = Terminal()
        for table in inspect_tables(manifest):
            console.print(table)


@app.command()
def doctor(
    require: Annotated[
        list[str] | None,
        typer.Option(help="Exit with status 2 where this is missing; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what this machine can build and run, and how to get what is missing."""
    from dataclasses import asdict

    from lzu_export.cli.tables import doctor_commands, doctor_tables
    from lzu_export.doctor import examine, missing

    found = examine()
    absent = missing(found.findings, require or [])
    if as_json:
        print_json(asdict(found))
    else:
        Terminal().print(doctor_tables(found))
        say("", "To get what is missing", *doctor_commands(found))
    for each in absent:
        exits.complain(f"{each.name} is missing: {each.detail}; {each.install or 'get it'}")
    if absent:
        raise typer.Exit(exits.UNFIT)


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes that ship with the package."""
    from lzu_export.recipes import list_recipes, load_recipe

    rows = [load_recipe(name) for name in list_recipes()]
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        say(f"{row.name:24} {row.task:6} {row.path_of_sizes}, {len(row.classes)} classes")


def main() -> None:
    """Entry point: whatever ends a command becomes one sentence on stderr and its status."""
    # OpenCV's own words about an unreadable file would stand before ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Read when torch is first imported: threads that spin while they wait make PyTorch some 40
    # times slower as soon as another process wants the processors too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with exits.ending():
        app()


def _for_this_machine(recipe: "Recipe", report: "Reporter") -> "Recipe":
    """The recipe without the targets that cannot be had here; who names a target gets it."""
    from lzu_export.targets.tensorrt.rtx import version

    missing = {"tensorrt-rtx"} & set(recipe.targets) if version() is None else set()
    kept = tuple(each for each in recipe.targets if each not in missing)
    if not missing or not kept:
        return recipe
    report.note(f"  {', '.join(missing)} is not installed and left out (extra rtx)")
    return recipe.model_copy(update={"targets": kept})


def _with_frames(recipe: "Recipe", report: "Reporter") -> "Recipe":
    """The recipe without INT8 where it names no frames; who names a precision gets it."""
    kept = tuple(each for each in recipe.precision if each != "int8")
    if recipe.calibration.frames is not None or not kept or kept == recipe.precision:
        return recipe
    report.note("  int8 is left out: it needs frames of the training set (FRAMES=folder)")
    return recipe.model_copy(update={"precision": kept})


def _only_with_reference(reference: Path | None, **given: Any) -> None:
    for name, value in given.items():
        if reference is None and value is not None:
            raise LzuError(f"--{name} belongs to --reference FILE; add that, or leave it out")


def _against_reference(
    bundle: "bundles.Bundle",
    drifts: "list[Drift]",
    reference: Path,
    *,
    update: bool,
    baseline: Path | None,
    dataset: str | None,
    frames: int | None,
    provider: str,
    quiet: bool,
) -> "list[Check]":
    """What the bundle lost against a stored state; nothing where it is stored as the new one."""
    from lzu_export.bundle import bundle as bundles
    from lzu_export.evaluation.datasets import open_dataset
    from lzu_export.support.progress import Reporter
    from lzu_export.verification.regression import (
        compare_states,
        identity,
        measure_state,
        open_engines,
        read_state,
        refuse_others,
        write_state,
    )

    then = None if update else read_state(reference)
    report = Reporter(quiet=quiet)
    with ExitStack() as stack:
        opened = stack.enter_context(closing(open_engines(bundle, provider)))
        recipe = opened.bundle.recipe
        name = _dataset(dataset) if dataset else recipe.evaluation.dataset
        count = frames or recipe.evaluation.frames
        found = open_dataset(name, count, recipe.task, recipe) if name else None
        other = None
        if baseline is not None:
            other = stack.enter_context(closing(open_engines(bundles.Bundle(baseline), provider)))
        if then is not None:
            against = identity(other.bundle.recipe) if other is not None else None
            bundle_is = identity(recipe)
            refuse_others(then, bundle=bundle_is, provider=provider, baseline=against)
        now = measure_state(opened, drifts, found, baseline=other, then=then, report=report)
    if then is None:
        write_state(reference, now)
        report.note(f"stored in {reference}")
        return []
    return compare_states(now, then, recipe)


def _note_strangers(bundle: Path, names: Sequence[str]) -> None:
    for name in names:
        said = Text(visible(f"note: {bundle / name} is no file of the bundle and is never read"))
        Terminal(stderr=True).print(said, soft_wrap=True)


def _absolute(path: Path | None) -> str | None:
    return str(path.resolve()) if path is not None else None


def _variants(
    recipe: str, overrides: dict[str, Any], variant: str | None, checkpoint: Path | None
) -> list[str]:
    """What to export: what was asked for, else the fixed warp and uniform, to compare.

    Where the recipe has weights of one of the two only, that one; of neither, those that it has.
    """
    from lzu_export.recipes import load_recipe

    if variant:
        wanted = list(dict.fromkeys(variant.split()))
        if checkpoint is not None and len(wanted) > 1:
            raise LzuError(
                f"--checkpoint {checkpoint} is of one variant but --variant lists "
                f"{' and '.join(wanted)}; export one at a time"
            )
        return wanted
    base = load_recipe(recipe, overrides)
    if checkpoint is not None or "variant" in overrides:
        return [base.variant]
    there: list[str] = [each for each in VARIANTS if each in base.checkpoint]
    return [each for each in there if each in COMPARED] or there or list(COMPARED)


def _dataset(name: str) -> str | None:
    if name == "none":
        return None
    from lzu_export.evaluation.datasets import named_sets

    is_path = name.endswith(".json") or Path(name).is_dir()
    return str(Path(name).resolve()) if is_path and name not in named_sets() else name


def _frames(name: str) -> str:
    """A path of frames as an absolute one; the name of a source as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _key_values(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from lzu_export.support.files.yaml_text import parse_yaml

    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise LzuError(f"--set {pair} is not key=value; write it so")
        try:
            values[key.strip()] = parse_yaml(text)
        except yaml.YAMLError as error:
            raise LzuError(f"--set {pair} has a value that is not YAML; quote it") from error
    return values


if __name__ == "__main__":
    main()
