"""Build the plugin library with the makefile of its sources. No torch, no TensorRT.

The sources may be read-only: everything is written into the folder of the build.
"""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import PluginLibrary
from lzu_export.runtime.plugin_library import BUILD, describe_library
from lzu_export.support.checkout import PLUGINS, in_checkout
from lzu_export.support.files.places import build_folder, user_folder
from lzu_export.support.hardware import threads
from lzu_export.support.progress import Reporter

LOG = "build.log"
"""File of a build's folder that holds all output of the compilers."""
HEADER = "lzu_kernels.h"
MOST_JOBS = 4
"""Most compilers at once, since each takes up to 1 GB of memory."""


@dataclass(frozen=True)
class Kind:
    """What can be built."""

    name: str
    """Name of the default folder, see `build_folder`."""
    library: str
    """Name of the library and of its pkg-config file, without prefix and suffix."""
    target: str = "library"
    """Target of the makefile."""
    cross: str = ""
    """Architecture of the other machine that is built for; empty for this one."""

    @property
    def options(self) -> str:
        """Options of `lzu-export plugins` that choose this kind, with a blank in front."""
        return " --cross" if self.cross else " --host" if self.target == "host" else ""


DEVICE = Kind("plugins", "lzu_plugins")
"""Kernels and TensorRT plugins for the GPUs of this kind of machine."""
CROSS = Kind("plugins-aarch64", "lzu_plugins", cross="aarch64")
"""The same for boards with JetPack 7, on another machine."""
HOST = Kind("plugins", "lzu_kernels_host", target="host")
"""The kernels alone, for this machine's processor."""


@dataclass(frozen=True)
class Build:
    """A folder that plugins are built in."""

    kind: Kind
    folder: Path
    """Absolute path."""

    @property
    def library(self) -> Path:
        """The library."""
        return self.folder / f"lib{self.kind.library}.so"

    @property
    def include(self) -> Path:
        """Folder of the header for C and C++."""
        return self.folder / "include"

    @property
    def pkgconfig(self) -> Path:
        """Folder of the pkg-config file."""
        return self.folder

    @property
    def is_complete(self) -> bool:
        """Whether the library, its header and its pkg-config file are there."""
        files = self.library, self.include / HEADER, self.pkgconfig / f"{self.kind.library}.pc"
        return all(each.is_file() for each in files)

    def require(self) -> None:
        """Refuse a folder where nothing was built.

        Raises:
            LzuError: the message names the folder and the command.
        """
        if not self.is_complete:
            raise LzuError(f"nothing is built in {self.folder}; run {BUILD}{self.kind.options}")


def find_build(kind: Kind, out: Path | None = None) -> Build:
    """Return the folder that a kind is built in.

    Args:
        kind: `DEVICE`, `CROSS` or `HOST`.
        out: folder; by default the one where the runtime looks for the library.

    Raises:
        LzuError: there is no default folder, because the user has no home.
    """
    folder = out or build_folder(kind.name)
    if folder is None:
        raise LzuError("there is no home folder to build plugins in; name a folder (--out)")
    return Build(kind, folder.absolute())


