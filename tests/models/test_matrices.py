"""Pooling and resizing by constant matrices, against PyTorch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.models.matrices import (
    apply_matrices,
    average_pool,
    pool_matrix,
    resize,
    resize_matrix,
    restride,
    restride_matrix,
)

SIDES = st.integers(1, 40)


def feature(*size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)


@given(SIDES, SIDES, st.integers(1, 9))
def test_bins_are_those_of_adaptive_pooling(height: int, width: int, bins: int) -> None:
    x = feature(height, width)
    expected = functional.adaptive_avg_pool2d(x, bins)
    torch.testing.assert_close(average_pool(x, bins), expected, rtol=0, atol=1e-14)


@given(SIDES, SIDES, SIDES, SIDES)
def test_resizing_is_bilinear_with_half_pixel_centres(a: int, b: int, c: int, d: int) -> None:
    x = feature(a, b)
    expected = functional.interpolate(x, (c, d), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(x, (c, d)), expected, rtol=0, atol=1e-13)


def test_bins_that_do_not_divide_overlap() -> None:
    np.testing.assert_array_equal(
        pool_matrix(3, 4), [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]]
    )
    np.testing.assert_array_equal(pool_matrix(3, 2), [[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(pool_matrix(1, 5), [[0.2] * 5])


def test_weights_of_resizing_by_hand() -> None:
    np.testing.assert_array_equal(resize_matrix(4, 2), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_array_equal(resize_matrix(2, 4), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_array_equal(resize_matrix(3, 1), np.ones((3, 1)))


def test_a_map_of_that_size_stays_as_it_is() -> None:
    x = feature(5, 7)
    assert resize(x, (5, 7)) is x
    assert restride(x, 8, 8, (5, 7)) is x


def test_restriding_keeps_features_on_their_pixels() -> None:
    np.testing.assert_array_equal(restride_matrix(4, 4, 2, 8), [[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
    np.testing.assert_array_equal(restride_matrix(2, 8, 4, 4), [[1, 0, 0, 0], [0, 0, 1, 0]])
    # A map that holds its own pixel's place keeps holding it.
    for coarse, fine in ((8, 4), (32, 8), (4, 8)):
        rows, cols = torch.arange(5.0) * coarse, torch.arange(7.0) * coarse
        x = torch.stack(torch.meshgrid(rows, cols, indexing="ij"))[None]
        size = (4 * coarse // fine + 1, 6 * coarse // fine + 1)
        got = restride(x, coarse, fine, size)[0]
        expected = torch.meshgrid(
            torch.arange(size[0]) * fine, torch.arange(size[1]) * fine, indexing="ij"
        )
        torch.testing.assert_close(got, torch.stack(expected).float(), rtol=0, atol=1e-4)


def test_matrices_apply_in_the_map_s_type_whatever_the_order() -> None:
    x = feature(6, 9)
    for rows, cols in ((2, 3), (20, 30), (1, 40), (50, 2)):
        a, b = resize_matrix(rows, 6), resize_matrix(cols, 9)
        expected = np.einsum("ij,bcjk,lk->bcil", a, x.numpy(), b)
        np.testing.assert_allclose(apply_matrices(x, a, b).numpy(), expected, atol=1e-13)
        assert apply_matrices(x.half(), a, b).dtype == torch.float16


def test_remembered_matrices_cannot_be_changed() -> None:
    for matrix in (pool_matrix(2, 5), resize_matrix(5, 2), restride_matrix(5, 4, 3, 8)):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 1


def test_gradients_pass() -> None:
    x = feature(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: resize(average_pool(y, 3), (6, 7)), (x,))


@pytest.mark.parametrize("n", [(0, 4), (4, 0)])
def test_empty_axes_are_refused(n: tuple[int, int]) -> None:
    for make in (pool_matrix, resize_matrix):
        with pytest.raises(LzuError, match="at least 1"):
            make(*n)
    with pytest.raises(LzuError, match="at least 1"):
        restride_matrix(n[0], 4, n[1], 8)
