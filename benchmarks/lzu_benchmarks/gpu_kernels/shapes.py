"""Shapes of the shipped recipes, written down: reading recipes takes more than a bare machine has.

A test holds them to the recipes.
"""

from typing import NamedTuple

Size = tuple[int, int]
"""Height and width."""


class Shape(NamedTuple):
    """What kernels meet in a recipe, at its own scale and with a batch of 1."""

    name: str
    view: Size
    canvas: Size
    network_input: Size
    lattice: Size
    channels: int
    levels: tuple[tuple[int, int, int], ...]
    """Stride, height and width of each level."""

    @property
    def pad(self) -> Size:
        """Rows and columns of zeros behind the canvas."""
        (height, width), (rows, columns) = self.network_input, self.canvas
        return height - rows, width - columns


SHAPES = (
    Shape(
        "argoverse-hd", (1200, 1920), (600, 960), (608, 960), (31, 51), 256,
        ((8, 76, 120), (16, 38, 60), (32, 19, 30), (64, 10, 15), (128, 5, 8)),
    ),
    Shape(
        "nuscenes", (900, 1600), (450, 800), (480, 800), (27, 48), 256,
        ((8, 60, 100), (16, 30, 50), (32, 15, 25), (64, 8, 13), (128, 4, 7)),
    ),
    Shape(
        "cityscapes", (1024, 1024), (512, 512), (512, 512), (45, 45), 256, ((8, 64, 64),)
    ),
    Shape(
        "det-demo", (360, 640), (180, 320), (192, 320), (31, 51), 48,
        ((4, 48, 80), (8, 24, 40), (16, 12, 20), (32, 6, 10)),
    ),
)  # fmt: skip
