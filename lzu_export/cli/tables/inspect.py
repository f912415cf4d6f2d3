"""Output of `inspect`: first a summary of at most 40 lines, then the details."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from lzu_export.cli.tables.engines import engine_columns, engine_rows
from lzu_export.cli.tables.verify import parity_table
from lzu_export.evaluation.datasets import told_frames
from lzu_export.manifest.schema import Manifest, untrained_note
from lzu_export.support.escaping import visible
from lzu_export.support.provenance import short_revision
from lzu_export.support.tables import Cell, Column, grid, pairs

SHOWN = 6
"""Number of names that are listed of each kind; the manifest has all."""
ROWS = 16
"""Number of rows of engines in the summary."""


def inspect_tables(manifest: Manifest, everything: bool = True) -> list[RenderableType]:
    """Return tables of accuracy, latency, status, targets and contents; then of the details.

    Args:
        manifest: manifest of the bundle.
        everything: also show engines with their tensors, lowerings with their reasons, layers in a
            higher precision, and the deviation at every probe point.
    """
    found: list[RenderableType] = [_summary(manifest), Text(""), _about(manifest, everything)]
    if not everything:
        return found
    found += [Text(""), _engines(manifest), Text(""), _lowerings(manifest)]
    if any(graph.kept for graph in manifest.graphs.values()):
        found += [Text(""), _kept(manifest)]
    return [*found, Text(""), parity_table(manifest.parity)]


def _summary(manifest: Manifest) -> Group:
    accuracy, latency = manifest.accuracy, manifest.latency
    metric = accuracy.metric if accuracy else ""
    rows = list(engine_rows(manifest, metric, together=False))
    hidden = len(rows) - ROWS
    if hidden > 0:
        rows = [*rows[:ROWS], [f"  and {hidden} more (--all)"]]
    title = f"Bundle {manifest.name} {manifest.recipe.label}"
    targets: dict[str, dict[str, None]] = {}  # a precision may have several engines
    for each in manifest.made:
        targets.setdefault(each.target, {})[each.precision] = None
    listed = (f"{target} ({' '.join(_some(list(found)))})" for target, found in targets.items())
    told = [("targets", ", ".join(listed))]
    if accuracy is not None:
        frames = told_frames(accuracy.frames, accuracy.sequences)
        told.append(("accuracy", f"{metric}, points on {frames} of {accuracy.dataset}"))
    if latency is not None:
        told.append(("latency", f"ms a frame, median, {latency.machine}"))
    if note := untrained_note(manifest):
        told.append(("trained", note))
    table = grid(engine_columns(metric, together=False), rows)
    return Group(Text(visible(title), "bold"), table, Text(""), pairs(told))


def _about(manifest: Manifest, everything: bool) -> Text:
    recipe = manifest.recipe
    plane = "" if recipe.separable else ", non-separable"
    classes = list(recipe.classes) if everything else _some(recipe.classes)
    lowerings = {each.place: each.kind for engine in manifest.engines for each in engine.lowerings}
    rows = [
        ("recipe", f"{manifest.name}, {manifest.task}, {manifest.variant}"),
        ("source -> canvas", f"{recipe.path_of_sizes}, scale {recipe.scale:g}"),
        ("geometry, sampler", f"{recipe.warp.geometry}{plane}, {recipe.sampler}"),
        ("warp made of", manifest.warp.source),
        ("lowered by", ", ".join(dict.fromkeys(lowerings.values())) or "nothing"),
        ("classes", ", ".join(classes)),
        ("checkpoint", ", ".join(f"{k} {v[:24]}" for k, v in manifest.checkpoint.items())),
        ("calibration", _calibration(manifest)),
        ("made", f"{manifest.created}, revision {short_revision(manifest.source_revision)}"),
    ]
    if everything:
        rows += [
            ("trained", untrained_note(manifest) or "as it is exported, as far as it remembers"),
            ("versions", ", ".join(f"{k} {v}" for k, v in manifest.versions.items())),
            ("seconds", ", ".join(f"{k} {v:.1f}" for k, v in manifest.stages.items())),
        ]
    else:
        rows.append(
            ("more", "--all shows tensors, lowerings, precisions and deviation by probe point")
        )
    return pairs(rows)


def _some(names: Sequence[str]) -> list[str]:
    if len(names) <= SHOWN:
        return list(names)
    return [*names[:SHOWN], f"and {len(names) - SHOWN} more"]


def _engines(manifest: Manifest) -> Group:
    rows: list[Sequence[Cell]] = []
    for engine in manifest.engines:
        devices = " ".join(f"sm{c}" for c in engine.compute_capabilities)
        rows.append([Text(visible(f"{engine.target} {engine.precision}"), "bold")])
        made = f"made with {engine.version}" + (f" for {devices}" if devices else "")
        rows += [[f"  {engine.file}"], [f"  {made}"]]
        tensors = [("in ", t) for t in engine.inputs] + [("out", t) for t in engine.outputs]
        rows += [[f"  {way} {t.name} {t.dtype} {list(t.shape)}"] for way, t in tensors]
    return Group(Text("Engines", "italic"), grid([Column("")], rows))


def _lowerings(manifest: Manifest) -> Group:
    rows: list[Sequence[Cell]] = []
    seen: set[str] = set()
    for engine in manifest.engines:
        if engine.target in seen:  # lowerings are the same in every precision
            continue
        seen.add(engine.target)
        rows.append([Text(visible(engine.target), "bold")])
        for each in sorted(engine.lowerings, key=lambda each: (each.place != "zoom", each.place)):
            rows.append([f"  {each.place}", each.kind, each.reason])
    columns = [Column("place"), Column("lowering", left=True)]
    return Group(Text("Warps", "italic"), grid(columns, rows, prose=True))


def _kept(manifest: Manifest) -> Group:
    """Return the table of nodes and layers in a higher precision, with the reasons."""
    rows: list[Sequence[Cell]] = []
    for precision, graph in manifest.graphs.items():
        for reason, names in graph.kept.items():
            rows.append([precision, f"{reason}: {', '.join(_some(names))}"])
        if graph.int8_layers:
            rows.append([precision, f"{len(graph.int8_layers)} layers are INT8"])
    title = Text("Higher than the precision says", "italic")
    return Group(title, grid([Column("")], rows, prose=True))


def _calibration(manifest: Manifest) -> str:
    made = manifest.calibration
    if made is None:
        return "none"
    share = f" {made.percentile:g}" if made.percentile is not None else ""
    return f"{made.method}{share} over {made.count} frames of {made.frames}"
