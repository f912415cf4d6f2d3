"""Which lowerings the compared engines have, and why: equal ones once."""

from typing import NamedTuple

from lzu_benchmarks.report.schema import Report


class Choice(NamedTuple):
    """A lowering that bundles share."""

    place: str
    target: str
    kind: str
    reason: str
    bundles: list[str]


def lowerings_of(report: Report) -> list[Choice]:
    """Return the choices of all engines, the zoom first, each with the bundles that share it."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for bundle in report.bundles:
        for engine in bundle.engines.values():
            for each in engine.lowerings:
                key = (each.place, engine.target, each.kind, each.reason)
                bundles = found.setdefault(key, [])
                if bundle.name not in bundles:
                    bundles.append(bundle.name)
    ordered = sorted(found, key=lambda key: (key[1], not key[0].startswith("zoom"), key[0]))
    return [Choice(*key, found[key]) for key in ordered]


def measured_on(report: Report) -> list[str]:
    """Return the machines on which lowerings were measured."""
    found = dict.fromkeys(
        each.measured_on
        for bundle in report.bundles
        for engine in bundle.engines.values()
        for each in engine.lowerings
    )
    return [each for each in found if each]
