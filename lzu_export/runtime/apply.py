"""Run a bundle over frames: pictures and COCO results."""

import json
import time
from pathlib import Path
from typing import Any

import cv2

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.progress import Reporter
from lzu_export.runtime.detector import load
from lzu_export.runtime.draw import draw_detections, show_warp
from lzu_export.runtime.preprocess import Frame, check_frame
from lzu_export.runtime.sources import IMAGES, count, frames

RESULTS_FILE = "results.json"


def apply(
    bundle: Path,
    source: Path,
    out: Path,
    *,
    show_warp: bool,
    resize: bool,
    report: Reporter,
) -> dict[str, Any]:
    """Detect in every frame of `source`, writing pictures and `results.json` into `out`.

    results.json is a COCO results list; image ids number the frames from 1 in the order read, and
    `images` beside it gives their names.

    Returns:
        frames, detections, milliseconds (mean, frame to detections), out.

    Raises:
        LzuError: bundle, source or a frame is unfit, or `out` cannot be written.
    """
    detector = load(bundle, resize=resize)
    reader = frames(source)
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    seconds = 0.0
    size = detector.recipe.batch
    with readable_os_errors(f"the folder {out}"):
        out.mkdir(parents=True, exist_ok=True)
    with report.steps("detecting", count(source)) as advance:
        pending: list[tuple[str, Frame]] = []

        def flush() -> None:
            nonlocal seconds
            batch = [frame for _, frame in pending]
            batch += batch[-1:] * (size - len(batch))
            start = time.perf_counter()
            found = detector.batch(batch)
            seconds += time.perf_counter() - start
            for (name, frame), detections in zip(pending, found, strict=False):
                number = len(images) + 1
                height, width = frame.shape[:2]
                images.append({"id": number, "file_name": name, "height": height, "width": width})
                results.extend(detections.to_coco(number))
                picture = draw_detections(frame, detections)
                if show_warp:
                    picture = draw_warp(detector, frame, picture)
                write_picture(out / name, picture)
            advance(len(pending))
            pending.clear()

        for name, frame in reader:
            if not resize:
                check_frame(frame, detector.recipe.source, name)
            pending.append((name, frame))
            if len(pending) == size:
                flush()
        if pending:
            flush()
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(detector.recipe.classes)]
    write_json(out / RESULTS_FILE, results)
    write_json(out / "images.json", {"images": images, "categories": categories})
    return {
        "frames": len(images),
        "detections": len(results),
        "milliseconds": 1e3 * seconds / max(len(images), 1),
        "out": str(out),
    }


draw_warp = show_warp  # the argument of `apply` has the name of the option


def write_picture(path: Path, picture: Frame) -> None:
    """Write a picture in the format of its name, through a temporary file."""
    suffix = path.suffix if path.suffix.lower() in IMAGES else ".png"
    done, encoded = cv2.imencode(suffix, picture)
    if not done:
        raise LzuError(f"{path} cannot be encoded as {suffix}; give frames of another format")
    _write(path, encoded.tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file."""
    _write(path, (json.dumps(value, indent=1) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with readable_os_errors(str(path)):
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
