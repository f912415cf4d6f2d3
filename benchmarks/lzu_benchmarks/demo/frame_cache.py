"""Cache of rendered frames on disk: drawn once on all processors, read for all tasks and variants.

`python -m lzu_benchmarks.demo.frame_cache` draws the frames whose keys it reads from stdin.
"""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache, lru_cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks import scenes
from lzu_benchmarks.scenes import Frame, Sequence
from lzu_benchmarks.scenes.render import add_noise, grain, paint
from lzu_export.errors import LzuError
from lzu_export.support.hardware import threads
from lzu_export.support.interpreter import run_module
from lzu_export.support.provenance import source_digest

Key = tuple[int, int]
"""Seed of a sequence and index of a frame."""

FEW = 16
"""Number of missing frames up to which drawing them is faster than starting processes."""
WAIT = 0.02  # seconds between checks for a frame that another process draws


def cache_folder() -> Path:
    """Return the folder of rendered frames, some 85 kB each; deleting it only costs time.

    It lies in `LZU_CACHE`, else in `lzu_export` in the user's cache folder. Frames of another
    renderer or of other releases of OpenCV and NumPy are in another folder.

    Raises:
        LzuError: no variable names a folder, and the user has no home folder.
    """
    return _cache() / "frames" / _renderer()


def _cache() -> Path:
    if given := os.environ.get("LZU_CACHE"):
        return Path(given)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "lzu_export")
    try:
        return Path.home() / ".cache" / "lzu_export"
    except RuntimeError as error:  # no HOME, and the system does not know the user
        raise LzuError(
            "there is no home folder to keep rendered frames in; set LZU_CACHE to a folder"
        ) from error


@cache
def _renderer() -> str:
    sources = source_digest(Path(scenes.__file__).parent), Path(__file__).read_text("utf-8")
    versions = cv2.__version__, np.__version__
    return sha256("\n".join((*sources, *versions)).encode()).hexdigest()[:12]


def frame(seed: int, index: int) -> Frame:
    """Return one frame as `render` draws it, from disk if it is cached."""
    return _read((seed, index)) or _draw((seed, index))


def frames(keys: list[Key]) -> Iterator[Frame]:
    """Yield frames in the order of their keys, drawing missing frames on all processors."""
    folder = cache_folder()
    missing = [key for key in keys if not _path(folder, key).is_file()]
    workers = _start(missing) if len(missing) > FEW and _writable(folder) else []
    try:
        for key in keys:
            path = _path(folder, key)
            while not path.is_file() and any(worker.poll() is None for worker in workers):
                time.sleep(WAIT)
            yield frame(*key)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start(keys: list[Key]) -> list[subprocess.Popen[str]]:
    """Start processes that draw the frames, dealing out sequences so that the first come soonest.

    A pool would run the user's own program again in every worker, so it is not used.
    """
    sequences = [list(group) for _, group in groupby(keys, key=lambda key: key[0])]
    workers = []
    for number in range(min(threads(), len(sequences))):
        share = [key for group in sequences[number :: threads()] for key in group]
        worker = subprocess.Popen(
            run_module(__name__),
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
        assert worker.stdin is not None
        with suppress(BrokenPipeError):  # the worker died: its frames are drawn by this process
            json.dump(share, worker.stdin)
            worker.stdin.close()
        workers.append(worker)
    return workers


def _draw(key: Key) -> Frame:
    """Draw a frame, and cache it if the disk can be written."""
    seed, index = key
    sequence = _sequence(seed)
    painted, noise = paint(sequence, index), grain(sequence)
    with suppress(OSError):
        _write(key, painted, noise)
    return replace(painted, image=add_noise(painted.image, key, noise))


@lru_cache(maxsize=1)
def _sequence(seed: int) -> Sequence:
    return Sequence(seed)


def _path(folder: Path, key: Key) -> Path:
    return folder / f"{key[0]}-{key[1]}.npz"


def _writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


def _write(key: Key, painted: Frame, noise: int) -> None:
    """Write a frame atomically and without its noise, which would make it five times as large."""
    arrays = {field.name: getattr(painted, field.name) for field in fields(painted)}
    arrays |= {"image": _packed(painted.image), "surfaces": _packed(painted.surfaces)}
    path = _path(cache_folder(), key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            np.savez(part, grain=np.array(noise), **arrays)
            part.close()
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def _read(key: Key) -> Frame | None:
    """Read a cached frame; None if it is missing or damaged."""
    try:
        with np.load(_path(cache_folder(), key)) as file:
            arrays = dict(file)
        noise = int(arrays.pop("grain"))
        arrays["image"] = add_noise(_unpacked(arrays["image"]), key, noise)
        arrays["surfaces"] = _unpacked(arrays["surfaces"]).view(np.int16)
        return Frame(**arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, cv2.error):
        return None


def _packed(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    plain = array.view(np.uint16) if array.dtype == np.int16 else array
    done = cv2.imencode(".png", np.asarray(plain), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    return np.asarray(done, np.uint8).reshape(-1)


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED))


def main() -> None:
    """Draw the frames whose keys come from stdin."""
    cv2.setNumThreads(1)
    for seed, index in json.load(sys.stdin):
        _draw((seed, index))


if __name__ == "__main__":
    main()
