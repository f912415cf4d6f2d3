"""The folder in which a bundle grows: stage by stage, resumable, published in one rename."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lzu_export.additions import TIMINGS
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.files import write_text
from lzu_export.runtime.manifest import FILE as MANIFEST_FILE
from lzu_export.runtime.manifest import Manifest, sha256, write_manifest

STATE_FILE = "state.json"

Record = dict[str, Any]


class Workspace:
    """A bundle in the making, beside the place where it will stand.

    Finished stages are recorded with the hashes of their files. A later run with the same
    fingerprint continues after them; any other fingerprint starts afresh.
    """

    def __init__(self, final: Path, fingerprint: str, *, fresh: bool = False) -> None:
        """Open or create the working folder of the bundle `final`; `fresh` keeps no stage."""
        self.final, self.fingerprint = final, fingerprint
        self.folder = final.parent / f".{final.name}.partial"
        self.stages: dict[str, Record] = {}
        self.resumed: list[str] = []
        self._made: set[str] = set()  # stages of this process, which asks for some of them twice
        with readable_os_errors(f"the bundle {final}"):
            self._open(fresh)

    def run(self, stage: str, files: list[str], make: Callable[[], Record]) -> Record:
        """Do a stage unless it is done: `make` writes `files` and returns a JSON record."""
        done = self.stages.get(stage)
        if done is not None and self._intact(done["files"], files):
            if stage not in self.resumed and stage not in self._made:
                self.resumed.append(stage)
            return dict(done["record"])
        self.forget_from(stage)
        start = time.perf_counter()
        with readable_os_errors(f"the bundle {self.final}"):
            record = make()
            self.stages[stage] = {
                "record": record,
                "seconds": round(time.perf_counter() - start, 3),
                "files": {name: sha256(self.folder / name) for name in files},
            }
            self._save()
        self._made.add(stage)
        return record

    def forget_from(self, stage: str) -> None:
        """Drop a stage that is done again, and all that followed it: they rest on its result."""
        names = list(self.stages)
        if stage in names:
            for name in names[names.index(stage) :]:
                del self.stages[name]

    def path(self, name: str) -> Path:
        """A file of the bundle in the making."""
        return self.folder / name

    def hashes(self) -> dict[str, str]:
        """sha256 of every file that the stages wrote."""
        merged: dict[str, str] = {}
        for stage in self.stages.values():
            merged.update(stage["files"])
        return dict(sorted(merged.items()))

    def seconds(self) -> dict[str, float]:
        """Time each stage took, resumed ones as they took when they ran."""
        return {name: stage["seconds"] for name, stage in self.stages.items()}

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest and put the folder in its place, replacing an older bundle."""
        with readable_os_errors(f"the bundle {self.final}"):
            write_manifest(self.folder, manifest)
            keep = {*manifest.files, MANIFEST_FILE, STATE_FILE}
            for path in self.folder.iterdir():
                if path.name not in keep and not path.match(TIMINGS):
                    path.unlink()
            old = self._old
            shutil.rmtree(old, ignore_errors=True)
            if self.final.exists():
                os.replace(self.final, old)
            try:
                os.replace(self.folder, self.final)
            except OSError:
                if old.exists():
                    os.replace(old, self.final)
                raise
            # Only now: whatever stops us before leaves a folder that can be resumed.
            (self.final / STATE_FILE).unlink(missing_ok=True)
            shutil.rmtree(old, ignore_errors=True)

    def tidy(self) -> None:
        """Where no stage was finished there is nothing to resume: leave no folder behind."""
        if not self.stages:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _old(self) -> Path:
        return self.final.parent / f".{self.final.name}.old"

    def _open(self, fresh: bool) -> None:
        if self._old.exists() and not self.final.exists():
            os.replace(self._old, self.final)  # cut off between the two renames of `publish`
        state = self.folder / STATE_FILE
        if state.is_file() and not fresh:
            try:
                stored = json.loads(state.read_text(encoding="utf-8"))
                if stored["fingerprint"] == self.fingerprint:
                    self.stages = stored["stages"]
                    return
            except (ValueError, KeyError, TypeError):
                pass  # cut off while it was written: the stages are done again
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def _intact(self, hashes: dict[str, str], files: list[str]) -> bool:
        return set(hashes) == set(files) and all(
            self.path(name).is_file() and sha256(self.path(name)) == digest
            for name, digest in hashes.items()
        )

    def _save(self) -> None:
        state = {"fingerprint": self.fingerprint, "stages": self.stages}
        write_text(self.path(STATE_FILE), json.dumps(state))


@contextmanager
def exclusive(final: Path) -> Iterator[None]:
    """Keep other exports of the bundle `final` out while the block runs.

    Raises:
        LzuError: another one is running.
    """
    path = final.parent / f".{final.name}.lock"
    lock = _locked(path, final)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _locked(path: Path, final: Path) -> IO[str]:
    """The open lock file, locked; one that its last holder removed meanwhile does not count."""
    while True:
        with readable_os_errors(f"the bundle {final}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise LzuError(
                f"another export of {final} is running; wait for it, or choose another folder (OUT)"
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                return lock
        lock.close()
