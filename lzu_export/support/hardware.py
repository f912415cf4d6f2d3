"""Identify a machine, to decide whether two absolute latencies are comparable. No torch.

Files of the system are read below a root folder, so that tests can simulate machines.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lzu_export.support import nvidia

ROOT = Path("/")
TEGRA_RELEASE = "etc/nv_tegra_release"


def identity(root: Path = ROOT) -> str:
    """Return the properties of this machine that must agree for absolute times to be comparable."""
    return join(
        processor(),
        device_model(root),
        jetson_linux(root),
        power_mode(),
        governor(root),
        nvidia.cards_in_use(),
    )


def key(root: Path = ROOT) -> str | None:
    """Return a hash that identifies this machine later; None if nothing identifies it.

    It covers the system's host name and the ids of system and hardware: many machines share a
    processor, and images of one system are started many times.
    """
    network = root / "sys/class/net"
    addresses = [
        _text(path.parent / "address") for path in sorted(network.glob("*/device")) if path.exists()
    ]
    own = [
        _text(root / name).strip("\0 ")
        for name in (
            "etc/machine-id",
            "proc/device-tree/serial-number",
            "sys/class/dmi/id/product_uuid",
        )
    ]
    known = [each for each in (*own, *addresses) if each]
    if not known:
        return None
    text = "\n".join([*known, _text(root / "proc/sys/kernel/hostname")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def join(
    processor: str,
    device: str | None,
    jetson_linux: str | None,
    power_mode: str | None,
    governor: str | None,
    cards: Sequence[nvidia.Card],
) -> str:
    """Join properties that were read before to an identity; unknown ones are left out."""
    system = f"Jetson Linux {jetson_linux}" if jetson_linux else None
    drivers = [f"{card.name} (driver {card.driver})" for card in cards]
    parts = [processor, device, system, power_mode, governor, *drivers]
    return "; ".join(part for part in parts if part)


def processor() -> str:
    """Return the processor's name, the number of usable threads, the system and architecture."""
    model = platform.processor() or platform.machine()
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {threads()} threads, {platform.system()} {platform.machine()}"


def threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_model(root: Path = ROOT) -> str | None:
    """Return the name of the board, from its device tree."""
    return _text(root / "proc/device-tree/model").strip("\0 ") or None


def jetson_linux(root: Path = ROOT) -> str | None:
    """Return the release of Jetson Linux, such as `36.4.3`, which comes with JetPack."""
    text = _text(root / TEGRA_RELEASE)
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def governor(root: Path = ROOT) -> str | None:
    """Return the frequency governors of the processors."""
    pattern = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
    return ", ".join(sorted({text for path in root.glob(pattern) if (text := _text(path))})) or None


def power_mode() -> str | None:
    """Return the power mode of a Jetson, from nvpmodel."""
    if shutil.which("nvpmodel") is None:
        return None
    try:
        done = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_power_mode(done.stdout)


def parse_power_mode(text: str) -> str | None:
    """Return the name of the power mode in the output of `nvpmodel -q`."""
    for line in text.splitlines():
        _, colon, name = line.partition("Power Mode:")
        if colon:
            return name.strip()
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
