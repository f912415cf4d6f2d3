"""Write arrays as safetensors, a plain binary that programs without NumPy read.

The file begins with the length of its header, 8 bytes, little-endian. The header is JSON: for each
array its `dtype`, `shape` and `data_offsets`, the first byte and the byte after the last, counted
from the header's end. The values follow, little-endian, in C order, without compression.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.support.files.writing import replacing

CODES = {"float64": "F64", "float32": "F32"}
"""Names of the element types in the header, by NumPy's names."""
ALIGNMENT = 8
"""The values begin at a multiple of this number of bytes, so that a mapped file can be used in
place: wider types come first."""
NOTES = "__metadata__"
"""Key of the header that holds texts beside the arrays."""


def write_tensors(path: Path, arrays: Mapping[str, ArrayLike], notes: Mapping[str, str]) -> None:
    """Write arrays of float64 and float32 to a file, completely or not at all.

    Args:
        path: path of the file.
        arrays: arrays by name.
        notes: texts by name that are kept beside the arrays.

    Raises:
        OSError: the file cannot be written.
        KeyError: an array has another type.
        LzuError: a folder or a disk is in the way.
    """
    values = {name: np.asarray(each) for name, each in arrays.items()}
    header: dict[str, object] = {NOTES: dict(notes)}
    blocks, end = [], 0
    for name in sorted(values, key=lambda name: (-values[name].itemsize, name)):
        array = values[name]
        code = CODES[array.dtype.name]
        block = array.astype(array.dtype.newbyteorder("<")).tobytes()
        offsets = [end, end + len(block)]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        blocks.append(block)
        end += len(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with replacing(path) as new:
        new.write_bytes(b"".join((struct.pack("<Q", len(text)), text, *blocks)))
