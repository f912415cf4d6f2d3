"""Traces that all tests and all workers share: tracing takes most of a tiny export's time."""

import fcntl
import hashlib
import io
import marshal
import os
import pickle
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import onnx
import torch
from pydantic import BaseModel

from lzu_export.support.provenance import PACKAGES, source_digest, versions

REPOSITORY = Path(__file__).resolve().parents[1]
HOUR = 3600
"""Time in seconds after which the traces of other code are removed; no run takes as long."""
INDESCRIBABLE = (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError)
"""Errors of `fingerprint`, for instance of a lock, a local class or a tensor without values."""


class SharedTraces:
    """Stands in for `lzu_export.models.trace.trace`, and traces equal modules only once.

    Modules are equal if their classes, settings, weights, example inputs and names are. A module
    that cannot be described, such as one that holds a lock, is traced every time.
    """

    def __init__(self, folder: Path, trace: Callable[..., onnx.ModelProto]) -> None:
        """Keep the traces in a folder that the workers share, and make them by `trace`."""
        folder.mkdir(exist_ok=True)
        self._folder, self._trace = folder, trace

    def __call__(self, module: torch.nn.Module, *others: Any) -> onnx.ModelProto:
        """Return the module's trace, made now or before, by this worker or by another."""
        module.eval()  # as tracing does, whoever made the trace
        try:
            name = fingerprint((module, others))
        except INDESCRIBABLE:
            return self._trace(module, *others)
        path = self._folder / f"{name}.onnx"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                part = path.with_suffix(".part")  # a test may simulate a full disk
                onnx.save(self._trace(module, *others), part)
                part.replace(path)
        return onnx.load(path)


def folder_of_this_code(root: Path) -> Path:
    """Return the folder, in `root`, of the traces that belong to this code and these packages.

    Folders of other code that no run has used for an hour are removed.
    """
    parts = [source_digest(REPOSITORY / each) for each in ("lzu_export", "benchmarks", "tests")]
    digest = hashlib.sha256(repr([*parts, versions(PACKAGES)]).encode()).hexdigest()
    own = root / digest[:16]
    own.mkdir(parents=True, exist_ok=True)
    os.utime(own)
    for folder in root.iterdir():
        with suppress(FileNotFoundError):  # another worker removes the same ones
            if folder.stat().st_mtime < time.time() - HOUR:
                shutil.rmtree(folder, ignore_errors=True)
    return own


def fingerprint(value: Any) -> str:
    """Return a hash of all that an object holds: settings, tensors, functions with their closures.

    Raises:
        Exception: one of `INDESCRIBABLE`, since it holds something that cannot be pickled.
    """
    buffer = io.BytesIO()
    _Describer(buffer).dump(value)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


class _Describer(pickle.Pickler):
    """Pickles tensors and functions by their contents: pickle itself writes addresses and names."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            flat = value.detach().contiguous().numpy()
            return _described(type(value), flat.shape, flat.dtype, flat.tobytes())
        if isinstance(value, BaseModel | torch.nn.Module):
            return type, (value.__class__,), _ordered(vars(value))
        if isinstance(value, FunctionType) and "<locals>" in value.__qualname__:
            held = [cell.cell_contents for cell in value.__closure__ or ()]
            code = marshal.dumps(value.__code__)
            return _described(code, value.__defaults__, value.__kwdefaults__, held)
        return NotImplemented


def _described(*parts: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return tuple, (parts,)


def _ordered(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return an object's attributes with sets as lists: a set's order differs between processes."""
    return {
        name: sorted(value, key=repr) if isinstance(value, set) else value
        for name, value in attributes.items()
    }
