"""Output of `verify` and `regress`: a verdict in one line, then figures."""

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from lzu_export.cli.tables.engines import GRAPH_OK
from lzu_export.manifest.comparison import FOUND, ON_DEVICE, Parity
from lzu_export.support.escaping import visible
from lzu_export.support.tables import COLOURS, Cell, Column, coloured, fitting, grid, notes
from lzu_export.verification.checks import Check, failed

LEAST_FIGURE = 7
"""Least width of a column of figures, that of a figure such as 1.2e-05."""


def verdict(bundle: str, parities: Sequence[Parity], checks: Sequence[Check] = ()) -> Text:
    """Return in one line whether a bundle matches PyTorch and its stored state.

    Args:
        bundle: name of the bundle.
        parities: comparisons of its engines with PyTorch.
        checks: checks against a stored state.
    """
    failing = [parity for parity in parities if not parity.passed]
    lost = failed(checks)
    if failing:
        names = ", ".join(parity.engine.replace("/", " ") for parity in failing)
        told = (
            f"{bundle} differs from PyTorch in {len(failing)} of {len(parities)} engines: {names}"
        )
    elif lost:
        told = f"{bundle} matches PyTorch, but {len(lost)} of {len(checks)} checks regressed"
    else:
        told = f"{bundle} matches PyTorch in {_count(len(parities), 'engine')}"
        skipped = sum(check.status == "skipped" for check in checks)
        if checks:
            told += f", and {_count(len(checks) - skipped, 'check')} against the reference passed"
        told += f" ({skipped} skipped)" if skipped else ""
    word = "failed" if failing or lost else "passed"
    return Text.assemble((f"{word}:", f"bold {COLOURS[word]}"), f" {visible(told)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def parity_table(parities: Sequence[Parity]) -> Group:
    """Return tables with a row per probe point and a column per engine, split to fit the width."""
    targets = list(dict.fromkeys((parity.target, parity.on_device) for parity in parities))
    parities = sorted(parities, key=lambda parity: targets.index((parity.target, parity.on_device)))
    names = list(dict.fromkeys(n for d in parities for n in (*d.probes, *d.outputs, *d.snr)))
    rows: list[tuple[str, list[Cell]]] = [
        (name, [_figure(parity, name) for parity in parities]) for name in names
    ]
    rows.append(("limit", [_limit(parity) for parity in parities]))
    for called in dict.fromkeys(each.agreement.called for each in parities if each.agreement):
        rows.append((called, [_figure(parity, called) for parity in parities]))
        rows.append(("allowed", [_score_limit(parity) for parity in parities]))
        if any(parity.agreement and parity.agreement.matched < 1 for parity in parities):
            rows.append((FOUND, [_figure(parity, FOUND) for parity in parities]))
            rows.append(("at least", [_found_limit(parity) for parity in parities]))
    statuses = [GRAPH_OK.get(parity.status, parity.status) for parity in parities]
    rows.append(("status", [*map(coloured, statuses)]))
    columns = [
        Column(visible(parity.precision), visible(parity.target) + ON_DEVICE * parity.on_device)
        for parity in parities
    ]
    widest = [LEAST_FIGURE, *(len(str(cell)) for _, cells in rows for cell in cells)]
    tables, start = [], 0
    for part in fitting(columns, max(len(name) for name, _ in rows), max(widest)):
        end = start + len(part)
        shown = [[visible(name), *cells[start:end]] for name, cells in rows]
        tables += [grid([Column("probe"), *part], shown), Text("")]
        start = end
    told = {f"{d.engine.replace('/', ' ')}: {d.note}" for d in parities if d.note}
    title = "FP32: max|engine - PyTorch| / max|PyTorch|; lower precisions: SNR in dB"
    return Group(Text(title, "italic"), *tables, notes(sorted(told), "dim italic"))


def check_table(checks: Sequence[Check]) -> Group:
    """Return a table of the checks against a stored state; passed probe points are only counted."""
    rows: list[Sequence[Cell]] = []
    probes: dict[str, int] = {}
    for check in checks:
        if check.name.endswith(", kept") and check.status == "passed":
            probes[check.engine] = probes.get(check.engine, 0) + 1
            continue
        name = Text(f"{check.engine.replace('/', ' ')}: {visible(check.name)}")
        rows += [[coloured(check.status), name], ["", Text(f"  {visible(check.message)}")]]
    for engine, count in probes.items():
        told = f"{engine.replace('/', ' ')}: {count} probe points, deviation as in the reference"
        rows.append([coloured("passed"), told])
    title = Text("Against the reference", "italic")
    return Group(title, grid([Column("")], rows, prose=True))


def _figure(parity: Parity, name: str) -> Text:
    """Return a figure, in red where it is beyond its limit."""
    found = {each.name: each for each in (*parity.chain, *parity.predictions)}.get(name)
    if found is None:
        return Text("-")
    digits = {"difference": ".1e", "snr": ".1f"}.get(found.figure, ".3f")
    return Text(f"{found.value:{digits}}", "" if found.passed else "red")


def _found_limit(parity: Parity) -> str:
    return "-" if parity.matched_limit is None else f"{parity.matched_limit:g}"


def _score_limit(parity: Parity) -> str:
    if parity.score_limit is None:
        return "-"
    if parity.agreement is not None and parity.agreement.compared == "pixels":
        return f"\N{GREATER-THAN OR EQUAL TO}{1 - parity.score_limit:g}"
    return f"1\N{PLUS-MINUS SIGN}{parity.score_limit:g}"


def _limit(parity: Parity) -> str:
    limit = parity.snr_limit if parity.limit is None else parity.limit
    return "-" if limit is None else f"{limit:g}"
