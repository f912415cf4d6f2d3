"""Base class of the targets: all that other code needs to know of one. No engine library."""

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
    from lzu_export.inputs.pixel_formats import PixelFormat
    from lzu_export.recipes import Recipe
    from lzu_export.recipes.schema import Precision
    from lzu_export.targets.cuda.interface import Cuda
    from lzu_export.targets.cuda.memory import Device
    from lzu_export.targets.tensorrt.memory_kinds import MemoryKind
    from lzu_export.warp.grids import Sampling

PRECISIONS: tuple["Precision", ...] = ("fp32", "fp16", "bf16", "int8")
"""Every precision, from the highest to the lowest."""


@dataclass(frozen=True)
class Built:
    """Result of a build, besides the engine's file."""

    version: str
    """Release of the library that built the engine."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    compute_capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenOptions:
    """Options for opening an engine; a target ignores options that are not for it.

    Attributes:
        provider: ONNX Runtime's provider, see `load`.
        threads: number of threads on the CPU; all processors by default.
        spin: let idle threads of ONNX Runtime wait actively on the CPU. It answers a single stream
            sooner, but takes the processors from sessions that run beside it.
        device: number of the GPU, as CUDA counts them, for ONNX Runtime's providers that run on
            one; by default see `support.device.device_number`.
        cuda: opened device, for targets that run on one; by default it is opened.
        memory: memory of the tensors that a device's session exchanges with the host: `mapped`,
            `copies` or `managed`; by default the fastest, see `targets.tensorrt.memory_kinds`.
        library: path of the plugin library; by default the one that is found.
        graph: whether runs are captured as a CUDA graph; by default if that works.
        timed: whether a device's session records the time of each run on the device.
        feedback: let the boxes of an engine that follows boxes stay on the device.
        zoom: tables of the warp, with which a device's session takes the camera's frames.
        pixel_format: format in which such a session takes them.
        runtime_cache: keep the kernels that TensorRT-RTX compiles in the user's folder; without it
            every start compiles.
        host_code: let a version-compatible engine of TensorRT run the processor code that it
            contains; an engine that was built here may run it anyway.
    """

    provider: str = "cpu"
    threads: int | None = None
    spin: bool = True
    device: int | None = None
    cuda: "Cuda | None" = None
    memory: "MemoryKind | None" = None
    library: Path | None = None
    graph: bool | None = None
    timed: bool = False
    feedback: bool = True
    zoom: "Sampling | None" = None
    pixel_format: "PixelFormat" = "bgr"
    runtime_cache: bool = True
    host_code: bool = False


class Target(ABC):
    """Inference library that a bundle's engines are for.

    Attributes:
        name: name in recipes, manifests and on the command line.
        title: name in sentences.
        extra: extra of this project that installs the library.
        dialect: ONNX that the library reads.
        precisions: precisions that it takes, from the highest to the lowest.
        on_device: whether its engines run on an NVIDIA GPU only; others run on any machine.
        exported: whether an export builds its engines; else the device does, from a derived file.
        rounds_on_export: whether its lower precisions are computed in float32 here, so that a
            second row shows them with the rounding of a device.
        with_plugins: name of the target whose engines the same library builds from graphs that call
            plugins; empty without one.
        compiles_at_start: whether the first start on a device compiles kernels, which are kept.
        build_needs: findings of `lzu-export doctor` that building an engine needs.
        run_needs: findings of `lzu-export doctor` that running an engine needs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    extra: ClassVar[str]
    dialect: ClassVar[Dialect]
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    on_device: ClassVar[bool] = False
    exported: ClassVar[bool] = True
    rounds_on_export: ClassVar[bool] = False
    with_plugins: ClassVar[str] = ""
    compiles_at_start: ClassVar[bool] = False
    build_needs: ClassVar[tuple[str, ...]] = ()
    run_needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def version(self) -> str | None:
        """Return the installed release, or None."""

    @abstractmethod
    def missing(self) -> str:
        """Return the sentence for a machine that lacks the library, with the remedy."""

    @abstractmethod
    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""

    def table_notes(self, precisions: Collection[str]) -> list[str]:
        """Return the lines below the table of an export in these precisions."""
        return []

    def graph_file(self, precision: str) -> str:
        """Return the file name of the target's executable graph in a bundle."""
        return f"model.{precision}.{self.name}.onnx"

    def engine_file(self, precision: str) -> str:
        """Return the file name of the target's engine in a bundle; by default the graph itself."""
        return self.graph_file(precision)

    def build(self, graph: Path, engine: Path, recipe: "Recipe") -> Built:
        """Build the engine of an executable graph, or only open it if the graph is the engine.

        Args:
            graph: linted ONNX file.
            engine: file to write; the same file if the graph is the engine.
            recipe: recipe of the export.

        Raises:
            LzuError: the library is missing or refuses the graph.
        """
        session = self.session(graph)
        try:
            return Built(str(self.version()), tuple(session.inputs), tuple(session.outputs))
        finally:
            session.close()

    def building(self, precision: str) -> str:
        """Return the progress text of a build."""
        return f"opening the {self.title} engine in {precision}"

    @property
    def timer(self) -> Callable[[Sequence[Any]], Sequence[Sequence[float]]] | None:
        """Function that times lowerings here, see `graph.lowering.choose.Timer`; or None."""
        return None

    def session(
        self,
        model: "Path | bytes",
        *,
        provider: str = "cpu",
        threads: int | None = None,
        device: int | None = None,
        spin: bool = True,
    ) -> Session:
        """Open an executable graph, or an engine's file, which need not be in a bundle.

        Args:
            model: file, or the bytes of an ONNX model.
            provider: ONNX Runtime's provider.
            threads: number of threads on the CPU; all processors by default.
            device: number of the GPU, see `OpenOptions`.
            spin: let idle threads wait actively, see `OpenOptions`.

        Raises:
            LzuError: the library is missing or refuses the model, or the target's engines run on
                their device only.
        """
        raise LzuError(
            f"{self.name} engines run on their device only; load the bundle there with "
            f"target={self.name!r}, or choose onnxruntime"
        )

    def open_file(
        self,
        engine: Engine,
        path: Path,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        device: int | None = None,
        spin: bool = True,
    ) -> Session:
        """Open an engine's file that need not be in a bundle yet, and check its tensors.

        Raises:
            LzuError: see `session`; or the file's tensors differ from its entry in the manifest.
        """
        session = self.session(path, provider=provider, threads=threads, device=device, spin=spin)
        check_tensors(engine, path, session)
        return session

    def open(self, manifest: Manifest, engine: Engine, path: Path, options: OpenOptions) -> Session:
        """Open an engine of a bundle.

        Args:
            manifest: manifest of the bundle.
            engine: engine that runs here.
            path: file of the engine, whose hash was checked.
            options: options for opening it.

        Raises:
            LzuError: the file is no such engine, or something that it needs is missing.
        """
        return self.open_file(
            engine,
            path,
            provider=options.provider,
            threads=options.threads,
            device=options.device,
            spin=options.spin,
        )

    def device(self, back_end: str | None = None, number: int | None = None) -> "Cuda | None":
        """Open the device that its engines run on; return None if they run on any machine.

        Args:
            back_end: name of the CUDA back end; by default the one that is found.
            number: number of the GPU, as CUDA counts them; see `support.device.device_number`.

        Raises:
            LzuError: there is no device, or no such back end of CUDA.
        """
        return None

    def pick(self, engines: Sequence[Engine], device: "Cuda | None") -> Engine:
        """Return the first engine that runs here.

        Args:
            engines: engines of this target, at least one.
            device: opened device, see `device`.

        Raises:
            ElsewhereError: no engine runs here; the message names the difference.
        """
        return engines[0]

    def refuse_elsewhere(self, engine: Engine, device: Callable[[], Any]) -> None:
        """Refuse an engine that does not run on this machine.

        Args:
            engine: engine of this target.
            device: function that opens the CUDA device, once for all targets.

        Raises:
            ElsewhereError: the engine does not run here; the message names the missing library or
                the difference.
        """
        if self.version() is None:
            raise ElsewhereError(self.missing())

    def refuse_beside(self, manifest: Manifest, folder: Path, others: Collection[str]) -> str:
        """Return why its engines cannot share a process with other targets'; empty if they can.

        Args:
            manifest: manifest of the bundle.
            folder: folder of the bundle.
            others: names of the targets whose engines run here.
        """
        return ""

    def unfit(self, device: "Device | None") -> tuple[str, ...]:
        """Return what this machine's GPU lacks to run the target's engines."""
        return ()


def check_tensors(engine: Engine, path: Path, session: Session) -> None:
    """Refuse a session whose inputs or outputs differ from an engine's entry in the manifest.

    Raises:
        LzuError: they differ.
    """
    for said, found in ((engine.inputs, session.inputs), (engine.outputs, session.outputs)):
        if [(t.name, t.dtype, t.shape) for t in said] != [
            (t.name, t.dtype, t.shape) for t in found
        ]:
            raise LzuError(f"{path} has other tensors than the manifest says; {AGAIN}")
