"""Saliency: a positive map on a small lattice that says how densely to sample.

A saliency is a float64 array of shape (h, w), the lattice. Row 0 is the top of the source and
column 0 its left edge; the first and last rows and columns lie on the source's borders. Only the
ratios of its values matter to the warp; the maps made here sum to 1.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.support.files import read_bytes, read_npy

Array = NDArray[np.float64]

BOX_INPUTS = ("prev_boxes", "prev_valid")
"""Inputs of a model whose warp follows boxes, float32: (B, N, 4) in pixels of the source, (B, N) of
0 or 1."""

# A box narrower than this (source pixels) spreads like one of this side: a variance of zero would
# divide by zero, and detections clipped to the frame do have empty sides.
MIN_BOX_SIDE = 1.0

# Keeps the division finite for a box so small that it falls between lattice points; the value is
# part of the published formula (FOVEA's KDE grid), so trained models depend on it.
KERNEL_SUM_FLOOR = 1e-5


def check_saliency(
    saliency: ArrayLike, *, lattice: tuple[int, int] | None = None, name: str = "saliency"
) -> Array:
    """Return `saliency` as float64 (h, w), or refuse it by name.

    Args:
        saliency: real array of shape (h, w); leading axes of length 1 are dropped.
        lattice: the (h, w) it must have, where known.
        name: what the user calls it, for the message.

    Raises:
        LzuError: it is no 2-D array of at least 2 x 2 finite numbers above zero, or its shape
            is not the lattice. Zeros are refused because a window of zeros has no centre of mass.
    """
    return _check_positive(_check_map(_as_real(saliency, name), lattice, name), name)


def check_marginal(marginal: ArrayLike, *, name: str = "marginal") -> Array:
    """Return a 1-D saliency as float64 (n,), or refuse it by name.

    Raises:
        LzuError: it is no 1-D array of at least 2 finite numbers above zero.
    """
    array = _as_real(marginal, name)
    if array.ndim != 1 or array.shape[0] < 2:
        raise LzuError(f"{name} has shape {array.shape}; give it one axis of at least 2 values")
    return _check_positive(array, name)


def _as_real(values: ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise LzuError(f"{name} is not an array of real numbers; give it as floats") from None


def _check_map(array: Array, lattice: tuple[int, int] | None, name: str) -> Array:
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or min(array.shape) < 2:
        raise LzuError(
            f"{name} has shape {array.shape}; give it two axes (height, width) of at least 2 each"
        )
    if lattice is not None and array.shape != tuple(lattice):
        raise LzuError(
            f"{name} has shape {array.shape} but the lattice is {tuple(lattice)}; resample it or "
            f"set the lattice to {array.shape}"
        )
    return array


def _check_positive(array: Array, name: str) -> Array:
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise LzuError(
            f"{name} holds {count} NaN or infinite values; replace them by positive ones"
        )
    if (array <= 0).any():
        raise LzuError(
            f"{name} holds {int((array <= 0).sum())} values that are not above zero (smallest "
            f"{array.min():g}); add a small positive floor everywhere"
        )
    return array


def _check_lattice(lattice: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(n) for n in lattice)
    if min(height, width) < 2:
        raise LzuError(f"lattice is {tuple(lattice)}; give it at least 2 rows and 2 columns")
    return height, width


def uniform_saliency(lattice: tuple[int, int]) -> Array:
    """Return the (h, w) saliency that is the same everywhere and sums to 1: the identity warp."""
    height, width = _check_lattice(lattice)
    return np.full((height, width), 1.0 / (height * width))


def marginals(saliency: ArrayLike) -> tuple[Array, Array]:
    """Return the saliency of each column, s_x (w,), and of each row, s_y (h,).

    Source: the sums inside LZU eqs. (3) and (4).
    """
    array = check_saliency(saliency)
    return array.sum(axis=0), array.sum(axis=1)


def mix(fixed: ArrayLike, adaptive: ArrayLike, alpha: float) -> Array:
    """Return (1 - alpha) fixed + alpha adaptive, LZU's composite saliency.

    Both are maps (h, w), or both marginals (n,): mixing and summing commute.

    Raises:
        LzuError: the shapes differ, alpha is outside [0, 1], or the sums differ, in which case
            alpha would not be the adaptive share.
    """
    first, second = _as_real(fixed, "fixed saliency"), _as_real(adaptive, "adaptive saliency")
    if first.shape != second.shape:
        raise LzuError(
            f"fixed saliency has shape {first.shape} and adaptive saliency {second.shape}; "
            "put both on one lattice"
        )
    if not 0.0 <= alpha <= 1.0:
        raise LzuError(f"alpha is {alpha}; give the adaptive share as a number from 0 to 1")
    if not math.isclose(first.sum(), second.sum(), rel_tol=1e-3):
        raise LzuError(
            f"fixed saliency sums to {first.sum():g} and adaptive saliency to {second.sum():g}; "
            "divide each by its sum"
        )
    return (1.0 - alpha) * first + alpha * second


# --- from logits --------------------------------------------------------------------------------


def softmax_saliency(
    logits: ArrayLike, *, lattice: tuple[int, int] | None = None, name: str = "logits"
) -> Array:
    """Return the softmax of logits (h, w) over all cells, float64: positive, summing to 1.

    Args:
        logits: real array of shape (h, w); leading axes of length 1 are dropped.
        lattice: the (h, w) it must have, where known.
        name: what the user calls it, for the message.

    Raises:
        LzuError: it is no such array, its shape is not the lattice, values are not finite, or so
            far apart that the smallest share is 0 in float64.

    Source: the saliency of "Learning to Zoom" (Recasens et al. 2018), with learned numbers in place
    of a network's.
    """
    array = _check_map(_as_real(logits, name), lattice, name)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise LzuError(f"{name} holds {count} NaN or infinite values; train or save it again")
    shares = np.exp(array - array.max())
    if not shares.all():
        raise LzuError(
            f"{name} spans {np.ptp(array):g}, so that some shares of its softmax are 0; train it "
            "again with weight decay"
        )
    return np.asarray(shares / shares.sum())


# --- from boxes -----------------------------------------------------------------------------------


def box_saliency(
    boxes: ArrayLike,
    source_size: tuple[int, int],
    lattice: tuple[int, int],
    *,
    amplitude: float = 1.0,
    bandwidth: float = 64.0,
) -> Array:
    """Return a kernel density estimate of boxes on the lattice, float64 (h, w), summing to 1.

    Each box adds a Gaussian at its centre, with variance `bandwidth` times its side (square
    pixels) along each axis and mass `amplitude`, and a constant floor of 1 / (2 p + 1)^2 per
    lattice point, p = min(h, w) - 1. Because the floor is added per box, the uniform share does not
    depend on how many boxes there are. Lattice points lie at 0 .. width inclusive.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2 in source pixels; N may be 0, which gives the uniform map.
        source_size: (height, width) of the source in pixels.
        lattice: (h, w).
        amplitude: a, the mass of a box; 0 gives the uniform map.
        bandwidth: b, in pixels.

    Raises:
        LzuError: boxes are not (N, 4) finite numbers, or a parameter is out of range.

    Source: LZU's fixed and adaptive saliency; the constants are those of FOVEA's published KDE grid
    generator, from which it was made.
    """
    height, width = _check_lattice(lattice)
    columns, rows, weights = _box_kernels(boxes, source_size, lattice, amplitude, bandwidth)
    if not len(weights):
        return uniform_saliency(lattice)
    density = np.einsum("i,ih,iw->hw", weights, rows, columns, optimize=True)
    density += len(weights) * _box_floor(height, width)
    return density / density.sum()


def box_marginals(
    boxes: ArrayLike,
    source_size: tuple[int, int],
    lattice: tuple[int, int],
    *,
    amplitude: float = 1.0,
    bandwidth: float = 64.0,
) -> tuple[Array, Array]:
    """Return `marginals(box_saliency(...))`, s_x (w,) and s_y (h,), without the 2-D map.

    A box's Gaussian is a product of one in x and one in y, so each marginal is a sum of 1-D
    Gaussians: O(N (h + w)) instead of O(N h w). Arguments and errors as in `box_saliency`.
    """
    height, width = _check_lattice(lattice)
    columns, rows, weights = _box_kernels(boxes, source_size, lattice, amplitude, bandwidth)
    if not len(weights):
        return np.full(width, 1.0 / width), np.full(height, 1.0 / height)
    floor = len(weights) * _box_floor(height, width)
    along_x = (weights * rows.sum(axis=1)) @ columns + floor * height
    along_y = (weights * columns.sum(axis=1)) @ rows + floor * width
    return along_x / along_x.sum(), along_y / along_y.sum()


def _box_floor(height: int, width: int) -> float:
    return 1.0 / (2 * (min(height, width) - 1) + 1) ** 2


def _box_kernels(
    boxes: ArrayLike,
    source_size: tuple[int, int],
    lattice: tuple[int, int],
    amplitude: float,
    bandwidth: float,
) -> tuple[Array, Array, Array]:
    """Return the boxes' Gaussians along x (N, w) and y (N, h), and their weights (N,)."""
    if not (math.isfinite(amplitude) and amplitude >= 0):
        raise LzuError(f"amplitude is {amplitude}; give a number of at least 0")
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise LzuError(f"bandwidth is {bandwidth}; give a number of pixels above 0")
    if min(source_size) <= 0:
        raise LzuError(f"source_size is {tuple(source_size)}; give (height, width) in pixels")
    array = _as_real(boxes, "boxes")
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise LzuError(f"boxes have shape {array.shape}; give (N, 4) as x1, y1, x2, y2")
    if not np.isfinite(array).all():
        raise LzuError("boxes hold NaN or infinite values; drop those boxes")
    sides = np.maximum(array[:, 2:] - array[:, :2], MIN_BOX_SIDE)
    centres = (array[:, 2:] + array[:, :2]) / 2
    height, width = lattice
    columns = _gaussian(
        np.linspace(0, source_size[1], width), centres[:, :1], sides[:, :1], bandwidth
    )
    rows = _gaussian(
        np.linspace(0, source_size[0], height), centres[:, 1:], sides[:, 1:], bandwidth
    )
    mass = columns.sum(axis=1) * rows.sum(axis=1)
    return columns, rows, amplitude / (KERNEL_SUM_FLOOR + mass)


