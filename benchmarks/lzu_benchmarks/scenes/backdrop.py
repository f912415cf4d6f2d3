"""Draw the backdrop of every object: sky, ground and two rows of buildings.

Objects stay between the facades, so the backdrop never hides one and is painted first.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes.camera import Camera
from lzu_benchmarks.scenes.categories import BUILDING, ROAD, SIDEWALK, SKY
from lzu_benchmarks.scenes.draw import SHIFT, Canvas, lit, project_polygons
from lzu_benchmarks.scenes.world import LANE, REACH, Actor, Building, Sequence

SCALE = 2  # supersampling of the backdrop
BANDS = (
    -4.0,
    3.0,
    6.0,
    10.0,
    16.0,
    25.0,
    40.0,
    64.0,
    100.0,
    48.0 + REACH,
)  # depth steps of the haze
FAR = 1000.0  # metres: depth of the sky
UP = np.array([[0.0, -1.0, 0.0]])
_GRAIN = np.random.Generator(np.random.PCG64(20)).integers(-128, 128, (256, 256)).astype(np.int8)


class SurfaceTable:
    """Label and plane (normal . point = offset, camera axes) of every painted surface."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []

    def add(self, label: int, normal: NDArray[np.float64], offset: float) -> int:
        """Add a surface and return its number."""
        self.rows.append((float(label), *normal.tolist(), float(offset)))
        return len(self.rows) - 1


def paint_backdrop(
    sequence: Sequence, camera: Camera, actors: list[tuple[Actor, NDArray[np.float64]]]
) -> tuple[Canvas, SurfaceTable]:
    """Paint a new canvas with sky, ground, buildings and the shadows of actors at their positions.

    Returns:
        The canvas, and the table of its surfaces.
    """
    height, width = camera.size
    fine = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
    table = SurfaceTable()
    sky = table.add(SKY, np.array([0.0, 0.0, 1.0]), FAR)
    surfaces = np.full((height, width), sky, np.int16)
    _sky(fine, sequence, camera)
    _ground(fine, surfaces, table, sequence, camera)
    _shadows(fine, sequence, camera, actors)
    _buildings(fine, surfaces, table, sequence, camera)
    image = np.zeros((height, width, 4), np.uint8)
    image[..., :3] = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    _grain(image, camera)
    return Canvas(image, surfaces), table


def _sky(fine: NDArray[np.uint8], sequence: Sequence, camera: Camera) -> None:
    light = sequence.light
    rows = np.linspace(0, 1, fine.shape[0])
    share = np.clip(rows * camera.size[0] / max(camera.centre[1], 1), 0, 1)[:, None] ** 1.5
    column = (light.sky[0] * (1 - share) + light.sky[1] * share)[:, None].astype(np.uint8)
    cv2.resize(column, fine.shape[1::-1], dst=fine, interpolation=cv2.INTER_NEAREST)
    shift = -camera.yaw * camera.focal
    for u, v, w, h in sequence.clouds:
        centre = (int(SCALE * (u * 800 - 80 + shift)), int(SCALE * (10 + 90 * v)))
        colour = 0.55 * light.haze + 0.45 * fine[max(0, centre[1]), 0]
        for offset in (-0.6, 0.0, 0.5):
            axes = (int(SCALE * (25 + 45 * w)), int(SCALE * (4 + 7 * h)))
            at = (centre[0] + int(offset * axes[0]), centre[1] - int(SCALE * 5 * (offset == 0)))
            cv2.ellipse(fine, at, axes, 0, 0, 360, colour.tolist(), -1)
    horizon = int(SCALE * camera.centre[1])
    distant = light.haze * 0.86 + 0.14 * light.gain * 90
    for i, (u, v, w, _) in enumerate(sequence.clouds):
        x = int(SCALE * (u * 700 - 60 + shift))
        size = (int(SCALE * (30 + 60 * w)), int(SCALE * (6 + 16 * v)))
        colour = distant * (0.96 + 0.02 * (i % 3))
        cv2.rectangle(fine, (x, horizon - size[1]), (x + size[0], horizon), colour.tolist(), -1)


def _strip(x0: float, x1: float, z0: float, z1: float) -> NDArray[np.float64]:
    return np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]], dtype=np.float64)


