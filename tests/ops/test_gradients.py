"""Operators in training: gradients, autocast, compilation, and steps like those of grid_sample."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.ops import linear_weights
from lzu_export.ops.linear_weights import hat_matrix
from lzu_export.ops.registry import OPERATORS
from lzu_export.ops.torch_ops import REGISTERED, run
from lzu_export.warp.knots import nonseparable_knots, separable_knots

resample, grid_resample = REGISTERED["SeparableResample"], REGISTERED["GridResample"]
zoom, unzoom = REGISTERED["SeparableZoom"], REGISTERED["SeparableUnzoom"]
invert_warp = REGISTERED["InvertWarp"]
SIZE, AFFINE, OUTSIDE = (6, 8), (2 / 5.3, -0.98, 2 / 7.4, -0.97), -4.0


def tables(size: tuple[int, int], counts: tuple[int, int], seed: int) -> list[Tensor]:
    """Resample tables (4, n) of random places in the rows and columns of an input."""
    generator, found = np.random.default_rng(seed), []
    for cells, count in zip(size, counts, strict=True):
        place = np.sort(generator.uniform(-0.9, cells - 0.1, count))
        support = generator.uniform(1, 2, count)
        rows = [np.floor(place), place - np.floor(place), support, generator.uniform(0.5, 1, count)]
        found.append(torch.tensor(np.stack(rows), dtype=torch.float32))
    return found


def knots(seed: int = 0) -> tuple[Tensor, Tensor]:
    saliency = np.random.default_rng(seed).uniform(0.05, 1, (5, 7)) ** 2
    x, y = (torch.tensor(each, dtype=torch.float32) for each in separable_knots(saliency, 4))
    return x[None], y[None]


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    counts=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 99),
)
def test_gradients_through_a_fixed_warp(
    size: tuple[int, int], counts: tuple[int, int], seed: int
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    rows, columns = tables(size, counts, seed)
    assert torch.autograd.gradcheck(lambda each: resample(each, rows, columns), x)


def test_a_fixed_warp_s_tables_have_no_gradient() -> None:
    x = torch.randn(1, 2, 5, 6)
    rows, columns = tables((5, 6), (4, 4), 0)
    result = resample(x, rows.requires_grad_(), columns)
    with pytest.raises(LzuError, match="no gradient for its tables; learn the knots"):
        result.sum().backward()


def test_a_fixed_warp_keeps_no_features_for_the_backward_pass() -> None:
    kept: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    x = torch.randn(2, 16, 40, 50, requires_grad=True)
    rows, columns = tables((40, 50), (30, 30), 0)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda each: each):
        resample(x, rows, columns)
    assert sum(kept) <= x.element_size() + rows.nbytes + columns.nbytes


def test_gradients_of_features_and_positions_on_a_plane() -> None:
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    place = torch.rand(2, 4, 5, 2, dtype=torch.float64) * 4 + 0.3
    whole = place.floor().float()
    fraction = (place - place.floor()).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: grid_resample(a, whole, b), (x, fraction))


def test_gradients_of_knots_through_the_inverse() -> None:
    """The definition against finite differences in float64; the operator against the definition."""
    generator = np.random.default_rng(1)
    plane = [nonseparable_knots(generator.uniform(0.05, 1, (5, 7)) ** 2, 4) for _ in range(2)]
    exact = torch.tensor(np.stack(plane), requires_grad=True)

    def definition(each: Tensor) -> Any:
        return OPERATORS["InvertWarp"].definition(each, SIZE, *AFFINE, OUTSIDE)

    assert torch.autograd.gradcheck(definition, exact, atol=1e-5, rtol=1e-3)
    single = exact.detach().float().requires_grad_()
    invert_warp(single, SIZE, *AFFINE, OUTSIDE).square().sum().backward()
    definition(exact).square().sum().backward()
    assert single.grad is not None
    assert exact.grad is not None
    largest = float(exact.grad.abs().max())
    torch.testing.assert_close(single.grad.double(), exact.grad, rtol=0, atol=1e-5 * largest)


def cases() -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """Every operator of a warp: a loss, and what it is differentiated by."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 6, 7, generator=generator)
    rows, columns = tables((6, 7), (5, 4), 2)
    place = torch.rand(1, 4, 5, 2, generator=generator) * 4 + 0.3
    plane = nonseparable_knots(np.random.default_rng(3).uniform(0.05, 1, (5, 7)), 4)
    affine = ([0.3], [-0.9], [0.3], [-0.9])
    return {
        "separable_resample": (lambda a: resample(a, rows, columns), [x]),
        "grid_resample": (lambda a, b: grid_resample(a, place.floor(), b), [x, place % 1]),
        "separable_zoom": (lambda a, b, c: zoom(a, b, c, [5, 6], [0, 0]), [x, *knots()]),
        "separable_unzoom": (lambda a, b, c: unzoom([a], b, c, *affine, 1)[0], [x, *knots()]),
        "invert_warp": (
            lambda a: invert_warp(a, SIZE, *AFFINE, OUTSIDE),
            [torch.tensor(plane, dtype=torch.float32)[None]],
        ),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_compiled_steps_have_the_same_gradients(name: str) -> None:
    """By torch.compile without graph breaks; the tracing back end, as kernels need a compiler."""
    function, inputs = cases()[name]

    def loss(*tensors: Tensor) -> Tensor:
        return function(*tensors).square().sum()

    torch._dynamo.reset()
    fast = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found = []
    for each in (loss, fast):
        mine = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        each(*mine).backward()
        found.append([tensor.grad for tensor in mine])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain)
        assert float(plain.abs().max()) > 0


