"""The page of a comparison with a stored state: verdict, changed figures, what else differs."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lzu_export.errors import readable_os_errors
from lzu_export.manifest.comparison import Parity
from lzu_export.support.files import replacing
from lzu_export.support.look.page import Section, document, folded, links, note, table
from lzu_export.support.look.svg import plain
from lzu_export.verification.checks import Check, failed, parity_checks
from lzu_export.verification.regression import State

TOLD = 3
"""Largest number of failed checks in the verdict; the table has all."""
KEPT = ", kept"
"""End of the names of checks of probe points against the reference."""


class Comparison(NamedTuple):
    """A bundle's state beside a stored one."""

    now: State
    then: State
    checks: Sequence[Check]


def write_regression(
    page: Path,
    bundle: str,
    reference: Path,
    parities: Sequence[Parity],
    comparison: Comparison | None,
) -> None:
    """Write the page of a comparison, and its figures beside it as JSON.

    Args:
        page: file of the page; the JSON file has the same name and ends in .json.
        bundle: name of the bundle.
        reference: file of the stored state.
        parities: results of the comparison with PyTorch.
        comparison: the comparison with the stored state; None if an engine deviates from PyTorch.

    Raises:
        LzuError: a file cannot be written.
    """
    result = page.with_suffix(".json")
    checks = list(comparison.checks) if comparison is not None else []
    data = {
        "bundle": bundle,
        "reference": str(reference),
        "parity": [each.model_dump(mode="json") for each in parities],
        "checks": [each.to_json() for each in checks],
        "now": comparison.now.model_dump(mode="json") if comparison is not None else None,
    }
    place = os.path.relpath(reference.resolve(), page.resolve().parent)
    files = [(result.name, "all figures and checks"), (place, "the stored state")]
    with (
        readable_os_errors(str(page)),
        replacing(page) as new_page,
        replacing(result) as new_result,
    ):
        new_result.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        made = regression_page(bundle, reference.name, parities, comparison, files)
        new_page.write_text(made, encoding="utf-8")


def regression_page(
    bundle: str,
    reference: str,
    parities: Sequence[Parity],
    comparison: Comparison | None,
    files: Iterable[tuple[str, str]],
) -> str:
    """Return the page of a comparison.

    Args:
        bundle: name of the bundle.
        reference: name of the stored state's file.
        parities: results of the comparison with PyTorch.
        comparison: see `write_regression`.
        files: files to link to, each with what it holds.
    """
    sections, when = [], ""
    if comparison is not None:
        when = f", {_time(comparison.now)}"
        sections.append(Section("Changed figures", _changed(comparison.checks)))
        skipped = [each for each in comparison.checks if each.status == "skipped"]
        if skipped:
            sections.append(Section("Not compared", _skipped(skipped)))
        sections.append(Section("What was compared", _subjects(comparison)))
        sections.append(Section("What else differs", _environment(comparison)))
    sections.append(Section("Against PyTorch", _against_pytorch(parities)))
    sections.append(Section("Files", links(files)))
    return document(
        bundle,
        kind="LZU regression",
        meta=f"against {reference}{when}",
        lead=verdict(parities, comparison),
        sections=sections,
    )


def verdict(parities: Sequence[Parity], comparison: Comparison | None) -> list[str]:
    """Return the outcome in sentences: what regressed, or that nothing did."""
    if comparison is None:
        off = [each.engine.replace("/", " ") for each in parities if not each.passed]
        return [f"{', '.join(off)} deviates from PyTorch, so nothing was compared."]
    lost = failed(comparison.checks)
    skipped = sum(each.status == "skipped" for each in comparison.checks)
    count = len(comparison.checks) - skipped
    left_out = f" {skipped} could not be made here." if skipped else ""
    if not lost:
        return [f"Nothing regressed: all {count} checks passed.{left_out}"]
    told = [f"Regressed: {len(lost)} of {count} checks failed.{left_out}"]
    told += [f"{_engine(each)}, {_title(each)}: {each.message}." for each in lost[:TOLD]]
    return told + ([f"The table has {len(lost) - TOLD} more."] if len(lost) > TOLD else [])


