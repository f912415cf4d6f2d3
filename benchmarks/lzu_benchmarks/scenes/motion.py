"""Mounting and motion of the camera, by the seed of a sequence.

Sequences of seeds below `MOVING` have the steady camera of one mounting. From `MOVING` on, height,
tilt and pan of the mounting are drawn for every sequence, and the road has hills and bends. The
street stays flat and straight: a hill is seen as pitch and a bend as yaw, at the place that the
camera has reached.
"""

from dataclasses import dataclass

import numpy as np

MOVING = 1_000_000
"""First seed of the sequences with a moving camera."""


@dataclass(frozen=True)
class Wave:
    """An angle that varies along the road as a sine.

    Attributes:
        amplitude: radians.
        length: metres from crest to crest.
        phase: radians, at z = 0.
    """

    amplitude: float = 0.0
    length: float = 1.0
    phase: float = 0.0

    def at(self, z: float) -> float:
        """Return the angle in radians at the place z in metres."""
        return self.amplitude * float(np.sin(2 * np.pi * z / self.length + self.phase))


@dataclass(frozen=True)
class Motion:
    """What a camera's mounting and road add to the pose of the steady camera.

    Attributes:
        raised: metres that the camera is mounted higher.
        tilt: radians that the camera is mounted to look up.
        pan: radians that the camera is mounted to look right.
        hills: pitch of the road, positive upwards.
        bends: yaw of the camera against the road, positive to the right.
    """

    raised: float = 0.0
    tilt: float = 0.0
    pan: float = 0.0
    hills: Wave = Wave()
    bends: Wave = Wave()

    def pitch(self, z: float) -> float:
        """Return the pitch in radians, positive upwards, at the place z in metres."""
        return self.tilt + self.hills.at(z)

    def yaw(self, z: float) -> float:
        """Return the yaw in radians, positive to the right, at the place z in metres."""
        return self.pan + self.bends.at(z)


def motion_of(seed: int) -> Motion:
    """Draw the motion of a sequence; equal seeds give equal motions."""
    if seed < MOVING:
        return Motion()
    # A stream of its own, so that street and objects are drawn as for other seeds.
    random = np.random.Generator(np.random.PCG64([seed, MOVING]))

    def wave(low: float, high: float, shortest: float, longest: float) -> Wave:
        amplitude, length = random.uniform(low, high), random.uniform(shortest, longest)
        return Wave(float(amplitude), float(length), float(random.uniform(0, 2 * np.pi)))

    return Motion(
        raised=float(random.uniform(-0.4, 1.3)),
        tilt=float(random.uniform(-0.14, 0.14)),
        pan=float(random.uniform(-0.15, 0.15)),
        hills=wave(0.02, 0.1, 40, 90),
        bends=wave(0.0, 0.2, 50, 120),
    )
