"""The folder of an unfinished bundle: filled stage by stage, resumable, published by a rename."""

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
from lzu_export.manifest.schema import LIMIT, Digest, FileName, Manifest, write_manifest
from lzu_export.manifest.seal import SEAL
from lzu_export.support.checkout import option
from lzu_export.support.files import parse_json, read_bytes, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.locking import holding

STATE_FILE = "state.json"
OF_BUNDLES = re.compile(
    r"model\.[\w.+-]+\.(onnx|engine)|(reference|warp|accuracy)\.npz|warp\.safetensors|(manifest|state|calibration)"
    r"\.json|recipe\.yaml|labels\.txt|[\w.+-]+\.cache|\.[\w.+-]+\.[0-9a-f]{16}\.new"
)
"""Names of the files that exports and builds, also of older versions, leave in a bundle."""

Record = dict[str, Any]


class Workspace:
    """An unfinished bundle in a folder beside its final place.

    Finished stages are recorded with the hashes of their files. A later run with the same
    fingerprint continues after them; any other fingerprint starts afresh. Stages may run in several
    threads.
    """

    def __init__(self, final: Path, fingerprint: str, *, fresh: bool = False) -> None:
        """Open or create the working folder of the bundle `final`; `fresh` keeps no stage."""
        self.final, self.fingerprint = final, fingerprint
        self.folder = final.parent / f".{final.name}.partial"
        self.stages: dict[str, Record] = {}
        self.resumed: list[str] = []
        self._made: set[str] = set()  # done by this process, which asks for some stages twice
        self._lock = Lock()  # of the stages' records
        with readable_os_errors(f"the bundle {final}"):
            self._open(fresh)

    def run(self, stage: str, files: list[str], make: Callable[[], Record]) -> Record:
        """Run a stage unless it is done: `make` writes `files` and returns a JSON record."""
        with self._lock:
            done = self.stages.get(stage)
        if done is not None and self._intact(done["files"], files):
            if stage not in self.resumed and stage not in self._made:
                self.resumed.append(stage)
            return dict(done["record"])
        self.forget_from(stage)
        start = time.perf_counter()
        with readable_os_errors(f"the bundle {self.final}"):
            record = make()
            finished = {
                "record": record,
                "seconds": round(time.perf_counter() - start, 3),
                "files": {name: sha256(self.folder / name) for name in files},
            }
            with self._lock:
                self.stages[stage] = finished
                self._save()
        self._made.add(stage)
        return record

    def forget_from(self, stage: str) -> None:
        """Drop a stage and all that followed it, since they depend on its result."""
        with self._lock:
            names = list(self.stages)
            if stage in names:
                for name in names[names.index(stage) :]:
                    del self.stages[name]

    def path(self, name: str) -> Path:
        """Return the path of a file of the unfinished bundle."""
        return self.folder / name

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file that the stages wrote, by name."""
        merged: dict[str, str] = {}
        for stage in self.stages.values():
            merged.update(stage["files"])
        return dict(sorted(merged.items()))

    def seconds(self) -> dict[str, float]:
        """Return each stage's time in seconds; for a resumed stage, that of its original run."""
        return {name: stage["seconds"] for name, stage in self.stages.items()}

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest and move the folder to its final place, replacing an older bundle."""
        with readable_os_errors(f"the bundle {self.final}"):
            write_manifest(self.folder, manifest)
            keep = {*manifest.files, MANIFEST_FILE, STATE_FILE}
            for path in self.folder.iterdir():
                if path.name not in keep:
                    remove(path)
            check_place(self.final)
            old = self._old
            _remove_bundle(old)
            if self.final.exists():
                os.replace(self.final, old)
            try:
                os.replace(self.folder, self.final)
            except OSError:
                if old.exists():
                    os.replace(old, self.final)
                raise
            # Last, so that an interruption before this point leaves a folder that can be resumed.
            (self.final / STATE_FILE).unlink(missing_ok=True)
            _remove_bundle(old)

    def tidy(self) -> None:
        """Remove the folder where no stage was finished, since there is nothing to resume."""
        if not self.stages:
            remove(self.folder)

    @property
    def _old(self) -> Path:
        return self.final.parent / f".{self.final.name}.old"

    def _open(self, fresh: bool) -> None:
        check_place(self.final)
        if self._old.exists() and not self.final.exists():
            check_place(self._old)
            os.replace(self._old, self.final)  # cut off between the two renames of `publish`
        if not fresh and _is_plain(self.folder) and (stages := self._read()) is not None:
            self.stages = stages
            return
        remove(self.folder)
        self.folder.mkdir(parents=True)

    def _read(self) -> dict[str, Record] | None:
        """Read the stages that an earlier run finished; None for another export or damage.

        An earlier run may have stopped anywhere, so that an unreadable state is simply redone.
        """
        try:
            content = read_bytes(self.folder / STATE_FILE, limit=LIMIT)
            data = parse_json(content, unique=True)
            if data.pop(SEAL) != _seal(data) or data["fingerprint"] != self.fingerprint:
                return None
            stages = TypeAdapter(dict[str, _Stage]).validate_python(data["stages"])
        except (LzuError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return {name: stage.model_dump() for name, stage in stages.items()}

    def _intact(self, hashes: dict[str, str], files: list[str]) -> bool:
        return set(hashes) == set(files) and all(
            self.path(name).is_file() and sha256(self.path(name)) == digest
            for name, digest in hashes.items()
        )

    def _save(self) -> None:
        state = {"fingerprint": self.fingerprint, "stages": self.stages}
        write_text(self.path(STATE_FILE), json.dumps({**state, SEAL: _seal(state)}))


def _seal(state: dict[str, Any]) -> str:
    """Return a state's hash, which reveals damage that still parses as JSON."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


