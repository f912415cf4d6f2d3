"""A phase that is off by half a cell is found: zoom and unzoom of a smooth image do not compose."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.warp.fixed_warp import FixedWarp

SOURCE = (256, 384)
CANVAS = (128, 192)


def smooth(size: tuple[int, int] = SOURCE) -> Tensor:
    """Return an image of slow waves: a cell's average is nearly its middle."""
    rows, columns = (torch.linspace(0, 1, count) for count in size)
    waves = [
        torch.sin(np.pi * rows)[:, None] + torch.cos(1.5 * np.pi * columns),
        torch.cos(np.pi * rows)[:, None] * torch.sin(1.5 * np.pi * columns),
        rows[:, None] * 2 + columns,
    ]
    return torch.stack(waves)[None]


def warp(separable: bool) -> FixedWarp:
    rows, columns = np.mgrid[0:9, 0:13]
    saliency = 0.2 + np.exp(-(((rows - 4) / 2) ** 2) - ((columns - 6) / 3) ** 2)
    return FixedWarp.from_saliency(saliency, SOURCE, scale=0.5, fwhm=4, separable=separable)


class Averaging(nn.Module):
    """Averages of each channel: patches, or a kernel with padding on both sides or on one."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        pad, kernel, padding = {
            "patches": ((0, 0, 0, 0), 8, 0),
            "stride * i": ((0, 0, 0, 0), 9, 4),
            "one-sided": ((0, 1, 0, 1), 9, 0),
        }[kind]
        self.pad = nn.ReplicationPad2d(pad)
        self.body = nn.Conv2d(3, 3, kernel, 8, padding, groups=3, padding_mode="replicate")
        self.head = nn.Identity()
        with torch.no_grad():
            self.body.weight.fill_(1 / kernel**2)
            self.body.bias.fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(self.pad(x)))
        return found


def error(kind: str, *, separable: bool = True, phase: Any = None) -> float:
    """Return the root of the mean square difference of maps with the warp from the uniform ones.

    Cells at the border, whose fields are cut, do not count.
    """
    image = smooth()
    given = None if phase is None else {"body": [phase]}
    with torch.no_grad():
        even = lzu.wrap(Averaging(kind), FixedWarp.uniform(SOURCE, scale=0.5), ["body"])(image)
        net = lzu.wrap(Averaging(kind), warp(separable), ["body"], phase=given)
        difference = (net(image) - even)[..., 2:-2, 2:-2]
    return float(difference.square().mean().sqrt() / even.std())


PHASES = {"patches": 3.5, "stride * i": 0.0, "one-sided": 4.0}
STATED = 0.005
"""Stated error, a share of the spread: averages over a cell of the zoomed image are not those over
a cell of the frame, and unzooms read between cells."""


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("kind", PHASES)
def test_the_measured_phase_is_right_and_half_a_cell_off_is_clearly_worse(
    kind: str, separable: bool
) -> None:
    measured = error(kind, separable=separable)
    assert measured < STATED
    right = PHASES[kind]
    assert error(kind, separable=separable, phase=right) == pytest.approx(measured, abs=1e-6)
    for wrong in (right - 4, right + 4):
        assert error(kind, separable=separable, phase=wrong) > 3 * measured
    # The usual formula is half a cell off for a network whose cells are at stride * i.
    usual = error(kind, separable=separable, phase=3.5)
    assert (usual > 3 * measured) == (kind == "stride * i")


def test_the_error_is_smallest_at_the_measured_phase() -> None:
    for kind, right in PHASES.items():
        offsets = [-2.0, -1.0, 0.0, 1.0, 2.0]
        found = [error(kind, phase=right + each) for each in offsets]
        assert found.index(min(found)) == 2


def test_without_an_unzoom_the_maps_are_far_from_the_uniform_ones() -> None:
    """So the stated error is not that of a warp that does nothing."""
    image = smooth()
    with torch.no_grad():
        even = Averaging("patches")(
            nn.functional.interpolate(image, CANVAS, mode="bilinear", align_corners=True)
        )
        zoomed = lzu.wrap(Averaging("patches"), warp(True))(image)
    assert float((zoomed - even).square().mean().sqrt() / even.std()) > 10 * STATED
