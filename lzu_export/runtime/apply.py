"""Run a bundle over frames: pictures or a video of what is found, and files of results."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.progress import Reporter
from lzu_export.runtime.bundle import load
from lzu_export.runtime.cameras import Camera, Cameras, check_cameras
from lzu_export.runtime.draw import show_warp
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.preprocess import Frame, check_frame
from lzu_export.runtime.present import PRESENTERS, Presenter
from lzu_export.runtime.sources import IMAGES, count, frame_rate, frames

RESULTS_FILE = "results.json"
IMAGES_FILE = "images.json"
DRAW_ABOVE = 0.3
"""Lowest score drawn by default: a metric wants the unlikely ones too, an eye does not."""

Writer = Callable[[str, Frame], None]
"""Takes a frame's name and its picture."""


def apply(
    bundle: Path,
    source: Path,
    out: Path,
    *,
    show_warp: bool,
    resize: bool,
    report: Reporter,
    precision: str | None = None,
    draw_above: float = DRAW_ABOVE,
    cameras: Cameras | None = None,
    engine: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Predict in every frame of `source`, writing pictures and `results.json` into `out`.

    Images keep their names; a video becomes NAME.mp4. results.json is a COCO results list for
    boxes, boxes in metres for those in space, and for segmentation the shares of the classes beside
    label maps in the folder `labels`; image ids number the frames from 1 in the order read, and
    images.json gives their names, sizes and the categories. Pictures show detections of scores of
    at least `draw_above`, the results hold all. Nothing is written where a frame is refused.
    `engine` has further arguments of `load`, such as the target.

    Returns:
        frames, the number of detections or label maps under that name, milliseconds (mean, frame to
        prediction), out.

    Raises:
        LzuError: bundle, source, a frame or its camera is unfit, or `out` cannot be written.
    """
    with load(bundle, resize=resize, precision=precision, **engine) as predictor:
        check_cameras(predictor, cameras)
        if predictor.remembers:
            check_single_stream(predictor.recipe.batch, str(source))
        reader = frames(source)
        _spare(source, out)
        images: list[dict[str, Any]] = []
        total = 0.0
        recipe = predictor.recipe
        with (
            _staged(out) as folder,
            _writer(folder, source) as write,
            report.steps("predicting", count(source)) as advance,
        ):
            presenter: Presenter = PRESENTERS[recipe.task](recipe, folder, draw_above)
            for name, frame, camera, prediction, seconds in _predict(predictor, reader, cameras):
                number = len(images) + 1
                height, width = frame.shape[:2]
                images.append({"id": number, "file_name": name, "height": height, "width": width})
                presenter.add(number, name, prediction, camera)
                picture = presenter.picture(frame, prediction, camera)
                write(name, draw_warp(predictor, frame, picture) if show_warp else picture)
                total += seconds
                advance()
            categories = [{"id": i + 1, "name": n} for i, n in enumerate(recipe.classes)]
            write_json(folder / RESULTS_FILE, presenter.results())
            write_json(folder / IMAGES_FILE, {"images": images, "categories": categories})
        return {
            "frames": len(images),
            presenter.what: presenter.count,
            "milliseconds": 1e3 * total / max(len(images), 1),
            "out": str(out),
        }


draw_warp = show_warp  # the argument of `apply` has the name of the option


def _predict(
    predictor: Predictor, reader: Iterator[tuple[str, Frame]], cameras: Cameras | None
) -> Iterator[tuple[str, Frame, Camera | None, Any, float]]:
    """Name, frame, camera, prediction and seconds of every frame, run in the bundle's batches."""
    size = predictor.recipe.batch
    while group := list(islice(reader, size)):
        taken = [cameras.of(name) if cameras is not None else None for name, _ in group]
        batch = []
        for (name, frame), camera in zip(group, taken, strict=True):
            check_frame(frame, None if predictor.resize else predictor.recipe.source, name)
            batch.append(Shot(frame, None if camera is None else camera.cam2img))
        batch += batch[-1:] * (size - len(batch))
        start = time.perf_counter()
        found = predictor.run(batch)
        seconds = (time.perf_counter() - start) / len(group)
        for i, ((name, frame), camera, prediction) in enumerate(
            zip(group, taken, found, strict=False)
        ):
            predictor.shown = i
            yield name, frame, camera, prediction, seconds


def _spare(source: Path, out: Path) -> None:
    """Refuse to write where the source's own files would be replaced."""
    folder = source if source.is_dir() else source.parent
    if folder.resolve() == out.resolve():
        raise LzuError(f"{out} holds the frames themselves; give --out another folder")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder whose files move into `out` at the end; after an error nothing remains of them."""
    new = not out.exists()
    staging = out / ".partial"
    try:
        with readable_os_errors(f"the folder {out}"):
            shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
            staging.mkdir(parents=True)
        yield staging
        with readable_os_errors(f"the folder {out}"):
            for path in sorted(each for each in staging.rglob("*") if each.is_file()):
                target = out / path.relative_to(staging)
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
            shutil.rmtree(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if new:
            with suppress(OSError):
                out.rmdir()
        raise


def _writer(folder: Path, source: Path) -> AbstractContextManager[Writer]:
    rate = frame_rate(source)
    if rate is None:
        return nullcontext(partial(_write_named, folder))
    return _video(folder / f"{source.stem}.mp4", rate)


def _write_named(folder: Path, name: str, picture: Frame) -> None:
    """Pictures keep the frames' names, with a suffix added to those that cannot be written."""
    known = Path(name).suffix.lower() in IMAGES
    write_picture(folder / (name if known else f"{name}.png"), picture)


@contextmanager
def _video(path: Path, rate: float) -> Iterator[Writer]:
    writer = cv2.VideoWriter()
    written = 0

    def write(_name: str, picture: Frame) -> None:
        nonlocal written
        if written == 0:
            size = (picture.shape[1], picture.shape[0])
            writer.open(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        writer.write(picture)
        written += 1

    try:
        yield write
    finally:
        writer.release()
    # OpenCV reports no error of writing, so the file is asked what it holds.
    capture = cv2.VideoCapture(str(path))
    there = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if there != written:
        raise LzuError(
            f"the video {path.name} could not be written whole ({there} of {written} frames); "
            "free disk space, or give the frames as a folder of images"
        )


def write_picture(path: Path, picture: Frame) -> None:
    """Write a picture in the format of its name."""
    done, encoded = cv2.imencode(path.suffix, picture)
    if not done:
        raise LzuError(f"{path} cannot be encoded as {path.suffix}; give frames of another format")
    _write(path, encoded.tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON."""
    _write(path, (json.dumps(value, indent=1) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    with readable_os_errors(path.name):
        path.write_bytes(content)
