"""The machine itself: Jetson or not, its system's packages, its NVIDIA driver, its Python.

The system's files are read below a root folder, so that tests can invent machines.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lzu_export.doctor.finding import Finding
from lzu_export.errors import LzuError
from lzu_export.support.cuda_driver import LIBRARY, Driver, find_driver
from lzu_export.support.device import VARIABLE, device_number, refuse_absent
from lzu_export.support.hardware import TEGRA_RELEASE, jetson_linux
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.tensorrt.versions import OLDEST, numbers

KERNEL_DRIVER = "proc/driver/nvidia/version"
PACKAGES = "var/lib/dpkg/status"
OS_RELEASE = "etc/os-release"

JETPACKS = (
    # From NVIDIA's archive of JetPack releases; 7.2 as several public projects state it.
    ((35, 0), "5", None),
    ((36, 3), "6.0", "8.6.2"),
    ((36, 4), "6.1", "10.3"),
    ((36, 4, 3), "6.2", "10.3"),
    ((36, 4, 4), "6.2.1", "10.3"),
    ((38, 2), "7.0", "10.13"),
    ((38, 4), "7.1", "10.13"),
    ((39, 2), "7.2", "10.16.2"),
)
"""JetPack releases: first release of Jetson Linux, JetPack, and the TensorRT that it ships."""
SECONDS = 20
"""Seconds that nvidia-smi may take."""


@dataclass(frozen=True)
class Machine:
    """A machine as its system files and driver describe it."""

    root: Path = Path("/")
    architecture: str = platform.machine()

    @cached_property
    def packages(self) -> Mapping[str, str]:
        """Versions of the packages that dpkg has installed; empty where there is no dpkg."""
        found: dict[str, str] = {}
        for paragraph in self._read(PACKAGES).split("\n\n"):
            fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
            if fields.get("Status", "").endswith(" installed") and "Version" in fields:
                found[fields["Package"]] = fields["Version"]
        return found

    @cached_property
    def jetson_linux(self) -> str:
        """Release of Jetson Linux, such as `36.4.3`; empty where this is no Jetson or unknown."""
        if release := jetson_linux(self.root):
            return release
        package = re.match(r"[\d.]+", self.packages.get("nvidia-l4t-core", ""))
        return package[0] if package else ""

    @property
    def jetson(self) -> bool:
        """Whether this is a Jetson."""
        return bool(self.jetson_linux) or (self.root / TEGRA_RELEASE).is_file()

    @property
    def tensorrt(self) -> str:
        """Version of the system's TensorRT, visible to Python or not; empty without any."""
        versions = [
            version
            for name, version in self.packages.items()
            if re.fullmatch(r"libnvinfer(-bin|\d+)", name)
        ]
        return max(versions, key=numbers).partition("-")[0] if versions else ""

    @cached_property
    def kernel_driver(self) -> str:
        """Version of the driver's loaded kernel module; empty where there is none."""
        found = re.search(r"Kernel Module\b.*?\s(\d+\.\d[\d.]*)\s", self._read(KERNEL_DRIVER))
        return found[1] if found else ""

    @cached_property
    def driver(self) -> Driver | None:
        """CUDA driver and its devices; None where there is no driver library."""
        return find_driver()

    @property
    def device(self) -> Device | None:
        """GPU that engines run on, as they describe devices; None where there is none."""
        number = device_number()
        if self.driver is None or number >= len(self.driver.devices):
            return None
        described = self.driver.devices[number]
        found = re.fullmatch(r"(.*) \(([\d.]+)\)", described)
        name, capability = (found[1], found[2]) if found else (described, "")
        return Device(number, name, capability, self.jetson)

    @property
    def distribution(self) -> str:
        """Identifier of the Linux distribution, such as `ubuntu`; empty where unknown."""
        found = re.search(r'^ID="?([\w.-]+)', self._read(OS_RELEASE), re.MULTILINE)
        return found[1] if found else ""

    def _read(self, path: str) -> str:
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""


