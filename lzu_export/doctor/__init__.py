"""Report what this machine can build and run, and how to install the rest. No torch, no ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lzu_export.doctor.abilities import Ability, abilities
from lzu_export.doctor.finding import Finding
from lzu_export.doctor.machine import Machine, find_gpu, find_home, find_jetpack
from lzu_export.doctor.packages import find_packages
from lzu_export.doctor.ranges import find_ranges
from lzu_export.doctor.tools import find_compilers, find_plugins
from lzu_export.errors import LzuError
from lzu_export.support.files.places import build_folder

__all__ = ["Ability", "Examination", "Finding", "Machine", "examine", "missing"]


@dataclass(frozen=True)
class Examination:
    """The findings about a machine, and the abilities that follow from them."""

    findings: list[Finding]
    abilities: list[Ability]


def examine(build: Path | None = None, machine: Machine | None = None) -> Examination:
    """Look for all software and hardware that exports, engines and plugins need.

    Each package is imported in its own process: some abort, and TensorRT and TensorRT for RTX
    cannot be loaded together.

    Args:
        build: folder where plugins are built; by default that of `lzu-export plugins`.
        machine: machine to examine; by default this one.
    """
    machine = machine or Machine()
    findings = [
        find_jetpack(machine),
        find_gpu(machine),
        find_home(),
        *find_packages(machine),
        find_ranges(),
        *find_compilers(machine, build or build_folder() or Path("build/plugins")),
        find_plugins(machine),
    ]
    return Examination(findings, abilities(findings, machine))


def missing(findings: Sequence[Finding], required: Sequence[str]) -> list[Finding]:
    """Return the required findings that were not found.

    Raises:
        LzuError: a name is unknown.
    """
    known = {each.name: each for each in findings}
    for name in required:
        if name not in known:
            raise LzuError(f"--require {name} is unknown; choose of {', '.join(known)}")
    return [known[name] for name in required if not known[name].found]
