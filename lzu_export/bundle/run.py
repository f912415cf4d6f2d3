"""Run a bundle over frames and write annotated pictures or a video, and result files."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from lzu_export.bundle.load import load
from lzu_export.bundle.result_files import (
    IMAGES_FILE,
    check_formats,
    remove_stale,
    write_bytes,
    write_results,
    written_before,
)
from lzu_export.bundle.run_page import PAGE_FILE, Film, run_page
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.inputs.images import IMAGES, encode_image
from lzu_export.inputs.live_camera import parse_live
from lzu_export.inputs.pixel_formats import (
    PixelFormat,
    check_pixel_format,
    check_pixels,
    to_bgr,
)
from lzu_export.inputs.videos import VIDEOS
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
from lzu_export.runtime.cameras import Camera, Cameras, check_cameras
from lzu_export.runtime.draw import show_warp as draw_warp
from lzu_export.runtime.feedback import check_single_stream
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.runtime.sources import ImageSource, Source, TimedFrame, open_source
from lzu_export.runtime.video_writer import video_writer
from lzu_export.support.files import clear, make_folder, read_json
from lzu_export.support.progress import Reporter
from lzu_export.tasks.present import Presenter
from lzu_export.tasks.registry import find_task

DRAW_ABOVE = 0.3
"""Lowest score drawn by default: a metric needs unlikely detections too, a viewer does not."""

Writer = Callable[[TimedFrame, Frame], None]
"""Function that writes the picture of a frame."""
Predicted = tuple[TimedFrame, Camera | None, Any, float, int]
"""A frame, its camera, its prediction, seconds spent, and the frame's index in its batch."""


