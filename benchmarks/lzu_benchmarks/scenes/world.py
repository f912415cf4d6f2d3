"""A street and its moving objects: all properties of a sequence that are not those of a frame.

A sequence is determined by its seed alone. It shows right-hand traffic on a straight street between
two rows of buildings. The street is along +z and x = 0 is its centre line. Units are metres,
seconds and radians.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.scenes import objects
from lzu_benchmarks.scenes.camera import SOURCE_SIZE, Camera
from lzu_benchmarks.scenes.categories import (
    BICYCLE,
    BUS,
    CAR,
    CLUTTER,
    PEDESTRIAN,
    POLE,
    TRAFFIC_SIGN,
    TRUCK,
    VEGETATION,
)
from lzu_benchmarks.scenes.mesh import Colour
from lzu_benchmarks.scenes.motion import motion_of
from lzu_benchmarks.scenes.objects import Item, Random

LENGTH = 40  # frames of a sequence
STEP = 0.1  # seconds between frames
LANE = 3.4
CYCLE_LANE = 1.1
REACH = 120.0  # metres of street kept in front of the ego vehicle
VEHICLES = {CAR: objects.car, TRUCK: objects.truck, BUS: objects.bus}


@dataclass(frozen=True)
class Actor:
    """An item with a label and a straight path.

    `label` indexes `categories.LABELS`. `track` is the sequence-wide identity of a labelled object,
    and -1 for all others.
    """

    item: Item
    label: int
    track: int
    x: float
    z: float
    yaw: float = 0.0
    vx: float = 0.0
    vz: float = 0.0
    phase: float = 0.0
    cadence: float = 0.0

    def position(self, time: float) -> NDArray[np.float64]:
        """Return the point (3,) on the ground under the object's centre."""
        return np.array([self.x + self.vx * time, 0.0, self.z + self.vz * time])

    def swing(self, time: float) -> float:
        """Return the phase of a walker's step, -1..1."""
        return float(np.sin(self.phase + self.cadence * time))


@dataclass(frozen=True)
class Light:
    """Illumination of a sequence. Gains multiply BGR colours; `night` turns lamps on."""

    gain: NDArray[np.float64]
    sun: NDArray[np.float64]
    haze: NDArray[np.float64]
    haze_range: float
    sky: tuple[NDArray[np.float64], NDArray[np.float64]]
    noise: float
    night: bool


@dataclass(frozen=True)
class Building:
    """A box along the street whose facade lies in the plane x and spans z[0]..z[1]."""

    x: float
    z: tuple[float, float]
    height: float
    colour: Colour
    glass: Colour
    storeys: int
    bay: float


@dataclass(frozen=True)
class Street:
    """Cross-section and crossing of the street, all measured from its centre line."""

    lanes: int
    parking: bool
    sidewalk: float
    crossing: float | None

    @property
    def half(self) -> float:
        """Half the width of the carriageway, including cycle lane and parking."""
        return self.lanes * LANE + CYCLE_LANE + (2.2 if self.parking else 0.0)

    @property
    def facade(self) -> float:
        """Distance from the centre line to the nearest facades."""
        return self.half + self.sidewalk


