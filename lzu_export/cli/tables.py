"""What the command line prints, as Rich tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lzu_export.evaluation.datasets import told_frames
from lzu_export.manifest.comparison import AGREEMENTS, FOUND, Drift
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    SHIPPED_NOTE,
    UNTRAINED_MARK,
    Accuracy,
    Manifest,
    untrained_note,
)
from lzu_export.support.escaping import visible
from lzu_export.support.interleave import Ratio
from lzu_export.support.limits import EMULATED
from lzu_export.verification.checks import Check

if TYPE_CHECKING:
    from lzu_export.compiler.pipeline import Outcome
    from lzu_export.doctor import Examination

SHOWN = 6
"""Names listed of each reason; the manifest has all."""
SHORT = {"onnxruntime": "onnx\nruntime", "tensorrt-rtx": "tensorrt\n-rtx"}
"""Targets in narrow columns."""
STATUS = {"passed": "verified", "graph passed": "graph ok"}
"""How a drift's status reads in the table."""


def export_table(outcomes: "Sequence[Outcome]") -> Group:
    """PyTorch, then one row an engine, of every bundle, and notes below; fits 80 columns."""
    table = Table(title="Exported", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", overflow="fold")
    table.add_column("engine", no_wrap=True)
    measured = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy is not None]
    metric = measured[0].metric if measured else ""
    together = timed_together([outcome.manifest for outcome in outcomes])
    times = ["ms", "ratio"] if together else ["ms"]
    for heading in (*([metric] if measured else []), *times, "MB", "build\ns", "drift\nSNR"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for outcome in outcomes:
        manifest = outcome.manifest
        drifts = {(drift.target, drift.precision): drift for drift in manifest.drift}
        accuracy, latency = manifest.accuracy, manifest.latency
        name = visible(outcome.folder.name) + (UNTRAINED_MARK if manifest.untrained else "")
        scores = [_number(accuracy.pytorch[metric] if accuracy else None, 2)] if measured else []
        comparison = manifest.comparison if together else None
        taken = comparison.milliseconds if comparison else latency.engines if latency else {}
        ratios = comparison.ratios if comparison else {}
        alone = ["-", ""] if together else [_number(latency.pytorch if latency else None, 1)]
        table.add_row(name, "PyTorch", *scores, *alone, "", "", "", "")
        rounded = _emulated(manifest)
        rows = len(manifest.engines) + len(rounded)
        for i, engine in enumerate(manifest.engines, start=1):
            key = f"{engine.target}/{engine.precision}"
            drift = drifts[engine.target, engine.precision]
            exported = accuracy.engines.get(key) if accuracy else None
            table.add_row(
                name,
                f"{engine.target} {engine.precision}",
                *([_number(exported[metric] if exported else None, 2)] if measured else []),
                _number(taken.get(key), 1),
                *([_number(ratios[key].value if key in ratios else None, 2)] if together else []),
                f"{engine.bytes / 1e6:.1f}",
                _number(engine.build_seconds or None, 1),
                _worst(drift),
                STATUS.get(drift.status, drift.status),
                end_section=i == rows,
            )
        for i, precision in enumerate(rounded, start=len(manifest.engines) + 1):
            row = drifts.get((EMULATED, precision))
            scored = accuracy.engines.get(f"{EMULATED}/{precision}") if accuracy else None
            table.add_row(
                name,
                f"{EMULATED} {precision}",
                *([_number(scored[metric] if scored else None, 2)] if measured else []),
                *(["-"] * (len(times) + 2)),
                _worst(row) if row else "-",
                STATUS.get(row.status, row.status) if row else "",
                end_section=i == rows,
            )
    notes = Text("\n".join(map(visible, _export_notes(outcomes))), style="italic")
    told = [Text(visible(each), style="bold") for each in verdicts(outcomes)]
    return Group(table, notes, *told)


def timed_together(manifests: Sequence[Manifest]) -> bool:
    """Whether the times of several bundles were taken in the same turns."""
    found = [each.comparison for each in manifests]
    return len(found) > 1 and None not in found and len({e.created for e in found if e}) == 1


def verdicts(outcomes: "Sequence[Outcome]") -> list[str]:
    """What each warp gains and costs over uniform, in the highest precision that both have."""
    by_name = {outcome.folder.name: outcome.manifest for outcome in outcomes}
    if not timed_together(list(by_name.values())):
        return []
    found = []
    for name, manifest in by_name.items():
        comparison = manifest.comparison
        if comparison is None or comparison.base not in by_name or not comparison.ratios:
            continue
        key, ratio = next(iter(comparison.ratios.items()))
        said = [f"{ratio.value:.2f} times the time {_interval(ratio)}"]
        mine, theirs = manifest.accuracy, by_name[comparison.base].accuracy
        if mine and theirs and key in mine.engines and key in theirs.engines:
            subject = (mine.dataset, mine.frames, mine.metric)
            if subject == (theirs.dataset, theirs.frames, theirs.metric):
                gain = mine.engines[key][mine.metric] - theirs.engines[key][mine.metric]
                said.insert(0, f"{gain:+.2f} {mine.metric}")
        precision = key.partition("/")[2]
        found.append(f"{name} against {comparison.base}, {precision}: {', '.join(said)}")
    return found


def _interval(ratio: Ratio) -> str:
    return f"[{ratio.low:.2f}, {ratio.high:.2f}]"


def _comparison_notes(outcomes: "Sequence[Outcome]") -> list[str]:
    """How bundles were timed in turns, and the ratios of all precisions."""
    first = outcomes[0].manifest.comparison
    assert first is not None, "timed together"
    notes = [f"  all in turns, {first.rounds} rounds, at {first.created}"]
    if all(outcome.status == "up to date" for outcome in outcomes):
        notes[0] += " (stored: nothing was exported now)"
    notes.append("  ratio: to uniform's time in the same precision, median over rounds")
    for outcome in outcomes:
        comparison = outcome.manifest.comparison
        if comparison is None:
            continue
        if comparison.ratios:
            ratios = (
                f"{key.partition('/')[2]} {each.value:.2f} {_interval(each)}"
                for key, each in comparison.ratios.items()
            )
            notes.append(f"  {outcome.folder.name} over {comparison.base}: {', '.join(ratios)}")
        notes += [
            f"  doubtful: {outcome.folder.name} {key.partition('/')[2]} changed meanwhile"
            for key in comparison.unsteady
        ]
    slower = []
    for outcome in outcomes:
        latency = outcome.manifest.latency
        if latency is not None and latency.engines:
            key, base = next(iter(latency.engines.items()))
            times = f"{latency.pytorch / base:.2f} in {outcome.folder.name}"
            slower.append(f"{times} ({key.partition('/')[2]})")
    if slower:
        notes.append(
            f"  PyTorch's time over ONNX Runtime's, in turns of each export: {', '.join(slower)}"
        )
    return notes


def _emulated(manifest: Manifest) -> list[str]:
    """Precisions that were run with the rounding of a device, as rows of their own."""
    held = [drift.precision for drift in manifest.drift if drift.target == EMULATED]
    engines = manifest.accuracy.engines if manifest.accuracy else {}
    scored = [name.partition("/")[2] for name in engines if name.startswith(f"{EMULATED}/")]
    return list(dict.fromkeys([*held, *scored]))


def _worst(drift: Drift) -> str:
    """The largest drift of an FP32 engine, the lowest signal-to-noise ratio of another."""
    worst = drift.worst
    if worst is None:
        return "-"
    return f"{worst.value:.0f} dB" if worst.figure == "snr" else f"{worst.value:.1e}"


def _export_notes(outcomes: "Sequence[Outcome]") -> list[str]:
    folders = sorted({str(outcome.folder.parent) for outcome in outcomes})
    notes = [f"bundles in {', '.join(folders)}"]
    accuracies = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy]
    latencies = [o.manifest.latency for o in outcomes if o.manifest.latency]
    precisions = {precision for o in outcomes for precision in o.manifest.precision}
    targets = {engine.target for o in outcomes for engine in o.manifest.engines}
    if accuracies:
        first = accuracies[0]
        for told in dict.fromkeys(told_frames(each.frames, each.sequences) for each in accuracies):
            notes.append(f"{first.metric}: points on {told} of {first.dataset}")
    notes += [
        f"{each.folder.name}{UNTRAINED_MARK}: {untrained_note(each.manifest)}"
        for each in outcomes
        if each.manifest.untrained
    ]
    for outcome in outcomes:
        if outcome.manifest.accuracy:
            notes += stream_notes(outcome.folder.name, outcome.manifest.accuracy)
    if latencies:
        notes.append("ms: a frame from camera bytes to predictions, median, on")
        notes.append(f"  {latencies[0].machine}")
        if timed_together([outcome.manifest for outcome in outcomes]):
            notes += _comparison_notes(outcomes)
        notes += [f"  {note}" for note in dict.fromkeys(each.note for each in latencies) if note]
    notes.append("MB: of the engine's file")
    notes.append("drift: max|engine - PyTorch| / max|PyTorch| over all arrows, in FP32")
    if precisions - {"fp32"}:
        notes.append("SNR: the lowest signal-to-noise ratio of an arrow")
    if "onnxruntime" in targets:
        notes.append(f"onnxruntime: {SHIPPED_NOTE}")
    if any(_emulated(o.manifest) for o in outcomes):
        notes.append(f"{EMULATED}: {ROUNDING_NOTE}")
    for outcome in outcomes:
        if outcome.manifest.accuracy:
            notes += score_notes(outcome.folder.name, outcome.manifest.accuracy)
    waiting = {
        f"{STATUS.get(d.status, d.status)}: {d.note}"
        for o in outcomes
        for d in o.manifest.drift
        if d.note and d.limit is not None and d.status != "passed"
    }
    notes += sorted(waiting)
    if "int8" in precisions and "tensorrt-rtx" in targets:
        notes.append(
            "int8 of tensorrt-rtx: requested by the graph; whether it runs or pays awaits a card"
        )
    return notes


