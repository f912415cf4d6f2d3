"""Launchers of the plugin library on a device against their build for the host."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from host_kernels import BGR, F32, Array, BoxKnots, library, run

from lzu_export.errors import LzuError
from lzu_export.runtime.kernels import FeedBoxes, Suppress, ZoomCamera
from lzu_export.runtime.plugin_library import find_library, load_kernels
from lzu_export.targets.cuda.interface import Cuda, open_cuda
from lzu_export.targets.cuda.memory import HostArray
from lzu_export.warp.knots import axis_knots

pytestmark = pytest.mark.gpu

Place = Callable[[HostArray], int | None]


class Device:
    """A device, its library, and memory that it shares with the host."""

    def __init__(self, cuda: Cuda, kernels: Any) -> None:
        self.cuda, self.kernels = cuda, kernels
        self._memory: list[HostArray] = []

    def holding(self, values: Any) -> HostArray:
        """Memory with these values."""
        values = np.asarray(values)
        made = self.cuda.host_array(values.shape, values.dtype, kind="mapped")
        made.array[...] = values
        self._memory.append(made)
        return made

    def check(
        self,
        name: str,
        make: Callable[[Place], ctypes.Structure],
        outputs: list[HostArray],
        atol: float = 0.0,
    ) -> None:
        """Run a launcher here and on the host and compare all that it wrote."""
        assert run(name, make(lambda memory: memory.array.ctypes.data)) == 0
        wanted = [each.array.copy() for each in outputs]
        for each in outputs:
            each.array.fill(77)
        stream = self.cuda.stream()
        call = make(lambda memory: memory.address)
        launch = getattr(self.kernels, name)
        assert launch(ctypes.byref(call), ctypes.c_void_p(stream.handle)) == 0
        stream.synchronize()
        stream.close()
        for mine, theirs in zip(outputs, wanted, strict=True):
            np.testing.assert_allclose(mine.array, theirs, rtol=0, atol=atol)

    def close(self) -> None:
        for each in self._memory:
            self.cuda.free(each)


@pytest.fixture
def device() -> Iterator[Device]:
    try:
        cuda = open_cuda()
        kernels = load_kernels(find_library())
    except LzuError as error:
        pytest.skip(str(error))
    with cuda.current():
        made = Device(cuda, kernels)
        yield made
        made.close()


def zeros(device: Device, *shape: int, dtype: Any = np.float32) -> HostArray:
    return device.holding(np.zeros(shape, dtype))


def test_suppression_and_feedback_are_equal_to_the_bit(device: Device) -> None:
    rng = np.random.default_rng(0)
    batch, candidates, most, taken = 2, 1000, 100, 50
    corner = rng.uniform(0, 300, (batch, candidates, 2))
    sides = rng.uniform(-5, 90, (batch, candidates, 2))
    boxes = device.holding(np.concatenate([corner, corner + sides], axis=-1).astype(np.float32))
    scores = device.holding((rng.integers(0, 40, (batch, candidates)) / 40).astype(np.float32))
    labels = device.holding(rng.integers(0, 3, (batch, candidates)).astype(np.int32))
    workspace = zeros(device, library().lzu_suppress_workspace(batch, candidates), dtype=np.uint8)
    kept = [
        zeros(device, batch, most, 4),
        zeros(device, batch, most),
        zeros(device, batch, most, dtype=np.int32),
        zeros(device, batch, dtype=np.int32),
    ]

    def suppress(place: Place) -> Suppress:
        given = (place(each) for each in (boxes, scores, labels))
        taken = (place(each) for each in (workspace, *kept))
        return Suppress(*given, 4, batch, candidates, most, 0.05, 0.5, *taken)

    device.check("lzu_suppress", suppress, kept)
    fed = [zeros(device, batch, taken, 4), zeros(device, batch, taken)]

    def feed(place: Place) -> FeedBoxes:
        given = (place(each) for each in (kept[0], kept[1], kept[3]))
        view = (8.0, 4.0, 308.0, 204.0)
        return FeedBoxes(*given, batch, most, taken, 40, 0.3, *view, *(place(each) for each in fed))

    device.check("lzu_feed_boxes", feed, fed)
    assert fed[1].array.any()


def knots(seed: int, count: int) -> Array:
    return axis_knots(np.random.default_rng(seed).uniform(0.3, 1, count) ** 2, 6.0).astype("f4")


def test_the_camera_s_way_to_the_network(device: Device) -> None:
    rng = np.random.default_rng(1)
    frame = device.holding(rng.integers(0, 256, (360, 640, 3), np.uint8))
    x, y = device.holding(knots(0, 51)), device.holding(knots(1, 31))
    output = zeros(device, 3, 192, 320)

    def camera(place: Place) -> ZoomCamera:
        call = ZoomCamera(
            pixels=place(frame), pixel_format=BGR, pitch=640 * 3, reduce=1, height=360, width=640,
            canvas_height=180, canvas_width=320, pad_y=12, rgb_output=1, format=F32,
            knots_x=place(x), knots_y=place(y), knot_count_x=51, knot_count_y=31,
            output=place(output),
        )  # fmt: skip
        call.mean[:], call.std[:] = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
        return call

    device.check("lzu_zoom_camera", camera, [output], atol=2e-5)


def test_boxes_to_knots(device: Device) -> None:
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 500, (2, 100, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 90, (2, 100, 2))], axis=-1)
    given = [
        device.holding(boxes.astype(np.float32)),
        device.holding((rng.random((2, 100)) < 0.5).astype(np.float32)),
        device.holding(np.ones(1, np.float32)),
        device.holding(np.full(1, 64, np.float32)),
        device.holding(np.full(51, 1 / 51, np.float32)),
        device.holding(np.full(31, 1 / 31, np.float32)),
    ]
    found = [zeros(device, 2, 51), zeros(device, 2, 31)]

    def box_knots(place: Place) -> ctypes.Structure:
        places = (place(each) for each in (*given, *found))
        return BoxKnots(*places, 2, 100, 31, 51, 400, 640, 10.0, 0.5, 1.0)

    device.check("lzu_box_knots", box_knots, found, atol=1e-5)
