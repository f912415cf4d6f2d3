"""The zoom on the host against PyTorch's, and against OpenCV's resize."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import check_frame
from lzu_export.models.zoom import Resample, SourceToCanvas
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import validate
from lzu_export.runtime.preprocess import ZoomedInput, resample, taps
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.tables import resample_table, table_matrix

MEAN, STD = [103.0, 116.0, 124.0], [57.0, 58.0, 59.0]


def recipe(base: dict[str, Any], **changes: Any) -> Recipe:
    data = {**base, "input": "zoomed", **changes}
    data["normalisation"] = {"mean": MEAN, "std": STD, "order": data.pop("order", "rgb")}
    return validate(data, "tiny")


def frames(count: int, size: tuple[int, int] = (96, 160)) -> list[Any]:
    generator = np.random.default_rng(count)
    return list(generator.integers(0, 256, (count, *size, 3), dtype=np.uint8))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("sampler", ["bilinear", "antialiased"])
@pytest.mark.parametrize("variant", ["fixed", "uniform"])
def test_equals_the_torch_zoom(
    tiny_recipe: dict[str, Any], sampler: str, variant: str, order: str
) -> None:
    """Each image of a batch is within 1e-5 of the largest value, and zero beyond the canvas."""
    mine = recipe(tiny_recipe, sampler=sampler, variant=variant, order=order, batch=2)
    warp = make_warp(mine)
    batch = frames(2)
    got = ZoomedInput(mine, warp.zoom)(batch)
    wanted = SourceToCanvas(Resample(*warp.zoom), MEAN, STD, order)(
        torch.from_numpy(np.stack(batch))
    ).numpy()
    height, width = mine.canvas
    assert got.shape == (2, 3, *mine.network_input)
    assert got.dtype == np.float32
    assert mine.network_input == (64, 96)
    assert mine.canvas == (48, 80)
    assert np.abs(got[:, :, :height, :width] - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert not got[:, :, height:].any()
    assert not got[:, :, :, width:].any()
    assert np.abs(got[0] - got[1]).max() > 0.1


def test_samplers_and_variants_differ(tiny_recipe: dict[str, Any]) -> None:
    """This makes sure that the comparison with PyTorch covers different results."""
    results = []
    for sampler, variant in (
        ("bilinear", "fixed"),
        ("antialiased", "fixed"),
        ("bilinear", "uniform"),
    ):
        mine = recipe(tiny_recipe, sampler=sampler, variant=variant)
        results.append(ZoomedInput(mine, make_warp(mine).zoom)(frames(1)))
    assert np.abs(results[0] - results[1]).max() > 0.1
    assert np.abs(results[0] - results[2]).max() > 0.1


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_opencv_sampler_is_opencvs_resize(tiny_recipe: dict[str, Any], order: str) -> None:
    """The frame is resized as bytes and then normalised in the model's channel order."""
    mine = recipe(tiny_recipe, sampler="opencv", variant="uniform", order=order)
    (frame,) = frames(1)
    got = ZoomedInput(mine, make_warp(mine).zoom)([frame])
    resized = cv2.resize(frame, (80, 48), interpolation=cv2.INTER_LINEAR)
    if order == "rgb":
        resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    wanted = ((resized.astype(np.float64) - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(got[0, :, :48, :80], wanted, rtol=0, atol=1e-5)


def test_a_blue_frame_lands_in_the_right_channel(tiny_recipe: dict[str, Any]) -> None:
    """In BGR frames blue comes first; it is the model's last channel in RGB order."""
    blue = np.zeros((96, 160, 3), np.uint8)
    blue[:, :, 0] = 255
    for order, channel in (("rgb", 2), ("bgr", 0)):
        mine = recipe(tiny_recipe, order=order)
        image = ZoomedInput(mine, make_warp(mine).zoom)([blue])[0, :, :48, :80]
        for i in range(3):
            value = ((255 if i == channel else 0) - MEAN[i]) / STD[i]
            np.testing.assert_allclose(image[i], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
def test_taps_are_the_tables_matrix(antialias: bool) -> None:
    """This holds at the last line, which several taps share, and outside the image, too."""
    positions = np.array([-1.5, -1.02, -1.0, -0.3, 0.0, 0.01, 0.6, 0.999, 1.0, 1.01, 1.7])
    table = resample_table(positions, 13, antialias=antialias)
    lines, weights = taps(table, 13)
    matrix = np.zeros((len(positions), 13))
    for line, weight in zip(lines, weights, strict=True):
        matrix[np.arange(len(positions)), line] += weight
    np.testing.assert_allclose(matrix, table_matrix(table, 13), rtol=0, atol=1e-6)
    assert len(lines) >= (3 if antialias else 2)


def test_resample_at_the_pixels_is_the_identity() -> None:
    """Sampling each pixel at its own place changes nothing; reversed positions mirror the image."""
    image = frames(1, (7, 9))[0]
    rows = taps(resample_table(np.linspace(-1, 1, 7), 7), 7)
    cols = taps(resample_table(np.linspace(1, -1, 9), 9), 9)
    np.testing.assert_allclose(resample(image, rows, cols), image[:, ::-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("picture.png", "str"),
        (None, "NoneType"),
        (np.zeros((96, 160), np.uint8), "(96, 160)"),
        (np.zeros((96, 160, 4), np.uint8), "(96, 160, 4)"),
        (np.zeros((96, 160, 3), np.float32), "float32"),
        (np.zeros((96, 161, 3), np.uint8), "96x161"),
        (np.zeros((0, 160, 3), np.uint8), "0x160"),
    ],
)
def test_unfit_frames_are_refused_by_name(frame: Any, problem: str) -> None:
    """The error names the frame, describes it and gives a remedy."""
    with pytest.raises(LzuError, match=r"^camera 3 is ") as caught:
        check_frame(frame, (96, 160), "camera 3")
    assert problem in str(caught.value)
    assert ";" in str(caught.value)


def test_any_size_may_be_allowed() -> None:
    """Type and channels are checked even where frames are resized afterwards."""
    frame = np.zeros((5, 7, 3), np.uint8)
    assert check_frame(frame, None) is frame
    with pytest.raises(LzuError, match="uint8"):
        check_frame(frame.astype(np.float32), None)