def score_notes(bundle: str, accuracy: Accuracy) -> list[str]:
    """How sure the lower precisions are of what PyTorch finds, with the limits."""
    low = {k: v for k, v in accuracy.agreement.items() if not k.endswith("/fp32")}
    if not low:
        return []
    figures = ", ".join(f"{k.replace('/', ' ')} {v.scores:.3f}" for k, v in low.items())
    called = next(iter(low.values())).called
    over = " over PyTorch's" if called == AGREEMENTS["scores"] else ""
    return [f"{bundle}, {called}{over}:", f"  {figures}"]


def stream_notes(bundle: str, accuracy: Accuracy) -> list[str]:
    """What following sequences came to, where boxes are fed back; begins with the bundle's name."""
    stream = accuracy.stream
    if stream is None:
        return []
    mine, theirs = accuracy.engines[stream.engine], accuracy.pytorch
    same = f"all {stream.frames} frames are equal"
    if stream.unequal:
        same = f"{len(stream.unequal)} of {stream.frames} differ, frame {stream.unequal[0]} first"
    free = "none differs"
    if stream.parted:
        free = f"{len(stream.parted)} of {stream.frames} differ, frame {stream.parted[0]} first"
    metric = accuracy.metric
    return [
        f"{bundle}, {stream.engine.replace('/', ' ')} against PyTorch over sequences",
        f"  looked at by the same boxes: {same}",
        f"    (within {stream.boxes:.1g} px and {stream.scores:.1g} of a score)",
        f"  each by its own boxes: {free}",
        f"    ({metric} {mine[metric]:.2f} and {theirs[metric]:.2f})",
    ]


