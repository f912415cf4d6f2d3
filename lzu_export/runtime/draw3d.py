"""Draw boxes in space: projected on the frame, and from above."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.runtime import projection
from lzu_export.runtime.palette import Colour, distinct_colours
from lzu_export.runtime.postprocess3d import RigDetections, camera_footprints, ego_footprints
from lzu_export.runtime.projection import EDGES, camera_matrix, checked_boxes
from lzu_export.runtime.text import (
    Area,
    legend,
    legend_places,
    letters,
    name_box,
    place,
    text_size,
    unit_of,
)

Array = NDArray[np.float64]

GROUND: Colour = (45, 45, 45)
LINES: Colour = (85, 85, 85)
SCALE: Colour = (170, 170, 170)
VIEW: Colour = (70, 62, 52)
TRUTH: Colour = (255, 255, 255)
DASHED = "dashed: truth"
GRID = 10
"""Distance in metres between lines of the plan's grid."""
BITS = 4
"""Number of fractional bits in coordinates for OpenCV."""
FRONT_CROSS = ((0, 2), (1, 3))
"""Pairs of corners that the diagonals of the front face join."""


class Plan(NamedTuple):
    """Part of the ground that a picture from above shows, in metres to the right and ahead."""

    left: float
    right: float
    behind: float
    ahead: float


class View(NamedTuple):
    """Ground that a camera sees: its position and the directions of the view's left and right
    border.

    All are (right, ahead).
    """

    place: Array
    left: Array
    right: Array


AHEAD = Plan(-32.5, 32.5, -5, 60)
AROUND = Plan(-52.5, 52.5, -52.5, 52.5)
ACROSS = 3
"""Number of a rig's cameras in a row of its picture."""


def draw_detections_3d(
    frame: Frame,
    boxes: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    cam2img: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    plan: Plan = AHEAD,
) -> Frame:
    """Draw boxes on the frame, and beside it from above at the same height.

    See `draw_boxes_3d` and `birds_eye`.
    """
    picture = draw_boxes_3d(frame, boxes, labels, classes, cam2img, scores=scores, truth=truth)
    height, width = frame.shape[:2]
    seen = birds_eye(
        camera_plan(boxes),
        labels,
        classes,
        truth=None if truth is None else camera_plan(truth),
        views=[camera_view(cam2img, (height, width))],
        height=height,
        plan=plan,
    )
    gap = np.full((height, 4 * unit_of(frame), 3), 255, np.uint8)
    return np.hstack([picture, gap, seen])


def draw_rig(
    found: RigDetections,
    frames: Sequence[Frame],
    cam2img: Sequence[ArrayLike],
    cam2ego: Sequence[ArrayLike],
    *,
    lowest: float = 0.0,
) -> Frame:
    """Draw the boxes of a rig on the frames of its cameras, and beside them from above.

    See `RigDetections.draw`.

    Raises:
        LzuError: frames, matrices and poses differ in number, or the frames in size.
    """
    counts = {len(frames), len(cam2img), len(cam2ego)}
    if len(counts) != 1 or not frames:
        raise LzuError(
            f"the rig has {len(frames)} frames, {len(cam2img)} matrices and {len(cam2ego)} poses; "
            "give one of each per camera"
        )
    if len({np.shape(frame) for frame in frames}) > 1:
        raise LzuError("the frames of a rig differ in size; bring them and their matrices to one")
    shown = found.scores >= lowest
    pictures = []
    for i, (frame, matrix) in enumerate(zip(frames, cam2img, strict=True)):
        mine = shown & (found.cameras == i)
        boxes, labels, scores = found.boxes[mine], found.labels[mine], found.scores[mine]
        pictures.append(draw_boxes_3d(frame, boxes, labels, found.classes, matrix, scores=scores))
    columns = min(ACROSS, len(pictures))
    blank = np.full_like(pictures[0], 255)
    pictures += [blank] * (-len(pictures) % columns)
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    mosaic = np.vstack(rows)
    size = (frames[0].shape[0], frames[0].shape[1])
    seen = birds_eye(
        ego_plan(found.ego_boxes[shown]),
        found.labels[shown],
        found.classes,
        views=[camera_view(m, size, pose) for m, pose in zip(cam2img, cam2ego, strict=True)],
        height=mosaic.shape[0],
        plan=AROUND,
    )
    gap = np.full((mosaic.shape[0], 4 * unit_of(frames[0]), 3), 255, np.uint8)
    return np.hstack([mosaic, gap, seen])


