"""Products with a separable warp's matrices: values, groups, types, layouts and memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lzu_export.ops import axis_products
from lzu_export.ops.axis_products import plan
from lzu_export.ops.registry import OPERATORS
from lzu_export.ops.separable_resample import gradient
from lzu_export.warp.tables import table_matrix
from samples import random_tables

definition = OPERATORS["SeparableResample"].definition


def dense(x: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    matrices = (torch.from_numpy(each.copy()) for each in (rows, columns))
    return torch.einsum("ik,bckl,jl->bcij", next(matrices), x.double(), next(matrices))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    out=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    batch=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    planes=st.integers(1, 9),
    antialias=st.booleans(),
    transposed=st.booleans(),
)
def test_any_warp_in_any_groups_is_the_dense_product(
    seed: int,
    size: tuple[int, int],
    out: tuple[int, int],
    batch: tuple[int, int],
    planes: int,
    antialias: bool,
    transposed: bool,
) -> None:
    tables = random_tables(seed, size, out, reach=1.3, antialias=antialias)
    rows, columns = (table_matrix(each, n) for each, n in zip(tables, size, strict=True))
    if transposed:
        rows, columns = rows.T, columns.T
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*batch, rows.shape[1], columns.shape[1], generator=generator)
    exact = dense(x, rows, columns)
    found = plan(rows, columns, planes, torch.float64)(x.double())
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    single = plan(rows, columns, planes, torch.float32)(x)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    tables = [torch.from_numpy(each) for each in random_tables(3, (30, 40), (20, 50))]
    x = torch.randn(2, 3, 30, 40).to(dtype)
    torch.testing.assert_close(
        definition(x, *tables), definition(x.float(), *tables).to(dtype), rtol=0, atol=0
    )


@pytest.mark.parametrize("planes", [1, 4, 100])
def test_every_memory_layout_gives_the_same_values(
    planes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axis_products, "group_size", lambda *_: planes)
    tables = [torch.from_numpy(each) for each in random_tables(3, (9, 14), (5, 6))]
    x = torch.randn(2, 3, 9, 14)
    plain = definition(x, *tables)
    for other in (x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT):
        assert not other.is_contiguous()
        torch.testing.assert_close(definition(other, *tables), plain, rtol=1e-6, atol=1e-6)
    spread = torch.ones(()).expand(2, 3, 5, 6)
    found = gradient([x, *tables], [True, False, False], [spread])
    full = gradient([x, *tables], [True, False, False], [spread.contiguous()])
    torch.testing.assert_close(found[0], full[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 9, 14), (2, 0, 9, 14)])
def test_an_empty_batch_is_empty(shape: tuple[int, ...]) -> None:
    tables = [torch.from_numpy(each) for each in random_tables(3, (9, 14), (5, 6))]
    assert definition(torch.empty(shape), *tables).shape == (*shape[:2], 5, 6)


class _Largest(TorchDispatchMode):
    """Records the sizes in memory of tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        known = {each.untyped_storage().data_ptr() for each in args if isinstance(each, Tensor)}
        for each in result if isinstance(result, list | tuple) else [result]:
            if not isinstance(each, Tensor):
                continue
            storage = each.untyped_storage()
            if storage.data_ptr() not in known and "out" not in (kwargs or {}):
                self.made.append(storage.nbytes())
        return result


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_besides_the_result_does_not_grow_with_the_batch(
    channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axis_products, "GROUP", 4096 // torch.get_num_threads())
    tables = [torch.from_numpy(each) for each in random_tables(3, (30, 40), (25, 35))]
    others = []
    for batch in (2, 16):
        x = torch.randn(batch, 8, 30, 40)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        definition(x, *tables)  # prepares the matrices
        with _Largest() as record:
            result = definition(x, *tables)
        others.append(sorted(record.made)[-2])
        assert max(record.made) == result.nbytes
    assert others[0] == others[1] <= 4 * x[0, 0].nbytes  # a group has four planes


def test_on_a_device_the_host_does_not_read_the_tables() -> None:
    """Tensors on `meta` have no values to read, so reading them would raise an error."""
    tables = [torch.from_numpy(each).to("meta") for each in random_tables(3, (9, 14), (5, 6))]
    x = torch.empty(2, 3, 9, 14, device="meta")
    result = definition(x, *tables)
    assert (result.shape, result.device.type) == ((2, 3, 5, 6), "meta")
    found = gradient([x, *tables], [True, False, False], [result])
    assert found[0] is not None
    assert found[0].shape == x.shape


def test_weights_on_a_device_are_those_of_the_table() -> None:
    from lzu_export.ops.separable_resample import _weights

    for antialias in (False, True):
        for table, n in zip(
            random_tables(3, (40, 30), (15, 50), antialias=antialias), (40, 30), strict=True
        ):
            np.testing.assert_allclose(
                _weights(torch.from_numpy(table), n).numpy(), table_matrix(table, n), atol=1e-15
            )
