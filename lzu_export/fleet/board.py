"""The work of a board: each step is a command of its own environment, as a user would give it."""

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lzu_export.cluster.worker import run
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.fleet.board_cache import BoardCache
from lzu_export.fleet.messages import ENGINES, BoardEngine, Look, Request, Sent, Step, Work
from lzu_export.fleet.unpack import unpack
from lzu_export.support import hardware
from lzu_export.support.files import make_folder, parse_json
from lzu_export.support.files.hashes import sha256
from lzu_export.support.machine import read
from lzu_export.support.version import VERSION
from lzu_export.targets.registry import find

LATENCY = "lzu_benchmarks.harness.latency"
DOCTOR_SECONDS = 300.0
"""Largest duration of `lzu-export doctor` in seconds: it imports every package of the board."""


def look(request: Request, cache: BoardCache) -> Look:
    """Return what this board is and has, for some work.

    Args:
        request: the work.
        cache: the board's cache.

    Raises:
        LzuError: there is no such target.
    """
    target = find(request.target)
    version = target.version()
    answer = _answer("lzu_export", "doctor", "--json", timeout=DOCTOR_SECONDS)
    found = _parsed(answer)
    doctor: dict[str, Any] = found if isinstance(found, dict) else {"error": answer["error"]}
    there = [each for each in doctor.get("findings", ()) if each.get("name") == "jetpack"]
    jetpack = next((str(each["detail"]) for each in there if each.get("found")), "")
    return Look(
        key=hardware.key(),
        machine=hardware.identity(),
        device=hardware.device_model(),
        jetpack=jetpack,
        version=version,
        unfit="" if version is not None else target.missing(),
        python=platform.python_version(),
        lzu_export=VERSION,
        held=tuple(cache.held(each.sha256 for each in request.bundles)),
        doctor=doctor,
    )


def work(request: Request, cache: BoardCache, folder: Path) -> Work:
    """Build, verify and time bundles on this board.

    Archives that arrived are in the folder; the others are in the cache. The engines are put into
    the folder. A step that fails leaves out what depends on it; the others go on.

    Args:
        request: the work.
        cache: the board's cache.
        folder: folder of the command.

    Raises:
        LzuError: an archive is missing or damaged, the disk is full, or other work holds the cache.
    """
    with cache.alone() as place:
        arrived = [each for each in request.bundles if (folder / each.file).exists()]
        cache.prune({each.sha256 for each in request.bundles}, sum(each.bytes for each in arrived))
        for each in arrived:
            cache.keep(folder / each.file, each.sha256)
        bundles = {
            each.name: unpack(cache.archive(each.sha256), each.name, place)
            for each in request.bundles
        }
        done = _Work(request, bundles)
        before = read().model_dump(mode="json")
        whole = [each for each in request.bundles if done.build(each, folder)]
        for each in whole:
            done.verify(each)
        if whole:
            done.time(whole)
        return Work(
            steps=tuple(done.steps),
            engines=tuple(done.engines),
            parity=done.parity,
            latency=done.latency,
            before=before,
            after=read().model_dump(mode="json"),
        )


@dataclass
class _Work:
    """Steps of a board's work and what they gave."""

    request: Request
    bundles: dict[str, Path]
    """Folders of the unpacked bundles by name."""
    steps: list[Step] = field(default_factory=list)
    engines: list[BoardEngine] = field(default_factory=list)
    parity: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    latency: dict[str, Any] | None = None

    def build(self, sent: Sent, folder: Path) -> bool:
        """Build a bundle's engines, and return whether all are there."""
        options = self.request.build
        if options is None:
            return True
        bundle, target, count = self.bundles[sent.name], self.request.target, len(self.steps)
        for precision in self.request.precisions:
            words = ("--target", target, "--precision", precision, *options, "--json")
            title = f"build {sent.name} {precision}"
            built = self._step(title, "lzu_export", "build", str(bundle), *words)
            if isinstance(built, dict):
                self.engines.append(_kept(sent.name, bundle, built["engine"], folder))
        return all(step.status == 0 for step in self.steps[count:])

    def verify(self, sent: Sent) -> None:
        """Compare a bundle's engines with the values of PyTorch that it holds."""
        bundle = str(self.bundles[sent.name])
        found = self._step(f"verify {sent.name}", "lzu_export", "verify", bundle, "--json")
        if isinstance(found, list):
            self.parity[sent.name] = found

    def time(self, sent: Sequence[Sent]) -> None:
        """Time the engines of all bundles in turns, in one process."""
        words = ["--target", self.request.target]
        if self.request.precisions:
            words += ["--precision", " ".join(self.request.precisions)]
        folders = [str(self.bundles[each.name]) for each in sent]
        options = (*words, *self.request.timing, "--json")
        found = self._step("time", LATENCY, *folders, *options)
        self.latency = found if isinstance(found, dict) else None

    def _step(self, name: str, module: str, *arguments: str) -> Any:
        """Run a command, record it, and return the JSON that it printed; None without any."""
        answer = _answer(module, *arguments)
        found = _parsed(answer)
        status, sentence = int(answer["status"]), str(answer["error"])
        if status == 0 and found is None:
            status, sentence = 70, f"{name} printed no result"
        self.steps.append(
            Step(name=name, status=status, sentence=sentence, seconds=answer["seconds"])
        )
        return found


def _kept(bundle: str, folder: Path, engine: dict[str, Any], into: Path) -> BoardEngine:
    """Put a built engine where it is sent back from, and return its entry.

    Raises:
        LzuError: it cannot be written.
    """
    path = folder / engine["file"]
    place = into / ENGINES / bundle / path.name
    with readable_os_errors(f"the engine {path.name}"):
        make_folder(place.parent, below=into)
        try:
            os.link(path, place)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, place)
    return BoardEngine(
        bundle=bundle,
        precision=engine["precision"],
        file=path.name,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        build_seconds=engine["build_seconds"],
    )


def _answer(module: str, *arguments: str, timeout: float | None = None) -> dict[str, Any]:
    request: dict[str, Any] = {
        "key": " ".join(arguments),
        "module": module,
        "arguments": arguments,
        "environment": {},
        "timeout": timeout,
        "folder": None,
        "returns": [],
    }
    answer, _ = run(json.dumps(request), {})
    found: dict[str, Any] = json.loads(answer)
    return found


def _parsed(answer: dict[str, Any]) -> Any:
    """Return the JSON that a command printed; None where it printed none."""
    try:
        return parse_json(answer["stdout"])
    except ValueError:
        return None


def read_request(path: Path) -> Request:
    """Read the work that a fleet asks for.

    Raises:
        LzuError: the file is missing, or no such request.
    """
    from pydantic import ValidationError

    from lzu_export.support.files import read_json

    try:
        return Request.model_validate(read_json(path))
    except ValidationError as error:
        raise LzuError(
            f"{path} is no request that lzu_export {VERSION} knows; install the same release on "
            "the board and where the fleet is asked"
        ) from error