def apply(
    bundle: Path,
    source: str | Path,
    out: Path,
    *,
    show_warp: bool,
    report: Reporter,
    draw_above: float = DRAW_ABOVE,
    cameras: Cameras | None = None,
    most: int | None = None,
    seconds: float | None = None,
    formats: Sequence[str] = ("json",),
    engine: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Predict in every frame of `source`, writing pictures and results into `out`.

    Images keep their names; a video or a camera becomes NAME.mp4. For boxes, results.json is a COCO
    results list; for boxes in space it holds boxes in metres; for segmentation it holds the shares
    of the classes, and the label maps are in the folder `labels`. coco.json is a COCO data set of
    boxes in the frame, with scores. results.csv has a row for every box, or for every class in a
    frame. Image ids number the frames from 1 in the order read; images.json gives their names,
    sizes, times in seconds and the categories. run.html shows the pictures, or an animated preview
    of the video.
    Pictures show detections whose score is at least `draw_above`; the results hold all. Nothing is
    written where an image, or the first frame of a video or a camera, is refused. Where a video or
    a camera ends early, changes the size of its frames, or has a frame on which the engine fails,
    the results up to that frame are written.

    Args:
        bundle: folder that export made.
        source: image, folder of images, video, or a camera, see `live_camera.parse_live`.
        out: folder to write into.
        show_warp: draw the sampling grid, and the zoomed image beside it.
        report: receiver of progress and remarks.
        draw_above: lowest score that is drawn.
        cameras: calibration of the cameras, for boxes in space.
        most: number of frames after which the run ends.
        seconds: time after which the run ends, by the frames' own times.
        formats: formats of the results: `json`, `coco` and `csv`.
        engine: further arguments of `load`, such as the precision, a score threshold, or the pixel
            format of a pipeline's frames; all other sources give BGR.

    Returns:
        Values by key: the number of `frames`; the number of results, by their name, such as
        detections; `milliseconds` from frame to prediction, on average; `out`; and, where frames
        are missing, `incomplete`, a sentence.

    Raises:
        LzuError: the bundle, source, a frame or its camera is unfit, the results have no form of
            that format, or `out` cannot be written.
    """
    _check_source_format(source, check_pixel_format(engine.get("pixel_format", "bgr")))
    with ExitStack() as stack:
        predictor = stack.enter_context(load(bundle, **engine))
        check_cameras(predictor, cameras)
        if predictor.is_stateful:
            check_single_stream(predictor.recipe.batch, str(source))
        origin = _origin(source)
        opened = stack.enter_context(closing(open_source(source)))
        if seconds is not None and opened.rate is None:
            raise LzuError("--seconds is for videos and cameras; limit images by --frames")
        _spare(opened, origin, out)
        before = written_before(out)
        with (
            _staged(out) as folder,
            _stopped_by_signal(opened),
            report.steps("predicting", _expected(opened, most)) as advance,
        ):
            recipe = predictor.recipe
            presenter = find_task(recipe.task).presenter(recipe, folder, draw_above)
            check_formats(formats, presenter, recipe.task)
            taken = _in_bgr(_limited(opened, most, seconds), predictor.pixel_format)
            predicted = partial(_predict, predictor, cameras=cameras, source=source)
            shown = predictor if show_warp else None
            done = _present(opened, taken, predicted, presenter, folder, shown, advance)
            about = _about(done.images, origin, recipe.classes)
            write_results(folder, presenter, about, formats)
            _write_page(folder, bundle, opened, about, done, done.counts(presenter, out))
        remove_stale(out, before, formats)
        for remark in (*opened.notes(), *done.remarks):
            report.note(remark)
    return done.counts(presenter, out)


class _Done(NamedTuple):
    """Summary of the frames that were predicted."""

    images: list[dict[str, Any]]
    seconds: float
    """Time from frames to predictions, of all frames together."""
    problem: str | None
    """Reason why frames are missing."""
    remarks: list[str]
    film: Film
    """Some pictures of a video; empty for images."""

    def counts(self, presenter: Presenter, out: Path) -> dict[str, Any]:
        """Return what `apply` returns."""
        found = {
            "frames": len(self.images),
            presenter.what: presenter.count,
            "milliseconds": 1e3 * self.seconds / max(len(self.images), 1),
            "out": str(out),
        }
        return found if self.problem is None else {**found, "incomplete": self.problem}


def _present(
    opened: Source,
    taken: Iterator[TimedFrame],
    predict: Callable[[Iterator[TimedFrame]], Iterator[Predicted]],
    presenter: Presenter,
    folder: Path,
    warped: Predictor | None,
    advance: Callable[[], None],
) -> _Done:
    """Predict in every frame and write its picture, beside it the warp of `warped`."""
    images: list[dict[str, Any]] = []
    ended: list[str] = []
    remarks: list[str] = []
    total = 0.0
    film = Film()
    if opened.rate is None:
        predicted = predict(taken)
    else:
        predicted = _up_to_error(opened, predict(_of_one_size(opened, taken, ended)), ended)
    with _writer(folder, opened, remarks) as write:
        for each, camera, prediction, spent, index in predicted:
            number = len(images) + 1
            images.append(_image(number, each))
            presenter.add(number, each.name, prediction, camera)
            picture = presenter.picture(each.frame, prediction, camera)
            if warped is not None:
                picture = draw_warp(warped, each.frame, picture, index)
            write(each, picture)
            if opened.rate is not None:
                film.add(picture)
            total += spent
            advance()
        problem = ended[0] if ended else opened.problem()
    return _Done(images, total, problem, remarks, film)


def _write_page(
    folder: Path,
    bundle: Path,
    opened: Source,
    about: Mapping[str, Any],
    done: _Done,
    counts: dict[str, Any],
) -> None:
    """Write the page that shows the pictures and links the results in the folder."""
    still = opened.rate is None
    page = run_page(
        bundle=Path(bundle).absolute().name,
        source=about["source"],
        counts=counts,
        names=[_picture_name(each["file_name"]) for each in done.images] if still else [],
        video=None if still else f"{opened.stem}.mp4",
        film=done.film,
        results=sorted(each.name for each in folder.iterdir() if each.suffix in (".json", ".csv")),
    )
    write_bytes(folder / PAGE_FILE, page.encode())


def _about(images: list[dict[str, Any]], source: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return what the results are about, the content of images.json."""
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    return {"images": images, "categories": categories, "source": source}


def _image(number: int, each: TimedFrame) -> dict[str, Any]:
    """Describe a frame as COCO does, and add its time."""
    height, width = each.frame.shape[:2]
    entry = {"id": number, "file_name": each.name, "height": height, "width": width}
    return entry if each.time is None else {**entry, "time": round(each.time, 6)}


def _limited(opened: Source, most: int | None, seconds: float | None) -> Iterator[TimedFrame]:
    """Yield the source's frames up to a number of frames and a time."""
    for number, each in enumerate(opened, start=1):
        if seconds is not None and (each.time or 0.0) >= seconds:
            opened.stop()
            return
        yield each
        if number == most:
            opened.stop()
            return


def _check_source_format(source: str | Path, pixel_format: PixelFormat) -> None:
    """Refuse a pixel format for a source whose frames are decoded to BGR."""
    live = parse_live(source) if isinstance(source, str) else None
    if pixel_format != "bgr" and (live is None or live.kind != "pipeline"):
        raise LzuError(
            f"pixel format {pixel_format} is for pipelines (gst:...), whose caps it has to match; "
            f"frames of {source if live is None else live.shown} are read as bgr, so leave it out"
        )


def _in_bgr(taken: Iterator[TimedFrame], pixel_format: PixelFormat) -> Iterator[TimedFrame]:
    """Yield frames in BGR, to be drawn on, beside those that the predictor takes."""
    if pixel_format == "bgr":
        yield from taken
        return
    for each in taken:
        raw = check_pixels(each.frame, pixel_format, None, each.name)
        yield each._replace(frame=to_bgr(raw, pixel_format), raw=raw)


def _of_one_size(
    opened: Source, taken: Iterator[TimedFrame], ended: list[str]
) -> Iterator[TimedFrame]:
    """Yield frames while they have the first one's size; then put a sentence into `ended`."""
    first: TimedFrame | None = None
    for each in taken:
        first = first or each
        size, before = each.frame.shape[:2], first.frame.shape[:2]
        if size != before:
            opened.stop()
            ended.append(
                f"{each.name} is {size[0]}x{size[1]} where the frames before it are "
                f"{before[0]}x{before[1]}, so the run ended there; its results are written, run "
                "again from there for the rest"
            )
            return
        yield each


def _up_to_error(
    opened: Source, predicted: Iterator[Predicted], ended: list[str]
) -> Iterator[Predicted]:
    """Yield predictions until a frame after the first is refused; put the reason into `ended`."""
    number = 0
    while True:
        try:
            found = next(predicted, None)
        except LzuError as error:
            if not number:
                raise
            opened.stop()
            ended.append(f"the run ended after {number} frames, whose results are written: {error}")
            return
        if found is None:
            return
        number += 1
        yield found


def _expected(opened: Source, most: int | None) -> int | None:
    known = [each for each in (opened.count, most) if each is not None]
    return min(known, default=None)


@contextmanager
def _stopped_by_signal(opened: Source) -> Iterator[None]:
    """Let an interrupt or a request to terminate end a camera's run with its results written.

    A second signal has its usual effect.
    """
    if not opened.live or threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.getsignal(each) for each in signals}

    def stop(_number: int, _frame: Any) -> None:
        opened.stop()
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in signals:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _predict(
    predictor: Predictor,
    reader: Iterator[TimedFrame],
    cameras: Cameras | None,
    source: str | Path = "",
) -> Iterator[Predicted]:
    """Yield each frame with its camera, prediction, seconds and index in its batch."""
    size = predictor.recipe.batch
    while group := list(islice(reader, size)):
        taken = [
            None if cameras is None else cameras.checked(each.name, each.frame.shape, source)
            for each in group
        ]
        batch = []
        for each, camera in zip(group, taken, strict=True):
            check_frame(
                each.frame, predictor.recipe.source if predictor.fit == "exact" else None, each.name
            )
            raw = each.frame if each.raw is None else each.raw
            batch.append(CameraFrame(raw, None if camera is None else camera.cam2img))
        batch += batch[-1:] * (size - len(batch))
        start = time.perf_counter()
        found = predictor.run(batch)
        seconds = (time.perf_counter() - start) / len(group)
        for i, (each, camera, prediction) in enumerate(zip(group, taken, found, strict=False)):
            yield each, camera, prediction, seconds, i


