"""What is known of a target: one object that everything else asks. Imports no engine library."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.graph.dialect import Dialect
from lzu_export.manifest.schema import AGAIN, Engine, Manifest
from lzu_export.support.session import Session, TensorSpec

if TYPE_CHECKING:
    from lzu_export.recipes import Recipe
    from lzu_export.recipes.schema import Precision
    from lzu_export.targets.cuda.interface import Cuda, Device
    from lzu_export.warp.grids import Sampling

PRECISIONS: tuple["Precision", ...] = ("fp32", "fp16", "bf16", "int8")
"""Every precision, from the highest to the lowest."""


@dataclass(frozen=True)
class Built:
    """The result of a build, besides the engine's file."""

    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    compute_capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenOptions:
    """How an engine is opened; a target ignores options that are not for it.

    Attributes:
        provider: of ONNX Runtime, see `load`.
        threads: on the CPU; all processors by default.
        cuda: the opened device, for targets that run on one; by default it is opened.
        library: plugin library; by default the one that is found.
        graph: whether runs are captured as a CUDA graph; by default where that works.
        timed: whether a device's session records the time of each layer.
        feedback: let the boxes of an engine that follows boxes stay on the device.
        zoom: the warp's tables, by which a device's session takes the camera's frames.
        runtime_cache: keep what TensorRT-RTX compiles.
        host_code: let an engine run the code for the processor that it brings along.
    """

    provider: str = "cpu"
    threads: int | None = None
    cuda: "Cuda | None" = None
    library: Path | None = None
    graph: bool | None = None
    timed: bool = False
    feedback: bool = True
    zoom: "Sampling | None" = None
    runtime_cache: bool = True
    host_code: bool = False


class Target(ABC):
    """An inference library that a bundle's engines are for.

    Attributes:
        name: in recipes, manifests and on the command line.
        title: its name in sentences.
        extra: extra of this project that installs it.
        dialect: the ONNX that it reads.
        precisions: those that it takes, from the highest to the lowest.
        on_device: its engines run on an NVIDIA GPU only; others run on any machine.
        exported: an export builds its engines; else the device does, from a derived file.
        rounds_on_export: its lower precisions are computed in float32 here, so that a second row
            shows them with the rounding of a device.
        compiles_at_start: the first start on a device compiles kernels, which are kept.
        build_needs: findings of `lzu-export doctor` that building an engine needs.
        run_needs: findings that running one needs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    extra: ClassVar[str]
    dialect: ClassVar[Dialect]
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    on_device: ClassVar[bool] = False
    exported: ClassVar[bool] = True
    rounds_on_export: ClassVar[bool] = False
    compiles_at_start: ClassVar[bool] = False
    build_needs: ClassVar[tuple[str, ...]] = ()
    run_needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def version(self) -> str | None:
        """The installed release, or None."""

    @abstractmethod
    def missing(self) -> str:
        """The sentence for a machine that lacks it, with the remedy."""

    @abstractmethod
    def note(self, precision: str) -> str:
        """What a comparison of its graph with PyTorch stands for, beside the result."""

    def table_notes(self, precisions: Collection[str]) -> list[str]:
        """Lines below the table of an export in these precisions."""
        return []

    def graph_file(self, precision: str) -> str:
        """Name of its executable graph in a bundle."""
        return f"model.{precision}.{self.name}.onnx"

    def engine_file(self, precision: str) -> str:
        """Name of its engine in a bundle; by default the graph itself."""
        return self.graph_file(precision)

    def build(self, graph: Path, engine: Path, recipe: "Recipe") -> Built:
        """Make the engine of an executable graph, or open it where it is the graph itself.

        Args:
            graph: linted ONNX file.
            engine: file to write; the same file where the graph is the engine.
            recipe: what is exported.

        Raises:
            LzuError: the library is missing, or it refuses the graph.
        """
        session = self.session(graph)
        try:
            return Built(str(self.version()), tuple(session.inputs), tuple(session.outputs))
        finally:
            session.close()

    def building(self, precision: str) -> str:
        """What is shown while a build takes its time."""
        return f"opening the {self.title} engine in {precision}"

    @property
    def timer(self) -> Callable[[Sequence[Any]], Sequence[Sequence[float]]] | None:
        """What times lowerings on this machine, see `graph.lowering.choose.Timer`; or None."""
        return None

    def session(
        self, model: "Path | bytes", *, provider: str = "cpu", threads: int | None = None
    ) -> Session:
        """Open an executable graph, or an engine's file, that need not be in a bundle.

        Args:
            model: file, or the bytes of an ONNX model.
            provider: of ONNX Runtime.
            threads: on the CPU; all processors by default.

        Raises:
            LzuError: the library is missing or refuses the model, or its engines run on their
                device only.
        """
        raise LzuError(
            f"{self.name} engines run on their device only; load the bundle there with "
            f"target={self.name!r}, or choose onnxruntime"
        )

    def open_file(
        self, engine: Engine, path: Path, *, provider: str = "cpu", threads: int | None = None
    ) -> Session:
        """Open an engine's file that need not be in a bundle yet, and check its tensors.

        Raises:
            LzuError: see `session`; or the file has other tensors than its entry in the manifest.
        """
        session = self.session(path, provider=provider, threads=threads)
        for said, found in ((engine.inputs, session.inputs), (engine.outputs, session.outputs)):
            if [(t.name, t.dtype, t.shape) for t in said] != [
                (t.name, t.dtype, t.shape) for t in found
            ]:
                raise LzuError(f"{path} has other tensors than the manifest says; {AGAIN}")
        return session

    def open(self, manifest: Manifest, engine: Engine, path: Path, options: OpenOptions) -> Session:
        """Open an engine of a bundle.

        Args:
            manifest: of the bundle.
            engine: one that runs here.
            path: its file, whose hash was checked.
            options: how.

        Raises:
            LzuError: the file is no such engine, or what it needs is missing.
        """
        return self.open_file(engine, path, provider=options.provider, threads=options.threads)

    def device(self, back_end: str | None = None) -> "Cuda | None":
        """The device that its engines run on, opened; None where they run on any machine.

        Raises:
            LzuError: there is none, or no such back end of CUDA.
        """
        return None

    def pick(self, engines: Sequence[Engine], device: "Cuda | None") -> Engine:
        """The first engine that runs here.

        Args:
            engines: of this target, at least one.
            device: see `device`.

        Raises:
            ElsewhereError: none runs here; names what differs.
        """
        return engines[0]

    def refuse_elsewhere(self, engine: Engine, device: Callable[[], Any]) -> None:
        """Refuse an engine that does not run on this machine.

        Args:
            engine: of this target.
            device: opens the CUDA device, once for all targets.

        Raises:
            ElsewhereError: names what is missing, or what differs.
        """
        if self.version() is None:
            raise ElsewhereError(self.missing())

    def refuse_beside(self, manifest: Manifest, folder: Path, others: Collection[str]) -> str:
        """Why its engines do not run in one process with those of other targets; empty if they do.

        Args:
            manifest: of the bundle.
            folder: of the bundle.
            others: names of the targets whose engines run here.
        """
        return ""

    def unfit(self, device: "Device | None") -> tuple[str, ...]:
        """What the GPU that is there lacks to run its engines."""
        return ()
