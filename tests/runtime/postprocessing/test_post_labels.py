"""The post-processing `labels` against PyTorch's resize and a loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.tables import label_tables, table_matrix
from postprocess_samples import process, setup

SIZES = [((8, 16), 8.0), ((4, 8), 16.0), ((16, 32), 4.0), ((64, 128), 1.0), ((24, 48), 8 / 3)]


@given(
    st.integers(0, 2**32),
    st.sampled_from(SIZES),
    st.sampled_from(["half-pixel", "in-phase"]),
    st.booleans(),
)
def test_logits_are_resized_before_they_are_compared(
    seed: int, case: tuple[tuple[int, int], float], upsampling: Any, in_regions: bool
) -> None:
    size, stride = case
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (3, *size)).astype(np.float32)
    if in_regions:
        logits[rng.integers(3), : size[0] // 2] += 4
        logits[rng.integers(3), :, : size[1] // 2] += 8
    found = process({"kind": "labels", "upsampling": upsampling}, {"out": logits})
    recipe = setup({"kind": "raw"})
    rows, cols = label_tables(
        size,
        stride,
        recipe.canvas,
        recipe.view,
        canvas_step=recipe.canvas_step,
        upsampling=upsampling,
    )
    wide = table_matrix(rows, size[0]) @ logits.astype(np.float64) @ table_matrix(cols, size[1]).T
    assert (found.dtype, found.shape) == (np.uint8, (120, 200))
    ordered = np.sort(wide, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], wide.argmax(axis=0)[clear])


def test_half_pixel_is_pytorch_s_resize_without_aligned_corners() -> None:
    torch = pytest.importorskip("torch", reason="the reference is PyTorch's resize")
    logits = np.random.default_rng(5).normal(0, 1, (3, 8, 12)).astype(np.float32)
    sizes = {"canvas": (64, 96), "view": (128, 192), "source": (128, 192), "corner": (0, 0)}
    found = process({"kind": "labels"}, {"out": logits}, **sizes)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(logits[None]), (128, 192), mode="bilinear", align_corners=False
    )
    assert (found == resized[0].argmax(dim=0).numpy()).mean() > 0.9999


def test_labels_are_those_of_the_nearest_cell() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (8, 16))
    labels[2, 3] = 255
    found = process({"kind": "labels"}, {"out": labels})
    assert found.dtype == np.uint8
    for row, column in ((0, 0), (7, 100), (60, 33), (119, 199)):
        place = [(i + 0.5) * n / m / 8 - 0.5 for i, n, m in ((row, 60, 120), (column, 100, 200))]
        cell = tuple(np.clip(np.floor(np.array(place) + 0.5), 0, [7, 15]).astype(int))
        assert found[row, column] == labels[cell]
    np.testing.assert_array_equal(found, process({"kind": "labels"}, {"out": labels[None]}))
    assert (found == 255).any()


def test_labels_of_the_network_s_own_resolution_stay_as_they_are() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (64, 128)).astype(np.int32)
    sizes = {"canvas": (60, 100), "view": (60, 100), "source": (60, 100), "corner": (0, 0)}
    for upsampling in ("half-pixel", "in-phase"):
        found = process({"kind": "labels", "upsampling": upsampling}, {"out": labels}, **sizes)
        np.testing.assert_array_equal(found, labels[:60, :100])


LOGITS = np.zeros((3, 8, 16), np.float32)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"out": LOGITS[:2]}, "out has 2 classes but the recipe names 3; name as many"),
        (
            {"out": LOGITS[0]},
            r"float32 of shape \(8, 16\) .* \(classes, height, width\)",
        ),
        ({"out": LOGITS + np.nan}, "values that are not a number"),
        ({"out": np.full((8, 16), 3)}, "out has the label 3, but labels are 0 to 2, or 255"),
        ({"out": np.full((8, 16), -1)}, "out has the label -1, but"),
        ({"out": np.zeros((3, 7, 16), np.float32)}, "out has 7x16 cells, which neither divide"),
        ({"a": LOGITS, "b": LOGITS}, "returns a, b; name one output in postprocess.output"),
    ],
)
def test_unfit_maps_of_labels_are_refused(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        process({"kind": "labels"}, outputs)


def test_one_channel_has_no_most_likely_class() -> None:
    with pytest.raises(LzuError, match="has 1 classes, but a label map has 2 to 255; return"):
        process({"kind": "labels"}, {"out": LOGITS[:1]}, classes=())


def test_a_class_that_is_ruled_out_by_an_infinite_logit_nowhere_wins() -> None:
    logits = np.random.default_rng(2).normal(0, 1, (3, 8, 16)).astype(np.float32)
    logits[1] = -np.inf
    with np.errstate(all="raise"):
        found = process({"kind": "labels"}, {"out": logits})
    assert set(np.unique(found)) == {0, 2}
