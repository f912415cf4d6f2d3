"""The PyTorch mirrors of the warp: same numbers, right gradients, trainable."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.ops import differentiable as ours
from lzu_export.warp import forward, inverse, knots

saliencies = arrays.arrays(
    np.float64,
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    elements=st.floats(1e-3, 1e3),
)


@settings(max_examples=40, deadline=None)
@given(saliency=saliencies, fwhm=st.floats(0.5, 20.0))
def test_equals_the_numpy_reference(saliency: np.ndarray, fwhm: float) -> None:
    x, y = ours.separable_knots(torch.from_numpy(saliency), fwhm)
    expected_x, expected_y = knots.separable_knots(saliency, fwhm)
    np.testing.assert_allclose(x.numpy(), expected_x, atol=1e-13)
    np.testing.assert_allclose(y.numpy(), expected_y, atol=1e-13)
    v = np.linspace(-1.3, 1.3, 23)
    for extrapolate in (True, False):
        inverted = ours.invert_axis(
            torch.from_numpy(expected_x), torch.from_numpy(v), extrapolate=extrapolate
        )
        expected = inverse.invert_axis(expected_x, v, extrapolate=extrapolate)
        np.testing.assert_allclose(inverted.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        ours.forward_axis(torch.from_numpy(expected_x), 17).numpy(),
        forward.forward_axis(expected_x, 17),
        atol=1e-13,
    )
    np.testing.assert_allclose(
        ours.forward_at(torch.from_numpy(expected_x), torch.from_numpy(v)).numpy(),
        forward.forward_at(expected_x, v.clip(-1, 1)),
        atol=1e-13,
    )


def test_plain_knots_equal_the_numpy_reference() -> None:
    saliency = np.random.default_rng(0).uniform(0.5, 1.5, (7, 9))
    x, y = ours.separable_knots(torch.from_numpy(saliency), 3, anti_crop=False)
    expected_x, expected_y = knots.separable_knots(saliency, 3, anti_crop=False)
    np.testing.assert_allclose(x.numpy(), expected_x, atol=1e-13)
    np.testing.assert_allclose(y.numpy(), expected_y, atol=1e-13)


def test_batches_are_independent() -> None:
    saliency = torch.rand(3, 2, 5, 6, dtype=torch.float64) + 0.1
    x, y = ours.separable_knots(saliency, 2.0)
    assert x.shape == (3, 2, 6)
    assert y.shape == (3, 2, 5)
    single, _ = ours.separable_knots(saliency[1, 1], 2.0)
    torch.testing.assert_close(x[1, 1], single)
    inverted = ours.invert_axis(x, torch.linspace(-1, 1, 11, dtype=torch.float64))
    assert inverted.shape == (3, 2, 11)


def test_gradients_down_to_the_saliency() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(2, 4, 5, dtype=torch.float64, generator=generator) + 0.2
    saliency.requires_grad_()
    # Off the knots: the inverse has kinks there. Two positions lie outside the end knots.
    v = torch.tensor([-1.13, -0.71, -0.33, 0.047, 0.52, 0.83, 1.21], dtype=torch.float64)

    def positions(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, y = ours.separable_knots(values, 2.5)
        forward_x = ours.forward_axis(x, 7)
        return x, y, forward_x, ours.invert_axis(x, v), ours.invert_axis(y, v)

    assert torch.autograd.gradcheck(positions, (saliency,))

    def plain(values: torch.Tensor) -> torch.Tensor:
        return ours.invert_axis(ours.separable_knots(values, 2.5, anti_crop=False)[0], v[1:-1])

    assert torch.autograd.gradcheck(plain, (saliency,))


def test_coinciding_knots_give_finite_gradients() -> None:
    merged = torch.tensor([-1.0, 0.1, 0.1, 1.0], requires_grad=True)
    inverted = ours.invert_axis(merged, torch.linspace(-1, 1, 9))
    inverted.sum().backward()
    assert torch.isfinite(inverted).all()
    assert torch.isfinite(merged.grad).all()


def test_training_draws_knots_to_the_target() -> None:
    """Show a target twice as large as the identity warp does."""
    lattice, fwhm, target = 17, 4.0, 0.4
    logits = torch.zeros(lattice, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    edges = torch.tensor([target - 0.15, target + 0.15])
    losses, widths = [], []
    for _ in range(60):
        marginal = torch.softmax(logits, dim=0)
        shown = ours.invert_axis(ours.axis_knots(marginal, fwhm), edges)
        widths.append(float((shown[1] - shown[0]).detach()))
        loss = (shown[1] - shown[0] - 0.6) ** 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert widths[0] == pytest.approx(0.3, abs=1e-5)
    assert losses[-1] < 1e-2 * losses[0]
    learned = ours.axis_knots(torch.softmax(logits.detach(), dim=0), fwhm)
    inside = ((learned > edges[0]) & (learned < edges[1])).sum()
    before = torch.linspace(-1, 1, lattice)
    assert inside > 1.5 * ((before > edges[0]) & (before < edges[1])).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_exact_in_every_dtype(dtype: torch.dtype) -> None:
    marginal = torch.rand(50, 31, generator=torch.Generator().manual_seed(1)).to(dtype) + 0.01
    result = ours.axis_knots(marginal, 10.0, pad=26)
    assert (result[:, 0] == -1).all()
    assert (result[:, -1] == 1).all()
    assert (result.diff() > 0).all()


@pytest.mark.parametrize(
    ("saliency", "reason"),
    [
        (torch.zeros(4, 4), "saliency holds values"),
        (torch.full((4, 4), torch.nan), "saliency holds values"),
        (torch.ones(4, 4, dtype=torch.int64), "floating-point"),
        (torch.ones(4), "shape"),
    ],
)
def test_bad_saliency_is_refused_by_name(saliency: torch.Tensor, reason: str) -> None:
    with pytest.raises(LzuError, match=reason):
        ours.separable_knots(saliency, 3.0)


def test_it_traces_to_static_operators() -> None:
    class Warp(torch.nn.Module):
        def forward(self, saliency: torch.Tensor) -> torch.Tensor:
            x, _ = ours.separable_knots(saliency, 3.0)
            return ours.invert_axis(x, torch.linspace(-1, 1, 13))

    saliency = torch.rand(1, 5, 6) + 0.1
    program = torch.export.export(Warp(), (saliency,))
    torch.testing.assert_close(program.module()(saliency), Warp()(saliency))
