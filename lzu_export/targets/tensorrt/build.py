"""Build engines with TensorRT 10.3 to 11.x, on the device that runs them.

The code uses only API that all these releases have. Networks are strongly typed, so that the graph
alone sets the precision, as TensorRT 11 requires and 10.x offers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.tensorrt.log import logger_of
from lzu_export.targets.tensorrt.versions import check_version, numbers

if TYPE_CHECKING:
    from lzu_export.targets.tensorrt.plan import BuiltEngine

Hardware = Literal["ampere+", "same-capability"]

VERSION_COMPATIBLE = "version"
"""Value of `portability` besides the values of `Hardware`."""


@dataclass(frozen=True)
class BuildOptions:
    """Options for building an engine; the defaults are TensorRT's."""

    workspace: int | None = None
    """Memory in MiB that a layer may use besides its tensors."""
    level: int | None = None
    """Builder optimisation level, 0 to 5: how many tactics are tried."""
    version_compatible: bool = False
    """Whether later releases of the same major version may run the plan."""
    hardware: Hardware | None = None
    """Other cards that may run the plan, which excludes some tactics; not on a Jetson."""
    detailed: bool = False
    """Whether the plan keeps names and types of layers, for the engine inspector."""

    @property
    def portability(self) -> tuple[str, ...]:
        """Portability of the plan, as the manifest lists it."""
        words = [VERSION_COMPATIBLE] if self.version_compatible else []
        return (*words, self.hardware) if self.hardware else tuple(words)


def build(
    model: Path,
    engine: Path,
    device: Device,
    *,
    options: BuildOptions | None = None,
    precision: str = "fp32",
    plugins: Callable[[Any], object] | None = None,
    timing_cache: Path | None = None,
    phases: Any = None,
) -> "BuiltEngine":
    """Build a strongly typed engine file for this device.

    Args:
        model: ONNX file of target `tensorrt`.
        engine: file to write.
        device: device on which the engine is built and will run.
        options: workspace, level, portability.
        precision: precision of the graph, for the notes on this version.
        plugins: function that registers the plugin library in a given registry, before anything is
            parsed.
        timing_cache: file with tactics' timings of earlier builds on this device, see
            `timing_cache_name`.
        phases: progress display, see `progress.Phases`.

    Raises:
        LzuError: TensorRT is missing or too old, an option does not exist here, or see
            `plan.build_plan`.
    """
    # Running engines does not need ONNX.
    from lzu_export.targets.tensorrt.plan import build_plan

    trt = import_module()
    options = options or BuildOptions()
    check_version(trt.__version__, device)
    if options.level is not None and not 0 <= options.level <= 5:
        raise LzuError(f"builder optimisation level {options.level} is not within 0 to 5")
    hardware = _hardware(trt, options.hardware, device)
    logger = logger_of(trt)
    register(trt, logger, plugins)

    def configure(config: Any) -> None:
        _configure(trt, options, hardware, config)
        if phases is not None:
            config.progress_monitor = make_monitor(trt, phases)

    built = build_plan(
        trt,
        logger,
        model,
        engine,
        configure,
        compute_capabilities=(device.capability,),
        timing_cache=timing_cache,
        native_norms=bool(options.portability),
    )
    notes = check_version(
        trt.__version__, device, precision, built.sampling_layers, options.hardware is not None
    )
    return replace(built, notes=tuple(notes))


def register(trt: Any, logger: Any, plugins: Callable[[Any], Any] | None) -> Any:
    """Register TensorRT's own plugins, such as deformable convolution, and this package's.

    This has to precede parsing a graph that calls them, and deserialising a plan with them.

    Returns:
        The result of `plugins`, which is the library; None without `plugins`.
    """
    trt.init_libnvinfer_plugins(logger, "")
    return plugins(trt.get_plugin_registry()) if plugins is not None else None


def engine_name(precision: str, version: str, device: Device) -> str:
    """Return an engine's file name, such as `model.fp16.trt-10.3.0-sm87.orin-8mp.engine`."""
    capability = device.capability.replace(".", "")
    return f"model.{precision}.trt-{version}-sm{capability}.{_slug(device)}.engine"


def timing_cache_name(version: str, device: Device) -> str:
    """Return the file name of the timings for one kind of device and release, valid only there."""
    return f"timing.{_slug(device)}.trt-{version}.cache"


