"""Read NumPy's files as data: no pickles, bounded memory.

The header of every array is read first. Its type, its shape and the bytes that follow have to agree
before memory is allocated for the values. The sizes of an archive's members are checked before any
is unpacked.
"""

import lzma
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.support.files.reading import MIB, REMEDY, open_regular

ARRAY_LIMIT = 1024 * MIB
"""Largest number of bytes of values that are read from one file."""
MEMBERS = 4096
"""Largest number of arrays in an archive."""
KINDS = "biufU"
"""NumPy's letters for the types that are read: booleans, integers, floats and text."""
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    SyntaxError,
    MemoryError,
    RecursionError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)
"""Exceptions that `zipfile` and NumPy raise for damaged files."""


def read_npz(path: Path, *, limit: int = ARRAY_LIMIT, remedy: str = REMEDY) -> dict[str, Any]:
    """Read the arrays of a NumPy archive (.npz), by name.

    Args:
        path: path of the archive.
        limit: largest number of bytes of all its values together.
        remedy: advice that ends the error's sentence.

    Raises:
        LzuError: the archive is missing, not a regular file, damaged, holds anything but numbers
            and text, or is larger than `limit` when it is unpacked.
    """
    with open_regular(path, remedy=remedy) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return _members(archive, limit)
        except _DAMAGE as error:
            why = _first_line(error)
            raise LzuError(f"{path} is damaged or no .npz file ({why}); {remedy}") from error


def read_npy(path: Path, *, limit: int = ARRAY_LIMIT, remedy: str = REMEDY) -> NDArray[Any]:
    """Read the array of a NumPy file (.npy).

    Raises:
        LzuError: see `read_npz`.
    """
    with open_regular(path, remedy=remedy) as stream:
        try:
            size = stream.seek(0, 2)
            stream.seek(0)
            return _array(stream, size, limit)
        except _DAMAGE as error:
            why = _first_line(error)
            raise LzuError(f"{path} is damaged or no .npy file ({why}); {remedy}") from error


def _members(archive: zipfile.ZipFile, limit: int) -> dict[str, Any]:
    entries = archive.infolist()
    if len(entries) > MEMBERS:
        raise ValueError(f"it has {len(entries)} members where at most {MEMBERS} are read")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("two of its members have one name")
    total = sum(entry.file_size for entry in entries)
    if total > limit:
        raise ValueError(f"it unpacks to {total} bytes where at most {limit} are read")
    found: dict[str, Any] = {}
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"member {entry.filename} is packed in a way that NumPy does not use")
        with archive.open(entry) as stream:
            found[entry.filename.removesuffix(".npy")] = _array(stream, entry.file_size, limit)
    return found


def _array(stream: IO[bytes], size: int, limit: int) -> NDArray[Any]:
    """Read one array from a stream of `size` bytes, after checking its header against them."""
    version = npy.read_magic(stream)
    readers: Mapping[Any, Any] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the format is not read")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject or dtype.kind not in KINDS:
        raise ValueError(f"an array is of type {dtype}, which is neither numbers nor text")
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"an array has the shape {shape}")
    count = math.prod(shape)
    wanted = count * dtype.itemsize
    there = size - stream.tell()
    if wanted != there or wanted > limit:
        raise ValueError(f"an array of shape {shape} needs {wanted} bytes where {there} follow")
    content = stream.read(wanted)
    if len(content) != wanted or stream.read(1):  # the CRC is checked at the end of a packed member
        raise ValueError(f"an array of shape {shape} is cut off")
    values = np.frombuffer(content, dtype).copy() if count else np.empty(0, dtype)
    if dtype.kind == "U" and values.size:
        letters = values.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise ValueError("an array of text holds numbers that are no letters")
    if fortran:
        return values.reshape(shape[::-1]).transpose()
    return values.reshape(shape)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
