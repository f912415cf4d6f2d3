"""Small painted meshes: convex polygons in 3-D, drawn in the order in which they were added.

Local axes of an object: x to its right, y down with the ground at 0, z along its heading; metres.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]  # BGR, 0..255
Point = tuple[float, float, float]

NORMALS: dict[str, Point] = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "top": (0, -1, 0),
    "rear": (0, 0, -1),
    "front": (0, 0, 1),
}


@dataclass(frozen=True)
class Mesh:
    """Polygons as flat arrays.

    Attributes:
        vertices: (V, 3) float64, local, metres.
        starts: (F + 1,) offsets of each face's vertices.
        normals: (F, 3) outward normals; all zeros for a face seen from both sides.
        two_sided: (F,) bool, faces without a normal.
        offsets: (F,) dot product of normal and vertex, for culling.
        colours: (F, 3) float64 BGR.
        lamps: (F,) bool, faces that shine by themselves at night.
        parts: (F,) int, part of each face. Faces of one part are drawn together; parts are drawn
            far to near.
        centres: (P, 3) mean vertex of each part.
        swing: (V, 3) float64 displacement at the height of a step, or None for a stiff mesh.
    """

    vertices: NDArray[np.float64]
    starts: NDArray[np.int64]
    normals: NDArray[np.float64]
    two_sided: NDArray[np.bool_]
    offsets: NDArray[np.float64]
    colours: NDArray[np.float64]
    lamps: NDArray[np.bool_]
    parts: NDArray[np.int64]
    centres: NDArray[np.float64]
    swing: NDArray[np.float64] | None


@dataclass
class Builder:
    """Collects faces; `build()` freezes them into a Mesh."""

    points: list[NDArray[np.float64]] = field(default_factory=list)
    swings: list[NDArray[np.float64]] = field(default_factory=list)
    normals: list[Point] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    lamps: list[bool] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    part: int = 0

    def polygon(
        self,
        points: list[Point],
        colour: Colour,
        normal: Point = (0, 0, 0),
        *,
        lamp: bool = False,
        swing: list[Point] | None = None,
    ) -> None:
        """Add a convex polygon. A zero normal makes it two-sided."""
        self.points.append(np.array(points, dtype=np.float64))
        self.swings.append(
            np.zeros((len(points), 3)) if swing is None else np.array(swing, dtype=np.float64)
        )
        self.normals.append(normal)
        self.colours.append(colour)
        self.lamps.append(lamp)
        self.parts.append(self.part)

    def panel(
        self,
        side: str,
        plane: float,
        u: tuple[float, float],
        y: tuple[float, float],
        colour: Colour,
        *,
        lamp: bool = False,
    ) -> None:
        """Add a rectangle on a vertical side: `u` is x for rear and front, z for left and right."""
        corners = [(u[0], y[0]), (u[1], y[0]), (u[1], y[1]), (u[0], y[1])]
        self.polygon(_on_side(side, plane, corners), colour, NORMALS[side], lamp=lamp)

    def disc(
        self,
        side: str,
        plane: float,
        centre: tuple[float, float],
        radius: float,
        colour: Colour,
        *,
        lamp: bool = False,
        corners: int = 10,
        turn: float = 0.0,
        two_sided: bool = False,
    ) -> None:
        """Add a regular polygon on a vertical side with its centre at (u, y)."""
        angles = turn + 2 * np.pi * np.arange(corners) / corners
        ring = [(centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in angles]
        normal = (0.0, 0.0, 0.0) if two_sided else NORMALS[side]
        self.polygon(_on_side(side, plane, ring), colour, normal, lamp=lamp)

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        *,
        inset: tuple[float, float, float] = (0.0, 0.0, 0.0),
        tops: dict[str, Colour] | None = None,
    ) -> None:
        """Add five faces of a box from y[0] (upper) to y[1].

        `inset` narrows the top at the sides, the rear and the front. `tops` overrides the colour of
        single faces by the name of their side.
        """
        (x0, x1), (upper, lower), (z0, z1) = x, y, z
        side, rear, front = inset
        low: list[Point] = [(x0, lower, z0), (x1, lower, z0), (x1, lower, z1), (x0, lower, z1)]
        top: list[Point] = [
            (x0 + side, upper, z0 + rear),
            (x1 - side, upper, z0 + rear),
            (x1 - side, upper, z1 - front),
            (x0 + side, upper, z1 - front),
        ]
        paint = tops or {}
        self.polygon(top, paint.get("top", colour), NORMALS["top"])
        for name, (a, b) in {
            "rear": (0, 1),
            "right": (1, 2),
            "front": (2, 3),
            "left": (3, 0),
        }.items():
            quad = [top[a], top[b], low[b], low[a]]
            self.polygon(quad, paint.get(name, colour), _outward(quad, NORMALS[name]))

    def build(self) -> Mesh:
        """Return the mesh of all faces added so far."""
        counts = [len(p) for p in self.points]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        vertices = np.concatenate(self.points)
        normals = np.array(self.normals, dtype=np.float64)
        offsets = (normals * vertices[starts[:-1]]).sum(axis=1)
        swing = np.concatenate(self.swings)
        parts = np.array(self.parts, dtype=np.int64)
        owner = np.repeat(parts, counts)
        centres = np.array([vertices[owner == p].mean(axis=0) for p in range(self.part + 1)])
        return Mesh(
            vertices,
            starts,
            normals,
            (normals == 0).all(axis=1),
            offsets,
            np.array(self.colours, dtype=np.float64),
            np.array(self.lamps, dtype=bool),
            parts,
            centres,
            swing if swing.any() else None,
        )


def _on_side(side: str, plane: float, corners: list[tuple[float, float]]) -> list[Point]:
    if side in ("rear", "front"):
        return [(u, y, plane) for u, y in corners]
    return [(plane, y, u) for u, y in corners]


def _outward(quad: list[Point], towards: Point) -> Point:
    corners = np.array(quad, dtype=np.float64)
    normal = np.cross(corners[2] - corners[0], corners[3] - corners[1])
    normal /= np.linalg.norm(normal)
    if normal @ np.array(towards, dtype=np.float64) < 0:
        normal = -normal
    return (float(normal[0]), float(normal[1]), float(normal[2]))
