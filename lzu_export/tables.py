"""What the command line prints, as Rich tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from lzu_export.runtime.manifest import Drift, Manifest

if TYPE_CHECKING:
    from lzu_export.pipeline import Outcome

STATUS = {"passed": "verified", "graph passed": "graph ok"}
"""How a drift's status reads in the table."""


def export_table(outcomes: "Sequence[Outcome]") -> Table:
    """One row an engine, PyTorch's figures beside it; fits 80 columns."""
    table = Table(title="Exported", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", overflow="fold")
    table.add_column("engine", no_wrap=True)
    measured = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy is not None]
    metric = measured[0].metric if measured else ""
    headings = [f"{metric}\nPyTorch", f"{metric}\nengine"] if measured else []
    for heading in (*headings, "ms\nPyTorch", "ms\nengine"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("largest\ndrift", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for outcome in outcomes:
        manifest = outcome.manifest
        drifts = {(drift.target, drift.precision): drift for drift in manifest.drift}
        accuracy, latency = manifest.accuracy, manifest.latency
        for engine in manifest.engines:
            name = f"{engine.target}/{engine.precision}"
            drift = drifts[engine.target, engine.precision]
            differences = [*drift.arrows.values(), *drift.outputs.values()]
            exported = accuracy.engines.get(name) if accuracy else None
            scores = (
                accuracy.pytorch[metric] if accuracy else None,
                exported[metric] if exported else None,
            )
            table.add_row(
                escape(outcome.folder.name),
                f"{engine.target} {engine.precision}",
                *([_number(points, 2) for points in scores] if measured else []),
                _number(latency.pytorch if latency else None, 1),
                _number(latency.engines.get(name) if latency else None, 1),
                f"{max(differences):.1e}" if differences else "-",
                STATUS.get(drift.status, drift.status),
            )
    table.caption = escape("\n".join(_export_notes(outcomes)))
    table.caption_justify = "left"
    return table


def _export_notes(outcomes: "Sequence[Outcome]") -> list[str]:
    folders = sorted({str(outcome.folder.parent) for outcome in outcomes})
    notes = [f"bundles in {', '.join(folders)}"]
    accuracies = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy]
    latencies = [o.manifest.latency for o in outcomes if o.manifest.latency]
    if accuracies:
        first = accuracies[0]
        notes.append(f"{first.metric}: points on {first.frames} frames of {first.dataset}")
    if latencies:
        notes.append("ms: a frame from camera bytes to predictions, median, on")
        notes.append(f"  {latencies[0].machine}")
    notes.append("drift: max|engine - PyTorch| / max|PyTorch| over all arrows")
    waiting = {d.note for o in outcomes for d in o.manifest.drift if d.note}
    notes += [f"graph ok: {note}" for note in sorted(waiting)]
    return notes


def drift_table(drifts: Sequence[Drift]) -> Table:
    """One row an arrow, one column an engine."""
    table = Table(title="max|engine - PyTorch| / max|PyTorch|", title_justify="left")
    table.add_column("arrow")
    for drift in drifts:
        table.add_column(f"{drift.target} {drift.precision}", justify="right")
    ran = [drift for drift in drifts if drift.status != "not run"]
    names = list({**ran[0].arrows, **ran[0].outputs}) if ran else []
    for name in names:
        table.add_row(name, *(_drift_cell(drift, name) for drift in drifts))
    table.add_section()
    table.add_row("status", *(drift.status for drift in drifts))
    notes = [f"{drift.target}: {drift.note}" for drift in drifts if drift.note]
    limits = sorted({drift.limit for drift in drifts})
    table.caption = "; ".join([f"limit {', '.join(f'{x:g}' for x in limits)}", *notes])
    table.caption_justify = "left"
    return table


def inspect_tables(manifest: Manifest) -> list[Table]:
    """The bundle, its engines, its lowerings."""
    about = Table(title="Bundle", title_justify="left", show_header=False)
    recipe = manifest.recipe
    for name, value in (
        ("recipe", f"{manifest.name}, {manifest.task}, {manifest.variant}"),
        ("source -> canvas", f"{recipe.path_of_sizes}, scale {recipe.scale:g}"),
        ("geometry, sampler", f"{recipe.warp.geometry}, {recipe.sampler}"),
        ("classes", ", ".join(recipe.classes)),
        ("checkpoint", ", ".join(f"{k} {v[:24]}" for k, v in manifest.checkpoint.items())),
        ("made", f"{manifest.created}, revision {manifest.source_revision[:12]}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in manifest.versions.items())),
        ("seconds", ", ".join(f"{k} {v:.1f}" for k, v in manifest.stages.items())),
    ):
        about.add_row(name, escape(value))
    engines = Table(title="Engines", title_justify="left")
    for heading in ("engine", "inputs and outputs"):
        engines.add_column(heading, overflow="fold")
    lowerings = Table(title="Warps", title_justify="left")
    for heading in ("place", "lowering", "reason"):
        lowerings.add_column(heading, overflow="fold")
    for engine in manifest.engines:
        devices = " ".join(f"sm{c}" for c in engine.compute_capabilities)
        made = f"{engine.target} {engine.precision}\n{engine.file}\nmade with {engine.version}"
        tensors = [("in ", t) for t in engine.inputs] + [("out", t) for t in engine.outputs]
        lines = [f"{way} {t.name} {t.dtype} {list(t.shape)}" for way, t in tensors]
        engines.add_row(f"{made}\n{devices}".strip(), escape("\n".join(lines)), end_section=True)
        lowerings.add_row(f"[bold]{engine.target}[/]")
        for each in sorted(engine.lowerings, key=lambda each: (each.place != "zoom", each.place)):
            lowerings.add_row(each.place, each.kind, escape(each.reason))
        lowerings.add_section()
    return [about, engines, lowerings, drift_table(manifest.drift)]


def _drift_cell(drift: Drift, name: str) -> str:
    value = {**drift.arrows, **drift.outputs}.get(name)
    if value is None:
        return "-"
    text = f"{value:.1e}"
    return text if value <= drift.limit else f"[red]{text}[/]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
