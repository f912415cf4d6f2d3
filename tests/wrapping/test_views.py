"""Several views of one frame: the network sees them as one batch, the first of them unzoomed."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.wrapping.wrap import wrap

SOURCE, CANVAS = (60, 96), (30, 48)
WINDOW = (24, 15, 48, 30)


class Strided(nn.Module):
    """A network with a cut `stem`, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stem(x))
        return y


def network() -> Strided:
    torch.manual_seed(3)
    return Strided().eval()


def bent() -> FixedWarp:
    rows = np.linspace(-1, 1, 7)
    return FixedWarp.from_knots(
        np.linspace(-1, 1, 9), rows + 0.3 * np.sin(np.pi * rows), source=SOURCE, canvas=CANVAS
    )


def window() -> FixedWarp:
    return FixedWarp.from_window(SOURCE, WINDOW, canvas=CANVAS)


def test_views_follow_each_other_in_the_batch() -> None:
    images = torch.rand(2, 3, *SOURCE)
    with torch.no_grad():
        both = wrap(network(), [bent(), window()], ["stem"])(images)
        first = wrap(network(), bent(), ["stem"])(images)
        second = wrap(network(), window())(images)
    assert both.shape[0] == 4
    torch.testing.assert_close(both[:2], first, rtol=0, atol=0)
    torch.testing.assert_close(both[2:], second, rtol=0, atol=0)


def test_a_window_shows_its_pixels() -> None:
    """A window of the canvas' own size is the crop of the image itself."""
    x, y, width, height = WINDOW
    image = torch.rand(1, 3, *SOURCE)
    seen: list[Tensor] = []
    seer = nn.Conv2d(3, 1, 1)
    wrap(seer, FixedWarp.from_window(SOURCE, WINDOW, scale=1.0), multiple=1)
    seer.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    seer(image)
    crop = image[:, :, y : y + height, x : x + width]
    torch.testing.assert_close(seen[-1], crop, rtol=0, atol=1e-5)


def test_boxes_of_a_window() -> None:
    """The first pixel of the window is the first of the canvas; both maps are inverses."""
    warp = window()
    corner = np.array([[24.0, 15.0, 25.0, 16.0]])
    step = (48 - 1) / (48 - 1), (30 - 1) / (30 - 1)
    np.testing.assert_allclose(warp.boxes_to_canvas(corner), [[0, 0, 1 / step[0], 1 / step[1]]])
    boxes = np.random.default_rng(0).uniform(0, 60, (5, 4))
    np.testing.assert_allclose(warp.boxes_to_source(warp.boxes_to_canvas(boxes)), boxes)


def test_labels_of_a_window() -> None:
    x, y, width, height = WINDOW
    labels = np.random.default_rng(1).integers(0, 9, SOURCE)
    warp = FixedWarp.from_window(SOURCE, WINDOW, scale=1.0)
    np.testing.assert_array_equal(
        warp.labels_to_canvas(labels), labels[y : y + height, x : x + width]
    )


@pytest.mark.parametrize(
    "place", [(-1, 0, 10, 10), (90, 0, 10, 10), (0, 55, 10, 10), (5, 5, 1, 10)]
)
def test_windows_outside_of_the_frame_are_refused(place: tuple[int, ...]) -> None:
    with pytest.raises(LzuError, match=r"window is .* within the frame of 60x96"):
        FixedWarp.from_window(SOURCE, place, canvas=CANVAS)


def test_views_that_are_no_batch_are_refused() -> None:
    other = FixedWarp.from_window(SOURCE, WINDOW, canvas=(24, 48))
    with pytest.raises(LzuError, match="make them equal, so that they are one batch"):
        wrap(network(), [bent(), other], ["stem"])
    with pytest.raises(LzuError, match=r"is no window; make it by FixedWarp\.from_window"):
        wrap(network(), [bent(), bent()], ["stem"])
    with pytest.raises(LzuError, match="a window need no unzoom; leave unzoom empty"):
        wrap(network(), window(), ["stem"])
    with pytest.raises(LzuError, match="warp is no FixedWarp"):
        wrap(network(), [], ["stem"])