def _gaussian(points: Array, centre: Array, side: Array, bandwidth: float) -> Array:
    # Direct differences: the published ||p||^2 - 2 p c + ||c||^2 cancels badly in low precision.
    return np.asarray(np.exp(-0.5 * (points - centre) ** 2 / (bandwidth * side)))


# --- from semantic boundaries ---------------------------------------------------------------------


def boundary_saliency(
    labels: ArrayLike,
    lattice: tuple[int, int],
    *,
    boundary: float = 1.0,
    background: float = 0.1,
    ignore: int | None = None,
) -> Array:
    """Return the density of semantic boundaries on the lattice, float64 (h, w), summing to 1.

    A pixel is boundary if its label differs from that of any of its 8 neighbours. The map of
    intensities is averaged over the lattice's cells, each (H / h) x (W / w) pixels, with area
    weights where a pixel straddles cells.

    Args:
        labels: integers (H, W), at least as large as the lattice.
        lattice: (h, w).
        boundary: intensity of boundary pixels.
        background: intensity of all others, above 0.
        ignore: label that makes no boundary, neither itself nor to its neighbours.

    Raises:
        LzuError: labels are not integers (H, W), are smaller than the lattice, or an intensity is
            not above 0.

    Source: LZU's saliency for semantic segmentation.
    """
    height, width = _check_lattice(lattice)
    classes = np.asarray(labels)
    if classes.ndim != 2 or classes.dtype.kind not in "iu":
        raise LzuError(
            f"labels are {classes.dtype} of shape {classes.shape}; give whole numbers (H, W)"
        )
    if classes.shape[0] < height or classes.shape[1] < width:
        raise LzuError(
            f"labels have shape {classes.shape}, less than the lattice {(height, width)}; give a "
            "smaller lattice"
        )
    for name, value in (("boundary", boundary), ("background", background)):
        if not (math.isfinite(value) and value > 0):
            raise LzuError(f"{name} is {value}; give an intensity above 0")
    intensity = np.where(_boundary_mask(classes, ignore), boundary, background)
    pooled = (
        _average_pool_matrix(classes.shape[0], height)
        @ intensity
        @ _average_pool_matrix(classes.shape[1], width).T
    )
    return np.asarray(pooled / pooled.sum())


