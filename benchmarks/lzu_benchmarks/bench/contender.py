"""Bundles to compare, and the store of what was measured of them."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lzu_benchmarks.harness.summary import Section
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

PACKAGE = Path(__file__).resolve().parents[1]
"""The harness, whose change makes results stale."""

Result = TypeVar("Result", bound=Section)


class Contender(Bundle):
    """A bundle to compare: its engines of some targets and precisions."""

    def __init__(
        self,
        folder: Path,
        targets: tuple[str, ...] | None = None,
        precisions: tuple[str, ...] | None = None,
        provider: str = "cpu",
    ) -> None:
        """Open the bundle.

        Args:
            folder: that export made.
            targets: of the engines that are compared; all by default.
            precisions: the same.
            provider: of ONNX Runtime, that scores and times its engines.

        Raises:
            LzuError: see `Bundle`.
        """
        super().__init__(folder)
        self.targets, self.precisions, self.provider = targets, precisions, provider

    @cached_property
    def asked(self) -> list[Engine]:
        """Its engines that are to be compared."""
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
        """Those of them that run here, and did so once."""
        return [each for each in self._here[0] if each.name not in self.failed]

    @cached_property
    def failed(self) -> dict[str, str]:
        """By `target/precision`, why an engine that is to run here did not open, or not run.

        Raises:
            LzuError: a provider is asked for on which none of them opens.
        """
        found = {}
        for engine in self._here[0]:
            try:
                with load(
                    self.folder,
                    target=engine.target,
                    precision=engine.precision,
                    provider=self.provider,
                ) as predictor:
                    predictor.run(self.batches()[0])
            except Exception as error:  # each runtime has types of its own
                text = str(error).strip() or type(error).__name__
                found[engine.name] = text.splitlines()[0]
        if self.provider != "cpu" and found and len(found) == len(self._here[0]):
            raise LzuError(next(iter(found.values())))
        return found

    @property
    def elsewhere(self) -> dict[str, str]:
        """By `target/precision`, why the others of them do not."""
        return self._here[1]


@dataclass(frozen=True)
class Store:
    """Results in a folder, one file each."""

    folder: Path
    again: bool = False
    """Whether everything is measured again."""

    def get(self, name: str, key: str, kind: type[Result], make: Callable[[], Result]) -> Result:
        """The stored result of this key, else a new one, which is stored before it is returned.

        Raises:
            LzuError: it cannot be written.
        """
        path = self.folder / f"{name}.json"
        if not self.again and path.is_file():
            try:
                stored = kind.model_validate_json(read_text(path))
                if getattr(stored, "key", None) == key:
                    return stored
            except (LzuError, ValueError, ValidationError):
                pass  # cut off, or of another release
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
    """Read the manifests of bundles, uniform ones first, by scale.

    Args:
        folders: that export made.
        targets: only engines of these are compared; all by default.
        precisions: the same.
        provider: of ONNX Runtime: `cpu`, `cuda`, `tensorrt`, or a name of its own.

    Raises:
        LzuError: one is no bundle, there are none, they are of different tasks or sources, or one
            has no engine of what is asked for.
    """
    chosen = (tuple(targets) if targets else None, tuple(precisions) if precisions else None)
    # Results are filed under the folder's name, which `.` and `..` have not.
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
    """What results of a set depend on: its name, and the content of annotations."""
    annotations = Path(dataset) if dataset else None
    return [dataset, sha256(annotations) if annotations and annotations.is_file() else None]


def runs_of(bundle: Contender) -> list[str]:
    return sorted(engine.name for engine in bundle.runs)
