"""Render one frame of a sequence with all of its labels."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes.backdrop import paint_backdrop
from lzu_benchmarks.scenes.camera import Camera
from lzu_benchmarks.scenes.categories import CLASSES
from lzu_benchmarks.scenes.draw import paint_mesh
from lzu_benchmarks.scenes.world import REACH, STEP, Actor, Sequence

MIN_VISIBLE = 0.3  # share of an object's pixels in the image that must be seen
MIN_HEIGHT = 8.0  # pixels
MIN_AREA = 64.0  # square pixels
_NOISE = (
    np.random.Generator(np.random.PCG64(21)).normal(0, 16, (512, 1024, 3)).round().astype(np.int16)
)


@dataclass(frozen=True)
class Frame:
    """A rendered image and the ground truth of its n objects; all float arrays are float64.

    Attributes:
        image: (H, W, 3) uint8, BGR as in OpenCV.
        boxes: (n, 4) x1, y1, x2, y2 in pixel edges, around the object's part inside the image,
            including parts hidden by other objects.
        classes: (n,) int64, index into `CLASSES`.
        tracks: (n,) int64, identity within the sequence.
        visibility: (n,) share of the object's pixels inside the image that no nearer object hides.
        ignore: (n,) bool, whether the object is less than 30 % visible, lower than 8 px, or smaller
            than 64 px^2. Objects that are not visible at all are not listed.
        boxes3d: (n, 7) centre x, y, z in camera axes, length, height, width (metres), yaw:
            rotation about the camera's y axis, 0 for a heading along +x and -pi/2 for one along +z
            (KITTI's rotation_y).
        intrinsics: (3, 3) camera matrix.
        surfaces: (H, W) int16 row of `table` that each pixel shows.
        table: (s, 5) label and plane (normal, offset) of each surface in camera axes.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    tracks: NDArray[np.int64]
    visibility: NDArray[np.float64]
    ignore: NDArray[np.bool_]
    boxes3d: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    surfaces: NDArray[np.int16]
    table: NDArray[np.float64]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 class map, index into `categories.LABELS`."""
        return self.table[:, 0].astype(np.uint8)[self.surfaces]

    @property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) float32 z in metres: exact for ground and facades, of the centre for objects."""
        height, width = self.surfaces.shape
        x = (np.arange(width) + 0.5 - self.intrinsics[0, 2]) / self.intrinsics[0, 0]
        y = (np.arange(height) + 0.5 - self.intrinsics[1, 2]) / self.intrinsics[1, 1]
        plane = self.table[:, 1:][self.surfaces]
        slope = plane[..., 0] * x + plane[..., 1] * y[:, None] + plane[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = plane[..., 3] / slope
        return np.where((depth > 0) & (depth < 1000), depth, 1000).astype(np.float32)


def render(sequence: Sequence, index: int) -> Frame:
    """Draw frame `index` of a sequence. Equal arguments give equal bytes."""
    frame = paint(sequence, index)
    return replace(frame, image=add_noise(frame.image, (sequence.seed, index), grain(sequence)))


def paint(sequence: Sequence, index: int) -> Frame:
    """Draw frame `index` of a sequence without sensor noise."""
    camera = sequence.camera(index)
    time = index * STEP
    placed = _in_view(sequence, camera, time)
    canvas, table = paint_backdrop(sequence, camera, placed)
    found: list[tuple[Actor, NDArray[np.float64], NDArray[np.float64], int, int]] = []
    for actor, position in placed:
        z = float(camera.to_camera(position)[2])
        surface = table.add(actor.label, np.array([0.0, 0.0, 1.0]), z)
        yaw = actor.yaw
        swing = actor.swing(time)
        if actor.item.billboard:
            towards = position - camera.position
            yaw = float(np.arctan2(towards[0], towards[2]))
            # A step is fully visible from the side and hardly visible from behind.
            swing *= 0.3 + 0.7 * abs(float(np.sin(actor.yaw - yaw)))
        drawn = paint_mesh(
            canvas,
            camera,
            sequence.light,
            actor.item.mesh,
            position=position,
            yaw=yaw,
            swing=swing,
            surface=surface,
        )
        if drawn is not None and actor.track >= 0:
            found.append((actor, position, drawn[0], drawn[1], surface))
    image = np.ascontiguousarray(canvas.image[..., :3])
    return _frame(image, canvas.surfaces, np.array(table.rows), camera, found)


def grain(sequence: Sequence) -> int:
    """Return the strength of the sensor noise, which is the same in a whole sequence."""
    return round(sequence.light.noise * 16)


def add_noise(image: NDArray[np.uint8], key: tuple[int, int], grain: int) -> NDArray[np.uint8]:
    """Add sensor noise that differs for every key (seed of the sequence, index)."""
    height, width = image.shape[:2]
    draw = np.random.Generator(np.random.PCG64(list(key)))
    top, left = (int(v) for v in draw.integers(0, (512 - height, 1024 - width)))
    noise = _NOISE[top : top + height, left : left + width]
    return np.clip(image + ((noise * grain) >> 8), 0, 255).astype(np.uint8)


def _in_view(
    sequence: Sequence, camera: Camera, time: float
) -> list[tuple[Actor, NDArray[np.float64]]]:
    """Return the actors in view with their positions, far to near."""
    actors = sequence.actors
    positions = np.stack([a.position(time) for a in actors])
    seen = camera.to_camera(positions)
    radius = np.array([max(a.item.dimensions[0], a.item.dimensions[2]) / 2 + 2.2 for a in actors])
    slope = camera.size[1] / 2 / camera.focal
    inside = (seen[:, 2] > 0.3) & (seen[:, 2] < REACH)
    inside &= np.abs(seen[:, 0]) - radius < (seen[:, 2] + radius) * slope
    inside &= np.abs(positions[:, 0]) < sequence.street.facade + 0.5
    order = np.argsort(-seen[:, 2], kind="stable")
    return [(actors[i], positions[i]) for i in order if inside[i]]


def _frame(
    image: NDArray[np.uint8],
    surfaces: NDArray[np.int16],
    table: NDArray[np.float64],
    camera: Camera,
    found: list[tuple[Actor, NDArray[np.float64], NDArray[np.float64], int, int]],
) -> Frame:
    height, width = camera.size
    shown = np.bincount(surfaces.ravel(), minlength=len(table))
    listed = [f for f in found if shown[f[4]] > 0]
    n = len(listed)
    boxes = np.array([f[2] for f in listed]).reshape(n, 4)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    visibility = np.array([shown[f[4]] / f[3] for f in listed]).reshape(n)
    sides = boxes[:, 2:] - boxes[:, :2]
    ignore = (
        (visibility < MIN_VISIBLE) | (sides[:, 1] < MIN_HEIGHT) | (sides.prod(axis=1) < MIN_AREA)
    )
    boxes3d = np.zeros((n, 7))
    for row, (actor, position, *_) in zip(boxes3d, listed, strict=True):
        item = actor.item
        row[:3] = camera.to_camera(position - [0, item.bottom + item.dimensions[1] / 2, 0])
        row[3:6] = item.dimensions
        turned = actor.yaw - camera.yaw - np.pi / 2
        row[6] = (turned + np.pi) % (2 * np.pi) - np.pi
    classes = np.array([f[0].label for f in listed], dtype=np.int64)
    assert n == 0 or classes.max() < len(CLASSES)
    return Frame(
        image=image,
        boxes=boxes,
        classes=classes,
        tracks=np.array([f[0].track for f in listed], dtype=np.int64),
        visibility=visibility,
        ignore=ignore,
        boxes3d=boxes3d,
        intrinsics=camera.intrinsics,
        surfaces=surfaces,
        table=table,
    )
