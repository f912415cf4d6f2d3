"""Record the machine and its state during a measurement, read from Linux without changes."""

import os
import platform
from pathlib import Path

from pydantic import Field

from lzu_export.support import hardware, nvidia, provenance
from lzu_export.support.hardware import ROOT
from lzu_export.support.section import Section

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
"""Environment variables that set how many threads there are and how they wait, and the kernels
and GPUs that are used."""


class Machine(Section):
    """Constant properties of a machine; an unreadable property is None or empty."""

    processor: str
    """Name of the processor, with the number of usable threads and the system."""
    threads: int
    """Number of processors that the process may use."""
    device: str | None
    """Name of the board, from its device tree."""
    jetson_linux: str | None = None
    """Release of Jetson Linux, which comes with JetPack."""
    kernel: str
    memory: int | None
    """Size of the main memory in bytes."""
    power_mode: str | None
    """Power mode of a Jetson, from nvpmodel."""
    governor: str | None
    """Frequency governor of the processors."""
    largest_cpu_mhz: float | None
    cards: tuple[nvidia.Card, ...]
    """The card that engines run on, see `nvidia.cards_in_use`."""
    versions: dict[str, str]
    environment: dict[str, str]

    @property
    def identity(self) -> str:
        """Properties that must agree for two absolute times to be comparable."""
        return hardware.join(
            self.processor,
            self.device,
            self.jetson_linux,
            self.power_mode,
            self.governor,
            self.cards,
        )


class Reading(Section):
    """Changing properties of a machine at one moment; unreadable ones are None or empty."""

    cpu_mhz: float | None = None
    """Mean clock of the processors in MHz."""
    gpu_mhz: float | None = None
    """Clock of a Jetson's GPU in MHz."""
    largest_gpu_mhz: float | None = None
    """Largest clock of a Jetson's GPU in MHz."""
    celsius: dict[str, float] = Field(default_factory=dict)
    """Temperature in degrees Celsius by thermal zone."""
    limits: dict[str, float] = Field(default_factory=dict)
    """Temperature in degrees Celsius at which each zone slows its device down."""
    cooling: tuple[str, ...] = ()
    """Kinds of the cooling devices, other than fans, that are active."""
    throttles: int | None = None
    """Total number of times that the hardware slowed a processor or the board down."""
    load: float | None = None
    """Mean number of runnable processes over the last minute."""
    busy: float | None = Field(None, repr=False)
    """Processor seconds that all processes used since the system's start."""
    own: float = Field(0.0, repr=False)
    """Processor seconds that this process used."""
    cards: tuple[nvidia.Card, ...] = ()


def describe(root: Path = ROOT) -> Machine:
    """Describe this machine."""
    largest = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    return Machine(
        processor=hardware.processor(),
        threads=hardware.threads(),
        device=hardware.device_model(root),
        jetson_linux=hardware.jetson_linux(root),
        kernel=platform.release(),
        memory=_memory(root),
        power_mode=hardware.power_mode(),
        governor=hardware.governor(root),
        largest_cpu_mhz=max(largest) / 1e3 if largest else None,
        cards=nvidia.cards_in_use(),
        versions=provenance.versions(),
        environment={n: os.environ[n] for n in THREAD_VARIABLES if n in os.environ},
    )


def read(root: Path = ROOT, *, cards: bool = True) -> Reading:
    """Read the current state. Querying the card may take a tenth of a second."""
    zones, limits = {}, {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        degrees = _number(zone / "temp")
        if degrees is None or degrees < -100e3:  # the reading of a sensor that is off
            continue
        name = f"{_text(zone / 'type') or zone.name} ({zone.name.removeprefix('thermal_zone')})"
        zones[name] = degrees / 1e3
        trips = [
            trip
            for kind in zone.glob("trip_point_*_type")
            if _text(kind) == "passive"
            and (trip := _number(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
            and trip > 0
        ]
        if trips:
            limits[name] = min(trips) / 1e3
    clocks = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    gpu = _first(root, ("sys/class/devfreq/*gpu*/cur_freq", "sys/class/devfreq/*gv11b/cur_freq"))
    top = _first(root, ("sys/class/devfreq/*gpu*/max_freq", "sys/class/devfreq/*gv11b/max_freq"))
    own = os.times()
    return Reading(
        cpu_mhz=sum(clocks) / len(clocks) / 1e3 if clocks else _cpuinfo_mhz(root),
        gpu_mhz=gpu / 1e6 if gpu is not None else None,
        largest_gpu_mhz=top / 1e6 if top is not None else None,
        celsius=zones,
        limits=limits,
        cooling=_cooling(root),
        throttles=_throttles(root),
        load=_load(root),
        busy=_busy(root),
        own=own.user + own.system,
        cards=nvidia.cards_in_use() if cards else (),
    )


def _cooling(root: Path) -> tuple[str, ...]:
    """Return the kinds of the active cooling devices other than fans."""
    active = []
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        kind = _text(device / "type") or device.name
        if "fan" not in kind.lower() and (_number(device / "cur_state") or 0) > 0:
            active.append(kind)
    return tuple(active)


def _throttles(root: Path) -> int | None:
    patterns = (
        "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
        "sys/class/hwmon/hwmon*/oc*_event_cnt",
    )
    counts = [value for pattern in patterns for value in _numbers(root, pattern)]
    return int(sum(counts)) if counts else None


def _load(root: Path) -> float | None:
    text = _text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _busy(root: Path) -> float | None:
    """Return the busy seconds: user, nice, system, interrupts and time that a host took away."""
    text = _text(root / "proc/stat")
    if not text:
        return None
    user, nice, system, _idle, _wait, *rest = map(int, text.splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _memory(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal"):
            return int(line.split()[1]) * 1024
    return None


def peak_memory(root: Path = ROOT) -> int | None:
    """Return the largest size in bytes of this process's memory so far."""
    for line in (_text(root / "proc/self/status") or "").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return None


def _cpuinfo_mhz(root: Path) -> float | None:
    lines = (_text(root / "proc/cpuinfo") or "").splitlines()
    values = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(values) / len(values) if values else None


def _first(root: Path, patterns: tuple[str, ...]) -> float | None:
    for pattern in patterns:
        if values := _numbers(root, pattern):
            return values[0]
    return None


def _numbers(root: Path, pattern: str) -> list[float]:
    values = (_number(path) for path in sorted(root.glob(pattern)))
    return [value for value in values if value is not None]


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a sensor may exist and still not be readable
        return None
