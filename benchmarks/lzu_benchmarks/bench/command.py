"""Compare accuracy and latency of warped and uniform models in a report: `lzu-export bench det`.

Exports the missing variants, scales and precisions, or takes finished bundles (--bundles). The
latter needs no torch, so the same command runs on a device. Writes report.html, report.md,
report.json and its schema into OUT/bench/NAME. Every result is written to the folder `results`
there as soon as it is measured: an interrupted run continues where it stopped, and a result whose
inputs did not change is not measured again.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from lzu_benchmarks.bench.compare import bundle_result
from lzu_benchmarks.bench.contender import Contender, Store, open_bundles
from lzu_benchmarks.bench.gallery import make_gallery
from lzu_benchmarks.bench.latencies import latency_groups
from lzu_benchmarks.bench.options import EXPORT_ONLY, Options, parse
from lzu_benchmarks.harness.latency_table import NOISE
from lzu_benchmarks.report.page import write_pages
from lzu_benchmarks.report.rivals import rivals_table
from lzu_benchmarks.report.rows import NOTHING, number, rows_of
from lzu_benchmarks.report.schema import ORDER, Ablation, BundleResult, Report, Rivals, write_report
from lzu_benchmarks.report.verdict import captions, doubts_of, gain_text, kept_text, sentences
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import UNTRAINED_MARK
from lzu_export.recipes import load_recipe
from lzu_export.support.console import Terminal
from lzu_export.support.device import check_device, using_device
from lzu_export.support.escaping import visible
from lzu_export.support.interpreter import run_module
from lzu_export.support.progress import Reporter
from lzu_export.support.tables import Column, grid, notes
from lzu_export.support.terminal import print_json, say, show
from lzu_export.targets.registry import DEFAULT_TARGET, refuse_idle

if TYPE_CHECKING:
    from lzu_benchmarks.rivals.networks import RivalTask


def bench(given: Options) -> tuple[Report, Path]:
    """Export, measure and write the report; return the report and its folder.

    Raises:
        LzuError: an export fails, bundles cannot be compared with one another, no engine runs
            here, or a file cannot be written.
    """
    report = Reporter()
    if given.rivals:
        _rival_task(given)
    if given.bundles:
        _refuse_exports(given)
    folders = given.bundles or _export(given)
    targets, precisions = (
        each.split() if each else None for each in (given.target, given.precision)
    )
    bundles = open_bundles(folders, targets, precisions, given.provider)
    refuse_idle(given.device, [e.target for b in bundles for e in b.asked], given.provider)
    failed = _failed(bundles)
    if failed and not any(bundle.runs for bundle in bundles):
        raise LzuError(f"no engine runs here: {next(iter(failed.values()))}")
    first = bundles[0].manifest
    folder = given.out / "bench" / first.name
    store = Store(folder / "results", given.again)
    dataset = given.dataset if given.bundles else None  # an export stores its scores itself
    frames = given.frames if given.bundles else None
    shown = _shown(given)
    for why, names in _elsewhere(bundles).items():
        report.note(f"not run here: {', '.join(names)} ({why})")
    results = _results(bundles, store, dataset, frames, report)
    groups = latency_groups(
        bundles,
        store,
        given.plan,
        threads=given.threads,
        graphs=given.graphs,
        shown=shown,
        failed=failed,
        report=report,
    )
    for name, why in failed.items():
        report.note(Text(f"failed: {name}: {why}", "red"))
    pictures = make_gallery(bundles, store, shown, report)
    noise = any(each.run.noise for each in groups) or pictures.noise
    made = Report(
        title=f"{first.name}: {', '.join(_variants(results))}{NOISE if noise else ''}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        task=first.task,
        recipe=first.name,
        bundles=tuple(results),
        latency=tuple(groups),
        gallery=pictures,
        ablation=_ablation(given, bundles, store, report) if given.ablation else None,
        rivals=_rivals(given, store, report) if given.rivals else None,
        notes=(
            *(f"{name} failed: {why}." for name, why in failed.items()),
            *untrained_notes(results),
            *lowering_notes(bundles),
            *pytorch_notes(bundles, results),
        ),
        failed=failed,
    )
    write_report(made, folder)
    write_pages(made, folder, store.folder)
    return made, folder


def _results(
    bundles: Sequence[Contender],
    store: Store,
    dataset: str | None,
    frames: int | None,
    report: Reporter,
) -> list[BundleResult]:
    """Describe and score the bundles, all on the same frames."""
    recipes = [bundle.manifest.recipe for bundle in bundles]
    like = next((each for each in recipes if each.follows_boxes), None)
    results = []
    for bundle in bundles:
        report.note(Text(bundle.folder.name, "bold"))
        results.append(
            bundle_result(bundle, store, dataset=dataset, frames=frames, like=like, report=report)
        )
    return results


def _failed(bundles: Sequence[Contender]) -> dict[str, str]:
    """Return the reason by engine for engines that should run here but failed."""
    return {
        f"{bundle.folder.name} {name}": why
        for bundle in bundles
        for name, why in bundle.failed.items()
    }


def _shown(given: Options) -> str | None:
    """Return the data set whose frames are timed and drawn: the given one, or the recipe's own."""
    if given.dataset is not None or given.bundles:
        return str(given.dataset) if given.dataset is not None else None
    overrides = dict(pair.split("=", 1) for pair in given.settings or () if "=" in pair)
    own = overrides.get("evaluation.dataset") or load_recipe(given.recipe).evaluation.dataset
    return None if own in (None, "null") else str(own)


