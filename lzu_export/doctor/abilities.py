"""Abilities of a machine by target, derived from what was found on it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lzu_export.doctor.finding import Finding
from lzu_export.doctor.machine import Machine

NEEDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("onnxruntime", ("torch", "onnxruntime"), ("onnxruntime", "opencv")),
    ("tensorrt-rtx", ("torch", "tensorrt-rtx"), ("tensorrt-rtx", "cuda", "gpu")),
    ("tensorrt", ("onnx", "tensorrt", "cuda", "gpu"), ("tensorrt", "cuda", "gpu")),
    ("plugins", ("c++", "nvcc", "tensorrt-headers"), ("plugins", "gpu")),
)
"""Target, what building it needs, what running it needs."""
RTX_CARDS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT-RTX 1.7 knows."""


@dataclass(frozen=True)
class Ability:
    """Whether a target can be built and run here."""

    target: str
    build: tuple[str, ...]
    """Names of what is missing to build it; empty where it can be built."""
    run: tuple[str, ...]
    """The same to run it."""


def abilities(findings: Sequence[Finding], machine: Machine) -> list[Ability]:
    """Every target, with what is missing."""
    absent = {each.name for each in findings if not each.found}
    found = []
    for target, build, run in NEEDS:
        lacks = [tuple(name for name in needs if name in absent) for needs in (build, run)]
        found.append(Ability(target, lacks[0], lacks[1] or _unfit(target, machine)))
    return found


def _unfit(target: str, machine: Machine) -> tuple[str, ...]:
    """Why the GPU that is there does not run a target."""
    device = machine.device
    if target == "tensorrt-rtx" and device and device.capability not in RTX_CARDS:
        return (f"an RTX card ({device.name} has {device.capability})",)
    return ()
