"""Query NVIDIA's driver for its cards, by pynvml or else nvidia-smi. A Jetson has neither.

Both count all cards of the machine by their place on the PCI bus. CUDA counts the visible ones, by
default the fastest first. A card and CUDA's number for it are therefore matched by PCI bus id.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from lzu_export.support.cuda_driver import find_driver
from lzu_export.support.device import device_number
from lzu_export.support.section import Section

FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "clock": "clocks.sm",
    "largest_clock": "clocks.max.sm",
    "memory_clock": "clocks.mem",
    "celsius": "temperature.gpu",
    "watts": "power.draw",
    "memory": "memory.used",
    "reasons": "clocks_throttle_reasons.active",
    "bus": "pci.bus_id",
}
"""Query of nvidia-smi for each value; old and new drivers understand the name of `reasons`."""

LIMITS = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "temperature limit of the driver",
    0x40: "temperature limit of the hardware",
    0x80: "power brake",
}
"""Names of the reasons for low clocks that are limits, by bit; idle and application clocks are
not."""


class Card(Section):
    """State of one card at one moment."""

    name: str
    driver: str
    clock: float | None
    """Clock of the multiprocessors in MHz."""
    largest_clock: float | None
    """Largest clock of the multiprocessors in MHz."""
    memory_clock: float | None
    """Clock of the memory in MHz."""
    celsius: float | None
    watts: float | None
    memory: float | None
    """Memory in MiB that all processes use."""
    limits: tuple[str, ...]
    """Reasons that hold the card's clocks down."""
    bus: str = ""
    """PCI bus id, such as `00000000:01:00.0`; empty if it is unknown."""


def cards_in_use() -> tuple[Card, ...]:
    """Return the card that engines run on, see `device_number`.

    It is the only card, or the one with the PCI bus id of CUDA's device. Where no card has that
    id, all cards are returned. The result is empty if no driver reports any card.
    """
    found = cards()
    if len(found) < 2:
        return found
    driver, number = find_driver(), device_number()
    bus = driver.buses[number] if driver is not None and number < len(driver.buses) else ""
    return tuple(each for each in found if same_bus(each.bus, bus)) or found


def same_bus(one: str, other: str) -> bool:
    """Return whether two PCI bus ids name one place; CUDA writes a shorter domain than NVML."""
    places = [each.lower().lstrip("0") for each in (one, other)]
    return bool(places[0]) and places[0] == places[1]


def cards(timeout: float = 5.0) -> tuple[Card, ...]:
    """Return the cards of this machine; empty if no driver reports any."""
    try:
        return _by_pynvml()
    except Exception:  # not installed, no driver, a card that lacks a sensor: nvidia-smi may know
        pass
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS.values())}"]
    command += ["--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse(done.stdout)


def parse(text: str) -> tuple[Card, ...]:
    """Parse nvidia-smi's rows of `FIELDS`; values that a card does not report are None."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(FIELDS):
            found.append(_card(dict(zip(FIELDS, cells, strict=True))))
    return tuple(found)


def _card(row: Mapping[str, str]) -> Card:
    try:
        reasons = int(row["reasons"], 16)
    except ValueError:
        reasons = 0
    numbers = ("clock", "largest_clock", "memory_clock", "celsius", "watts", "memory")
    values = {name: _number(row[name]) for name in numbers}
    bus = row["bus"] if ":" in row["bus"] else ""
    named = {"name": row["name"], "driver": row["driver"], "bus": bus}
    return Card(**named, limits=limits_of(reasons), **values)


def limits_of(reasons: int) -> tuple[str, ...]:
    """Return the names of the limits among the bits of the reasons for low clocks."""
    return tuple(name for bit, name in LIMITS.items() if reasons & bit)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None


def _by_pynvml() -> tuple[Card, ...]:
    import pynvml as nvml

    nvml.nvmlInit()
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Card(
                name=_text(nvml.nvmlDeviceGetName(each)),
                driver=driver,
                clock=nvml.nvmlDeviceGetClockInfo(each, nvml.NVML_CLOCK_SM),
                largest_clock=nvml.nvmlDeviceGetMaxClockInfo(each, nvml.NVML_CLOCK_SM),
                memory_clock=nvml.nvmlDeviceGetClockInfo(each, nvml.NVML_CLOCK_MEM),
                celsius=nvml.nvmlDeviceGetTemperature(each, nvml.NVML_TEMPERATURE_GPU),
                watts=nvml.nvmlDeviceGetPowerUsage(each) / 1e3,
                memory=nvml.nvmlDeviceGetMemoryInfo(each).used / 2**20,
                limits=limits_of(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(each)),
                bus=_text(nvml.nvmlDeviceGetPciInfo(each).busId),
            )
            for each in handles
        )
    finally:
        nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def power_command(milliseconds: int, card: Card) -> Sequence[str]:
    """Return the command that prints a card's watts and used memory periodically."""
    query = "--query-gpu=power.draw,memory.used"
    shown = ["--format=csv,noheader,nounits", *(["-i", card.bus] if card.bus else [])]
    return ["nvidia-smi", query, *shown, f"-lms={milliseconds}"]