def draw_boxes_3d(
    frame: Frame,
    boxes: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    cam2img: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    named: bool = True,
) -> Frame:
    """Draw the edges of boxes in the colours of their classes on a copy of the frame.

    The face in the direction of the heading is crossed. Far boxes are drawn first. The best boxes
    are named first, above or below; a name that would hide another is left out. A legend explains
    the colours. Parts nearer than `projection.NEAR` or outside of the image are cut off; boxes with
    a value that is not finite are not drawn.

    Args:
        frame: (H, W, 3) uint8, BGR.
        boxes: (n, 7 or 9) in the camera's frame, see `lzu_export.runtime.postprocess3d`.
        labels: (n,) indices into `classes`.
        classes: names of the classes.
        cam2img: matrix (3, 3), (3, 4) or (4, 4) from points to homogeneous pixels of the frame.
        scores: (n,) scores to write; without them boxes are named from near to far.
        truth: true boxes, in the same form, that are drawn below the others, thin and white.
        named: write names and the legend.

    Raises:
        LzuError: arrays do not fit together, a label has no class, or the matrix is invalid.
    """
    check_frame(frame, None, "the frame")
    box, label, score = _checked(boxes, labels, classes, scores)
    matrix = camera_matrix(cam2img)
    picture, unit = frame.copy(), unit_of(frame)
    if truth is not None:
        for row in checked_boxes(truth, "truth"):
            _edges(picture, row, matrix, TRUTH, max(1, unit // 2))
    palette = distinct_colours(len(classes))
    colours = [palette[i] for i in label.tolist()]
    for i in np.argsort(-box[:, 2], kind="stable").tolist():
        _edges(picture, box[i], matrix, colours[i], unit)
    if not named:
        return picture
    names = [each.replace("_", " ") for each in classes]
    present = [(names[i], palette[i]) for i in sorted(set(label.tolist()))]
    taken = _legend(picture, present, unit)
    order = np.argsort(box[:, 2] if score is None else -score, kind="stable")
    areas = projection.image_boxes(box, matrix, (frame.shape[0], frame.shape[1]))
    for i in order[np.isfinite(areas[order, 0])].tolist():
        text = names[label[i]] + ("" if score is None else f" {score[i]:.2f}")
        name_box(picture, text, np.rint(areas[i]).astype(int).tolist(), taken, colours[i], unit)
    return picture


def birds_eye(
    footprints: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    truth: ArrayLike | None = None,
    views: Sequence[View] = (),
    height: int = 720,
    plan: Plan = AHEAD,
) -> Frame:
    """Draw boxes from above, each with a line from the centre along the heading past the front.

    A grid shows the metres from the ego, which is a triangle at 0. Ground that cameras see is
    lighter.

    Args:
        footprints: (n, 5) centre (right, ahead), length, width and angle of the heading from the
            right towards ahead, see `camera_plan` and `ego_plan`.
        labels: (n,) indices into `classes`.
        classes: names of the classes.
        truth: true footprints, drawn dashed and white.
        views: views of the cameras.
        height: height of the picture in pixels; its width follows from the plan.
        plan: part of the ground that is shown.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        LzuError: arrays do not fit together or a label has no class.
    """
    shape = _footprints(footprints, "footprints")
    label = _checked_labels(labels, len(shape), classes)
    scale = height / (plan.ahead - plan.behind)
    width = max(1, round((plan.right - plan.left) * scale))
    picture = np.full((height, width, 3), GROUND, np.uint8)
    unit = unit_of(picture)

    def pixels(points: Array) -> Array:
        """Convert points (..., 2) to pixels, x right and y down."""
        found: Array = (points - [plan.left, plan.ahead]) * [scale, -scale] - 0.5
        return found

    reach = 4 * max(map(abs, plan))  # ends outside the picture; OpenCV cuts it off
    for view in views:
        wedge = view.place + reach * np.stack([np.zeros(2), view.left, view.right])
        cv2.fillConvexPoly(picture, _fixed(pixels(wedge)), VIEW, cv2.LINE_AA, BITS)
    _grid(picture, plan, scale, unit)
    mark = pixels(np.array([[-1.0, -1.5], [0, 1.5], [1, -1.5]]))
    cv2.fillConvexPoly(picture, _fixed(mark), (255, 255, 255), cv2.LINE_AA, BITS)
    near = (np.abs(shape) < reach).all(axis=1)  # false for NaN
    outlines, pointers = (pixels(each) for each in _shapes(shape[near]))
    palette = distinct_colours(len(classes))
    colours = [palette[i] for i in label[near].tolist()]
    filled = picture.copy()
    for outline, colour in zip(outlines, colours, strict=True):
        cv2.fillConvexPoly(filled, _fixed(outline), colour, cv2.LINE_AA, BITS)
    cv2.addWeighted(filled, 0.35, picture, 0.65, 0, dst=picture)
    for outline, pointer, colour in zip(outlines, pointers, colours, strict=True):
        _lines(picture, outline, pointer, colour, unit)
    if truth is not None:
        real = _footprints(truth, "truth")
        there = real[(np.abs(real) < reach).all(axis=1)]
        for outline, pointer in zip(*map(pixels, _shapes(there)), strict=True):
            _lines(picture, outline, pointer, TRUTH, unit, dash=3.0 * unit)
        area = place(picture, DASHED, (picture.shape[1], 14 * unit), unit)
        letters(picture, DASHED, area, TRUTH, unit)
    return picture


def camera_plan(boxes: ArrayLike) -> Array:
    """Return footprints (n, 5) for `birds_eye` of boxes in a camera's frame (n, 7 or more)."""
    return camera_footprints(checked_boxes(boxes))


def ego_plan(boxes: ArrayLike) -> Array:
    """Return footprints (n, 5) for `birds_eye` of boxes in the ego frame (n, 7 or more)."""
    found = ego_footprints(checked_boxes(boxes))
    # The ego's x points ahead and its y to the left.
    return np.column_stack([-found[:, 1], found[:, 0], found[:, 2:4], found[:, 4] + np.pi / 2])


def camera_view(
    cam2img: ArrayLike, size: tuple[int, int], cam2ego: ArrayLike | None = None
) -> View:
    """Compute the view of a camera from the rays through the image's left and right border.

    Args:
        cam2img: see `draw_boxes_3d`.
        size: (height, width) of the camera's image in pixels.
        cam2ego: (4, 4) pose of the camera, for a plan around the ego; None for a plan around the
            camera.
    """
    matrix = camera_matrix(cam2img)
    edge = np.array([[-0.5, 0, 1.0], [size[1] - 0.5, 0, 1.0]])
    rays = edge @ np.linalg.inv(matrix[:, :3]).T
    rays[:, 1] = 0
    if cam2ego is None:
        apex, along = np.zeros(2), rays[:, [0, 2]]
    else:
        pose = np.asarray(cam2ego, np.float64)
        turned = rays @ pose[:3, :3].T
        apex = np.array([-pose[1, 3], pose[0, 3]])
        along = np.stack([-turned[:, 1], turned[:, 0]], axis=1)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return View(apex, along[0], along[1])


def _edges(picture: Frame, box: Array, matrix: Array, colour: Colour, unit: int) -> None:
    """Draw the visible edges of a box (7 or more,); nothing if a value is not finite."""
    if not np.isfinite(box[:7]).all():
        return
    planes = projection.view_planes(matrix, (picture.shape[0], picture.shape[1]), margin=2 * unit)
    points = projection.corners(box[None])[0]
    pairs = np.array([*EDGES, *FRONT_CROSS])
    starts, ends, left = projection.clip_segments(points[pairs[:, 0]], points[pairs[:, 1]], planes)
    lines = _fixed(projection.project(np.stack([starts, ends], axis=1), matrix)[0][left])
    widths = np.where(np.arange(len(pairs)) < len(EDGES), unit, max(1, unit // 2))[left]
    for (start, end), thick in zip(lines.tolist(), widths.tolist(), strict=True):
        cv2.line(picture, start, end, colour, thick, cv2.LINE_AA, BITS)


def _legend(picture: Frame, entries: Sequence[tuple[str, Colour]], unit: int) -> list[Area]:
    """Draw a legend of the classes in the upper left corner; return the areas that it covers."""
    if not entries:
        return []
    texts = [text for text, _ in entries]
    areas, height = legend_places(texts, picture.shape[1], unit)
    width = max(area[2] for area in areas) + 2 * unit
    picture[:height, :width] = 255
    legend(picture, entries, 0, unit)
    return [(0, 0, width, height)]


def _grid(picture: Frame, plan: Plan, scale: float, unit: int) -> None:
    """Draw lines every GRID metres, with the metres ahead at the left and to the side below."""
    height, width = picture.shape[:2]
    for metres in range(GRID * int(np.ceil(plan.behind / GRID)), int(plan.ahead) + 1, GRID):
        y = round((plan.ahead - metres) * scale)
        cv2.line(picture, (0, y), (width, y), LINES, unit)
        text = f"{metres} m"
        letters(picture, text, place(picture, text, (unit, y), unit), SCALE, unit)
    for metres in range(GRID * int(np.ceil(plan.left / GRID)), int(plan.right) + 1, GRID):
        x = round((metres - plan.left) * scale)
        cv2.line(picture, (x, 0), (x, height), LINES, unit)
        if metres:
            text = f"{metres}"
            corner = (x - text_size(text, unit)[0] // 2, height)
            letters(picture, text, place(picture, text, corner, unit), SCALE, unit)


def _shapes(rows: Array) -> tuple[Array, Array]:
    """Return outlines (n, 4, 2) of footprints (n, 5), front first, and heading lines (n, 2, 2)."""
    heading = np.stack([np.cos(rows[:, 4]), np.sin(rows[:, 4])], axis=1)
    side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
    centre, length, width = rows[:, :2], rows[:, 2:3], rows[:, 3:4]
    ahead, across = length / 2 * heading, width / 2 * side
    corner = [ahead + across, ahead - across, -ahead - across, -ahead + across]
    outlines = centre[:, None] + np.stack(corner, axis=1)
    tip = centre + ahead + np.clip(length / 2, 1, 2) * heading
    return outlines, np.stack([centre, tip], axis=1)


def _lines(
    picture: Frame, outline: Array, pointer: Array, colour: Colour, unit: int, dash: float = 0
) -> None:
    """Draw an outline (4, 2) and a pointer (2, 2), with dashes of `dash` pixels unless it is 0."""
    ends = [np.stack(each) for each in zip(outline, np.roll(outline, -1, axis=0), strict=True)]
    for line in (*ends, pointer):
        for piece in _dashes(line, dash) if dash else [line]:
            first, last = _fixed(piece).tolist()
            cv2.line(picture, first, last, colour, unit, cv2.LINE_AA, BITS)


def _dashes(line: Array, dash: float) -> list[Array]:
    """Return every other piece, of about `dash` pixels, of a line (2, 2), both ends included."""
    pieces = 2 * int(np.linalg.norm(line[1] - line[0]) / (2 * dash)) + 1
    points = line[0] + np.linspace(0, 1, pieces + 1)[:, None] * (line[1] - line[0])
    return [points[i : i + 2] for i in range(0, pieces, 2)]


def _fixed(points: Array) -> NDArray[np.int32]:
    """Convert pixels to OpenCV's fixed-point form with BITS fractional bits."""
    return np.asarray(np.rint(points * 2**BITS), np.int32)


def _footprints(rows: ArrayLike, what: str) -> Array:
    array = np.asarray(rows, np.float64)
    if not array.size:
        return np.empty((0, 5))
    if array.ndim != 2 or array.shape[1] != 5:
        raise LzuError(f"{what} have shape {array.shape}; give (n, 5), see camera_plan")
    return array


def _checked(
    boxes: ArrayLike, labels: ArrayLike, classes: Sequence[str], scores: ArrayLike | None
) -> tuple[Array, NDArray[np.int64], Array | None]:
    """Check boxes, labels and scores, and return those of boxes with finite values."""
    box = checked_boxes(boxes)
    label = _checked_labels(labels, len(box), classes)
    score = None if scores is None else np.asarray(scores, np.float64).reshape(-1)
    if score is not None and len(score) != len(box):
        raise LzuError(f"{len(box)} boxes have {len(score)} scores; give one a box")
    sound = np.isfinite(box[:, :7]).all(axis=1)
    return box[sound], label[sound], None if score is None else score[sound]


def _checked_labels(labels: ArrayLike, count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    label = np.asarray(labels, np.int64).reshape(-1)
    if len(label) != count:
        raise LzuError(f"{count} boxes have {len(label)} labels; give one a box")
    if count and not 0 <= label.min() <= label.max() < len(classes):
        raise LzuError(
            f"boxes have labels {label.min()} to {label.max()} for {len(classes)} classes; name "
            "every class"
        )
    return label