class _Stage(BaseModel):
    """A finished stage as the state file stores it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    record: Record
    seconds: float
    files: dict[FileName, Digest]


def check_place(final: Path) -> None:
    """Refuse a path that holds something no export wrote, since publishing would remove it.

    Raises:
        LzuError: the path holds such a thing, which the message names.
    """
    if final.is_symlink():
        raise LzuError(f"{final} is a symbolic link, which is not followed; remove it")
    if not final.exists():
        return
    if not final.is_dir():
        raise LzuError(
            f"{final} is no folder; move it away, or choose another folder ({option('out')})"
        )
    names = {path.name for path in final.iterdir()}
    if names and MANIFEST_FILE not in names:
        raise LzuError(
            f"{final} is there and is no bundle: it has no {MANIFEST_FILE}; move it away, or "
            f"choose another folder ({option('out')})"
        )
    known = _listed(final)
    for name in sorted(names - known):
        if not OF_BUNDLES.fullmatch(name) or not _is_file(final / name):
            raise LzuError(
                f"{final} holds {name}, which no export wrote and which would be removed; move it "
                f"away, or choose another folder ({option('out')})"
            )


def remove(path: Path) -> None:
    """Remove a file, a folder with its contents, or a link but not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_bundle(path: Path) -> None:
    if path.is_symlink() or path.exists():
        check_place(path)
        remove(path)


def _listed(folder: Path) -> set[str]:
    """Return the file names that a folder's manifest lists; none where it cannot be read."""
    try:
        data = parse_json(read_bytes(folder / MANIFEST_FILE, limit=LIMIT))
        return set(data["files"]) if {"format", "recipe"} <= set(data) else set()
    except (LzuError, ValueError, KeyError, TypeError):
        return set()


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_plain(folder: Path) -> bool:
    """Return whether this is a folder, not a link to one, that holds only regular files."""
    return (
        not folder.is_symlink() and folder.is_dir() and all(map(_is_file, list(folder.iterdir())))
    )


def exclusive(final: Path) -> AbstractContextManager[None]:
    """Exclude other exports of the bundle `final` while the block runs.

    Raises:
        LzuError: another one is running.
    """
    refusal = (
        f"another export of {final} is running; wait for it, or choose another folder "
        f"({option('out')})"
    )
    lock = final.parent / f".{final.name}.lock"
    return holding(lock, f"the bundle {final}", refusal, remove=True)