def _ground(  # noqa: PLR0912  one branch for each kind of marking
    fine: NDArray[np.uint8],
    surfaces: NDArray[np.int16],
    table: SurfaceTable,
    sequence: Sequence,
    camera: Camera,
) -> None:
    street = sequence.street
    normal, depth = np.array([0.0, 1.0, 0.0]), -float(camera.position[1])
    pavement, road = table.add(SIDEWALK, normal, depth), table.add(ROAD, normal, depth)
    start = float(camera.position[2])
    asphalt, stone, kerb, paint = (92, 90, 88), (138, 146, 150), (172, 178, 180), (226, 230, 232)
    quads: list[NDArray[np.float64]] = []
    colours: list[tuple[int, int, int]] = []

    def add(x0: float, x1: float, z0: float, z1: float, colour: tuple[int, int, int]) -> None:
        quads.append(_strip(x0, x1, z0, z1))
        colours.append(colour)

    edges = [start + b for b in BANDS]
    for z0, z1 in pairwise(edges):
        add(-60, 60, z0, z1, stone)
    for z0, z1 in pairwise(edges):
        add(-street.half - 0.18, street.half + 0.18, z0, z1, kerb)
        add(-street.half, street.half, z0, z1, asphalt)
    at = street.crossing
    if at is not None:
        add(-60, 60, at - 4.5, at + 4.5, asphalt)
        for x in np.arange(-street.half + 0.4, street.half - 0.4, 1.0):
            add(x, x + 0.5, at - 9.5, at - 6.5, paint)
    for lane in range(1 - street.lanes, street.lanes):
        x = lane * LANE
        first = np.floor((start - 4) / 7.0) * 7.0
        for z in np.arange(first, start + 120, 7.0):
            length = 7.0 if lane == 0 and street.lanes > 1 else 3.0
            if at is None or not at - 12 < z < at + 5:
                add(x - 0.08, x + 0.08, z, z + length, paint)
    for x in (-street.lanes * LANE, street.lanes * LANE):  # cycle lanes
        for z in np.arange(np.floor(start / 6.0) * 6.0, start + 90, 6.0):
            if at is None or not at - 12 < z < at + 5:
                add(x - 0.05, x + 0.05, z, z + 4.5, paint)
    for z in np.arange(np.floor((start - 4) / 3.0) * 3.0, start + 36, 3.0):
        for side in (-1, 1):
            x0, x1 = sorted((side * (street.half + 0.2), side * street.facade))
            add(x0, x1, z, z + 0.06, (120, 128, 132))
    polygons = np.stack(quads)
    middle = np.abs(camera.to_camera(polygons.mean(axis=1))[:, 2])
    tints = lit(sequence.light, np.array(colours, np.float64), np.repeat(UP, len(quads), 0), middle)
    outlines = project_polygons(camera, polygons, SCALE)
    for outline, colour in zip(outlines, tints.tolist(), strict=True):
        if outline is not None:
            cv2.fillConvexPoly(fine, outline, colour, shift=SHIFT)
    flat = [
        _strip(-60, 60, start - 4, start + 800),
        _strip(-street.half, street.half, start - 4, start + 800),
    ]
    numbers = [pavement, road]
    if at is not None:
        flat.append(_strip(-60, 60, at - 4.5, at + 4.5))
        numbers.append(road)
    for number, outline in zip(numbers, project_polygons(camera, np.stack(flat), 1), strict=True):
        if outline is not None:
            cv2.fillConvexPoly(surfaces, outline, number, shift=SHIFT)


def _shadows(
    fine: NDArray[np.uint8],
    sequence: Sequence,
    camera: Camera,
    actors: list[tuple[Actor, NDArray[np.float64]]],
) -> None:
    quads, colours, depths = [], [], []
    for actor, position in actors:
        length, _, width = actor.item.dimensions
        if length * width < 0.2:
            continue
        side = np.array([np.cos(actor.yaw), 0, -np.sin(actor.yaw)])
        along = np.array([np.sin(actor.yaw), 0, np.cos(actor.yaw)])
        a, b = side * (width / 2 + 0.12), along * (length / 2 + 0.12)
        quads.append(
            np.stack([position - a - b, position + a - b, position + a + b, position - a + b])
        )
        road = abs(position[0]) < sequence.street.half
        colours.append((52.0, 50.0, 50.0) if road else (88.0, 92.0, 94.0))
        depths.append(max(0.0, float(camera.to_camera(position)[2])))
    if not quads:
        return
    tints = lit(sequence.light, np.array(colours), np.repeat(UP, len(quads), 0), np.array(depths))
    for outline, colour in zip(
        project_polygons(camera, np.stack(quads), SCALE), tints.tolist(), strict=True
    ):
        if outline is not None:
            cv2.fillConvexPoly(fine, outline, colour, shift=SHIFT)