def lowering_notes(bundles: Sequence[Contender]) -> list[str]:
    """Return notes on steps that bundles lower differently, so ratios compare more than warps."""
    notes = []
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for bundle in bundles:
        for engine in bundle.asked:
            for each in engine.lowerings if engine.target == DEFAULT_TARGET else ():
                kinds = found.setdefault((engine.precision, each.step), {})
                if each.step and bundle.folder.name not in kinds.setdefault(each.kind, []):
                    kinds[each.kind].append(bundle.folder.name)
    for (precision, step), kinds in found.items():
        if len(kinds) > 1 and step:
            listed = ", ".join(f"{kind} in {' and '.join(names)}" for kind, names in kinds.items())
            place = step.partition(":")[0]
            notes.append(
                f"In {precision} the step {place} is lowered in different ways, {listed}, so that "
                "ratios compare more than the warps; export the bundles into one folder."
            )
    return notes


def _refuse_exports(given: Options) -> None:
    """Reject options of an export, which finished bundles cannot follow."""
    there = [EXPORT_ONLY[name] for name in EXPORT_ONLY if getattr(given, name) not in (None, [])]
    if there:
        names = ", ".join(there)
        raise LzuError(
            f"{names} of an export cannot change finished bundles; leave it out, or leave out "
            "--bundles to export"
        )


def untrained_notes(results: Sequence[BundleResult]) -> list[str]:
    """Return notes on bundles that differ from the training of their checkpoints, and how."""
    return [
        f"{each.name}{UNTRAINED_MARK} is {each.untrained}." for each in results if each.untrained
    ]


def pytorch_notes(bundles: Sequence[Contender], results: Sequence[BundleResult]) -> list[str]:
    """Return notes on PyTorch's scores on the frames of the report, or why they are unknown."""
    notes = []
    for bundle, result in zip(bundles, results, strict=True):
        stored = bundle.manifest.accuracy
        if result.metric is None:
            continue
        if result.pytorch is not None:
            value = number(result.pytorch.metrics[result.metric])
            notes.append(f"{result.name} in PyTorch: {value} {result.metric} on the same frames.")
            continue
        known = "the manifest has no score of it"
        if stored is not None:
            known = f"its score in the manifest covers {stored.frames} frames of {stored.dataset}"
        notes.append(f"{result.name} was not run in PyTorch on these frames; {known}.")
    return notes


def _elsewhere(bundles: Sequence[Contender]) -> dict[str, list[str]]:
    """Return the engines that cannot run here, by reason."""
    found: dict[str, list[str]] = {}
    for bundle in bundles:
        for name, why in bundle.elsewhere.items():
            found.setdefault(why, []).append(f"{bundle.folder.name} {name}")
    return found


def _ablation(given: Options, bundles: Any, store: Store, report: Reporter) -> Ablation:
    from lzu_benchmarks.bench.ablation import ablate

    return ablate(bundles, store, frames=given.ablation_frames, report=report)


def _rivals(given: Options, store: Store, report: Reporter) -> Rivals:
    from lzu_benchmarks.bench.rivals import compare_rivals

    task = _rival_task(given)
    return compare_rivals(
        task,
        given.out / task.folder,
        store,
        frames=given.frames,
        plan=given.plan,
        threads=given.threads,
        report=report,
    )


