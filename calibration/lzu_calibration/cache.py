"""The calibration cache: a readable file of ranges, and the identity of model and frames."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lzu_calibration.errors import CalibrationError
from lzu_calibration.files import parse_json, read_bytes, write_text

FORMAT = 1
LIMIT = 64 << 20
"""Largest size of a cache in bytes; a cache of a thousand tensors has some 50 kB."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CachedFrames(_Section):
    """Identity of the frames on which ranges were measured."""

    name: str
    count: int
    seed: int
    digest: str
    """Hash of the frames' identities and contents; the other fields only explain a difference."""


class Cache(_Section):
    """Ranges of one model, measured on some frames by one method."""

    format: int = FORMAT
    model: str
    """sha256 of the ONNX file on which the ranges were measured."""
    frames: CachedFrames
    method: str
    percentile: float | None
    """Percentile of method `percentile`; None for all other methods."""
    ranges: dict[str, float]
    """Symmetric limit of each tensor."""
    created: str
    version: str = Field(alias="lzu_export")
    """Version of the program that measured the ranges."""


def make_cache(
    *,
    model: str,
    frames: CachedFrames,
    method: str,
    percentile: float | None,
    ranges: Mapping[str, float],
    version: str,
) -> Cache:
    """Make a cache with the current time.

    Args:
        model: sha256 of the model.
        frames: identity of the calibration frames.
        method: one of `METHODS`.
        percentile: used by method `percentile` only.
        ranges: symmetric limit of each tensor.
        version: version of the program that measured the ranges.
    """
    return Cache(
        model=model,
        frames=frames,
        method=method,
        percentile=percentile if method == "percentile" else None,
        ranges=dict(sorted(ranges.items())),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        lzu_export=version,
    )


def write_cache(path: Path, cache: Cache) -> None:
    """Write the cache atomically, with one range per line.

    Raises:
        CalibrationError: a folder is in the way, or the file cannot be written (`WriteError`).
    """
    data = cache.model_dump(by_alias=True)
    data["ranges"] = dict(sorted(cache.ranges.items()))
    # Python prints the shortest decimal that reads back as the same number.
    text = json.dumps(data, indent=2) + "\n"
    write_text(path, text, f"the calibration cache {path}")


def read_cache(path: Path) -> Cache:
    """Read a cache.

    Raises:
        CalibrationError: the file is missing, damaged or of another format.
    """
    try:
        content = read_bytes(path, limit=LIMIT, remedy="give one that calibrate wrote")
        data: Any = parse_json(content)
        found = data.get("format")
        if found != FORMAT:
            raise CalibrationError(
                f"{path} has cache format {found} but this version reads {FORMAT}; delete it to "
                "calibrate again, or use the version that made it"
            )
        return Cache.model_validate(data)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise CalibrationError(
            f"{path} is not a calibration cache (field {field}: {error.errors()[0]['msg']}); "
            "delete "
            "it to calibrate again"
        ) from error
    except (ValueError, AttributeError) as error:
        raise CalibrationError(f"{path} is damaged; delete it to calibrate again") from error


def check_cache(
    cache: Cache,
    path: Path,
    *,
    model: str,
    frames: CachedFrames,
    method: str,
    percentile: float | None,
    tensors: Iterable[str],
) -> None:
    """Reject ranges of another model, other frames or another method, and unusable ranges.

    Ranges of additional tensors are accepted.

    Raises:
        CalibrationError: the cache does not fit; the message names the first difference, in the
            order model, frames, method, tensors.
    """
    if cache.model != model:
        raise CalibrationError(
            f"{path} was measured for another model (sha256 {cache.model[:12]}, not {model[:12]}); "
            "give this "
            "model's cache, or delete it to calibrate again"
        )
    if cache.frames.digest != frames.digest:
        raise CalibrationError(
            f"{path} was measured on different frames ({_other_frames(cache.frames, frames)}); "
            "give those, or "
            "delete it to calibrate again"
        )
    made = _method(cache.method, cache.percentile)
    asked = _method(method, percentile)
    if made != asked:
        raise CalibrationError(
            f"{path} was made by method {made}, not {asked}; ask for that one, or delete it to "
            "calibrate again"
        )
    missing = [name for name in tensors if name not in cache.ranges]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CalibrationError(
            f"{path} has no range of tensor {missing[0]}{more}; delete it to calibrate again"
        )
    for name, limit in cache.ranges.items():
        if not (math.isfinite(limit) and limit > 0):
            raise CalibrationError(
                f"{path} gives tensor {name} the range {limit}, which is no finite positive "
                "number; delete it to calibrate again"
            )


def _other_frames(made: CachedFrames, asked: CachedFrames) -> str:
    """Describe the first difference between two sets of frames."""
    for field in ("name", "count", "seed"):
        before, now = getattr(made, field), getattr(asked, field)
        if before != now:
            return f"{field} {before}, not {now}"
    return "of the same name, count and seed, but files were changed, added or removed"


def _method(method: str, percentile: float | None) -> str:
    return f"{method} {percentile}" if method == "percentile" else method
