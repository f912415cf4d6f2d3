"""Report what this machine can build and run, and how to get what is missing. No torch, no ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lzu_export.doctor.abilities import Ability, abilities
from lzu_export.doctor.finding import Finding
from lzu_export.doctor.machine import Machine, find_gpu, find_home, find_jetpack
from lzu_export.doctor.packages import find_packages
from lzu_export.doctor.tools import find_compilers, find_plugins
from lzu_export.errors import LzuError

__all__ = ["Ability", "Examination", "Finding", "Machine", "examine", "missing"]


@dataclass(frozen=True)
class Examination:
    """The findings on a machine, and the abilities that follow."""

    findings: list[Finding]
    abilities: list[Ability]


def examine(build: Path = Path("build/plugins"), machine: Machine | None = None) -> Examination:
    """Look for everything that exports, engines and plugins need.

    Packages are imported in processes of their own: some abort, and TensorRT and TensorRT for RTX
    do not go together.

    Args:
        build: directory of `make plugins`.
        machine: to look at; by default this one.
    """
    machine = machine or Machine()
    findings = [
        find_jetpack(machine),
        find_gpu(machine),
        find_home(),
        *find_packages(machine),
        *find_compilers(machine, build),
        find_plugins(machine),
    ]
    return Examination(findings, abilities(findings, machine))


def missing(findings: Sequence[Finding], required: Sequence[str]) -> list[Finding]:
    """The required ones that are not there.

    Raises:
        LzuError: a name is unknown.
    """
    known = {each.name: each for each in findings}
    for name in required:
        if name not in known:
            raise LzuError(f"--require {name} is unknown; choose of {', '.join(known)}")
    return [known[name] for name in required if not known[name].found]