def drift_table(drifts: Sequence[Drift]) -> Table:
    """One row an arrow, one column an engine."""
    table = Table(
        title="FP32: max|engine - PyTorch| / max|PyTorch|; lower precisions: SNR in dB",
        title_justify="left",
    )
    table.add_column("arrow", no_wrap=True)
    for drift in drifts:
        heading = f"{SHORT.get(drift.target, drift.target)}\n{drift.precision}"
        heading += "\non device" if drift.on_device else ""
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(n for d in drifts for n in (*d.arrows, *d.outputs, *d.snr)):
        table.add_row(visible(name), *(_figure_cell(drift, name) for drift in drifts))
    table.add_section()
    table.add_row("limit", *(_limit_cell(drift) for drift in drifts))
    for called in {each.agreement.called for each in drifts if each.agreement is not None}:
        table.add_row(called, *(_figure_cell(drift, called) for drift in drifts))
        table.add_row("allowed", *(_score_limit_cell(drift) for drift in drifts))
        if any(drift.agreement and drift.agreement.matched < 1 for drift in drifts):
            table.add_row(FOUND, *(_figure_cell(drift, FOUND) for drift in drifts))
            table.add_row("at least", *(_found_limit_cell(drift) for drift in drifts))
    table.add_row("status", *(drift.status for drift in drifts))
    notes = {f"{d.engine.replace('/', ' ')}: {d.note}" for d in drifts if d.note}
    table.caption = "\n".join(sorted(map(visible, notes)))
    table.caption_justify = "left"
    return table


