"""Draw pictures of bundles for the page: predictions, the truth, and the warp on a frame."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lzu_benchmarks.report.schema import WarpPictures
from lzu_export.errors import readable_os_errors
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.rig import RigTruth
from lzu_export.evaluation.metrics.scorers import BoxTruth, SpaceTruth
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.preview.magnification_map import magnification_map
from lzu_export.recipes import Recipe
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.draw import canvas_grid, draw_grid, zoom
from lzu_export.runtime.draw3d import draw_detections_3d
from lzu_export.runtime.draw_boxes import draw_detections
from lzu_export.runtime.draw_labels import draw_labels
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support.files import replacing
from lzu_export.tasks.registry import find_task

LOWEST = 0.3
"""Lowest score of a drawn prediction."""
WIDEST = 960
"""Largest width of a picture in pixels; wider pictures are scaled down."""
QUALITY = 80
"""JPEG quality, 0 to 100."""


def draw_found(
    predictor: Predictor, camera_frame: CameraFrame, prediction: Any, folder: Path, name: str
) -> str:
    """Draw a prediction on its frame; return the picture's file.

    Raises:
        LzuError: the file cannot be written.
    """
    recipe = predictor.recipe
    presenter = find_task(recipe.task).presenter(recipe, folder, LOWEST)
    matrix = camera_frame.cam2img
    camera = Camera(np.asarray(matrix)) if matrix is not None else None
    return write_jpeg(folder, name, presenter.picture(camera_frame.frame, prediction, camera))


def draw_truth(recipe: Recipe, sample: Sample, folder: Path, name: str) -> str | None:
    """Draw the truth on its frame, where it is boxes or a label map; return the picture's file.

    Boxes in space are drawn from above, too, as predictions are.

    Raises:
        LzuError: the file cannot be written.
    """
    (frame, matrix), truth = sample.camera_frame, sample.truth
    if isinstance(truth, SpaceTruth | RigTruth) and truth.seen is not None and matrix is not None:
        drawn = draw_detections_3d(frame, *truth.seen, recipe.classes, matrix)
        return write_jpeg(folder, name, drawn)
    if isinstance(truth, BoxTruth):
        boxes = true_boxes(truth, recipe.classes)
        return write_jpeg(folder, name, draw_detections(frame, boxes, scored=False))
    if isinstance(truth, np.ndarray) and truth.shape == frame.shape[:2]:
        return write_jpeg(folder, name, draw_labels(frame, truth, recipe.classes))
    return None


def true_boxes(truth: BoxTruth, classes: tuple[str, ...]) -> Detections:
    """Return the objects of a frame that count, as detections of score 1."""
    found = [each for each in truth.annotations if not each.get("iscrowd", 0)]
    corners = np.array([each["bbox"] for each in found], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    labels = np.array([each["category_id"] - 1 for each in found], np.int32)
    return Detections(corners, np.ones(len(found), np.float32), labels, classes)


def draw_warp(predictor: Predictor, frame: Frame, folder: Path, name: str) -> WarpPictures:
    """Draw the warp of the last batch's first frame: grid, zoomed image and magnification.

    Raises:
        LzuError: a file cannot be written.
    """
    grid = canvas_grid(predictor, frame)
    place = predictor.place_of(frame.shape)
    height, width = (
        round(n / scale) for n, scale in zip(predictor.recipe.view, place.scale, strict=True)
    )
    found = magnification_map(frame, grid, (height, width))
    return WarpPictures(
        grid=write_jpeg(folder, f"{name}-grid", draw_grid(frame, grid)),
        zoomed=write_jpeg(folder, f"{name}-zoomed", zoom(predictor, frame)),
        magnification=write_jpeg(folder, f"{name}-map", found.picture),
        smallest=found.smallest,
        largest=found.largest,
        end=found.end,
    )


def write_jpeg(folder: Path, name: str, picture: Frame) -> str:
    """Write a picture, at most `WIDEST` wide, into the folder; return the file's name.

    Raises:
        LzuError: the file cannot be written.
    """
    factor = WIDEST / picture.shape[1]
    if factor < 1:
        size = (WIDEST, round(picture.shape[0] * factor))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    file = f"{name}.jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    with readable_os_errors(f"the pictures in {folder}"), replacing(folder / file) as new:
        new.write_bytes(encode_image(picture, folder / file, options))
    return file