def find_jetpack(machine: Machine) -> Finding:
    """Find the JetPack release, and the TensorRT that it shipped."""
    if not machine.jetson:
        return Finding("jetpack", False, "this is not a Jetson")
    if not machine.jetson_linux:
        return Finding("jetpack", True, "a Jetson of unknown release")
    release = numbers(machine.jetson_linux)
    known = [each for each in JETPACKS if each[0] <= release]
    jetpack, ships = known[-1][1:] if known else ("4 or older", None)
    installed = machine.packages.get("nvidia-jetpack", "").partition("+")[0].partition("-")[0]
    here = machine.tensorrt
    detail = f"{installed or jetpack}, Jetson Linux {machine.jetson_linux}, " + (
        f"TensorRT {here}" if here else "TensorRT is not installed"
    )
    if release < (36, 4):
        return Finding(
            "jetpack",
            False,
            f"{detail}; this package needs 6.1 or later, whose TensorRT is {_text(OLDEST)}",
            "# flash JetPack 6.2 or 7.2 with NVIDIA's SDK Manager; a Xavier has none",
        )
    wanted = "sudo apt-get update && sudo apt-get install nvidia-jetpack"
    notes = (
        (f"it would install TensorRT {ships}: {wanted}",)
        if not here and ships
        else (f"{jetpack} shipped TensorRT {ships}; engines belong to the release that is here",)
        if ships and numbers(here)[:2] != numbers(ships)[:2]
        else ()
    )
    return Finding("jetpack", True, detail, notes=notes)


def find_gpu(machine: Machine) -> Finding:
    """Find the driver and its devices, or why the driver does not work."""
    kernel = f"driver {machine.kernel_driver}" if machine.kernel_driver else "driver"
    if machine.driver is None:
        if machine.kernel_driver:
            why = f"the kernel has {kernel}, but there is no {LIBRARY} here"
            return Finding("gpu", False, why, _in_container(machine))
        return Finding("gpu", False, f"no NVIDIA driver ({LIBRARY})", _driver_command(machine))
    cuda = f"{kernel} for CUDA {'.'.join(map(str, machine.driver.cuda))}"
    if not machine.driver.devices:
        said = _nvidia_smi()
        why = f"{cuda}, but no usable device{f': {said}' if said else ''}"
        return Finding("gpu", False, why, "nvidia-smi# shows why; reboot after an update")
    try:
        refuse_absent(device_number(), machine.driver.devices)
    except LzuError as error:
        return Finding("gpu", False, str(error), f"unset {VARIABLE}")
    there = [f"GPU {i}: {each}" for i, each in enumerate(machine.driver.devices)]
    listed = ", ".join(there if len(there) > 1 else machine.driver.devices)
    return Finding("gpu", True, f"{listed}; {cuda}")


def find_home() -> Finding:
    """Find the folder of caches: rendered frames, matplotlib's fonts, torch's files."""
    try:
        home = Path.home()
    except RuntimeError:
        why = f"there is no HOME, and the system does not know the user {os.getuid()}"
        return Finding("home", False, why, "mkdir -p /tmp/home && export HOME=/tmp/home USER=user")
    place = Path(os.environ.get("LZU_CACHE") or os.environ.get("XDG_CACHE_HOME") or home)
    there = next((each for each in (place, *place.parents) if each.exists()), place)
    if not os.access(there, os.W_OK):
        why = f"{place} cannot be written: frames are rendered anew each time"
        return Finding("home", False, why, "export LZU_CACHE=/tmp/lzu  # or another folder")
    return Finding("home", True, str(place))


def hidden_from_python() -> str:
    """Return a command that makes the system's Python packages visible; empty if they are."""
    if sys.prefix == sys.base_prefix:
        return ""
    try:
        text = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""
    if re.search(r"include-system-site-packages\s*=\s*true", text, re.IGNORECASE):
        return ""
    return "python3 -m venv --clear --system-site-packages .venv  # then install again"


def _driver_command(machine: Machine) -> str:
    if machine.jetson:
        return "sudo apt-get install nvidia-jetpack  # in a container: --runtime nvidia"
    commands = {
        "ubuntu": "sudo ubuntu-drivers install",
        "debian": "sudo apt-get install nvidia-driver  # section non-free",
    }
    return commands.get(machine.distribution, "# install NVIDIA's driver for this system")


def _in_container(machine: Machine) -> str:
    flag = "--runtime nvidia" if machine.jetson else "--gpus all"
    return f"# in a container: docker run {flag}; else install the driver's libraries"


def _nvidia_smi() -> str:
    """Return the last line that nvidia-smi prints where it fails; empty where it works."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        done = subprocess.run(
            [command, "-L"], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    words = (done.stdout + done.stderr).strip().splitlines()
    return words[-1] if done.returncode and words else ""


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
