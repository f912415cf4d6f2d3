"""Rasterise convex polygons: draw them supersampled with integer coordinates, then average.

The image and a map of surface numbers are painted together, far to near; labels, depth and
visibility are look-ups in that map. Only integer drawing is used (sub-pixel shift bits, no library
antialiasing).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes.camera import NEAR, Camera, clip_image, clip_near, rotation
from lzu_benchmarks.scenes.mesh import Mesh
from lzu_benchmarks.scenes.world import Light

SHIFT = 4  # fractional bits of polygon coordinates
LIMIT = 1 << 24  # keeps far-outside coordinates inside 32 bits
COVERED = 127  # a pixel belongs to a surface that covers at least half of it


@dataclass
class Canvas:
    """Image (H, W, 4) uint8, BGR and a scratch channel, and its map (H, W) int16 of surfaces."""

    image: NDArray[np.uint8]
    surfaces: NDArray[np.int16]


def fixed_point(pixels: NDArray[np.float64], scale: int) -> NDArray[np.int32]:
    """Convert image coordinates (pixel edges) to OpenCV's fixed point, `scale` times finer."""
    unit = 1 << SHIFT
    return np.rint(pixels * (scale * unit) - unit / 2).clip(-LIMIT, LIMIT).astype(np.int32)


def project_polygons(
    camera: Camera, polygons: NDArray[np.float64], scale: int
) -> list[NDArray[np.int32] | None]:
    """Project world polygons (n, k, 3) to clipped fixed-point outlines; None if behind."""
    points = camera.to_camera(polygons)
    near = points[..., 2] < NEAR
    safe = points.copy()
    safe[..., 2] = np.maximum(safe[..., 2], NEAR)
    outlines: list[NDArray[np.int32] | None] = list(fixed_point(camera.project(safe), scale))
    for i in np.flatnonzero(near.any(axis=1)):
        clipped = clip_near(points[i])
        outlines[i] = fixed_point(camera.project(clipped), scale) if len(clipped) > 2 else None
    return outlines


def lit(
    light: Light,
    colours: NDArray[np.float64],
    normals: NDArray[np.float64],
    depth: NDArray[np.float64] | float,
    lamps: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return colours (n, 3) shaded by world normals (n, 3) and hazed by depth in metres."""
    shade = 0.8 + 0.3 * (normals @ light.sun) + 0.15 * ~normals.any(axis=1)
    seen = colours * light.gain * shade[:, None]
    if lamps is not None and light.night:
        seen = np.where(lamps[:, None], np.minimum(colours * 1.15, 255), seen)
    clear = np.exp(-np.asarray(depth) / light.haze_range)[..., None]
    return (seen * clear + light.haze * (1 - clear)).clip(0, 255)


def paint_mesh(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    mesh: Mesh,
    *,
    position: NDArray[np.float64],
    yaw: float,
    swing: float,
    surface: int,
) -> tuple[NDArray[np.float64], int] | None:
    """Paint a mesh over everything painted so far.

    Returns:
        The extent (x1, y1, x2, y2) in pixels of the mesh's part inside the image, hidden or not,
        and the number of pixels that it covers there; None if no face is in view.
    """
    turn = rotation(yaw)
    eye = turn.T @ (camera.position - position)
    visible = mesh.two_sided | (mesh.normals @ eye - mesh.offsets > 0)
    local = mesh.vertices if mesh.swing is None else mesh.vertices + swing * mesh.swing
    points = camera.to_camera(local @ turn.T + position)
    owner = np.repeat(visible, np.diff(mesh.starts))
    faces = np.flatnonzero(visible)
    if not len(faces):
        return None
    if len(mesh.centres) > 1:
        distance = ((mesh.centres - eye) ** 2).sum(axis=1)
        faces = faces[np.argsort(-distance[mesh.parts[faces]], kind="stable")]
    starts = mesh.starts.tolist()
    if points[owner, 2].min() >= NEAR:
        pixels = camera.project(points)
        seen = pixels[owner]
        outlines = [pixels[starts[f] : starts[f + 1]] for f in faces]
    else:
        beyond = [clip_near(points[starts[f] : starts[f + 1]]) for f in faces]
        faces = faces[[len(p) > 2 for p in beyond]]
        outlines = [camera.project(p) for p in beyond if len(p) > 2]
        if not outlines:
            return None
        seen = np.concatenate(outlines)
    extent = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    height, width = camera.size
    if extent[0] < 0 or extent[1] < 0 or extent[2] > width or extent[3] > height:
        seen = np.concatenate([clip_image(o, camera.size) for o in outlines])
        if not len(seen):
            return None
        extent = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    x1, y1 = max(0, int(extent[0])), max(0, int(extent[1]))
    x2, y2 = min(width, int(extent[2]) + 1), min(height, int(extent[3]) + 1)
    if x1 >= x2 or y1 >= y2:
        return None
    depth = float(max(camera.to_camera(position)[2], NEAR))
    colours = lit(
        light, mesh.colours[faces], mesh.normals[faces] @ turn.T, depth, mesh.lamps[faces]
    )
    covered = _paint_faces(canvas, (x1, y1, x2, y2), outlines, colours, surface)
    return extent, covered


def _paint_faces(
    canvas: Canvas,
    window_box: tuple[int, int, int, int],
    outlines: Sequence[NDArray[np.float64]],
    colours: NDArray[np.float64],
    surface: int,
) -> int:
    """Paint faces, farthest first, into a window of the canvas; return the pixels they cover."""
    x1, y1, x2, y2 = window_box
    side = max(x2 - x1, y2 - y1)
    scale = 8 if side <= 24 else 4 if side <= 96 else 2
    region = canvas.image[y1:y2, x1:x2]
    finer = ((x2 - x1) * scale, (y2 - y1) * scale)
    window = cv2.resize(region, finer, interpolation=cv2.INTER_NEAREST)
    origin = np.array([x1, y1])
    sizes = [len(o) for o in outlines]
    corners = fixed_point(np.concatenate(outlines) - origin, scale)
    start = 0
    for count, (b, g, r) in zip(sizes, colours.tolist(), strict=True):
        cv2.fillConvexPoly(window, corners[start : start + count], (b, g, r, 255), shift=SHIFT)
        start += count
    small = cv2.resize(window, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
    mask = small[..., 3] > COVERED
    canvas.surfaces[y1:y2, x1:x2][mask] = surface
    small[..., 3] = 0
    region[:] = small
    return int(np.count_nonzero(mask))
