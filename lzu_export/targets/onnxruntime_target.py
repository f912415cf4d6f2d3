"""Target ONNX Runtime; this module does not import the library, which a device may lack."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lzu_export.errors import LzuError
from lzu_export.graph.dialect import Dialect
from lzu_export.manifest.schema import SHIPPED_NOTE, Engine, Manifest
from lzu_export.support.extras import install, owners
from lzu_export.support.limits import EMULATED
from lzu_export.support.session import Session
from lzu_export.targets.base import OpenOptions, Target, check_tensors

if TYPE_CHECKING:
    import onnx

    from lzu_export.graph.lowering.deform_conv import Kind as DeformKind

NAME = "onnxruntime"
KERNEL_SINCE = (1, 25)
"""First release of ONNX Runtime whose CPU provider has a kernel of DeformConv; it needs Python
3.11."""


def deform_conv(release: str | None = None) -> tuple["DeformKind", str]:
    """Return the lowering of deformable convolutions for ONNX Runtime, and the reason.

    The times were measured on FCOS3D-R50's layers at 0.25x to 1x; `python -m
    lzu_benchmarks.studies.deform_conv` measures them again. At each of these sizes `gather` was the
    fastest decomposition. It is also the largest: at P3 of 1x it takes 750 MB, gridsample 470, taps
    280.

    Args:
        release: release such as `1.23.2`; by default the installed one.
    """
    if release is None:
        release = next(iter(owners(NAME).values()), "")
    numbers = tuple(int(each) for each in re.findall(r"\d+", release)[:2])
    if not numbers or numbers >= KERNEL_SINCE:  # the system's own build has an unknown release
        return (
            "deformconv",
            "default: its kernel takes half to three quarters of the time of the next best",
        )
    return (
        "gather",
        f"ONNX Runtime {release} has no DeformConv on a CPU; the quickest decomposition there",
    )


DIALECT = Dialect(
    name=NAME,
    deform_conv=deform_conv,
    lowerings={},  # they are timed on this machine
    float64=True,
    # Releases up to 1.29 truncate if a QuantizeLinear reads float16, see `graph.widen`.
    float32_pairs=True,
    # The fastest of 12 to 128 for zooms and unzooms of the full-size recipes, on one thread.
    blocks=(16, 32),
)
ROUNDED = replace(DIALECT, name=EMULATED, float64=True, float32_pairs=False, rounds_half=True)
"""Dialect of a graph for ONNX Runtime with the rounding of a device; no bundle ships one."""


class OnnxRuntime(Target):
    """Target whose engine is the executable graph; it runs on the CPU, or a GPU if its build
    can.
    """

    name = NAME
    title = "ONNX Runtime"
    extra = "runtime"
    dialect = DIALECT
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")  # no CPU kernels of bfloat16
    rounds_on_export = True
    build_needs = ("torch", NAME)
    run_needs = (NAME, "opencv")

    def version(self) -> str | None:
        """Return the installed release, or None."""
        try:
            from lzu_export.targets.onnxruntime import version
        except ImportError:
            return None
        return version()

    def missing(self) -> str:
        """Return the sentence for a machine that lacks the library, with the remedy."""
        return f"ONNX Runtime is not installed; {install(NAME)}"

    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""
        return SHIPPED_NOTE

    def table_notes(self, precisions: Collection[str]) -> list[str]:
        """Return the lines below the table of an export."""
        return [f"{self.name}: {SHIPPED_NOTE}"]

    @property
    def timer(self) -> "Callable[[Sequence[onnx.ModelProto]], Sequence[Sequence[float]]]":
        """Function that times lowerings on this machine."""
        return _time

    def session(
        self,
        model: Path | bytes,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        device: int | None = None,
        spin: bool = True,
    ) -> Session:
        """Open an ONNX file, or the bytes of one, see `Target.session`."""
        return self._session(model, provider=provider, threads=threads, device=device, spin=spin)

    def open(self, manifest: Manifest, engine: Engine, path: Path, options: OpenOptions) -> Session:
        """Open an engine of a bundle, see `Target.open`."""
        session = self._session(
            path,
            provider=options.provider,
            threads=options.threads,
            device=options.device,
            graph=options.graph,
            keep=options.runtime_cache,
            spin=options.spin,
        )
        check_tensors(engine, path, session)
        return session

    def _session(self, model: Path | bytes, **options: Any) -> Session:
        try:
            from lzu_export.targets.onnxruntime import OnnxRuntimeSession
        except ImportError as error:
            raise LzuError(self.missing()) from error
        return OnnxRuntimeSession(model, **options)


def _time(models: Sequence[Any]) -> list[list[float]]:
    from lzu_export.targets.onnxruntime_timing import compare_models

    return compare_models([model.SerializeToString() for model in models])


TARGET = OnnxRuntime()