def _windows(building: Building, near: bool) -> NDArray[np.float64]:
    """Return window quads (n, 4, 3) on the facade; far buildings get one band per storey."""
    z0, z1 = building.z
    storeys = np.arange(building.storeys)
    top = -(storeys + 1) * building.height / (building.storeys + 0.3) + 0.35
    low = top + 0.55 * building.height / (building.storeys + 0.3)
    if near:
        count = max(1, int((z1 - z0) / building.bay))
        left = z0 + (np.arange(count) + 0.22) * (z1 - z0) / count
        right = left + 0.56 * (z1 - z0) / count
    else:
        left, right = np.array([z0 + 0.5]), np.array([z1 - 0.5])
    y0, a = np.meshgrid(top, left, indexing="ij")
    y1, b = np.meshgrid(low, right, indexing="ij")
    x = np.full_like(a, building.x)
    corners = [np.stack([x, y, z], -1) for y, z in ((y0, a), (y0, b), (y1, b), (y1, a))]
    return np.stack(corners, axis=-2).reshape(-1, 4, 3)


def _buildings(
    fine: NDArray[np.uint8],
    surfaces: NDArray[np.int16],
    table: SurfaceTable,
    sequence: Sequence,
    camera: Camera,
) -> None:
    start = float(camera.position[2])
    axes = camera.to_camera(np.eye(3) + camera.position)  # rows: world axes in camera axes
    ordered = sorted(sequence.buildings, key=lambda b: -b.z[0])
    for building in ordered:
        z0, z1 = building.z
        if z1 < start + 1.5 or z0 > start + 48 + REACH:
            continue
        outwards = -np.sign(building.x)
        side = np.array([outwards, 0.0, 0.0])
        facing = np.array([0.0, 0.0, -1.0])
        x, roof = building.x, -building.height
        back = x - outwards * 14
        walls = np.array(
            [
                [[back, roof, z0], [x, roof, z0], [x, 0, z0], [back, 0, z0]],
                [[x, roof, z0], [x, roof, z1], [x, 0, z1], [x, 0, z0]],
                [[x, roof, z0], [x, roof, z1], [x, roof + 0.5, z1], [x, roof + 0.5, z0]],
                [[x, -0.9, z0], [x, -0.9, z1], [x, 0, z1], [x, 0, z0]],
            ],
            dtype=np.float64,
        )
        middle = max(2.0, (max(z0, start) + z1) / 2 - start)
        glass = _windows(building, near=z0 - start < 55)
        polygons = np.concatenate([walls, glass])
        wall = np.array(building.colour, np.float64)
        colours = np.concatenate(
            [
                np.stack([wall, wall, wall * 0.7, wall * 0.62]),
                np.repeat([building.glass], len(glass), 0),
            ]
        )
        normals = np.concatenate([facing[None], np.repeat(side[None], 3 + len(glass), 0)])
        lamps = np.zeros(len(colours), dtype=bool)
        if sequence.light.night:  # some rooms are lit, always the same ones
            lamps[4:] = (np.arange(len(glass)) * 7 + int(10 * z0)) % 5 == 0
            colours[lamps] = (90, 190, 235)
        depth = np.full(len(colours), middle)
        depth[0] = max(2.0, z0 - start)
        tints = lit(sequence.light, colours, normals, depth, lamps).tolist()
        for outline, colour in zip(project_polygons(camera, polygons, SCALE), tints, strict=True):
            if outline is not None:
                cv2.fillConvexPoly(fine, outline, colour, shift=SHIFT)
        for polygon, normal in ((walls[0], facing), (walls[1], side)):
            plane = normal @ axes
            offset = float(plane @ camera.to_camera(polygon[1]))
            (outline,) = project_polygons(camera, polygon[None], 1)
            if outline is not None:
                cv2.fillConvexPoly(
                    surfaces, outline, table.add(BUILDING, plane, offset), shift=SHIFT
                )


def _grain(image: NDArray[np.uint8], camera: Camera) -> None:
    """Add a texture to the ground that is fixed to the world and fades with distance."""
    height, width = camera.size
    cx, cy = camera.centre
    first = int(cy) + 14
    below = np.arange(first, height) + 0.5 - cy
    depth = -camera.position[1] * camera.focal / below
    rows = ((depth + camera.position[2]) * 14).astype(np.int32) & 255
    columns = ((np.arange(width) + 0.5 - cx) / camera.focal)[None] * (depth * 14)[:, None]
    columns = (columns + (camera.position[0] + 500) * 14).astype(np.int32) & 255
    grain = np.take(_GRAIN.ravel(), rows[:, None] * 256 + columns)
    strength = np.rint(18 * np.exp(-depth / 16)).astype(np.int16)[:, None]
    change = ((grain * strength) >> 7)[..., None]
    region = image[first:, :, :3]
    region[:] = np.clip(region + change, 0, 255).astype(np.uint8)