def _changed(checks: Sequence[Check]) -> str:
    made = [each for each in checks if each.status in ("passed", "failed")]
    probes = [each for each in made if each.name.endswith(KEPT) and each.status == "passed"]
    rest = sorted((each for each in made if each not in probes), key=lambda c: c.status)
    body = _figures(rest, "Changed figures") if rest else ""
    body += note(
        "Change: the difference, or how many times the reference's figure. 95 %: its interval, "
        "where luck is in a figure and its spread is known."
    )
    if probes:
        title = f"{len(probes)} probe points deviate from PyTorch as in the reference"
        body += folded(title, _figures(probes, "Probe points"))
    return body


def _figures(checks: Sequence[Check], name: str) -> str:
    rows, lost = [], {}
    for i, each in enumerate(checks):
        change = each.change
        told, now, then, limit = ("", ""), "", "", each.message
        if change is not None:
            told, limit = change.texts(), each.message.rpartition("; ")[2]
            now, then = (change.form.format(value) for value in (change.now, change.then))
        title = _title(each)
        rows.append((title, *told, _engine(each), then, now, limit, each.status))
        if each.status == "failed":
            lost[i] = "lost"
    columns = ["figure", "change", "95 %", "engine", "reference", "now", "limit", "check"]
    return table(columns, rows, name=name, prose=[3, 6], kinds=lost)


def _skipped(checks: Sequence[Check]) -> str:
    rows = [(_title(each), _engine(each), each.message) for each in checks]
    return table(["figure", "engine", "why"], rows, name="Not compared", numbers=3, prose=[2])


def _subjects(comparison: Comparison) -> str:
    rows = [
        (title, *(told(each) for each in (comparison.then, comparison.now)))
        for title, told in {
            "bundle": lambda each: each.bundle,
            "measured": _time,
            "evaluation": _evaluation,
            "timed against": lambda each: each.baseline or "its own first engine",
            "provider": lambda each: each.provider,
        }.items()
    ]
    return _pairs(rows, "What was compared")


def _time(state: State) -> str:
    """Return when a state was measured; states hold the time of UTC."""
    return state.created.replace("T", " ").replace("+00:00", " UTC")


def _evaluation(state: State) -> str:
    accuracy = state.accuracy
    if accuracy is None:
        return "none"
    return f"{accuracy.metric} on {accuracy.frames} frames of {accuracy.dataset}"


def _environment(comparison: Comparison) -> str:
    then, now = (_told(each) for each in (comparison.then, comparison.now))
    titles = dict.fromkeys([*then, *now])
    rows = [
        (title, then.get(title, "none"), now.get(title, "none"))
        for title in titles
        if then.get(title) != now.get(title)
    ]
    if not rows:
        return note("Nothing: the same code, versions and machine.")
    return _pairs(rows, "What else differs")


def _told(state: State) -> dict[str, str]:
    """Return what a state was measured with, by what it is called."""
    told = {
        "revision": state.source_revision,
        "export": state.fingerprint[:12],
        **{name.replace("_", " "): version for name, version in state.versions.items()},
    }
    if state.latency is not None:
        told["machine"] = state.latency.machine
        told["machine's key"] = (state.latency.key or "none")[:12]
        told["doubts of times"] = "; ".join(state.latency.doubts) or "none"
    for engine, places in state.lowerings.items():
        for place, kind in places.items():
            told[f"{engine.replace('/', ' ')}, {place.replace('_', ' ')}"] = kind
    for engine, why in state.elsewhere.items():
        told[f"{engine.replace('/', ' ')} does not run"] = why
    return told


def _pairs(rows: Sequence[tuple[str, str, str]], name: str) -> str:
    """Return a table of the reference's values beside those of now."""
    return table(["what", "reference", "now"], rows, name=name, numbers=3, prose=[1, 2])


def _against_pytorch(parities: Sequence[Parity]) -> str:
    rows, lost = [], {}
    for i, parity in enumerate(parities):
        checks = parity_checks(parity)
        wrong = failed(checks)
        told = wrong[0].message if wrong else f"{len(checks)} checks passed"
        rows.append((parity.engine.replace("/", " "), parity.status, told))
        if not parity.passed:
            lost[i] = "lost"
    columns = ["engine", "status", "checks"]
    return table(columns, rows, name="Against PyTorch", numbers=3, prose=[2], kinds=lost)


def _title(check: Check) -> str:
    """Return the name of what was checked, for readers."""
    return plain(check.name.removesuffix(KEPT))


def _engine(check: Check) -> str:
    return check.engine.replace("/", " ")
