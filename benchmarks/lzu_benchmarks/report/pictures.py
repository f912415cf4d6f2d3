"""Draw pictures of bundles for the page: the warp on a frame, and the predictions."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lzu_benchmarks.report.schema import Pictures
from lzu_export.errors import readable_os_errors
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.draw import show_warp
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support.files import replacing
from lzu_export.tasks.registry import find_task

LOWEST = 0.3
"""Lowest score of a drawn prediction."""
WIDEST = 960
"""Largest width of a picture in pixels; wider pictures are scaled down."""
QUALITY = 82
"""JPEG quality, 0 to 100."""


def draw_pictures(
    predictor: Predictor,
    batches: Sequence[Sequence[CameraFrame]],
    shown: Sequence[int],
    folder: Path,
    name: str,
) -> Pictures:
    """Run batches in order, and draw the first frame of some of them.

    Args:
        predictor: predictor of the bundle; its state is reset first.
        batches: consecutive batches, so that a warp that follows boxes has some.
        shown: indices of the batches to draw.
        folder: folder of the pictures.
        name: name of the bundle, which prefixes the file names.

    Raises:
        LzuError: a file cannot be written.
    """
    predictor.reset()
    recipe = predictor.recipe
    presenter = find_task(recipe.task).presenter(recipe, folder, LOWEST)
    warp: str | None = None
    found = []
    for i, batch in enumerate(batches[: max(shown, default=-1) + 1]):
        predictions = predictor.run(batch)
        if i not in shown:
            continue
        camera_frame = batch[0]
        camera = (
            Camera(np.asarray(camera_frame.cam2img)) if camera_frame.cam2img is not None else None
        )
        picture = presenter.picture(camera_frame.frame, predictions[0], camera)
        found.append(_write(folder, f"{name}-{i}", picture))
        if i == shown[0]:
            pair = show_warp(predictor, camera_frame.frame, camera_frame.frame)
            warp = _write(folder, f"{name}-warp", pair)
    return Pictures(warp=warp, found=tuple(found))


def _write(folder: Path, name: str, picture: Frame) -> str:
    factor = WIDEST / picture.shape[1]
    if factor < 1:
        size = (WIDEST, round(picture.shape[0] * factor))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    file = f"{name}.jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    with readable_os_errors(f"the pictures in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / file) as new:
            new.write_bytes(encode_image(picture, folder / file, options))
    return file