def runtime_cache_name(engine: str, version: str, device: Device) -> str:
    """Return the file name of the kernels that TensorRT-RTX compiled for one kind of card."""
    return f"{engine}.{_slug(device)}.{version}.cache"


def refuse_foreign(
    plan: str,
    *,
    built_with: str,
    capabilities: Sequence[str],
    model: str,
    portability: Sequence[str],
    version: str,
    device: Device,
) -> None:
    """Refuse a plan that is not for this device and release, before TensorRT sees it.

    A plan is for one release and one model of device, unless it was built to be portable (chapters
    "Version Compatibility" and "Hardware Compatibility" of NVIDIA's documentation). Its kernels
    were chosen by timing on that model, and may need more resources than another model has.

    Args:
        plan: name of the plan's file.
        built_with: release of TensorRT that built the plan.
        capabilities: compute capabilities of the devices it was built for.
        model: `Device.model` of the device that it was built on; empty if unknown.
        portability: values of `BuildOptions.portability`.
        version: release of TensorRT on this machine.
        device: device of this machine.

    Raises:
        ElsewhereError: the plan is not for this machine; the message names the difference.
    """
    remedy = "build it here (lzu-export build BUNDLE --target tensorrt)"
    mine, theirs = numbers(version), numbers(built_with)
    same = mine[0] == theirs[0] and mine >= theirs if VERSION_COMPATIBLE in portability else False
    if version != built_with and not same:
        raise ElsewhereError(
            f"{plan} was built with TensorRT {built_with} but this is TensorRT {version}; {remedy}"
        )
    newer = "ampere+" in portability and numbers(device.capability) >= (8, 0)
    if device.capability not in capabilities and not newer:
        raise ElsewhereError(
            f"{plan} was built for compute capability {' and '.join(capabilities)} but "
            f"{device.name} has {device.capability}; {remedy}"
        )
    one_model = set(portability) <= {VERSION_COMPATIBLE}
    if one_model and model not in ("", device.model):
        raise ElsewhereError(
            f"{plan} was built on {model} but this is {device.model}, for which its kernels were "
            f"not chosen; {remedy}"
        )


def import_module() -> Any:
    """Import the module `tensorrt`.

    Raises:
        ElsewhereError: the module or its libraries are not installed.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise ElsewhereError(
            f"TensorRT does not import ({error}); on a Jetson it comes with JetPack, for the "
            "system's Python (python3 -m venv --system-site-packages), elsewhere pip install "
            "'lzu-export[tensorrt]'"
        ) from error
    return tensorrt


def make_monitor(trt: Any, phases: Any) -> Any:
    """Make a monitor that reports TensorRT's build progress to `phases`, see `progress.Phases`."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._goes_on = True

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(phases.start, phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phases.step, phase_name, step + 1)
            return self._goes_on

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phases.finish, phase_name)

        def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
            # An exception cannot pass through TensorRT: Ctrl-C has to become a False.
            try:
                what(*arguments)
            except KeyboardInterrupt:
                self._goes_on = False

    return Monitor()


def _configure(trt: Any, options: BuildOptions, hardware: Any, config: Any) -> None:
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 is the reference: no rounded products
    verbosity = trt.ProfilingVerbosity
    config.profiling_verbosity = (
        verbosity.DETAILED if options.detailed else verbosity.LAYER_NAMES_ONLY
    )
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    if hardware is not None:
        config.hardware_compatibility_level = hardware
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _hardware(trt: Any, wanted: Hardware | None, device: Device) -> Any:
    if wanted is None:
        return None
    if device.integrated:
        raise LzuError(
            f"{device.name} builds engines for itself only: TensorRT has no hardware "
            "compatibility on Jetson; leave --hardware out"
        )
    name = {"ampere+": "AMPERE_PLUS", "same-capability": "SAME_COMPUTE_CAPABILITY"}[wanted]
    levels = trt.HardwareCompatibilityLevel
    if name not in levels.__members__:
        raise LzuError(
            f"TensorRT {trt.__version__} has no hardware compatibility {wanted}; use ampere+, or "
            "TensorRT 10.9 or later"
        )
    return levels.__members__[name]


def _slug(device: Device) -> str:
    name = device.name.lower().removeprefix("nvidia ")
    counted = f"-{device.multiprocessors}mp" if device.multiprocessors else ""
    return "".join(letter if letter.isalnum() else "-" for letter in name) + counted
