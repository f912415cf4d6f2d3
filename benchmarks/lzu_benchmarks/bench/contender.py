"""Bundles to compare, and the store of their measured results."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lzu_benchmarks.report.schema import (
    ORDER,
)
from lzu_export.bundle.bundle import Bundle, Here
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import (
    Engine,
)
from lzu_export.runtime import load
from lzu_export.support.files import read_text, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.section import Section

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of this package; a change in its source makes stored results stale."""

Result = TypeVar("Result", bound=Section)


class Contender(Bundle):
    """A bundle to compare, restricted to engines of some targets and precisions."""

    def __init__(
        self,
        folder: Path,
        targets: tuple[str, ...] | None = None,
        precisions: tuple[str, ...] | None = None,
        provider: str = "cpu",
    ) -> None:
        """Open the bundle.

        Args:
            folder: folder of an exported bundle.
            targets: targets whose engines are compared; all by default.
            precisions: precisions whose engines are compared; all by default.
            provider: execution provider of ONNX Runtime for scores and times.

        Raises:
            LzuError: see `Bundle`.
        """
        super().__init__(folder)
        self.targets, self.precisions, self.provider = targets, precisions, provider

    @cached_property
    def asked(self) -> list[Engine]:
        """Engines of the bundle to compare."""
        return [
            each
            for each in self.manifest.engines
            if (self.targets is None or each.target in self.targets)
            and (self.precisions is None or each.precision in self.precisions)
        ]

    @cached_property
    def _here(self) -> Here:
        return self.here(self.asked)

    @property
    def runs(self) -> list[Engine]:
        """Compared engines that can run here and completed one run."""
        return [each for each in self._here[0] if each.name not in self.failed]

    def load(self, engine: Engine) -> Any:
        """Open an engine as its task's predictor, on the provider; see `runtime.load`."""
        return load(
            self.folder,
            target=engine.target,
            precision=engine.precision,
            provider=self.provider,
        )

    @cached_property
    def failed(self) -> dict[str, str]:
        """Reason, by `target/precision`, why an engine that should run here did not open or run.

        Raises:
            LzuError: every engine fails, and the provider is not the CPU.
        """
        found = {}
        for engine in self._here[0]:
            try:
                with self.load(engine) as predictor:
                    predictor.run(self.batches()[0])
            except Exception as error:  # each runtime raises its own types
                text = str(error).strip() or type(error).__name__
                found[engine.name] = text.splitlines()[0]
        if self.provider != "cpu" and found and len(found) == len(self._here[0]):
            raise LzuError(next(iter(found.values())))
        return found

    @property
    def elsewhere(self) -> dict[str, str]:
        """Reason, by `target/precision`, why a compared engine cannot run here."""
        return self._here[1]


@dataclass(frozen=True)
class Store:
    """A folder of results, one file each."""

    folder: Path
    again: bool = False
    """Whether to ignore stored results and measure everything again."""

    def get(self, name: str, key: str, kind: type[Result], make: Callable[[], Result]) -> Result:
        """Return the stored result of this name and key, or make and store a new one.

        Raises:
            LzuError: the new result cannot be written.
        """
        path = self.folder / f"{name}.json"
        if not self.again and path.is_file():
            try:
                stored = kind.model_validate_json(read_text(path))
                if getattr(stored, "key", None) == key:
                    return stored
            except (LzuError, ValueError, ValidationError):
                pass  # the file is truncated or was written by another release
        made = make()
        with readable_os_errors(f"the result {path}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, made.model_dump_json(indent=1) + "\n")
        return made


def open_bundles(
    folders: Iterable[Path],
    targets: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    provider: str = "cpu",
) -> list[Contender]:
    """Open bundles to compare, sorted by scale, and uniform first at each scale.

    Args:
        folders: folders of exported bundles.
        targets: targets whose engines are compared; all by default.
        precisions: precisions whose engines are compared; all by default.
        provider: execution provider of ONNX Runtime: `cpu`, `cuda`, `tensorrt`, or one of ONNX
            Runtime's own names.

    Raises:
        LzuError: a folder is no bundle, no folder is given, tasks or source sizes differ, two
            folders share a name or one is not UTF-8, or a bundle has none of the requested
            engines.
    """
    chosen = (tuple(targets) if targets else None, tuple(precisions) if precisions else None)
    # Results are filed under the folder's name; `.` and `..` have none until made absolute.
    places = [Path(os.path.abspath(folder)) for folder in folders]
    for place in places:
        if os.fsencode(place.name).decode(errors="replace") != place.name:
            raise LzuError(f"the folder {place} has a name that is not UTF-8; rename it")
    found = [Contender(folder, *chosen, provider) for folder in places]
    if not found:
        raise LzuError("there are no bundles to compare; give the folders that export made")
    subjects = {(b.manifest.task, b.manifest.recipe.source) for b in found}
    if len(subjects) > 1:
        raise LzuError(
            "the bundles are of different tasks or sizes of frames; compare those of one at a time"
        )
    names = [bundle.folder.name for bundle in found]
    if len(set(names)) < len(names):
        raise LzuError(f"two bundles are called {max(names, key=names.count)}; rename one")
    for bundle in found:
        if not bundle.asked:
            wanted = " in ".join(" or ".join(each) for each in chosen if each)
            there = ", ".join(f"{each.target} {each.precision}" for each in bundle.manifest.engines)
            raise LzuError(f"{bundle.folder} has no engine of {wanted}; it has {there}")
    return sorted(found, key=lambda b: (b.manifest.recipe.scale, ORDER.index(b.manifest.variant)))


def set_key(dataset: str | None) -> list[str | None]:
    """Return the parts of a result's key for a data set: its name, and the annotations' hash."""
    annotations = Path(dataset) if dataset else None
    return [dataset, sha256(annotations) if annotations and annotations.is_file() else None]


def runs_of(bundle: Contender) -> list[str]:
    return sorted(engine.name for engine in bundle.runs)