def _boundary_mask(classes: NDArray[Any], ignore: int | None) -> NDArray[np.bool_]:
    mask = np.zeros(classes.shape, dtype=bool)
    height, width = classes.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width - max(0, -right)]
        differs = np.asarray(classes[here] != classes[there])
        if ignore is not None:
            differs &= (classes[here] != ignore) & (classes[there] != ignore)
        mask[here] |= differs
        mask[there] |= differs
    return mask


def _average_pool_matrix(n_in: int, n_out: int) -> Array:
    """Return (n_out, n_in): the share of each input pixel in each output cell's average."""
    edges = np.arange(n_out + 1) * (n_in / n_out)
    starts = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.asarray(overlap.clip(0.0, None) * (n_out / n_in))


# --- from a file ----------------------------------------------------------------------------------

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
"""Far more than the format has; without a bound a crafted file could fill the memory."""

Opcode = tuple[str, Any]


def load_saliency(path: str | Path, lattice: tuple[int, int] | None = None) -> Array:
    """Read a saliency from a file: float64 (h, w), values as stored.

    Two formats are known by their content: NumPy's `.npy`, and the pickled tensor that the LZU
    authors release as `saliency.pkl`. The latter is read as data: its opcodes are listed, never
    executed, so a malicious file can do nothing.

    Raises:
        LzuError: the file is missing, of another format, inconsistent, or holds no valid saliency.
    """
    path = Path(path)
    content = read_bytes(path, limit=_MAX_FILE_BYTES, remedy="check the path of the saliency")
    if content.startswith(b"\x93NUMPY"):
        array = read_npy(path, limit=_MAX_FILE_BYTES, remedy="save the saliency again")
    else:
        array = _read_pickled_tensor(content, path)
    return check_saliency(array, lattice=lattice, name=f"saliency in {path.name}")


