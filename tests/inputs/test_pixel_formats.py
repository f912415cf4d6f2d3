"""Pixel formats of frames: what is taken, what is refused, and what it stands for."""

from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.pixel_formats import (
    check_pixel_format,
    check_pixels,
    shape_in,
    size_of,
    to_bgr,
)
from pixel_samples import FORMATS, pixels_of


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(2, 2), (6, 14), (96, 160)])
def test_a_frame_has_the_format_s_shape_and_stands_for_bgr(
    pixel_format: Any, size: tuple[int, int]
) -> None:
    raw, bgr = pixels_of(pixel_format, size, 3)
    assert check_pixels(raw, pixel_format, size) is raw
    assert raw.shape == shape_in(size, pixel_format)
    assert size_of(raw, pixel_format) == size
    made = to_bgr(raw, pixel_format)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, bgr)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("NV12", "did you mean nv12"), ("grey", "did you mean gray"), ("rbg", "did you mean "),
     ("yuyv422", "choose one of bgr, rgb, nv12, gray"), ("", "choose one of")],
)  # fmt: skip
def test_an_unknown_format_is_named_with_the_nearest(name: str, remedy: str) -> None:
    with pytest.raises(LzuError, match=rf"there is no pixel format '{name}'; {remedy}"):
        check_pixel_format(name)
    assert [check_pixel_format(each) for each in FORMATS] == list(FORMATS)


@pytest.mark.parametrize(
    ("pixel_format", "frame", "problem"),
    [
        ("nv12", np.zeros((145, 160), np.uint8), "camera 2 in NV12 has 145 rows, which no even"),
        ("nv12", np.zeros((144, 161), np.uint8), "in NV12 is 161 pixels wide, and the width has"),
        ("nv12", np.zeros((96, 160, 3), np.uint8), r"is \(96, 160, 3\), but pixel format nv12 is "
         r"\(height \* 3 / 2\) x width; give it like that, or name the format"),
        ("nv12", np.zeros((96, 160), np.uint8), "is 64x160 in nv12 but this bundle takes 96x160"),
        ("nv12", np.zeros((0, 160), np.uint8), "is 0x160, without a pixel"),
        ("gray", np.zeros((96, 160, 1), np.uint8), "but pixel format gray is height x width;"),
        ("gray", np.zeros((97, 160), np.uint8), "is 97x160 in gray but this bundle takes 96x160"),
        ("gray", np.zeros(160, np.uint8), r"is \(160,\), but pixel format gray"),
        ("rgb", np.zeros((96, 160), np.uint8), "but pixel format rgb is height x width x 3;"),
        ("rgb", np.zeros((96, 160, 4), np.uint8), r"is \(96, 160, 4\), but pixel format rgb"),
        ("rgb", np.zeros((96, 160, 3), np.float32), "camera 2 is float32; give the camera's byt"),
        ("rgb", [[1, 2, 3]], "camera 2 is list, but pixel format rgb"),
        ("bgr", np.zeros((96, 160), np.uint8), "not height x width x 3; convert it to a BGR"),
    ],
)  # fmt: skip
def test_unfit_frames_are_refused_in_one_sentence(
    pixel_format: Any, frame: Any, problem: str
) -> None:
    with pytest.raises(LzuError, match=f"camera 2.*{problem.removeprefix('camera 2 ')}"):
        check_pixels(frame, pixel_format, (96, 160), "camera 2")


@pytest.mark.parametrize("size", [(95, 160), (96, 161)])
def test_nv12_needs_an_even_source(size: tuple[int, int]) -> None:
    with pytest.raises(LzuError, match=f"a picture of {size[0]}x{size[1]} has no NV12 form"):
        shape_in(size, "nv12")