def _origin(source: str | Path) -> str:
    """Return the source's name for images.json: a folder of images, a video, or a camera."""
    live = parse_live(source) if isinstance(source, str) else None
    if live is not None:
        return live.shown
    path = Path(source).absolute()
    is_file = path.suffix.lower() in VIDEOS or path.is_dir()
    return os.fspath(path if is_file else path.parent)


def _spare(opened: Source, origin: str, out: Path) -> None:
    """Refuse to write over the source's own files, or over pictures of another source."""
    folder = Path(origin) if Path(origin).is_dir() else Path(origin).parent
    if Path(origin).is_absolute() and folder.resolve() == out.resolve():
        raise LzuError(f"{out} holds the frames themselves; give --out another folder")
    try:
        before = read_json(out / IMAGES_FILE)["source"]
    except (LzuError, LookupError, TypeError):
        return  # no results of ours
    if before == origin:
        return
    for name in _pictures(opened):
        if (out / name).exists():
            raise LzuError(
                f"{out} holds the results of {before}, whose {name} would be replaced; give --out "
                "another folder"
            )


def _pictures(opened: Source) -> list[str]:
    """Return the names of the picture files that a source will be written to."""
    if isinstance(opened, ImageSource):
        return [_picture_name(each.name) for each in opened.images]
    return [f"{opened.stem}.mp4"]


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a folder whose files move into `out` at the end; an error removes them."""
    new = not out.exists()
    staging = out / ".partial"
    if (out / MANIFEST_FILE).exists():
        raise LzuError(f"{out} is a bundle, which stays as it was verified; give --out another")
    try:
        with readable_os_errors(f"the folder {out}"):
            clear(staging)  # a run that was killed may have left files
            staging.mkdir(parents=True)
        yield staging
        with readable_os_errors(f"the folder {out}"):
            for path in sorted(each for each in staging.rglob("*") if each.is_file()):
                target = out / path.relative_to(staging)
                make_folder(target.parent, below=out)
                path.replace(target)
            shutil.rmtree(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if new:
            with suppress(OSError):
                out.rmdir()
        raise


@contextmanager
def _writer(folder: Path, opened: Source, remarks: list[str]) -> Iterator[Writer]:
    """Give a function that writes pictures; the block's end adds its remarks to `remarks`."""
    if opened.rate is None:
        yield lambda each, picture: write_picture(folder / _picture_name(each.name), picture)
        return
    with video_writer(folder / f"{opened.stem}.mp4", opened.rate, hold=opened.live) as writer:
        yield lambda each, picture: writer.write(picture, each.time or 0.0)
    if (remark := writer.note()) is not None:
        remarks.append(remark)


def _picture_name(name: str) -> str:
    """Return the frame's name, with a suffix added where its own format cannot be written."""
    return name if Path(name).suffix.lower() in IMAGES else f"{name}.png"


def write_picture(path: Path, picture: Frame) -> None:
    """Write a picture in the format that its file name's suffix gives.

    Raises:
        LzuError: the format cannot hold the picture, or the file cannot be written.
    """
    write_bytes(path, encode_image(picture, path))