def build_plugins(
    kind: Kind = DEVICE,
    *,
    out: Path | None = None,
    architectures: Sequence[str] = (),
    tensorrt: Path | None = None,
    report: Reporter | None = None,
) -> tuple[Build, PluginLibrary | None]:
    """Build the library, its header and its pkg-config file; what is up to date stays.

    Args:
        kind: `DEVICE`, `CROSS` or `HOST`.
        out: folder to build in, see `find_build`.
        architectures: compute capabilities such as `8.7` or `87`; by default those of all
            supported GPUs that the compiler knows.
        tensorrt: folder of TensorRT or of its headers; by default the system's, else headers from
            the package index.
        report: progress.

    Returns:
        The folder, and the description of the library; None for `HOST`, which has loaded.

    Raises:
        LzuError: an option is unfit, a tool is missing, the folder cannot be written, or the
            sources do not compile.
    """
    if kind.cross and platform.machine() == kind.cross:
        raise LzuError(f"this machine is {kind.cross} itself; leave out --cross")
    if shutil.which("make") is None:
        raise LzuError("plugins are built by make, which is missing; sudo apt-get install g++ make")
    build = find_build(kind, out)
    settings = {
        "BUILD": str(build.folder),
        "CROSS": kind.cross,
        "ARCHS": " ".join(sorted(map(_capability, architectures), key=int)),
        "EDITION": "" if in_checkout() else _edition(),
        "PYTHON": sys.executable,
        "LZU_CACHE": str(user_folder() or build.folder),
    }
    if tensorrt is not None:
        settings["TENSORRT_INCLUDE"] = str(_headers(tensorrt))
    _make(build, settings, report or Reporter(quiet=True))
    if kind is HOST:
        _load(build.library)
        return build, None
    return build, describe_library(build.library)


def _capability(text: str) -> str:
    """Return a compute capability as nvcc's number: 87 for `8.7`, `87` and `sm_87`."""
    found = re.fullmatch(r"(?:sm_)?(\d+)\.?(\d)", text)
    if found is None:
        raise LzuError(f"--arch {text} is no compute capability; give one such as 8.7")
    return found[1] + found[2]


def _headers(folder: Path) -> Path:
    """Return the folder of TensorRT's headers: this one, or one below it."""
    below = "include", f"include/{platform.machine()}-linux-gnu"
    for place in (folder, *(folder / each for each in below)):
        if (place / "NvInfer.h").is_file():
            return place.absolute()
    raise LzuError(f"there is no NvInfer.h in {folder} or its include; name another (--tensorrt)")


def _edition() -> str:
    """Return a hash of the sources. An installer chooses their dates, by which make goes."""
    digest = hashlib.sha256()
    for path in sorted(each for each in PLUGINS.rglob("*") if each.is_file()):
        digest.update(path.relative_to(PLUGINS).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make(build: Build, settings: Mapping[str, str], report: Reporter) -> None:
    """Run the makefile, with a step for each source that it compiles."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {name: text for name, text in os.environ.items() if name not in ours}
    jobs = max(1, min(MOST_JOBS, threads()))
    command = ["make", "-C", str(PLUGINS), f"-j{jobs}", build.kind.target]
    lines: list[str] = []
    with readable_os_errors(str(build.folder)):
        build.folder.mkdir(parents=True, exist_ok=True)
        log = (build.folder / LOG).open("w", encoding="utf-8")
    title = f"building lib{build.kind.library}.so in {build.folder}"
    with (
        log,
        report.steps(title, len(_sources(build.kind)) or None) as step,
        subprocess.Popen(
            command,
            env={**environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line.rstrip())
            if re.search(r" -c \S+\.(cu|cpp) ", line):
                step()
            elif "downloading" in line:
                report.note(f"  {line.rstrip()}")
    if process.returncode:
        raise LzuError(_refusal(lines, build.folder / LOG))


def _sources(kind: Kind) -> list[Path]:
    if kind is HOST:
        return []
    found = [*PLUGINS.glob("kernels/*.cu"), *PLUGINS.glob("*/*.cpp")]
    return [each for each in found if each.parent.name != "sample"]


def _refusal(lines: Sequence[str], log: Path) -> str:
    """Return the sentence of a failed build."""
    for line in lines:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
        if stopped := re.fullmatch(r"\S*:\d+: \*\*\* (.*)\.  Stop\.", line):
            return stopped[1]
    told = [line for line in lines if line and not re.match(r"make(\[\d+\])?: ", line)]
    last = told[-1] if told else "no error is shown"
    wrong = next((line for line in told if re.search(r"\berror\b", line, re.IGNORECASE)), last)
    return f"the plugins do not compile ({wrong}); {log} has all output"


def _load(library: Path) -> None:
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        raise LzuError(f"{library} was built but does not load: {error}") from error
