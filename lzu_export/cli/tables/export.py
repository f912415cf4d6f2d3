"""Output of `export`: a section per bundle, a row per engine, notes, and the next commands."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from lzu_export.cli.tables.engines import STATUS, emulated, engine_columns, engine_rows
from lzu_export.cli.tables.streams import stream_notes
from lzu_export.evaluation.datasets import told_frames
from lzu_export.evaluation.resampling import own_interval, told_difference
from lzu_export.manifest.comparison import AGREEMENTS
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    UNTRAINED_MARK,
    Accuracy,
    Manifest,
    untrained_note,
)
from lzu_export.support.escaping import visible
from lzu_export.support.limits import EMULATED
from lzu_export.support.ratio import Ratio
from lzu_export.support.tables import Cell, grid, notes
from lzu_export.targets.registry import find, names

if TYPE_CHECKING:
    from lzu_export.compiler.pipeline import Outcome


def export_table(outcomes: "Sequence[Outcome]") -> Group:
    """Return the table of all bundles, each with rows of PyTorch and its engines, and the notes."""
    measured = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy is not None]
    metric = measured[0].metric if measured else ""
    together = timed_together([outcome.manifest for outcome in outcomes])
    rows: list[Sequence[Cell]] = []
    for outcome in outcomes:
        mark = UNTRAINED_MARK if outcome.manifest.untrained else ""
        rows += [[Text(f"{visible(outcome.folder.name)}{mark}", "bold")]]
        rows += engine_rows(outcome.manifest, metric, together)
    told = notes(verdicts(outcomes), "bold")
    return Group(
        Text("Exported", "italic"),
        grid(engine_columns(metric, together), rows),
        notes(_notes(outcomes)),
        told,
    )


def next_commands(outcomes: "Sequence[Outcome]") -> list[str]:
    """Return the next commands to run with the first bundle, as shell lines."""
    folder = shlex.quote(str(outcomes[0].folder))
    return [f"lzu-export run {folder} SOURCE", f"lzu-export verify {folder}"]


def timed_together(manifests: Sequence[Manifest]) -> bool:
    """Return whether several bundles were timed interleaved in the same comparison."""
    found = [each.comparison for each in manifests]
    return len(found) > 1 and None not in found and len({e.created for e in found if e}) == 1


def verdicts(outcomes: "Sequence[Outcome]") -> list[str]:
    """Return each warp's gain and cost over uniform, in the highest precision that both have."""
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
        base = by_name[comparison.base]
        mine, theirs = manifest.accuracy, base.accuracy
        if mine and theirs and key in mine.engines and key in theirs.engines:
            subject = (mine.dataset, mine.frames, mine.metric, _is_chosen_whole(manifest))
            if subject == (theirs.dataset, theirs.frames, theirs.metric, _is_chosen_whole(base)):
                gain = mine.engines[key][mine.metric] - theirs.engines[key][mine.metric]
                resampled = (each.resampled.get(key) for each in (mine, theirs))
                said.insert(0, told_difference(gain, mine.metric, *resampled))
        precision = key.partition("/")[2]
        found.append(f"{name} against {comparison.base}, {precision}: {', '.join(said)}")
    return found


def interval_notes(outcome: "Outcome") -> list[str]:
    """Return a note on the interval of a bundle's metric, over the choice of frames."""
    accuracy = outcome.manifest.accuracy
    if accuracy is None:
        return []
    found = []
    for key, resampled in accuracy.resampled.items():
        own = own_interval(accuracy.engines[key][accuracy.metric], resampled)
        drawn = f"{resampled.groups} {resampled.unit}"
        name = key.partition("/")[2]
        found.append(f"{outcome.folder.name} {name}: [{own.low:.2f}, {own.high:.2f}] over {drawn}")
    return found


def _is_chosen_whole(manifest: Manifest) -> bool:
    """Return whether a part of the data set was chosen by whole sequences."""
    return manifest.recipe.evaluation.frames is not None and manifest.recipe.follows_boxes


def _is_part(manifest: Manifest) -> bool:
    """Return whether the recipe's own limit for exports left frames out."""
    recipe = manifest.recipe
    return manifest.accuracy is not None and recipe.scored_frames != recipe.evaluation.frames