def _opcodes(stream: io.BytesIO) -> list[Opcode]:
    """List one pickle's opcodes, leaving the stream after its STOP; nothing is executed."""
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
        ValueError: any part is not as that format has it.
    """
    outer = _opcodes(io.BytesIO(content))
    places = [i for i, (name, _) in enumerate(outer) if name in _BYTES_OPCODES]
    _require(len(places) == 1, f"it holds {len(places)} storages instead of one")
    calls = " ".join(argument for _, argument in outer[: places[0]] if isinstance(argument, str))
    _require(calls == _TENSOR_CALLS, "it is no torch tensor")
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
    """Return storage offset, shape and strides: the integers after the storage's REDUCE."""
    start = next(i for i, (name, _) in enumerate(opcodes) if name == "REDUCE") + 1
    groups: list[list[int]] = [[]]
    for name, argument in opcodes[start:]:
        if name in _INTEGER_OPCODES:
            groups[-1].append(int(argument))
        elif name in {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}:
            groups.append([])
        elif name != "MARK":
            break
    # Short tuples are pickled without a MARK: the offset then leads the first group.
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
    _require(len(types) == 1 and types[0] in _STORAGE_TYPES, f"its storage is of type {types}")
    _require(sum(isinstance(argument, str) for _, argument in keys) == 1, "it has several storages")
    dtype = np.dtype(_STORAGE_TYPES[types[0]])
    count = int.from_bytes(stream.read(8), "little", signed=True)
    data = stream.read()
    _require(count in _integers(storage), f"its count of values, {count}, contradicts itself")
    _require(len(data) == count * dtype.itemsize, f"it has {len(data)} bytes for {count} values")
    return np.frombuffer(data, dtype=dtype)


def _integers(opcodes: Sequence[Opcode]) -> list[int]:
    return [int(argument) for name, argument in opcodes if name in _INTEGER_OPCODES]