def check_table(checks: Sequence[Check]) -> Table:
    """One row a check against a stored state; those of arrows are counted, unless they failed."""
    table = Table(title="Against the reference", title_justify="left")
    for heading in ("engine", "check", "", "figures"):
        table.add_column(heading, overflow="fold")
    arrows: dict[str, int] = {}
    for check in checks:
        if check.name.endswith(", kept") and check.status == "passed":
            arrows[check.engine] = arrows.get(check.engine, 0) + 1
            continue
        colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[check.status]
        status = Text(check.status, colour)
        table.add_row(check.engine, visible(check.name), status, visible(check.message))
    for engine, count in arrows.items():
        table.add_row(
            engine, f"{count} arrows", Text("passed", "green"), "drift as in the reference"
        )
    return table


def inspect_tables(manifest: Manifest) -> list[Table]:
    """The bundle, its engines, its lowerings."""
    about = Table(title="Bundle", title_justify="left", show_header=False)
    recipe = manifest.recipe
    plane = "" if recipe.separable else ", non-separable"
    for name, value in (
        ("recipe", f"{manifest.name}, {manifest.task}, {manifest.variant}"),
        ("source -> canvas", f"{recipe.path_of_sizes}, scale {recipe.scale:g}"),
        ("geometry, sampler", f"{recipe.warp.geometry}{plane}, {recipe.sampler}"),
        ("warp made of", manifest.warp.get("source", "not told")),
        ("classes", ", ".join(recipe.classes)),
        ("checkpoint", ", ".join(f"{k} {v[:24]}" for k, v in manifest.checkpoint.items())),
        ("trained", untrained_note(manifest) or "as it is exported, as far as it remembers"),
        ("calibration", _calibration(manifest)),
        ("made", f"{manifest.created}, revision {manifest.source_revision[:12]}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in manifest.versions.items())),
        ("seconds", ", ".join(f"{k} {v:.1f}" for k, v in manifest.stages.items())),
    ):
        about.add_row(name, visible(value))
    engines = Table(title="Engines", title_justify="left")
    for heading in ("engine", "inputs and outputs"):
        engines.add_column(heading, overflow="fold")
    lowerings = Table(title="Warps", title_justify="left")
    for heading in ("place", "lowering", "reason"):
        lowerings.add_column(heading, overflow="fold")
    seen: set[str] = set()
    for engine in manifest.engines:
        devices = " ".join(f"sm{c}" for c in engine.compute_capabilities)
        made = f"{engine.target} {engine.precision}\n{engine.file}\nmade with {engine.version}"
        tensors = [("in ", t) for t in engine.inputs] + [("out", t) for t in engine.outputs]
        lines = [visible(f"{way} {t.name} {t.dtype} {list(t.shape)}") for way, t in tensors]
        engines.add_row(f"{made}\n{devices}".strip(), "\n".join(lines), end_section=True)
        if engine.target in seen:  # the same in every precision
            continue
        seen.add(engine.target)
        lowerings.add_row(Text(engine.target, "bold"))
        for each in sorted(engine.lowerings, key=lambda each: (each.place != "zoom", each.place)):
            lowerings.add_row(visible(each.place), each.kind, visible(each.reason))
        lowerings.add_section()
    tables = [about, engines, lowerings]
    if any(graph.kept for graph in manifest.graphs.values()):
        tables.append(_kept_table(manifest))
    return [*tables, drift_table(manifest.drift)]


def doctor_tables(examination: "Examination") -> Group:
    """What a machine has, then what it can do."""
    there = _plain_table("This machine")
    there.columns[-1].overflow = "fold"
    for each in examination.findings:
        lines = [Text(visible(each.detail))]
        if not each.found and each.looked:
            lines.append(Text(visible(f"looked in {', '.join(each.looked)}"), "dim"))
        for note in each.notes:
            lines.append(Text.assemble(("known:", "yellow"), f" {visible(note)}"))
        there.add_row(each.name, "yes" if each.found else "no", Text("\n").join(lines))
    can = _plain_table("It can", "", "build", "run")
    for ability in examination.abilities:
        lacks = [
            f"no: {', '.join(names)}" if names else "yes" for names in (ability.build, ability.run)
        ]
        can.add_row(ability.target, *map(visible, lacks))
    return Group(there, "", can)


def doctor_commands(examination: "Examination") -> list[str]:
    """What gets what is missing, as lines for a shell; they are not to be wrapped."""
    missing = [each for each in examination.findings if each.install]
    return [line for each in missing for line in (f"# {each.name}", each.install)]


def _plain_table(title: str, *headings: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        show_header=bool(headings),
    )
    for heading in headings or ("", "", ""):
        table.add_column(heading)
    return table


def _calibration(manifest: Manifest) -> str:
    made = manifest.calibration
    if made is None:
        return "none"
    share = f" {made['percentile']}" if made["percentile"] is not None else ""
    return f"{made['method']}{share} over {made['count']} frames of {made['frames']}"


def _kept_table(manifest: Manifest) -> Table:
    """What stays higher than a precision says, and why."""
    table = Table(title="Higher than the precision says", title_justify="left")
    for heading in ("precision", "reason", "nodes and layers"):
        table.add_column(heading, overflow="fold")
    for precision, graph in manifest.graphs.items():
        for reason, names in graph.kept.items():
            shown = ", ".join(names[:SHOWN]) + (
                f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            )
            table.add_row(precision, visible(reason), visible(shown))
        if graph.int8_layers:
            table.add_row(precision, f"{len(graph.int8_layers)} layers are INT8", "")
        table.add_section()
    return table


def _figure_cell(drift: Drift, name: str) -> Text:
    """A figure, red where it is beyond its limit."""
    found = {each.name: each for each in (*drift.probes, *drift.predictions)}.get(name)
    if found is None:
        return Text("-")
    digits = {"difference": ".1e", "snr": ".1f"}.get(found.figure, ".3f")
    return Text(f"{found.value:{digits}}", "" if found.passed else "red")


def _found_limit_cell(drift: Drift) -> str:
    return "-" if drift.matched_limit is None else f"{drift.matched_limit:g}"


def _score_limit_cell(drift: Drift) -> str:
    if drift.score_limit is None:
        return "-"
    if drift.agreement is not None and drift.agreement.compared == "pixels":
        return f"at least {1 - drift.score_limit:g}"
    return f"1 \N{PLUS-MINUS SIGN} {drift.score_limit:g}"


def _limit_cell(drift: Drift) -> str:
    limit = drift.snr_limit if drift.limit is None else drift.limit
    return "-" if limit is None else f"{limit:g}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
