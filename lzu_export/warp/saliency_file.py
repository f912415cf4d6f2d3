"""Read a saliency from a NumPy file, or from the pickled tensor that the LZU authors release."""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.support.demonstration import remedy_for
from lzu_export.support.files import read_bytes, read_npy
from lzu_export.warp.saliency import Array, check_saliency

_MAX_FILE_BYTES = 1 << 26
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PROTOCOL = 1001
_STORAGE_TYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
}
_INTEGER_OPCODES = {"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"}
_BYTES_OPCODES = {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_TENSOR_CALLS = "torch._utils _rebuild_tensor_v2 torch.storage _load_from_bytes"

_MOST_OPCODES = 1000
"""Largest number of opcodes, far more than the format has; a crafted file could fill the memory."""

Opcode = tuple[str, Any]


def load_saliency(path: str | Path, lattice: tuple[int, int] | None = None) -> Array:
    """Read a saliency (h, w) from a file as float64, with the values as stored.

    Two formats are recognised by their content: NumPy's `.npy`, and the pickled tensor that the LZU
    authors release as `saliency.pkl`. The latter is read as data: its opcodes are listed but never
    executed, so a malicious file cannot run code.

    Raises:
        LzuError: the file is missing, of another format, inconsistent, or holds no valid saliency.
    """
    path = Path(path)
    remedy = remedy_for(path, "check the path of the saliency")
    content = read_bytes(path, limit=_MAX_FILE_BYTES, remedy=remedy)
    if content.startswith(b"\x93NUMPY"):
        array = read_npy(path, limit=_MAX_FILE_BYTES, remedy="save the saliency again")
    else:
        array = _read_pickled_tensor(content, path)
    return check_saliency(array, lattice=lattice, name=f"saliency in {path.name}")


def _opcodes(stream: io.BytesIO) -> list[Opcode]:
    """List one pickle's opcodes without executing them, leaving the stream after its STOP."""
    listed = list(islice(pickletools.genops(stream), _MOST_OPCODES + 1))
    if len(listed) > _MOST_OPCODES:
        raise ValueError("more opcodes than a saliency has")
    return [
        (opcode.name, argument)
        for opcode, argument, _ in listed
        if opcode.name not in {"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"}
    ]


def _read_pickled_tensor(content: bytes, path: Path) -> NDArray[Any]:
    try:
        return _decode_pickled_tensor(content)
    except (ValueError, IndexError, KeyError, OverflowError, StopIteration) as error:
        raise LzuError(
            f"{path} is neither .npy nor a pickled tensor this reader knows ({error}); save it as "
            ".npy from the program that made it"
        ) from None


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _decode_pickled_tensor(content: bytes) -> NDArray[Any]:
    """Decode a contiguous tensor pickled with its storage in torch's legacy format.

    Raises:
        ValueError: a part differs from that format.
    """
    outer = _opcodes(io.BytesIO(content))
    places = [i for i, (name, _) in enumerate(outer) if name in _BYTES_OPCODES]
    _require(len(places) == 1, f"it holds {len(places)} storages instead of one")
    calls = " ".join(argument for _, argument in outer[: places[0]] if isinstance(argument, str))
    _require(calls == _TENSOR_CALLS, "it is not a torch tensor")
    values = _decode_legacy_storage(bytes(outer[places[0]][1]))
    offset, shape, strides = _tensor_layout(outer[places[0] + 1 :])
    _require(min(shape) > 0, f"its shape is {shape}")
    expected = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    pairs = zip(shape, strides, expected, strict=True)
    _require(
        all(size == 1 or stride == step for size, stride, step in pairs),
        f"its strides {strides} are not those of a contiguous tensor",
    )
    count = math.prod(shape)
    _require(0 <= offset <= len(values) - count, f"its storage is too short for shape {shape}")
    return values[offset : offset + count].reshape(shape)


def _tensor_layout(opcodes: Sequence[Opcode]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return storage offset, shape and strides, the integers after the storage's REDUCE."""
    start = next(i for i, (name, _) in enumerate(opcodes) if name == "REDUCE") + 1
    groups: list[list[int]] = [[]]
    for name, argument in opcodes[start:]:
        if name in _INTEGER_OPCODES:
            groups[-1].append(int(argument))
        elif name in {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}:
            groups.append([])
        elif name != "MARK":
            break
    # Short tuples are pickled without a MARK, so the offset leads the first group.
    numbers = [group for group in groups if group]
    _require(len(numbers) == 2, "its shape cannot be found")
    _require(len(numbers[0]) == len(numbers[1]) + 1 > 1, "its shape and strides differ in length")
    return numbers[0][0], tuple(numbers[0][1:]), tuple(numbers[1])


def _decode_legacy_storage(blob: bytes) -> NDArray[Any]:
    """Decode torch's legacy storage file: five pickles, then an int64 count and the raw values."""
    stream = io.BytesIO(blob)
    magic, protocol, system, storage, keys = (_opcodes(stream) for _ in range(5))
    _require(_TORCH_MAGIC in _integers(magic), "it holds no torch storage")
    _require(_TORCH_PROTOCOL in _integers(protocol), "its storage has another version")
    order = [argument for _, argument in system].index("little_endian") + 1
    _require(system[order][0] == "NEWTRUE", "its values are big-endian")
    types = [argument for name, argument in storage if name == "GLOBAL"]
    _require(len(types) == 1 and types[0] in _STORAGE_TYPES, f"its storage has type {types}")
    _require(sum(isinstance(argument, str) for _, argument in keys) == 1, "it has several storages")
    dtype = np.dtype(_STORAGE_TYPES[types[0]])
    count = int.from_bytes(stream.read(8), "little", signed=True)
    data = stream.read()
    _require(count in _integers(storage), f"its count of values, {count}, contradicts itself")
    _require(len(data) == count * dtype.itemsize, f"it has {len(data)} bytes for {count} values")
    return np.frombuffer(data, dtype=dtype)


def _integers(opcodes: Sequence[Opcode]) -> list[int]:
    return [int(argument) for name, argument in opcodes if name in _INTEGER_OPCODES]