@pytest.mark.parametrize("name", ["separable_resample", "separable_zoom", "separable_unzoom"])
def test_under_autocast_features_keep_their_type(name: str) -> None:
    """A convolution gives bfloat16; the warp takes it, and gradients come back in float32."""
    function, (x, *others) = cases()[name]
    layer = nn.Conv2d(3, 3, 1)
    with torch.autocast("cpu", torch.bfloat16):
        features = layer(x)
        result = function(features, *others)
    assert (features.dtype, result.dtype) == (torch.bfloat16, torch.bfloat16)
    result.float().square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    exact = nn.Conv2d(3, 3, 1)
    exact.load_state_dict(layer.state_dict())
    function(exact(x), *others).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, exact.weight.grad, rtol=0.05, atol=0.05)


def test_wide_maps_have_the_gradients_of_dense_matrices() -> None:
    """Columns of wide maps are gathered on a CPU; some positions lie outside, some are NaN."""
    generator = torch.Generator().manual_seed(0)
    for width in (40, 150):
        x = torch.randn(2, 3, 20, width, dtype=torch.float64, generator=generator)
        rows = torch.rand(2, 30, dtype=torch.float64, generator=generator) * 24 - 2.1
        columns = torch.rand(2, 50, dtype=torch.float64, generator=generator) * (width + 4) - 2.1
        found = []
        for dense in (False, True):
            inputs = [each.clone().requires_grad_() for each in (x, rows, columns)]
            if dense:
                a_y, a_x = hat_matrix(inputs[1], 20), hat_matrix(inputs[2], width)
                result = torch.einsum("bik,bckl,bjl->bcij", a_y, inputs[0], a_x)
            else:
                result = linear_weights.resample(*inputs, training=True)
            (result * result.detach().cos()).sum().backward()
            found.append([result.detach(), *(each.grad for each in inputs)])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        rows[0, 4], columns[1, 5], columns[0, 0] = float("nan"), float("nan"), 1e30
        exact = linear_weights.resample(x, rows, columns, training=False)
        result = linear_weights.resample(x, rows, columns, training=True)
        torch.testing.assert_close(result, exact, rtol=0, atol=1e-9, equal_nan=True)
        assert result.isnan().any(dim=3)[0, :, 4].all()
        assert result.isnan().any(dim=2)[1, :, 5].all()
        assert not result[0, :, :4, 0].any()
        assert int(result.isnan().sum()) <= 3 * (50 + 30)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    shared=st.tuples(st.booleans(), st.booleans()),
    wanted=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 999),
)
def test_gradients_are_those_of_dense_matrices(
    size: tuple[int, int], shared: tuple[bool, bool], wanted: tuple[bool, bool, bool], seed: int
) -> None:
    """Also on axes of one cell, and of positions that all images share."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    x, outer = draw(2, 3, *size), draw(2, 3, 4, 6)
    rows = draw(1 if shared[0] else 2, 4) * (size[0] + 2) - 1.5
    columns = draw(1 if shared[1] else 2, 6) * (size[1] + 2) - 1.5
    inputs = [x.requires_grad_(), rows.requires_grad_(), columns.requires_grad_()]
    dense = linear_weights._dense(*inputs)
    expected = torch.autograd.grad(dense, inputs, outer)
    mine = [each.detach().requires_grad_(need) for each, need in zip(inputs, wanted, strict=True)]
    found = linear_weights.resample(*mine, training=True)
    torch.testing.assert_close(found.detach(), dense.detach(), rtol=0, atol=1e-9)
    if any(wanted):
        found.backward(outer)
    for each, slope, need in zip(mine, expected, wanted, strict=True):
        assert (each.grad is not None) == need
        if each.grad is not None:
            torch.testing.assert_close(each.grad, slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["SeparableZoom", "SeparableUnzoom"])
def test_eager_training_is_the_operator_s_without_its_backward_pass(name: str) -> None:
    """Values, gradients and NaN are the operator's; outside of training it is the operator."""
    x = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    across, down = knots(3)
    settings = ([5, 6], [2, 1]) if name == "SeparableZoom" else (*([v] for v in AFFINE), 1)
    found: list[list[Any]] = []
    own = []
    for function in (REGISTERED[name], partial(run, name)):
        inputs = [each.clone().requires_grad_() for each in (x, across, down)]
        result = function(
            inputs[0] if name == "SeparableZoom" else [inputs[0]], *inputs[1:], *settings
        )
        result = result if isinstance(result, Tensor) else result[0]
        (result * result.detach().cos()).sum().backward()
        own.append("GeneratedBackwardFor" in type(result.grad_fn).__name__)
        found.append([result.detach(), *(each.grad for each in inputs)])
    assert own == [True, False]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    down[0, 1] = float("nan")
    first = x if name == "SeparableZoom" else [x]
    broken = run(name, first, across, down.requires_grad_(), *settings)
    broken = broken if isinstance(broken, Tensor) else broken[0]
    assert broken.isnan().any()
    broken.sum().backward()