def score_notes(bundle: str, accuracy: Accuracy) -> list[str]:
    """Return notes on the agreement of lower precisions with PyTorch's predictions."""
    low = {k: v for k, v in accuracy.agreement.items() if not k.endswith("/fp32")}
    if not low:
        return []
    figures = ", ".join(f"{k.replace('/', ' ')} {v}" for k, v in low.items())
    called = next(iter(low.values())).called
    over = " over PyTorch's" if called == AGREEMENTS["scores"] else ""
    spread = ", [90 % of them]" if any(each.spread for each in low.values()) else ""
    return [f"{bundle}, {called}{over}{spread}:", f"  {figures}"]


def _interval(ratio: Ratio) -> str:
    return f"[{ratio.low:.2f}, {ratio.high:.2f}]"


def _comparison_notes(outcomes: "Sequence[Outcome]") -> list[str]:
    """Return notes on the interleaved timing of bundles, with the ratios of all precisions."""
    first = outcomes[0].manifest.comparison
    assert first is not None, "timed together"
    told = [f"  all in turns, {first.rounds} rounds, at {first.created}"]
    if all(outcome.status == "up to date" for outcome in outcomes):
        told[0] += " (stored: nothing was exported now)"
    told.append("  ratio: to uniform's time in the same precision, median over rounds")
    for outcome in outcomes:
        comparison = outcome.manifest.comparison
        if comparison is None:
            continue
        if comparison.ratios:
            ratios = (
                f"{key.partition('/')[2]} {each.value:.2f} {_interval(each)}"
                for key, each in comparison.ratios.items()
            )
            told.append(f"  {outcome.folder.name} over {comparison.base}: {', '.join(ratios)}")
        told += [
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
        told.append(
            f"  PyTorch's time over ONNX Runtime's, in turns of each export: {', '.join(slower)}"
        )
    return told


def _notes(outcomes: "Sequence[Outcome]") -> list[str]:
    folders = sorted({str(outcome.folder.parent) for outcome in outcomes})
    told = [f"bundles in {', '.join(folders)}"]
    accuracies = [o.manifest.accuracy for o in outcomes if o.manifest.accuracy]
    precisions = {precision for o in outcomes for precision in o.manifest.precision}
    targets = {engine.target for o in outcomes for engine in o.manifest.engines}
    for frames in dict.fromkeys(told_frames(each.frames, each.sequences) for each in accuracies):
        told.append(f"{accuracies[0].metric}: points on {frames} of {accuracies[0].dataset}")
    if any(_is_part(each.manifest) for each in outcomes):
        told.append("  evenly spread; lzu-export bench scores the engines on all frames")
    told += [f"  {line}" for each in outcomes for line in interval_notes(each)]
    told += [
        f"{each.folder.name}{UNTRAINED_MARK}: {untrained_note(each.manifest)}"
        for each in outcomes
        if each.manifest.untrained
    ]
    for outcome in outcomes:
        if outcome.manifest.accuracy:
            told += stream_notes(outcome.folder.name, outcome.manifest.accuracy)
    told += _latency_notes(outcomes)
    told.append("MB: size of the engine's file")
    told.append("dev: max|engine - PyTorch| / max|PyTorch| over all probe points, in FP32")
    if precisions - {"fp32"}:
        told.append("SNR: the lowest signal-to-noise ratio of a probe point")
    for name in filter(targets.__contains__, names()):
        told += find(name).table_notes(precisions)
    if any(emulated(o.manifest) for o in outcomes):
        told.append(f"{EMULATED}: {ROUNDING_NOTE}")
    for outcome in outcomes:
        if outcome.manifest.accuracy:
            told += score_notes(outcome.folder.name, outcome.manifest.accuracy)
    waiting = {
        f"{STATUS.get(d.status, d.status)}: {d.note}"
        for o in outcomes
        for d in o.manifest.parity
        if d.note and d.limit is not None and d.status != "passed"
    }
    told += sorted(waiting)
    return told


def _latency_notes(outcomes: "Sequence[Outcome]") -> list[str]:
    latencies = [o.manifest.latency for o in outcomes if o.manifest.latency]
    if not latencies:
        return []
    told = ["ms: a frame from camera bytes to predictions, median, on"]
    told.append(f"  {latencies[0].machine}")
    if timed_together([outcome.manifest for outcome in outcomes]):
        told += _comparison_notes(outcomes)
    return told + [f"  {note}" for note in dict.fromkeys(each.note for each in latencies) if note]