class Sequence:
    """A deterministic world in motion.

    Args:
        seed: any non-negative integer; equal seeds give equal sequences. From `motion.MOVING` on
            the camera moves.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        random = np.random.Generator(np.random.PCG64(seed))
        self.street = _street(random)
        self.light = _light(random)
        self.speed = float(random.choice([0.0, 4.0, 8.0, 12.0], p=[0.15, 0.2, 0.4, 0.25]))
        self._lane = float(
            LANE * (random.integers(self.street.lanes) + 0.5) + random.normal(0, 0.15)
        )
        self._mount = (float(random.normal(1.5, 0.05)), float(random.normal(0.0, 0.012)))
        self._pitch = float(random.normal(0.0, 0.004))
        self._sway = random.uniform(0, 2 * np.pi, 3)
        self.motion = motion_of(seed)
        self.buildings = _buildings(random, self.street)
        self.clouds = random.uniform(0, 1, (7, 4))
        self._random = random

    @cached_property
    def actors(self) -> tuple[Actor, ...]:
        """All objects of the sequence, labelled or not."""
        actors = _traffic(self._random, self.street, self._lane, self.speed)
        actors += _parked(self._random, self.street)
        actors += _people(self._random, self.street)
        actors += _furniture(self._random, self.street)
        tracks = iter(range(len(actors)))
        labelled = {CAR, TRUCK, BUS, PEDESTRIAN, BICYCLE, TRAFFIC_SIGN}
        return tuple(
            Actor(**{**vars(a), "track": next(tracks)}) if a.label in labelled else a
            for a in actors
        )

    def camera(self, index: int) -> Camera:
        """Return the camera of frame `index`; heading, height and horizon sway on the drive."""
        time = index * STEP
        z, motion = self.speed * time, self.motion
        amount = min(1.0, self.speed / 6.0)
        sway = amount * np.sin(np.array([0.9, 2.7, 4.1]) * time + self._sway)
        pitch = self._pitch + 0.0025 * float(sway[2]) + motion.pitch(z)
        height, width = SOURCE_SIZE
        return Camera(
            position=np.array(
                [
                    self._lane + 0.12 * sway[0],
                    -self._mount[0] - 0.015 * sway[1] - motion.raised,
                    z,
                ]
            ),
            yaw=float(self._mount[1] + 0.012 * sway[0] + motion.yaw(z)),
            centre=(width / 2, 0.47 * height + 520.0 * pitch),
        )


def _street(random: Random) -> Street:
    lanes = int(random.choice([1, 2], p=[0.45, 0.55]))
    crossing = float(random.uniform(25, 80)) if random.random() < 0.6 else None
    return Street(lanes, bool(random.random() < 0.7), float(random.uniform(3.0, 5.0)), crossing)


def _light(random: Random) -> Light:
    kind = int(random.choice(3, p=[0.55, 0.25, 0.2]))
    angle = float(random.uniform(0, 2 * np.pi))
    sun = np.array([0.75 * np.cos(angle), -0.55, 0.75 * np.sin(angle)])
    if kind == 0:  # clear
        gain, haze = np.array([1.0, 1.0, 1.0]), np.array([226.0, 214.0, 204.0])
        sky, reach, noise = (np.array([222.0, 158.0, 92.0]), haze), 260.0, 2.5
    elif kind == 1:  # overcast
        gain, haze = np.array([0.84, 0.82, 0.8]), np.array([196.0, 196.0, 194.0])
        sky, reach, noise = (np.array([188.0, 180.0, 172.0]), haze), 170.0, 3.5
        sun = sun * 0.35
    else:  # dusk
        gain, haze = np.array([0.52, 0.42, 0.42]), np.array([120.0, 118.0, 150.0])
        sky, reach, noise = (np.array([96.0, 60.0, 44.0]), haze), 220.0, 5.0
        sun = sun * 0.3
    return Light(
        gain * float(random.uniform(0.88, 1.08)),
        sun,
        haze,
        reach * float(random.uniform(0.8, 1.3)),
        sky,
        noise,
        kind == 2,
    )


def _buildings(random: Random, street: Street) -> tuple[Building, ...]:
    walls: tuple[Colour, ...] = (
        (150, 176, 200), (120, 140, 178), (178, 186, 192), (110, 128, 150), (96, 104, 160),
        (170, 178, 160), (140, 150, 156), (190, 200, 212),
    )  # fmt: skip
    found = []
    for side in (-1, 1):
        z = -12.0
        while z < 48 + REACH:
            length = float(random.uniform(10, 24))
            height = float(random.uniform(7, 19))
            setback = float(random.uniform(0, 1.2))
            bay = float(random.uniform(2.6, 3.8))
            colour = objects.pick(random, walls)
            glass = objects.pick(random, ((110, 92, 74), (92, 84, 76), (130, 116, 92)))
            at = street.crossing
            if at is not None and z < at + 6 and z + length > at - 6:
                z = at + 6.5
                continue
            found.append(
                Building(
                    side * (street.facade + setback),
                    (z, z + length),
                    height,
                    colour,
                    glass,
                    int(height // 3),
                    bay,
                )
            )
            z += length + (0.0 if random.random() < 0.8 else float(random.uniform(1, 5)))
    return tuple(found)


def _vehicle(random: Random) -> tuple[int, Item]:
    label = int(random.choice([CAR, TRUCK, BUS], p=[0.8, 0.12, 0.08]))
    return label, VEHICLES[label](random)


def _traffic(random: Random, street: Street, ego: float, speed: float) -> list[Actor]:
    """Place moving vehicles lane by lane, cyclists along the kerb, and crossing vehicles."""
    actors = []
    span = LENGTH * STEP
    for lane in range(street.lanes):
        for side in (1, -1):
            x = side * LANE * (lane + 0.5)
            velocity = speed if side > 0 else -float(random.uniform(5, 11))
            if side > 0 and abs(x - ego) > 1:
                velocity = max(0.0, speed + float(random.uniform(-2, 2)))
            gap = float(random.uniform(12, 45))
            z = -8.0 if abs(x - ego) > 1 else float(random.uniform(12, 60))
            while z < REACH - min(0.0, velocity) * span:
                label, item = _vehicle(random)
                length = item.dimensions[0]
                yaw = (0.0 if side > 0 else np.pi) + float(random.normal(0, 0.015))
                offset = float(random.normal(0, 0.18))
                actors.append(Actor(item, label, -1, x + offset, z + length / 2, yaw, vz=velocity))
                z += length + 3 + float(random.exponential(gap))
    for side in (1, -1):
        for _ in range(int(random.poisson(2.5))):
            z = float(random.uniform(6, 100))
            x = side * (street.lanes * LANE + float(random.uniform(0.35, 0.7)))
            yaw = 0.0 if side > 0 else np.pi
            velocity = side * float(random.uniform(2.5, 5.5))
            actors.append(Actor(objects.bicycle(random), BICYCLE, -1, x, z, yaw, vz=velocity))
    if street.crossing is not None:
        for z, direction in ((street.crossing + 2.2, -1), (street.crossing - 2.2, 1)):
            if random.random() < 0.6:
                label, item = _vehicle(random)
                velocity = direction * float(random.uniform(2, 6))
                start = float(random.uniform(-1, 1)) * street.half - velocity * span / 2
                actors.append(Actor(item, label, -1, start, z, direction * np.pi / 2, vx=velocity))
    return actors


def _parked(random: Random, street: Street) -> list[Actor]:
    actors: list[Actor] = []
    if not street.parking:
        return actors
    for side in (1, -1):
        z, share = -6.0, float(random.uniform(0.3, 0.85))
        while z < 30 + REACH:
            label = CAR if random.random() < 0.93 else TRUCK
            item = VEHICLES[label](random)
            length = item.dimensions[0]
            near = street.crossing is not None and abs(z + length / 2 - street.crossing) < 11
            if random.random() < share and not near:
                x = side * (street.half - item.dimensions[2] / 2 - float(random.uniform(0.1, 0.3)))
                yaw = (0.0 if side > 0 else np.pi) + float(random.normal(0, 0.02))
                actors.append(Actor(item, label, -1, x, z + length / 2, yaw))
            z += length + float(random.uniform(0.8, 2.5))
    return actors


def _people(random: Random, street: Street) -> list[Actor]:
    actors = []
    density = float(random.uniform(0.05, 0.16))
    for side in (1, -1):
        for _ in range(int(random.poisson(density * 110))):
            z = float(random.uniform(5, 110))
            x = side * (street.half + float(random.uniform(0.7, street.sidewalk - 0.4)))
            for companion in range(1 + int(random.random() < 0.25)):
                direction = 1 if random.random() < 0.5 else -1
                velocity = direction * float(random.uniform(0.8, 1.6))
                actors.append(
                    Actor(
                        objects.pedestrian(random),
                        PEDESTRIAN,
                        -1,
                        x + 0.7 * companion * -side,
                        z + 0.2 * companion,
                        0.0 if direction > 0 else np.pi,
                        vz=velocity,
                        phase=float(random.uniform(0, 6.28)),
                        cadence=6.0 * abs(velocity),
                    )
                )
    if street.crossing is not None:
        for _ in range(int(random.poisson(2.5))):
            direction = 1 if random.random() < 0.5 else -1
            velocity = direction * float(random.uniform(0.9, 1.6))
            x = float(random.uniform(-street.half, street.half)) - velocity * 2
            z = street.crossing - 8.0 + float(random.uniform(-1.2, 1.2))
            actors.append(
                Actor(
                    objects.pedestrian(random),
                    PEDESTRIAN,
                    -1,
                    x,
                    z,
                    direction * np.pi / 2,
                    vx=velocity,
                    phase=float(random.uniform(0, 6.28)),
                    cadence=6.0 * abs(velocity),
                )
            )
    return actors


def _furniture(random: Random, street: Street) -> list[Actor]:
    """Place signs on poles, lamp posts, trees and unlabelled clutter on both sidewalks."""
    actors = []
    kerb = street.half + 0.45
    for side in (1, -1):
        for z in np.arange(random.uniform(4, 20), 48 + REACH, random.uniform(16, 30)):
            at = float(z + random.uniform(-4, 4))
            sign = objects.traffic_sign(random)
            actors.append(
                Actor(objects.sign_pole(sign.bottom + 0.4), POLE, -1, side * kerb, at + 0.06)
            )
            actors.append(Actor(sign, TRAFFIC_SIGN, -1, side * kerb, at))
        if random.random() < 0.8:
            post = objects.lamp_post(random, -side)
            for z in np.arange(random.uniform(2, 20), 48 + REACH, 26.0):
                actors.append(Actor(post, POLE, -1, side * (kerb + 0.3), float(z)))
        if random.random() < 0.6:
            for z in np.arange(random.uniform(0, 12), 48 + REACH, random.uniform(9, 20)):
                x = side * (street.half + float(random.uniform(0.9, 1.4)))
                actors.append(Actor(objects.tree(random), VEGETATION, -1, x, float(z)))
        for _ in range(int(random.poisson(7))):
            x = side * (street.half + float(random.uniform(0.8, street.sidewalk - 0.9)))
            z = float(random.uniform(4, REACH))
            actors.append(Actor(objects.clutter(random), CLUTTER, -1, x, z))
    return actors
