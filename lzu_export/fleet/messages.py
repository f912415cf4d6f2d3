"""Messages between a fleet and its boards, as JSON. Both sides may be of different releases."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lzu_export.manifest.fields import Digest, FileName

REQUEST = "request.json"
"""Name of the file with the `Request` in the folder where a board's command runs."""
ENGINES = "engines"
"""Folder of the engines that a board sends back, below that one: `engines/BUNDLE/FILE`."""


class Message(BaseModel):
    """Part of a message. Unknown keys, which a later release may send, are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Sent(Message):
    """A bundle as an archive of `lzu-export pack`."""

    name: FileName
    """Name of the bundle's folder."""
    sha256: Digest
    """Hash of the archive, by which a board keeps it."""
    bytes: int
    """Size of the archive in bytes."""

    @property
    def file(self) -> str:
        """Name of the archive's file."""
        return f"{self.sha256}.tar"


class Request(Message):
    """Work for a board."""

    bundles: tuple[Sent, ...]
    target: str
    """Target of the engines."""
    precisions: tuple[str, ...] = ()
    """Precisions of the engines; empty for all that the bundles have."""
    build: tuple[str, ...] | None = None
    """Options of `lzu-export build`; None for targets whose engines are in the bundles."""
    timing: tuple[str, ...] = ()
    """Options of `python -m lzu_benchmarks.harness.latency`."""


class Look(Message):
    """What a board is and has, before any work."""

    key: str | None
    """Hash that identifies the board, see `support.hardware.key`."""
    machine: str
    """Properties that must agree for times to be comparable, see `support.hardware.identity`."""
    device: str | None = None
    """Name of the board, from its device tree."""
    jetpack: str = ""
    """Release of JetPack and Jetson Linux; empty where this is no Jetson."""
    version: str | None = None
    """Release of the target's library."""
    unfit: str = ""
    """Sentence on why the board cannot do the work; empty where it can."""
    python: str
    lzu_export: str
    held: tuple[Digest, ...] = ()
    """Hashes of the archives in the board's cache."""
    doctor: dict[str, Any] = Field({})
    """Result of `lzu-export doctor --json`."""


class Step(Message):
    """A command that ran on a board."""

    name: str
    """What it did, such as `build fixed-0.5x fp16`."""
    status: int
    """Exit status of the command."""
    sentence: str = ""
    """Why it failed; empty where it did not."""
    seconds: float


class BoardEngine(Message):
    """An engine that a board built."""

    bundle: FileName
    precision: str
    file: FileName
    sha256: Digest
    bytes: int
    """Size of the file in bytes."""
    build_seconds: float


class Work(Message):
    """Result of a board's work."""

    steps: tuple[Step, ...]
    engines: tuple[BoardEngine, ...] = ()
    parity: dict[FileName, list[dict[str, Any]]] = Field({})
    """Results of `lzu-export verify --json` by bundle."""
    latency: dict[str, Any] | None = None
    """Result of `python -m lzu_benchmarks.harness.latency --json`; None where nothing was timed."""
    before: dict[str, Any] = Field({})
    """Clocks, temperatures and limits before the work, see `support.machine.Reading`."""
    after: dict[str, Any] = Field({})
    """The same after it."""

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed."""
        return tuple(each for each in self.steps if each.status)