def test_only_the_wanted_gradients_of_levels_are_computed() -> None:
    x, (across, down) = torch.randn(1, 2, 6, 7), knots()
    first, second = x.clone().requires_grad_(), x.clone()
    results = unzoom([first, second], across, down, *([value] * 2 for value in AFFINE), 1)
    (results[0].sum() + results[1].sum()).backward()
    assert first.grad is not None
    assert second.grad is None
    assert across.grad is None


class Net(nn.Module):
    """Zoom, a network of two convolutions, unzoom; warps are functions of tensors."""

    def __init__(self, zoomed: Callable[[Tensor], Tensor], unzoomed: Callable[[Tensor], Tensor]):
        super().__init__()
        self.zoomed, self.unzoomed = zoomed, unzoomed
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1))

    def forward(self, frame: Tensor) -> Tensor:
        found: Tensor = self.unzoomed(self.body(self.zoomed(frame)))
        return found


def sampled(table: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """The bilinear samples of two tables by grid_sample."""

    def sample(x: Tensor) -> Tensor:
        y, across = (
            2 * (each[0] + each[1]) / (count - 1) - 1
            for each, count in zip(table, x.shape[2:], strict=True)
        )
        grid = torch.stack(torch.meshgrid(y, across, indexing="ij")[::-1], dim=-1)
        grid = grid.expand(len(x), *grid.shape)
        return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=True)

    return sample


def bilinear(size: tuple[int, int], counts: tuple[int, int], seed: int) -> list[Tensor]:
    found = tables(size, counts, seed)
    for each in found:
        each[2:] = 1
    return found


def test_training_steps_have_the_losses_of_grid_sample() -> None:
    down, up = bilinear((24, 32), (16, 20), 1), bilinear((8, 10), (12, 16), 2)
    nets = []
    for zoomed, unzoomed in (
        (lambda x: resample(x, *down), lambda x: resample(x, *up)),
        (sampled(down), sampled(up)),
    ):
        torch.manual_seed(0)
        nets.append(Net(zoomed, unzoomed))
    losses: list[list[float]] = [[], []]
    for net, mine in zip(nets, losses, strict=True):
        optimiser = torch.optim.SGD(net.parameters(), 0.2, momentum=0.9)
        for step in range(12):
            generator = torch.Generator().manual_seed(step)
            frame = torch.rand(2, 3, 24, 32, generator=generator)
            wanted = functional.interpolate(frame.mean(1, keepdim=True), (12, 16))
            loss = (net(frame) - wanted).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            mine.append(float(loss))
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-5)
    assert losses[0][-1] < 0.5 * losses[0][0]
