"""Build the objects of a street, each a painted mesh with random colours and proportions.

Every builder takes a generator and returns an `Item`: a mesh and its physical length, height and
width.
"""

from dataclasses import dataclass

import numpy as np

from lzu_benchmarks.scenes.mesh import Builder, Colour, Mesh, Point

Random = np.random.Generator

PAINTS: tuple[Colour, ...] = (
    (232, 232, 230), (196, 199, 201), (128, 132, 136), (48, 48, 52), (36, 40, 178), (150, 72, 30),
    (172, 128, 66), (60, 96, 44), (40, 150, 214), (62, 72, 96), (70, 34, 92), (190, 205, 214),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (40, 40, 44), (120, 70, 34), (60, 60, 170), (210, 210, 206), (40, 130, 190), (90, 110, 60),
    (140, 60, 120), (170, 150, 60), (50, 160, 220), (88, 92, 98),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((70, 46, 34), (40, 40, 40), (96, 84, 70), (120, 110, 96))
SKINS: tuple[Colour, ...] = ((170, 196, 232), (120, 156, 205), (70, 100, 150), (46, 66, 100))
GLASS: Colour = (78, 66, 52)
TYRE: Colour = (26, 26, 28)
STEEL: Colour = (110, 112, 112)


@dataclass(frozen=True)
class Item:
    """A mesh and the size of its 3-D box.

    Attributes:
        mesh: the painted mesh, local axes.
        dimensions: (length along z, height, width along x), metres.
        bottom: height of the box's lower face above the ground, metres.
        billboard: the mesh is flat and turned to the camera when drawn.
    """

    mesh: Mesh
    dimensions: tuple[float, float, float]
    bottom: float = 0.0
    billboard: bool = False


def _tint(colour: Colour, factor: float) -> Colour:
    b, g, r = (int(min(255, max(0, round(c * factor)))) for c in colour)
    return (b, g, r)


def pick(random: Random, colours: tuple[Colour, ...]) -> Colour:
    """Pick one of the colours, a little darker or lighter."""
    return _tint(colours[int(random.integers(len(colours)))], float(random.uniform(0.85, 1.12)))


def _wheels(build: Builder, half: float, positions: list[float], radius: float) -> None:
    for side, plane in (("left", -half - 0.01), ("right", half + 0.01)):
        for z in positions:
            build.disc(side, plane, (z, -radius), radius, TYRE)
            build.disc(side, plane, (z, -radius), 0.55 * radius, STEEL, corners=8)


def _tyres(build: Builder, half: float, ends: tuple[float, float], lower: float) -> None:
    """Add the parts of the tyres that are visible below the bumpers."""
    for side, plane in (("rear", ends[0]), ("front", ends[1])):
        for x in (-half + 0.02, half - 0.26):
            build.panel(side, plane, (x, x + 0.24), (lower, 0.0), TYRE)


def car(random: Random) -> Item:
    """Build a hatchback, saloon or van: body, tapered cabin, glass, lamps, wheels and plates."""
    kind = random.choice(3, p=[0.4, 0.4, 0.2])
    width = float(random.uniform(1.7, 1.9))
    length = float(random.uniform(3.7, 4.3) if kind == 0 else random.uniform(4.3, 4.9))
    height = float(random.uniform(1.4, 1.55) if kind < 2 else random.uniform(1.7, 1.95))
    half, z0, z1 = width / 2, -length / 2, length / 2
    belt = -(0.88 if kind < 2 else 1.0)
    sill = -0.28
    paint = pick(random, PAINTS)
    build = Builder()
    _tyres(build, half, (z0 + 0.05, z1 - 0.05), sill)
    build.box((-half, half), (belt, sill), (z0, z1), paint, inset=(0.04, 0.04, 0.12))
    for side, plane in (("rear", z0), ("front", z1)):
        build.panel(side, plane, (-half, half), (-0.44, sill), _tint(paint, 0.5))
    for side, plane in (("left", -half - 0.005), ("right", half + 0.005)):
        build.panel(side, plane, (z0, z1), (-0.36, sill), _tint(paint, 0.5))
        build.panel(side, plane, (-0.02, 0.02), (belt + 0.04, -0.36), _tint(paint, 0.7))
    _wheels(build, half, [z0 + 0.18 * length, z1 - 0.18 * length], 0.32)
    rear, front = z0 - 0.005, z1 + 0.005
    for sign in (-1, 1):
        inner, outer = sorted((sign * (half - 0.36), sign * (half - 0.04)))
        build.panel("rear", rear, (inner, outer), (-0.8, -0.6), (30, 26, 190), lamp=True)
        build.panel("front", front, (inner, outer), (-0.72, -0.56), (236, 244, 250), lamp=True)
    build.panel("rear", rear, (-0.26, 0.26), (-0.6, -0.47), (220, 226, 228))
    build.panel("front", front, (-0.45, 0.45), (-0.66, -0.5), (30, 30, 32))
    build.panel("front", front, (-0.26, 0.26), (-0.44, -0.33), (220, 226, 228))
    back = z0 + (0.06 if kind != 1 else 0.55)
    nose = z1 - (0.85 if kind == 2 else 1.0)
    lean = (0.14, 0.18 if kind != 1 else 0.45, 0.75 if kind < 2 else 0.6)
    build.box((-half + 0.05, half - 0.05), (-height, belt), (back, nose), paint, inset=lean)
    _glass(build, half - 0.05, (-height, belt), (back, nose), lean)
    return Item(build.build(), (length, height, width))


def _glass(
    build: Builder,
    half: float,
    y: tuple[float, float],
    z: tuple[float, float],
    lean: tuple[float, float, float],
) -> None:
    """Add windows on the four leaning faces of a cabin."""

    def at(share: float, x: float, along: float) -> Point:
        # A point on the cabin, slightly outside: `share` of the way up, `along` from rear to front.
        low, high = z[0] + lean[1] * share, z[1] - lean[2] * share
        narrowed = x * (half - lean[0] * share + 0.004) / half
        return (narrowed, y[1] + (y[0] - y[1]) * share, low + (high - low) * along)

    lower, upper, w = 0.08, 0.84, half * 0.88
    for end, facing in ((0.0, -1.0), (1.0, 1.0)):
        quad = [at(upper, -w, end), at(upper, w, end), at(lower, w, end), at(lower, -w, end)]
        build.polygon(quad, GLASS, (0.0, 0.0, facing))
    for sign in (-1.0, 1.0):
        x = sign * half
        for a, b in ((0.06, 0.47), (0.52, 0.94)):
            quad = [at(upper, x, a), at(upper, x, b), at(lower, x, b), at(lower, x, a)]
            build.polygon(quad, GLASS, (sign, 0.0, 0.0))


def truck(random: Random) -> Item:
    """Build a truck: a cab, and a tall box or tarpaulin behind it."""
    width = float(random.uniform(2.2, 2.5))
    length = float(random.uniform(6.2, 9.0))
    height = float(random.uniform(2.9, 3.6))
    half, z0, z1 = width / 2, -length / 2, length / 2
    cab, load = pick(random, PAINTS), pick(random, PAINTS)
    split = z1 - float(random.uniform(1.9, 2.3))
    roof = -float(random.uniform(2.4, 2.8))
    build = Builder()
    _tyres(build, half, (z0 + 0.1, z1 - 0.1), -0.75)
    floor = -0.85
    build.panel("rear", z0 + 0.1, (-half + 0.3, half - 0.3), (floor, -0.5), (40, 40, 42))
    build.box((-half, half), (-height, floor), (z0, split - 0.12), load)
    stripe = pick(random, PAINTS)
    upper, lower = -height * 0.72, -height * 0.48
    for side, plane in (("left", -half - 0.01), ("right", half + 0.01)):
        build.panel(side, plane, (z0 + 0.2, split - 0.4), (upper, lower), stripe)
        for z in np.linspace(z0, split - 0.15, 6):
            build.panel(side, plane, (z, z + 0.06), (-height, floor), _tint(load, 0.75))
        build.panel(side, plane, (z0 + 1.2, split - 0.2), (floor, -0.45), (44, 44, 46))
    rear = z0 - 0.01
    build.panel(
        "rear", rear, (-half + 0.12, -0.04), (-height + 0.12, floor - 0.1), _tint(load, 0.88)
    )
    build.panel("rear", rear, (0.04, half - 0.12), (-height + 0.12, floor - 0.1), _tint(load, 0.88))
    for sign in (-1, 1):
        inner, outer = sorted((sign * (half - 0.4), sign * (half - 0.06)))
        build.panel(
            "rear", rear, (inner, outer), (floor - 0.02, floor + 0.16), (30, 26, 190), lamp=True
        )
        build.panel("rear", rear, (inner, outer), (-height + 0.02, -height + 0.1), (40, 120, 230))
    _wheels(build, half, [z0 + 0.18 * length, z0 + 0.32 * length], 0.48)
    build.part = 1
    build.box((-half + 0.06, half - 0.06), (roof, -0.4), (split, z1), cab, inset=(0.03, 0.0, 0.15))
    front = z1 + 0.01
    build.polygon(
        [(-half + 0.2, roof + 0.25, z1 - 0.1), (half - 0.2, roof + 0.25, z1 - 0.1),
         (half - 0.2, -1.45, z1), (-half + 0.2, -1.45, z1)],
        GLASS, (0.0, 0.0, 1.0),
    )  # fmt: skip
    build.panel("front", front, (-half + 0.4, half - 0.4), (-1.25, -0.8), (34, 34, 36))
    for sign in (-1, 1):
        inner, outer = sorted((sign * (half - 0.5), sign * (half - 0.14)))
        build.panel("front", front, (inner, outer), (-0.75, -0.5), (236, 244, 250), lamp=True)
    for side, plane in (("left", -half + 0.05), ("right", half - 0.05)):
        build.panel(side, plane, (split + 0.35, z1 - 0.35), (roof + 0.3, -1.5), GLASS)
    _wheels(build, half - 0.06, [z1 - 0.9], 0.48)
    return Item(build.build(), (length, height, width))


def bus(random: Random) -> Item:
    """Build a bus: a long box with a band of windows, doors and a destination sign."""
    width, height = 2.5, float(random.uniform(2.9, 3.2))
    length = float(random.uniform(10.0, 12.5))
    half, z0, z1 = width / 2, -length / 2, length / 2
    paint = pick(
        random, ((40, 60, 200), (200, 120, 40), (60, 170, 220), (90, 160, 70), (230, 230, 226))
    )
    skirt = pick(random, PAINTS)
    build = Builder()
    _tyres(build, half, (z0 + 0.1, z1 - 0.1), -0.4)
    build.box((-half, half), (-height, -0.35), (z0, z1), paint, tops={"top": _tint(paint, 1.15)})
    for side, plane in (("left", -half - 0.01), ("right", half + 0.01)):
        build.panel(side, plane, (z0, z1), (-0.95, -0.35), skirt)
        for z in np.arange(z0 + 0.35, z1 - 1.2, 1.25):
            build.panel(side, plane, (z, z + 1.1), (-height + 0.4, -1.35), GLASS)
        if side == "right":
            for z in (z1 - 1.1, 0.2):
                build.panel(side, plane, (z, z + 0.9), (-height + 0.4, -0.45), _tint(GLASS, 0.75))
    _wheels(build, half, [z0 + 2.6, z1 - 2.4], 0.46)
    front, rear = z1 + 0.01, z0 - 0.01
    build.panel("front", front, (-half + 0.1, half - 0.1), (-height + 0.45, -1.1), GLASS)
    build.panel(
        "front", front, (-0.8, 0.8), (-height + 0.1, -height + 0.36), (40, 190, 245), lamp=True
    )
    build.panel("rear", rear, (-half + 0.25, half - 0.25), (-height + 0.4, -1.75), GLASS)
    build.panel("rear", rear, (-half + 0.3, half - 0.3), (-1.35, -0.6), _tint(paint, 0.6))
    for sign in (-1, 1):
        inner, outer = sorted((sign * (half - 0.34), sign * (half - 0.06)))
        build.panel("rear", rear, (inner, outer), (-1.5, -0.9), (30, 26, 190), lamp=True)
        build.panel("front", front, (inner, outer), (-0.85, -0.6), (236, 244, 250), lamp=True)
    return Item(build.build(), (length, height, width))


def pedestrian(random: Random) -> Item:
    """Build a walker: a flat figure turned to the camera, with swinging legs and arms."""
    height = float(
        random.uniform(1.55, 1.9) if random.random() > 0.12 else random.uniform(1.1, 1.4)
    )
    s = height / 1.75
    top, legs, skin = (pick(random, c) for c in (CLOTHES, TROUSERS, SKINS))
    hair = _tint(pick(random, ((30, 36, 46), (60, 90, 120), (150, 160, 170), (24, 26, 30))), 1.0)
    wide = float(random.uniform(0.9, 1.15))
    build = Builder()

    def limb(x: float, y0: float, y1: float, w: float, colour: Colour, reach: float) -> None:
        quad: list[Point] = [
            (x - w, y0, 0),
            (x + w, y0, 0),
            (x + 0.8 * w, y1, 0),
            (x - 0.8 * w, y1, 0),
        ]
        swing: list[Point] = [(0, 0, 0), (0, 0, 0), (reach, 0, 0), (reach, 0, 0)]
        build.polygon([(a * s, b * s, c) for a, b, c in quad], colour, swing=swing)

    limb(0.2 * wide, -1.4, -0.82, 0.05, _tint(top, 0.8), 0.16)
    limb(-0.07, -0.85, -0.06, 0.085, _tint(legs, 0.85), 0.2)
    limb(0.07, -0.85, -0.06, 0.085, legs, -0.2)
    limb(-0.08, -0.08, 0.0, 0.1, (24, 24, 26), 0.2)
    limb(0.08, -0.08, 0.0, 0.1, (24, 24, 26), -0.2)
    torso = [(-0.12, -1.5), (0.12, -1.5), (0.21 * wide, -1.4), (0.18 * wide, -0.8),
             (-0.18 * wide, -0.8), (-0.21 * wide, -1.4)]  # fmt: skip
    build.polygon([(x * s, y * s, 0) for x, y in torso], top)
    limb(-0.2 * wide, -1.4, -0.82, 0.05, _tint(top, 0.8), -0.16)
    if random.random() < 0.35:
        bag = pick(random, PAINTS)
        build.panel("rear", 0.0, (0.1 * s, 0.34 * s), (-1.0 * s, -0.68 * s), bag)
    build.disc("rear", 0, (0, -1.62 * s), 0.125 * s, skin, two_sided=True)
    cap = [(-0.13, -1.63), (-0.1, -1.73), (0, -1.765), (0.1, -1.73), (0.13, -1.63)]
    build.polygon([(x * s, y * s, 0) for x, y in cap], hair)
    return Item(build.build(), (0.55, height, 0.6 * wide), billboard=True)


def bicycle(random: Random) -> Item:
    """Build a bicycle with its rider: one flat figure along its length and one across it."""
    top, legs, skin = (pick(random, c) for c in (CLOTHES, TROUSERS, SKINS))
    frame, helmet = pick(random, PAINTS), pick(random, PAINTS)
    build = Builder()

    def bar(a: tuple[float, float], b: tuple[float, float], w: float, colour: Colour) -> None:
        d = np.array([b[0] - a[0], b[1] - a[1]])
        n = w / 2 * np.array([-d[1], d[0]]) / np.linalg.norm(d)
        ring = [(a[0] + n[0], a[1] + n[1]), (b[0] + n[0], b[1] + n[1]),
                (b[0] - n[0], b[1] - n[1]), (a[0] - n[0], a[1] - n[1])]  # fmt: skip
        build.polygon([(0.0, y, z) for z, y in ring], colour)

    for z in (-0.53, 0.53):
        build.disc("right", 0, (z, -0.34), 0.34, TYRE, corners=12, two_sided=True)
        build.disc("right", 0, (z, -0.34), 0.27, (126, 128, 130), corners=12, two_sided=True)
        build.disc("right", 0, (z, -0.34), 0.06, TYRE, corners=6, two_sided=True)
    for a, b in (
        ((-0.53, -0.34), (-0.15, -0.85)), ((-0.53, -0.34), (-0.02, -0.3)), ((-0.02, -0.3), (-0.2,
        -0.92)), ((-0.02, -0.3), (0.42, -0.82)), ((-0.17, -0.82), (0.4, -0.86)), ((0.53, -0.34),
        (0.4, -1.0)),
    ):  # fmt: skip
        bar(a, b, 0.055, frame)
    bar((0.36, -1.02), (0.5, -1.02), 0.06, TYRE)
    bar((-0.2, -0.98), (0.12, -0.62), 0.15, legs)
    bar((0.12, -0.62), (0.02, -0.2), 0.12, legs)
    bar((-0.22, -0.98), (0.1, -1.46), 0.3, top)
    bar((0.1, -1.4), (0.42, -1.06), 0.1, _tint(top, 0.8))
    build.disc("right", 0, (0.17, -1.62), 0.12, skin, two_sided=True)
    build.polygon([(0.0, -1.64, 0.04), (0.0, -1.75, 0.08), (0.0, -1.78, 0.18), (0.0, -1.74, 0.28),
                   (0.0, -1.64, 0.3)], helmet)  # fmt: skip
    build.part = 1
    build.polygon([(-0.03, -0.68, 0), (0.03, -0.68, 0), (0.03, 0, 0), (-0.03, 0, 0)], TYRE)
    for sign in (-1.0, 1.0):
        quad: list[Point] = [(sign * 0.06, -0.95, 0), (sign * 0.2, -0.95, 0), (sign * 0.17, -0.25,
            0),
                             (sign * 0.07, -0.25, 0)]  # fmt: skip
        build.polygon(quad, legs)
    torso = [
        (-0.14, -1.5),
        (0.14, -1.5),
        (0.24, -1.38),
        (0.17, -0.9),
        (-0.17, -0.9),
        (-0.24, -1.38),
    ]
    build.polygon([(x, y, 0) for x, y in torso], top)
    build.disc("rear", 0, (0, -1.62), 0.12, skin, two_sided=True)
    cap = [(-0.13, -1.63), (-0.1, -1.73), (0, -1.78), (0.1, -1.73), (0.13, -1.63)]
    build.polygon([(x, y, 0) for x, y in cap], helmet)
    return Item(build.build(), (1.75, 1.78, 0.5))


def traffic_sign(random: Random) -> Item:
    """Build a sign plate that faces the ego vehicle's traffic; its pole is a separate object."""
    kind = int(random.integers(5))
    r = float(random.uniform(0.36, 0.46))
    y = -float(random.uniform(2.2, 2.8))
    red, white, blue, black = (36, 30, 200), (240, 240, 240), (190, 90, 20), (30, 30, 30)
    build = Builder()
    if kind == 0:  # limit
        build.disc("rear", 0, (0, y), r, red, corners=14)
        build.disc("rear", -0.005, (0, y), 0.74 * r, white, corners=14)
        for x in (-0.24, 0.2):
            build.panel(
                "rear", -0.01, ((x - 0.14) * r, (x + 0.18) * r), (y - 0.36 * r, y + 0.36 * r), black
            )
    elif kind == 1:  # warning
        for scale, colour in ((1.0, red), (0.62, white)):
            ring = [
                (0, y - r * scale),
                (r * scale, y + 0.75 * r * scale),
                (-r * scale, y + 0.75 * r * scale),
            ]
            build.polygon([(a, b, -0.005 * (1 - scale)) for a, b in ring], colour, (0, 0, -1))
        build.panel("rear", -0.01, (-0.07 * r, 0.07 * r), (y - 0.2 * r, y + 0.36 * r), black)
    elif kind == 2:  # stop
        build.disc("rear", 0, (0, y), r, white, corners=8, turn=np.pi / 8)
        build.disc("rear", -0.005, (0, y), 0.92 * r, red, corners=8, turn=np.pi / 8)
        build.panel("rear", -0.01, (-0.6 * r, 0.6 * r), (y - 0.18 * r, y + 0.18 * r), white)
    elif kind == 3:  # crossing
        build.panel("rear", 0, (-r, r), (y - r, y + r), blue)
        ring = [(0, y - 0.7 * r), (0.7 * r, y + 0.6 * r), (-0.7 * r, y + 0.6 * r)]
        build.polygon([(a, b, -0.005) for a, b in ring], white, (0, 0, -1))
        build.panel("rear", -0.01, (-0.16 * r, 0.16 * r), (y - 0.2 * r, y + 0.5 * r), black)
    else:  # direction
        build.disc("rear", 0, (0, y), r, blue, corners=14)
        build.panel("rear", -0.01, (-0.55 * r, 0.25 * r), (y - 0.12 * r, y + 0.12 * r), white)
        head: list[Point] = [
            (0.2 * r, y - 0.4 * r, -0.01),
            (0.7 * r, y, -0.01),
            (0.2 * r, y + 0.4 * r, -0.01),
        ]
        build.polygon(head, white, (0, 0, -1))
    return Item(build.build(), (0.06, 2 * r, 2 * r), bottom=-y - r)


def sign_pole(height: float) -> Item:
    """Build the thin steel post of a sign."""
    build = Builder()
    build.panel("rear", 0, (-0.05, 0.05), (-height, 0.0), (120, 124, 124))
    return Item(build.build(), (0.1, height, 0.1), billboard=True)


def lamp_post(random: Random, arm: float) -> Item:
    """Build a tall lamp post with an arm towards positive or negative x, by the sign of `arm`."""
    height = float(random.uniform(6.5, 8.0))
    build = Builder()
    paint = pick(random, ((90, 92, 92), (60, 66, 60), (120, 122, 122)))
    build.polygon([(-0.06, -height, 0), (0.06, -height, 0), (0.11, 0, 0), (-0.11, 0, 0)], paint)
    build.polygon([(0, -height, 0), (0, -height + 0.1, 0), (1.6 * arm, -height - 0.25, 0),
                   (1.6 * arm, -height - 0.35, 0)], paint)  # fmt: skip
    build.polygon([(1.5 * arm, -height - 0.4, 0), (2.1 * arm, -height - 0.42, 0), (2.1 * arm,
    -height - 0.28, 0),
                   (1.5 * arm, -height - 0.25, 0)], (190, 230, 245), lamp=True)  # fmt: skip
    return Item(build.build(), (0.2, height, 0.2), billboard=True)


def tree(random: Random) -> Item:
    """Build a tree: a trunk under a few discs of leaves."""
    height = float(random.uniform(4.5, 7.5))
    build = Builder()
    trunk = pick(random, ((52, 70, 92), (60, 76, 88), (40, 56, 76)))
    build.polygon(
        [(-0.1, -0.6 * height, 0), (0.1, -0.6 * height, 0), (0.17, 0, 0), (-0.17, 0, 0)], trunk
    )
    green = pick(random, ((50, 110, 70), (44, 92, 52), (40, 120, 110), (60, 130, 90)))
    for i in range(6):
        radius = float(random.uniform(0.16, 0.24)) * height
        x = float(random.uniform(-0.17, 0.17)) * height
        y = -float(random.uniform(0.55, 0.82)) * height
        build.disc(
            "rear", 0, (x, y), radius, _tint(green, 0.8 + 0.09 * i), two_sided=True, corners=9
        )
    return Item(build.build(), (0.5, height, 0.5), billboard=True)


def clutter(random: Random) -> Item:
    """Build unlabelled street furniture: a skip, an advert, a bollard, a bin or a pillar."""
    kind = int(random.integers(5))
    paint = pick(random, PAINTS)
    build = Builder()
    if kind == 0:
        build.box((-0.8, 0.8), (-1.2, -0.1), (-1.2, 1.2), paint, inset=(-0.1, -0.15, -0.15))
        for z in (-0.6, 0.0, 0.6):
            build.panel("left", -0.9, (z - 0.05, z + 0.05), (-1.2, -0.1), _tint(paint, 0.7))
        build.panel("rear", -1.3, (-0.5, 0.5), (-0.9, -0.6), _tint(paint, 1.3))
        size = (2.4, 1.2, 1.6)
    elif kind == 1:
        build.panel("rear", 0, (-0.06, 0.06), (-0.6, 0), STEEL)
        build.panel("rear", 0, (-0.6, 0.6), (-2.2, -0.5), (60, 60, 62))
        build.panel("rear", -0.01, (-0.52, 0.52), (-2.1, -0.6), paint)
        build.panel("rear", -0.02, (-0.4, 0.4), (-1.9, -1.5), pick(random, PAINTS))
        build.panel("rear", -0.02, (-0.4, 0.2), (-1.2, -1.0), pick(random, PAINTS))
        size = (0.2, 2.2, 1.2)
    elif kind == 2:
        build.panel("rear", 0, (-0.1, 0.1), (-0.95, 0), (70, 74, 76))
        build.panel("rear", -0.01, (-0.1, 0.1), (-0.85, -0.65), (230, 230, 230))
        size = (0.2, 0.95, 0.2)
    elif kind == 3:
        build.box((-0.28, 0.28), (-1.05, 0), (-0.28, 0.28), paint, inset=(-0.03, -0.03, -0.03))
        build.box((-0.32, 0.32), (-1.15, -1.05), (-0.32, 0.32), _tint(paint, 0.6))
        size = (0.6, 1.15, 0.6)
    else:
        build.box((-0.35, 0.35), (-2.4, 0), (-0.35, 0.35), _tint(paint, 0.9))
        build.box((-0.45, 0.45), (-2.6, -2.4), (-0.45, 0.45), (70, 80, 74))
        build.panel("rear", -0.36, (-0.3, 0.3), (-2.1, -0.9), pick(random, PAINTS))
        size = (0.8, 2.6, 0.8)
    return Item(build.build(), size)