def _rival_task(given: Options) -> "RivalTask":
    """Return the task whose rivals are compared; refuse other models than the demonstration's."""
    from lzu_benchmarks.rivals.networks import TASKS

    recipe = load_recipe(given.recipe)
    task = TASKS.get(recipe.task)
    if given.bundles or task is None or recipe.name != load_recipe(task.name).name:
        raise LzuError(
            "--rivals compares networks that are trained on the demonstration's streets; give the "
            f"recipe {' or '.join(TASKS)}, without --bundles"
        )
    return task


def _variants(results: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(each.variant for each in results))


def _export(given: Options) -> list[Path]:
    """Export bundles of every requested variant and scale by the export command.

    Each export runs in a process of its own, so that PyTorch's memory is free when the engines are
    timed.
    """
    command = run_module("lzu_export", "export", given.recipe, "--json")
    command += ["--out", str(given.out)]
    for name in ("precision", "target", "saliency", "calibration", "dataset", "frames"):
        if (value := getattr(given, name)) is not None:
            command += [f"--{name}", str(value)]
    if given.random_weights is not None:
        command += ["--random-weights", str(given.random_weights)]
    command += [part for pair in given.settings or () for part in ("--set", pair)]
    scales = given.scale.split() if given.scale else [None]
    variants = given.variant.split() if given.variant else _weighted(given)
    if given.checkpoint and not given.variant:
        raise LzuError("--checkpoint belongs to variants; name them: --variant 'uniform fixed'")
    folders = []
    for scale in scales:
        for variant in variants:
            options = ["--scale", scale] if scale else []
            options += ["--variant", variant]
            if given.checkpoint:
                file = given.checkpoint.format(variant=variant, scale=scale)
                options += ["--checkpoint", file]
            done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise LzuError(
                    f"the export of {given.recipe} failed, as said above; fix that and run again: "
                    "finished bundles and results are kept"
                )
            folders += [Path(each["bundle"]) for each in json.loads(done.stdout)]
    return folders


def _weighted(given: Options) -> list[str]:
    """Return the variants that the recipe has weights for; uniform and fixed if it has none."""
    there = load_recipe(given.recipe).checkpoint
    return [variant for variant in ORDER if variant in there] or ["uniform", "fixed"]


def summary_table(report: Report) -> Group:
    """Return the table that the command prints; the best row of each engine is bold."""
    rows = rows_of(report)
    metric = next((row.bundle.metric for row in rows if row.bundle.metric), None)
    gains = any(row.gain is not None for row in rows)
    figures = [*([metric] if metric else []), *(["over uniform"] if gains else [])]
    figures += ["GFLOP", "ms", "ratio"]
    columns = [Column("bundle"), Column("engine", left=True), *map(Column, figures)]
    lines: list[list[Text]] = []
    for row in rows:
        latency = row.latency
        cells = [number(row.score)] if metric else []
        cells += [gain_text(row)] if gains else []
        cells.append(number(row.bundle.flops.total / 1e9))
        ratio = number(latency.ratio.value, 3) if latency and latency.ratio else ""
        cells += [number(row.milliseconds, 1), ratio if latency else NOTHING]
        label = f"{row.label} (failed)" if row.engine.failed else row.label
        style = "bold" if row.best else ""
        lines.append([Text(visible(each), style) for each in (label, row.key, *cells)])
    kept = [
        f"scores kept by {row.label} {row.key}: {kept_text(row)}"
        for row in rows
        if row.engine.precision != "fp32" and kept_text(row)
    ]
    told = [*captions(report, rows), *kept, *report.notes]
    told += [f"doubtful: {doubt}" for doubt in doubts_of(report)]
    return Group(Text(visible(report.title), "italic"), grid(columns, lines), notes(told))


@exits.ending("results so far are kept; give the same command to go on")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parse(arguments)
    if given.device is not None:
        check_device(given.device)
    with using_device(given.device):
        report, folder = bench(given)
    if given.as_json:
        print_json(json.loads(report.model_dump_json()))
        _end(report)
        return
    console = Terminal()
    show(summary_table(report))
    if report.rivals is not None:
        show(rivals_table(report.rivals))
    for sentence in sentences(rows_of(report)):
        console.print(sentence)
    say(f"{folder / 'report.html'}, report.md, report.json")
    _end(report)


def _end(report: Report) -> None:
    """Exit with the status for incomplete results if a part could not be measured."""
    if report.failed:
        sys.exit(exits.INCOMPLETE)


if __name__ == "__main__":
    main()
