"""Measured lowerings: measured once for all variants of a comparison, reused later.

Bundles in one folder are compared with one another. So a bundle that joins others takes the
lowerings that were measured for them, which their manifests record: neither a later command nor a
forced export changes these. Damaged manifests, and measurements of another machine, release or
code, are ignored.
"""

from collections.abc import Mapping
from pathlib import Path

from lzu_export import graph
from lzu_export.errors import LzuError
from lzu_export.graph.lowering.choose import Decision, Step, Timer, measure_step
from lzu_export.graph.lowering.resample import Kind
from lzu_export.manifest.schema import FILE, Lowering, Manifest, read_manifest
from lzu_export.support import hardware
from lzu_export.support.provenance import source_digest
from lzu_export.targets import onnxruntime
from lzu_export.targets.registry import DEFAULT_TARGET


def measured_on() -> str:
    """Return the machine and software whose measurements are valid here."""
    code = source_digest(Path(graph.__file__).parent)[:8]
    return f"{hardware.processor()}; ONNX Runtime {onnxruntime.version()}; lowerings {code}"


class Decided:
    """Decisions on the lowerings of the steps that bundles in one folder share."""

    def __init__(self, folder: Path) -> None:
        """Read the manifests of all bundles in `folder`; there may be none."""
        self._here = measured_on()
        self._decisions: dict[str, Decision] = {}
        for manifest in _bundles(folder):
            for lowering in _measured(manifest):
                self.add(lowering)

    def add(self, lowering: Lowering) -> None:
        """Adopt a lowering measured on this machine, unless its step was decided before."""
        if lowering.step and lowering.measured_on == self._here:
            kind: Kind = lowering.kind  # type: ignore[assignment]
            self._decisions.setdefault(lowering.step, (kind, lowering.reason, self._here))

    def agrees(self, manifest: Manifest) -> bool:
        """Return whether a bundle's measured lowerings are those that were decided on."""
        return all(self.keeps(each) for each in _measured(manifest))

    def keeps(self, lowering: Lowering) -> bool:
        """Return whether a lowering is the one decided for its step, or the step is undecided."""
        decision = self._decisions.get(lowering.step)
        return decision is None or decision[0] == lowering.kind

    def __call__(self, step: Step) -> Decision:
        """Return the decision on a step, which must have been made."""
        return self._decisions[step.key]

    def measure(self, steps: Mapping[str, list[Step]], timer: Timer) -> None:
        """Decide on the lowerings of steps that are not decided yet.

        Args:
            steps: steps by bundle.
            timer: the target's function that times a lowering.
        """
        for key in dict.fromkeys(each.key for mine in steps.values() for each in mine):
            found = {
                bundle: each for bundle, mine in steps.items() for each in mine if each.key == key
            }
            known = self._decisions.get(key)
            if known is None or known[0] not in next(iter(found.values())).lowerings:
                self._decisions[key] = (*measure_step(found, timer), self._here)


def _bundles(folder: Path) -> list[Manifest]:
    """Return the bundles' manifests, oldest first, since the oldest one's lowerings hold."""
    found = []
    for path in sorted(folder.glob(f"*/{FILE}")):
        try:
            found.append(read_manifest(path.parent))
        except LzuError:
            continue  # a damaged bundle, or one of another format, is exported again some time
    return sorted(found, key=lambda each: each.created)


def _measured(manifest: Manifest) -> list[Lowering]:
    """Return the lowerings of a bundle that were chosen by a measurement."""
    engines = (each for each in manifest.engines if each.target == DEFAULT_TARGET)
    return [each for engine in engines for each in engine.lowerings if each.step]
