"""What `verify` and `regress` print: a verdict in one line, then figures."""

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from lzu_export.cli.tables.engines import GRAPH_OK
from lzu_export.manifest.comparison import FOUND, ON_DEVICE, Drift
from lzu_export.support.escaping import visible
from lzu_export.support.tables import COLOURS, Cell, Column, coloured, fitting, grid, notes
from lzu_export.verification.checks import Check, failed

LEAST_FIGURE = 7
"""Width of a figure such as 1.2e-05."""


def verdict(bundle: str, drifts: Sequence[Drift], checks: Sequence[Check] = ()) -> Text:
    """Whether a bundle matches PyTorch, and keeps its stored state, in one line.

    Args:
        bundle: its name.
        drifts: of its engines.
        checks: against a stored state.
    """
    drifted = [drift for drift in drifts if not drift.passed]
    lost = failed(checks)
    if drifted:
        names = ", ".join(drift.engine.replace("/", " ") for drift in drifted)
        told = f"{bundle} differs from PyTorch in {len(drifted)} of {len(drifts)} engines: {names}"
    elif lost:
        told = f"{bundle} matches PyTorch, but {len(lost)} of {len(checks)} checks regressed"
    else:
        told = f"{bundle} matches PyTorch in {_count(len(drifts), 'engine')}"
        skipped = sum(check.status == "skipped" for check in checks)
        if checks:
            told += f", and {_count(len(checks) - skipped, 'check')} against the reference passed"
        told += f" ({skipped} skipped)" if skipped else ""
    word = "failed" if drifted or lost else "passed"
    return Text.assemble((f"{word}:", f"bold {COLOURS[word]}"), f" {visible(told)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def drift_table(drifts: Sequence[Drift]) -> Group:
    """One row an arrow, one column an engine; engines that do not fit beside one another follow."""
    targets = list(dict.fromkeys((drift.target, drift.on_device) for drift in drifts))
    drifts = sorted(drifts, key=lambda drift: targets.index((drift.target, drift.on_device)))
    names = list(dict.fromkeys(n for d in drifts for n in (*d.arrows, *d.outputs, *d.snr)))
    rows: list[tuple[str, list[Cell]]] = [
        (name, [_figure(drift, name) for drift in drifts]) for name in names
    ]
    rows.append(("limit", [_limit(drift) for drift in drifts]))
    for called in dict.fromkeys(each.agreement.called for each in drifts if each.agreement):
        rows.append((called, [_figure(drift, called) for drift in drifts]))
        rows.append(("allowed", [_score_limit(drift) for drift in drifts]))
        if any(drift.agreement and drift.agreement.matched < 1 for drift in drifts):
            rows.append((FOUND, [_figure(drift, FOUND) for drift in drifts]))
            rows.append(("at least", [_found_limit(drift) for drift in drifts]))
    statuses = [GRAPH_OK.get(drift.status, drift.status) for drift in drifts]
    rows.append(("status", [*map(coloured, statuses)]))
    columns = [
        Column(visible(drift.precision), visible(drift.target) + ON_DEVICE * drift.on_device)
        for drift in drifts
    ]
    widest = [LEAST_FIGURE, *(len(str(cell)) for _, cells in rows for cell in cells)]
    tables, start = [], 0
    for part in fitting(columns, max(len(name) for name, _ in rows), max(widest)):
        end = start + len(part)
        shown = [[visible(name), *cells[start:end]] for name, cells in rows]
        tables += [grid([Column("arrow"), *part], shown), Text("")]
        start = end
    told = {f"{d.engine.replace('/', ' ')}: {d.note}" for d in drifts if d.note}
    title = "FP32: max|engine - PyTorch| / max|PyTorch|; lower precisions: SNR in dB"
    return Group(Text(title, "italic"), *tables, notes(sorted(told), "dim italic"))


def check_table(checks: Sequence[Check]) -> Group:
    """One row a check against a stored state; those of arrows are counted, unless they failed."""
    rows: list[Sequence[Cell]] = []
    arrows: dict[str, int] = {}
    for check in checks:
        if check.name.endswith(", kept") and check.status == "passed":
            arrows[check.engine] = arrows.get(check.engine, 0) + 1
            continue
        name = Text(f"{check.engine.replace('/', ' ')}: {visible(check.name)}")
        rows += [[coloured(check.status), name], ["", Text(f"  {visible(check.message)}")]]
    for engine, count in arrows.items():
        told = f"{engine.replace('/', ' ')}: {count} arrows, drift as in the reference"
        rows.append([coloured("passed"), told])
    title = Text("Against the reference", "italic")
    return Group(title, grid([Column("")], rows, prose=True))


def _figure(drift: Drift, name: str) -> Text:
    """A figure, red where it is beyond its limit."""
    found = {each.name: each for each in (*drift.probes, *drift.predictions)}.get(name)
    if found is None:
        return Text("-")
    digits = {"difference": ".1e", "snr": ".1f"}.get(found.figure, ".3f")
    return Text(f"{found.value:{digits}}", "" if found.passed else "red")


def _found_limit(drift: Drift) -> str:
    return "-" if drift.matched_limit is None else f"{drift.matched_limit:g}"


def _score_limit(drift: Drift) -> str:
    if drift.score_limit is None:
        return "-"
    if drift.agreement is not None and drift.agreement.compared == "pixels":
        return f"\N{GREATER-THAN OR EQUAL TO}{1 - drift.score_limit:g}"
    return f"1\N{PLUS-MINUS SIGN}{drift.score_limit:g}"


def _limit(drift: Drift) -> str:
    limit = drift.snr_limit if drift.limit is None else drift.limit
    return "-" if limit is None else f"{limit:g}"
