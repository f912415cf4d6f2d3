"""Abilities of a machine by target, derived from the findings about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lzu_export.doctor.finding import Finding
from lzu_export.doctor.machine import Machine
from lzu_export.targets.registry import find, known, names

PLUGINS = ("plugins", ("c++", "nvcc", "tensorrt-headers"), ("plugins", "gpu"))
"""Row of `needs` for the plugins: the findings that building and that running them needs."""


@dataclass(frozen=True)
class Ability:
    """Whether a target can be built and run on this machine."""

    target: str
    build: tuple[str, ...]
    """Names of the missing findings for building; empty where the target can be built."""
    run: tuple[str, ...]
    """Names of the missing findings for running, or why the GPU is unfit; empty where it runs."""


def abilities(findings: Sequence[Finding], machine: Machine) -> list[Ability]:
    """Return the ability of every target and of the plugins."""
    absent = {each.name for each in findings if not each.found}
    found = []
    for target, build, run in needs():
        lacks = [tuple(name for name in listed if name in absent) for listed in (build, run)]
        found.append(Ability(target, lacks[0], lacks[1] or _unfit(target, machine)))
    return found


def _unfit(target: str, machine: Machine) -> tuple[str, ...]:
    """Return the reasons why this machine's GPU does not run a target."""
    return find(target).unfit(machine.device) if known(target) else ()


def needs() -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return, per target and for plugins, the findings that building and that running needs."""
    targets = [find(name) for name in names()]
    return [*((each.name, each.build_needs, each.run_needs) for each in targets), PLUGINS]
